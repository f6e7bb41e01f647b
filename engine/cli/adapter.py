"""Work with adapter files: look into them, convert, merge, extract, resize and more.

    inspect FILE                    what it is, from its header; with --tensors or --model every tensor is looked at;
                                    --map FILE.svg draws the rank of every layer
    verify FILE                     read it to the last byte
    convert FILE                    another spelling or number format
    merge FILE[:WEIGHT] ...         several as one
    bake FILE[:WEIGHT] ...          into a copy of the checkpoint --model
    extract BASE TUNED              a LoRA of the difference between two models
    resize FILE                     lower its rank
    cut FILE                        keep the leading ranks of a DyLoRA
    bundle FILE EMBEDDING ...       put embeddings into it
    edit FILE                       change its metadata and cover
    difference FILE OTHER           what the first does more than the other

FILE is a name as in a tag, or a path. All but verify and a plain inspect are jobs, worked on here or, while another process has
the device, there. Ctrl-C ends one without a trace.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.cli.common import tell, workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.config.field import Field, fields
from engine.config.load import parse_settings, validate
from engine.config.tools import ToolConfig
from engine.errors import ConfigError
from engine.formats.compatibility import compatibility
from engine.formats.rank_map import layer_ranks, rank_map_svg
from engine.formats.summary import AdapterSummary, describe
from engine.formats.verify import verify
from engine.jobs import actions
from engine.library import find_adapter_file
from engine.workspace import Workspace, atomic_write

FILES: dict[str, tuple[str, ...]] = {
    "inspect": ("file",), "verify": ("file",), "convert": ("file",), "merge": ("files",), "bake": ("files",),
    "extract": ("model", "tuned"), "resize": ("file",), "cut": ("file",), "bundle": ("file", "embeddings"), "edit": ("file",),
    "difference": ("file", "other"),
}  # fmt: skip
"""Action -> the settings that its files are; the last one takes all that are left if it is a list."""
LISTS = ("files", "embeddings")
GIVEN_AS_FILES = {f"tool.{name}" for names in FILES.values() for name in names} - {"tool.model"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=list(FILES), help="what to do", metavar="ACTION")
    add("files", metavar="FILE", nargs="+", help="the files, as above")
    add("--out", metavar="NAME", default="", help="name of the new file; default: made from the old one's")
    add("--tensors", action="store_true", help="inspect: look at every tensor")
    add("--map", metavar="FILE.svg", type=Path, help="inspect: draw the rank of every layer (and head) there")
    add("--json", action="store_true", help="print JSON")
    settings = parser.add_argument_group("settings of the tools").add_argument
    for field in _settings():
        kinds = ", ".join(field.kinds)
        allowed = " | ".join(map(str, field.choices))
        words = f"{field.help} ({kinds}{'; ' + allowed if allowed else ''}; default: {json.dumps(field.default)})"
        settings(_option(field), metavar="VALUE", dest=field.path, help=words.replace("%", "%%"))


def _settings() -> list[Field]:
    """The settings that are given as options: all but the files."""
    return [field for field in fields(ToolConfig) if field.kinds and field.path not in GIVEN_AS_FILES]


def _option(field: Field) -> str:
    return "--" + field.path.removeprefix("tool.").replace("_", "-")


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options)
    if options.action == "verify":
        return tell(asdict(verify(_file(options, workspace))), options.json)
    if options.action == "inspect" and options.map:
        return _draw(_file(options, workspace), options.map)
    if options.action == "inspect" and not (options.tensors or getattr(options, "tool.model")):
        summary = describe(_file(options, workspace))
        print(json.dumps(asdict(summary), default=str, ensure_ascii=False, indent=1) if options.json else table(summary))
        return 0
    config = validate(ToolConfig, {"tool": _tool(options), "output": {"name": options.out}})
    workspace.prepare()
    job = carry_out(actions.start_tool(config, workspace), workspace)
    if job.state == "done":
        tell(job.result or {}, options.json)
    return exit_code(job)


def _tool(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the words of the command line make."""
    given = {field.path: value for field in _settings() if (value := getattr(options, field.path)) is not None}
    texts = {field.path for field in _settings() if field.type is str and not field.choices}
    parsed = parse_settings([f"{path}={value}" for path, value in given.items() if path not in texts]).get("tool", {})
    plain = {path.removeprefix("tool."): value for path, value in given.items() if path in texts}
    return {"kind": options.action, **parsed, **plain, **_named_files(options)}


def _named_files(options: argparse.Namespace) -> dict[str, Any]:
    """Raises ConfigError: `tool.file_count`."""
    *single, last = FILES[options.action]
    words: list[str] = options.files
    many = last in LISTS
    if len(words) < len(single) + 1 or (len(words) > len(single) + 1 and not many):
        wanted = f"{len(single) + 1}{' or more' if many else ''}"
        raise ConfigError(
            "tool.file_count", f"{options.action} takes {wanted} files; {len(words)} are named.",
            todo="`python -m engine adapter --help` shows them.", field="FILE", action=options.action, wanted=wanted, given=len(words),
        )  # fmt: skip
    return {**dict(zip(single, words, strict=False)), last: words[len(single) :] if many else words[-1]}


def _file(options: argparse.Namespace, workspace: Workspace) -> Path:
    """The one file of an action that is no job: any path, or a name."""
    text = str(_named_files(options)["file"])
    path = Path(text).expanduser()
    return path if path.suffix or path.exists() else find_adapter_file(text, workspace)


def _draw(file: Path, picture: Path) -> int:
    """The rank map of a file. Returns the exit code 0."""
    with atomic_write(picture, "w") as stream:
        stream.write(rank_map_svg(layer_ranks(file), file.stem))
    print(f"rank map of {file.name}: {picture}")
    return 0


def table(summary: AdapterSummary) -> str:
    """The summary as lines; what the file does not tell is left out."""
    algorithm = summary.algorithm + (" with DoRA" if summary.dora else "")
    modules = ", ".join(f"{name} {count}" for name, count in summary.modules.items())
    programs = compatibility(summary)
    base = f"{summary.base} ({summary.base_name})" if summary.base_name else summary.base
    rows = {
        "name": summary.name, "trained as": summary.output_name, "format": summary.format, "algorithm": algorithm,
        "rank": ", ".join(map(str, summary.ranks)), "modules": modules, "base": base, "trigger": summary.trigger,
        "embeddings": ", ".join(summary.embeddings), "pictures": summary.pictures, "resolution": summary.resolution,
        "created": summary.created, "tags": ", ".join(f"{tag} ({count})" for tag, count in summary.tags),
        "loads in": ", ".join(f"{name} ({it.loads})" if it.loads == "partly" else name for name, it in programs.items() if it.loads != "no"),
        "description": summary.description, "hash": summary.model_hash, "size": f"{summary.size / 1e6:.1f} MB",
    }  # fmt: skip
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items() if value)
