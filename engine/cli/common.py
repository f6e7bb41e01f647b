"""What every command shares: the folders it works in, how a failure and a result are said."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.workspace import Workspace


def add_folders(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("folders").add_argument
    add("--data-dir", metavar="DIR", type=Path, default=Path("workspace"), help="where everything is kept; default: ./workspace")
    add("--ckpt-dir", metavar="DIR", type=_folder, help="an existing folder of checkpoints to use as well")
    add("--lora-dir", metavar="DIR", type=_folder, help="an existing folder of LoRAs to use as well")
    add("--embeddings-dir", metavar="DIR", type=_folder, help="an existing folder of embeddings to use as well")


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path.resolve()


def workspace_of(options: argparse.Namespace) -> Workspace:
    """The workspace the options name. Makes nothing yet."""
    return Workspace(options.data_dir.expanduser().resolve(), options.ckpt_dir, options.lora_dir, options.embeddings_dir)


def dataset_folder(typed: str, options: argparse.Namespace) -> Path:
    """A folder, or a dataset by its name.

    Raises:
        PathError: `path.not_allowed`.
    """
    here = Path(typed).expanduser()
    return here.absolute() if here.is_dir() else workspace_of(options).dataset_folder(typed)


def one_line(error: EngineError) -> str:
    """An error as one line, with its field in front where it has one."""
    field, text = str(error.values.get("field") or ""), " ".join(str(error).split())
    return f"Error: {text}" if not field or text.startswith(field) else f"Error: {field}: {text}"


def tell(result: dict[str, Any], as_json: bool) -> int:
    """Print what came out; the table of all modules only as JSON. Returns the exit code 0."""
    print(json.dumps(result, ensure_ascii=False, indent=1) if as_json else "\n".join(_lines(result)))
    return 0


def _lines(result: dict[str, Any], indent: str = "") -> list[str]:
    """A line for each number or word, tables indented."""
    lines = []
    for name, value in result.items():
        if name == "norms":
            continue
        if isinstance(value, dict):
            lines += [f"{indent}{name.replace('_', ' ')}:", *_lines(value, indent + "  ")] if value else []
        elif value or value == 0:
            shown = (
                f"{value:.4g}" if isinstance(value, float) else ", ".join(map(str, value)) if isinstance(value, list) else value
            )
            lines.append(f"{indent}{name.replace('_', ' '):<20} {shown}")
    return lines
