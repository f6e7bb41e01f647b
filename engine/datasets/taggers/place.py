"""Where taggers are: the one that ships, folders below `models/taggers`, allowed paths, and Hugging Face, from where they are fetched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config.caption import TAGGERS, TaggerOptions
from engine.config.downloads import DownloadConfig
from engine.datasets.taggers.kinds import CODE, CONFIG, MODEL, TABLE, kind_of, remote_code, unusable
from engine.downloads.download import download, source_of
from engine.downloads.meter import Tell
from engine.downloads.place import local_name
from engine.errors import DownloadError, ModelError, PathError
from engine.workspace import Workspace, stamp

STARTER = "starter"
STARTER_TAGGER = Path(__file__).parents[2] / "starter" / "tagger"
SUGGESTED: dict[str, dict[str, int]] = {
    "wd14": {
        "SmilingWolf/wd-vit-tagger-v3": 379, "SmilingWolf/wd-eva02-large-tagger-v3": 1260, "SmilingWolf/wd-swinv2-tagger-v3": 467,
        "SmilingWolf/wd-v1-4-moat-tagger-v2": 326,
    },
    "blip": {"Salesforce/blip-image-captioning-base": 990, "Salesforce/blip-image-captioning-large": 1880},
    "blip2": {"Salesforce/blip2-opt-2.7b": 15_000},
    "florence2": {"florence-community/Florence-2-base": 0, "florence-community/Florence-2-large": 0},
    "qwen_vl": {
        "Qwen/Qwen2.5-VL-3B-Instruct": 7500, "Qwen/Qwen2.5-VL-7B-Instruct": 16_600, "Qwen/Qwen2-VL-2B-Instruct": 4420,
        "Qwen/Qwen3-VL-2B-Instruct": 0, "Qwen/Qwen3-VL-4B-Instruct": 0,
    },
}  # fmt: skip
"""Kind -> well-known ones on Hugging Face and about what is fetched, MB; 0 where that is not known here."""
SETTINGS = (CONFIG, "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
"""Files that may name program code."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def tagger_names(workspace: Workspace) -> dict[str, list[tuple[str, str]]]:
    """Kind -> (what a list shows, name) of the taggers that are there, then of the suggested ones that are not."""
    names = {kind: [] for kind in TAGGERS}
    names["wd14"].append((STARTER, STARTER))
    for folder in _own(workspace):
        if kind := _kind(folder):
            names[kind].append((folder.name, folder.name))
    for kind, suggested in SUGGESTED.items():
        there = {local_name(name) for _, name in names[kind]}
        for name, size in suggested.items():
            if local_name(name) not in there:
                shown = f"{size / 1000:.1f} GB" if size >= 1000 else f"{size} MB"
                names[kind].append((f"{name} ({shown})" if size else name, name))
    return names


def _own(workspace: Workspace) -> list[Path]:
    folders = (folder for folder in workspace.taggers.glob("*") if folder.is_dir() and not folder.name.startswith("."))
    return sorted(folders, key=lambda folder: folder.name.casefold())


def _kind(folder: Path) -> str:
    try:
        return kind_of(folder.name, [file.name for file in folder.iterdir()], _settings(folder / CONFIG))
    except (OSError, ModelError):
        return ""


def find_tagger(options: TaggerOptions, workspace: Workspace) -> Path | None:
    """The folder of the tagger that is meant; None for one of Hugging Face that must be fetched first.

    Raises:
        ModelError: `tagger.not_found`, `tagger.unusable`, `tagger.wrong_kind`, `tagger.remote_code`.
        PathError: a path outside the allowed folders.
    """
    folder = _folder(options.model.strip(), workspace)
    if folder:
        _check(folder, options.kind)
    return folder


def _folder(name: str, workspace: Workspace) -> Path | None:
    if name == STARTER:
        return STARTER_TAGGER
    own = {folder.name: folder for folder in _own(workspace)}
    if name in own:
        return own[name]
    if _ID.fullmatch(name):
        fetched = own.get(local_name(name))
        return fetched if fetched and source_of(fetched) in (name, "") else None
    if Path(name).expanduser().is_absolute() or name.startswith("."):
        try:
            path = workspace.allowed_path(name)
        except PathError as error:
            error.values.setdefault("field", "tagger.model")
            raise
        if path.is_dir():
            return path
    raise ModelError(
        "tagger.not_found", f"There is no tagger {name!r}.",
        f"{STARTER}, a folder in models/taggers of the data folder, a path, or a Hugging Face id (owner/name).",
        "Choose one from the list.", name=name, starter=STARTER, field="tagger.model",
    )  # fmt: skip


def _check(folder: Path, kind: str) -> None:
    try:
        found = kind_of(folder.name, [file.name for file in folder.iterdir()], _settings(folder / CONFIG))
    except OSError as error:
        raise unusable(folder.name, error.strerror or str(error)) from None
    if not found:
        raise unusable(folder.name, f"there is neither {MODEL} with {TABLE} nor the {CONFIG} of a captioner that is known here")
    if found != kind:
        raise wrong_kind(folder.name, found, kind)
    if any(CODE in _settings(folder / name) for name in SETTINGS):
        raise remote_code(folder.name, kind)


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def wrong_kind(name: str, found: str, kind: str) -> ModelError:
    return ModelError(
        "tagger.wrong_kind", f"{name} is of the kind {found}, and not {kind}.", f"A tagger of the kind {kind}.",
        f"Choose the kind {found}, or another tagger.", name=name, found=found, kind=kind, field="tagger.model",
    )  # fmt: skip


def fetch_tagger(options: TaggerOptions, workspace: Workspace, tell: Tell) -> Path:
    """Bring a tagger of Hugging Face into `models/taggers`; one of another kind is noticed before much of it came.

    Raises:
        ModelError: `tagger.offline`, `tagger.wrong_kind`, `tagger.remote_code`, `tagger.unusable`.
        DownloadError: it cannot be had.
    """
    name = options.model.strip()

    def look(progress: dict[str, Any]) -> None:
        plan = progress.get("plan")
        if plan and (plan["kind"], plan["family"]) != ("tagger", options.kind):
            raise wrong_kind(name, plan["family"], options.kind)
        tell(progress)

    try:
        folder = workspace.root / download(DownloadConfig(source=name), workspace, look)["file"]
    except DownloadError as error:
        if error.code == "download.not_diffusers":
            raise unusable(name, "it is no tagger or captioner that is known here") from None
        if error.code == "download.offline":
            raise _offline(name) from error
        error.values["field"] = "tagger.model"
        raise
    _check(folder, options.kind)
    return folder


def _offline(name: str) -> ModelError:
    folder = f"models/taggers/{local_name(name)}"
    return ModelError(
        "tagger.offline", f"{name} is not on this machine, and Hugging Face cannot be reached.", "A network connection, or its files.",
        f"Download its files in a browser on any machine and put them into {folder} of the data folder; {STARTER} needs no network.",
        name=name, folder=folder, starter=STARTER, field="tagger.model",
    )  # fmt: skip


def identity(folder: Path) -> str:
    """What tells a tagger from every other, and from itself after a change: names, sizes and times of its files."""
    files = sorted((file.name, *stamp(file)) for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return hashlib.sha256(json.dumps([str(folder.resolve()), files]).encode()).hexdigest()
