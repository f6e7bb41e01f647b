"""One download from beginning to end: ask what is there, tell the plan, fetch, check, and put it where it belongs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config.downloads import DownloadConfig
from engine.datasets.taggers.kinds import kind_of
from engine.downloads.civitai import find_file
from engine.downloads.fetch import check_room, fetch, peek
from engine.downloads.hub import INDEX, Listing, file_address, incomplete, list_repository, model_of, needed_files
from engine.downloads.meter import Meter, Tell
from engine.downloads.place import local_name, place_for
from engine.downloads.sites import Sites, sites_of
from engine.downloads.source import CivitaiModel, HubFile, HubModel, parse_source
from engine.downloads.taggers import config_of, tagger_files
from engine.downloads.tokens import tokens_of
from engine.downloads.web import Web
from engine.errors import DownloadError
from engine.formats.hashes import model_hashes
from engine.formats.models import MODELS
from engine.model_facts import missing_parts
from engine.workspace import Workspace, atomic_write, safe_join, sync_folder

STAGING = ".downloads"
"""Folder of unfinished models, beside the finished ones."""
RECORD = ".download.json"
"""In a fetched folder: where it is from."""


def download(
    config: DownloadConfig, workspace: Workspace, tell: Tell, sites: Sites | None = None, pause: float = 1.0
) -> dict[str, Any]:
    """Fetch what the config names into the folders of the workspace.

    Args:
        tell: see `engine.downloads.meter`. What it raises ends the download; started again it goes on.
        sites: who may be asked; those of the workspace when None.
        pause: s before a broken connection is tried again.

    Returns:
        The plan (`kind`: "folder", "tagger" or what a file is; `family`, of a tagger its kind; `name`, `bytes`, `files`), with `file`,
        the path in the data folder, and `already`: it was there.

    Raises:
        DownloadError, ModelError: it cannot be had, or is nothing that is used here.
    """
    sites = sites or sites_of(workspace)
    source = parse_source(config.source, sites)
    with Web(sites, str(source), tokens_of(workspace), pause) as web:
        tell({"phase": "looking", "done": 0, "total": 0})
        if isinstance(source, HubModel):
            return _folder(web, source, workspace, tell)
        if isinstance(source, CivitaiModel):
            found = find_file(web, source)
            return _file(web, found.address, found.name, found.sha256, workspace, tell)
        address = file_address(web, source) if isinstance(source, HubFile) else source.address
        return _file(web, address, source.name, "", workspace, tell)


# ---- one file ----


def _file(web: Web, address: str, name: str, sha256: str, workspace: Workspace, tell: Tell) -> dict[str, Any]:
    remote, header = peek(web, address, name)
    remote = replace(remote, sha256=sha256 or remote.sha256)
    place = place_for(header, name, workspace)
    target = place.folder / local_name(name)
    plan = {"kind": place.kind, "family": place.family, "name": target.name, "bytes": remote.size, "files": 1}
    result = {**plan, "file": _shown(target, workspace), "already": target.exists()}
    if not target.exists():
        meter = Meter(tell, plan, remote.size)
        fetch(web, remote, target, meter.on_bytes, meter.wait)
    elif target.stat().st_size != remote.size or remote.sha256 not in ("", model_hashes(target).sha256):
        raise _taken(target, workspace)
    return result


# ---- a whole model ----


@dataclass(frozen=True)
class _Wanted:
    """What of a repository is brought, and where to. `family` is of a base model, or the kind of a tagger."""

    kind: str
    family: str
    folder: Path
    names: list[str]


def _wanted(web: Web, listing: Listing, workspace: Workspace) -> _Wanted:
    if INDEX not in listing.files:
        tagger = kind_of(listing.repo, listing.files, config_of(web, listing))
        if tagger:
            return _Wanted("tagger", tagger, workspace.taggers, tagger_files(listing.repo, tagger, listing.files))
    model = model_of(web, listing)
    family = next(name for name, each in MODELS.items() if each is model)
    return _Wanted("folder", family, workspace.checkpoint_folders[0], needed_files(listing.repo, listing.files, model))


def _folder(web: Web, source: HubModel, workspace: Workspace, tell: Tell) -> dict[str, Any]:
    listing = list_repository(web, source)
    wanted = _wanted(web, listing, workspace)
    names, total = wanted.names, sum(listing.files[name].size for name in wanted.names)
    target = wanted.folder / local_name(source.repo.rpartition("/")[2])
    plan = {"kind": wanted.kind, "family": wanted.family, "name": target.name, "bytes": total, "files": len(names)}
    result = {**plan, "file": _shown(target, workspace), "already": target.exists()}
    if target.exists():
        if source_of(target) != str(source):
            raise _taken(target, workspace)
        return result
    staging = _staging(target.parent / STAGING / source.repo.replace("/", "--"), source, listing)
    left = [name for name in names if not _is_there(staging / name, listing.files[name].size)]
    check_room(target, sum(listing.files[name].size for name in left))
    meter = Meter(tell, plan, total)
    for name in names:
        remote, file = listing.files[name], safe_join(staging, name)
        if name in left:
            fetch(web, remote, file, meter.on_bytes, meter.wait)
        meter.finish_file(remote.size)
    if wanted.kind == "folder" and (missing := missing_parts(staging)):
        raise incomplete(source.repo, missing)
    os.replace(staging, target)
    sync_folder(target.parent)
    return result


def _staging(folder: Path, source: HubModel, listing: Listing) -> Path:
    """The folder where the model grows; what an earlier attempt left of another commit is thrown away."""
    record = {"source": str(source), "commit": listing.commit}
    if folder.exists() and _record(folder) != record:
        shutil.rmtree(folder)
    with atomic_write(folder / RECORD, "w") as stream:
        json.dump(record, stream)
    return folder


def _is_there(file: Path, size: int) -> bool:
    """A file with its name is whole and checked; the size tells a changed listing."""
    return file.is_file() and file.stat().st_size == size


def source_of(folder: Path) -> str:
    """Where a folder was fetched from, as the user named it; "" when it was put there by hand."""
    return str(_record(folder).get("source", ""))


def _record(folder: Path) -> Mapping[str, Any]:
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _shown(target: Path, workspace: Workspace) -> str:
    return target.relative_to(workspace.root).as_posix()


def _taken(target: Path, workspace: Workspace) -> DownloadError:
    return DownloadError(
        "download.taken", f"{_shown(target, workspace)} is there already, and it is another one.", "A free name.",
        "Rename or move what is there, then start again.", file=_shown(target, workspace), field="source",
    )  # fmt: skip
