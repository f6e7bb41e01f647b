"""Look into base models, list them, download them, write them anew, make tiny ones for dry runs.

    inspect MODEL                   what it is and what it lacks, from its header; MODEL is a name of the library, a file or a folder
    list                            the library
    download SOURCE                 SOURCE is a Hugging Face id (owner/name), a file there (owner/name/file.safetensors), or the address
                                    of a page or a file; a LoRA, VAE or text encoder goes into its own folder
    save MODEL NAME                 MODEL as NAME in models/checkpoints: as one file or as a folder (--layout), in another number format
                                    (--precision), with LoRAs in it (--lora NAME:WEIGHT, any number of times)
    make-tiny FAMILY DIR            a model of random weights, a few MB, for dry runs: everything but its pictures is like the real
                                    one; with --single-file DIR is the .safetensors file

Downloads and writing are jobs. Ctrl-C ends them; a download goes on where it was with the same command. Tokens are read from HF_TOKEN and CIVITAI_TOKEN, from what
was entered in the page, and from `hf auth login`. Put a tiny model into models/checkpoints of the data folder, and it stands in the lists like any other.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from engine.cli.common import tell, workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.config.downloads import DownloadConfig
from engine.config.load import validate
from engine.config.tools import ToolConfig
from engine.errors import ConfigError, ModelError
from engine.file_notes import FileNotes
from engine.formats.hashes import model_hashes
from engine.formats.models import MODELS
from engine.inspection import ModelSummary, inspect_model
from engine.jobs import actions
from engine.library import find_model, models
from engine.workspace import Workspace

WORDS = {
    "inspect": ("MODEL",), "list": (), "download": ("SOURCE",), "save": ("MODEL", "NAME"), "make-tiny": ("FAMILY", "DIR"),
}  # fmt: skip
"""Action -> what it takes."""
PRECISIONS = {"same": "same", "fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""Number format, as people call it -> as the settings do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=list(WORDS), help="what to do", metavar="ACTION")
    add("words", metavar="WORD", nargs="*", help="as above")
    add(
        "--variant",
        metavar="NAME",
        help="make-tiny: " + "; ".join(f"{name}: {', '.join(each.variants)}" for name, each in MODELS.items()),
    )
    add("--single-file", action="store_true", help="make-tiny: one .safetensors file, its tokenizers in tokenizers/ beside it")
    add("--seed", type=int, default=0, help="make-tiny: another seed, other weights; default: 0")
    add("--layout", choices=("folder", "single-file"), help="save: default: as the model is, or what NAME ends in")
    add("--precision", choices=tuple(PRECISIONS), default="same", help="save: number format; default: same")
    add("--lora", metavar="NAME[:WEIGHT]", action="append", default=[], help="save: put this LoRA into the model")
    add("--hash", action="store_true", help="inspect: read all of it and tell its hash")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    wanted = WORDS[options.action]
    if len(options.words) != len(wanted):
        raise ConfigError(
            "model.word_count", f"{options.action} takes {' '.join(wanted) or 'nothing'}; {len(options.words)} words are given.",
            todo="`python -m engine model --help` shows them.", field=" ".join(wanted) or "ACTION", action=options.action,
        )  # fmt: skip
    workspace = workspace_of(options)
    if options.action == "make-tiny":
        return _make(options)
    if options.action == "download":
        return _download(options, workspace.prepare())
    if options.action == "save":
        return _save(options, workspace.prepare())
    return _list(workspace, options.json) if options.action == "list" else _inspect(options, workspace)


def _make(options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from engine.tiny import make_tiny

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    family, place = options.words
    print(make_tiny(family, Path(place).expanduser(), options.seed, options.variant, options.single_file))
    return 0


def _download(options: argparse.Namespace, workspace: Workspace) -> int:
    job = carry_out(actions.start_download(DownloadConfig(source=options.words[0]), workspace), workspace)
    if job.result and options.json:
        print(json.dumps(job.result, ensure_ascii=False, indent=1))
    elif job.result:
        print("It was there already." if job.result["already"] else f"{job.result['bytes'] / 1e6:,.1f} MB")
        print(workspace.root / job.result["file"])
    return exit_code(job)


def _save(options: argparse.Namespace, workspace: Workspace) -> int:
    model, name = options.words
    layout = options.layout or ("single-file" if name.endswith(".safetensors") else "same")
    tool = {
        "kind": "bake", "model": model, "files": options.lora, "layout": layout.replace("-", "_"),
        "precision": PRECISIONS[options.precision],
    }  # fmt: skip
    config = validate(ToolConfig, {"tool": tool, "output": {"name": name.removesuffix(".safetensors")}})
    job = carry_out(actions.start_tool(config, workspace), workspace)
    if job.state == "done":
        tell(job.result or {}, options.json)
    return exit_code(job)


def _list(workspace: Workspace, as_json: bool) -> int:
    cards = models(workspace)
    if as_json:
        told = [vars(card) | {"path": str(card.path), "problem": str(card.problem or "")} for card in cards]
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return 0
    width = max(len(card.name) for card in cards)
    for card in cards:
        what = card.title or ("pickle, not converted yet" if card.pickled else "?")
        size = f"{card.size / 2**20:,.0f} MiB"
        print(
            f"{card.name:<{width}}  {what:<28} {card.format:<10} {size:>12}  {card.sha256[:10]:<10}  {card.problem or card.path}"
        )
    return 0


def _inspect(options: argparse.Namespace, workspace: Workspace) -> int:
    path = _find(options.words[0], workspace)
    summary = inspect_model(path)
    sha256 = model_hashes(path, FileNotes(workspace.cache)).sha256 if options.hash else ""
    if options.json:
        print(json.dumps(asdict(summary) | ({"sha256": sha256} if sha256 else {}), ensure_ascii=False, indent=1))
    else:
        print(table(summary, sha256))
    return 0


def _find(text: str, workspace: Workspace) -> Path:
    """Any path, or a name of the library. Raises ModelError: `model.not_found`."""
    path = Path(text).expanduser()
    found = path if path.exists() else find_model(text, workspace)
    if isinstance(found, str):
        raise ModelError(
            "model.not_found", f"There is no base model {text!r} on this machine.", "A file, a folder or a name of the library.",
            "`python -m engine model list` shows the names.", name=text, field="MODEL",
        )  # fmt: skip
    return found


def table(summary: ModelSummary, sha256: str = "") -> str:
    """The summary as lines; what is not known is left out."""
    rows = {
        "name": summary.name, "kind": summary.kind or "unknown", "family": summary.family, "variant": summary.variant,
        "predicts": summary.prediction, "resolution": f"{summary.resolution} px" if summary.resolution else "",
        "size": f"{summary.size / 2**20:,.1f} MiB", "missing": ", ".join(summary.missing), "problem": summary.problem,
        "sha256": sha256,
    }  # fmt: skip
    lines = [f"{name:<12} {value}" for name, value in rows.items() if value]
    lines += [
        f"  {name:<18} {part.title:<28} {part.parameters / 1e6:>10,.2f} M  {', '.join(part.formats)}"
        for name, part in summary.parts.items()
    ]
    return "\n".join(lines + [f"  {name:<18} {' '.join(value.split())[:100]}" for name, value in summary.card.items()])
