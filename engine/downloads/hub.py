"""A diffusers model of Hugging Face: what its repository holds, and which of it is needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from engine.downloads.fetch import Remote
from engine.downloads.refusals import strange_answer
from engine.downloads.source import HubFile, HubModel
from engine.downloads.web import Web
from engine.errors import DownloadError, ModelError
from engine.formats.models import MODELS
from engine.formats.models.base import ModelFormat
from engine.formats.weight_names import best_variant, weight_sets

INDEX = "model_index.json"
SCHEDULE = "scheduler/scheduler_config.json"
SHOWN = 8
"""Files named in an error."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """A repository at one commit: path -> file."""

    repo: str
    commit: str
    files: Mapping[str, Remote]


def list_repository(web: Web, model: HubModel) -> Listing:
    """Raises DownloadError."""
    base = f"{web.sites.hub}/api/models/{model.repo}/revision/{quote(model.revision, safe='')}"
    told = web.json(f"{base}?blobs=true")
    try:
        commit = str(told["sha"])
        if not _COMMIT.fullmatch(commit):
            raise ValueError(commit)
        found = [_file(web, model.repo, commit, each) for each in told["siblings"]]
    except (KeyError, TypeError, ValueError):
        raise strange_answer(web.sites.hub) from None
    return Listing(model.repo, commit, {path: remote for path, remote in found if _is_plain(path)})


def _file(web: Web, repo: str, commit: str, told: Mapping[str, Any]) -> tuple[str, Remote]:
    path, large = str(told["rfilename"]), told.get("lfs") or {}
    sha256 = str(large.get("sha256", ""))
    size = int(large.get("size", told["size"]))
    return path, Remote(hub_address(web, repo, commit, path), size, sha256 if len(sha256) == 64 else "")


def hub_address(web: Web, repo: str, revision: str, path: str) -> str:
    return f"{web.sites.hub}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"


def file_address(web: Web, file: HubFile) -> str:
    return hub_address(web, file.repo, file.revision, file.path)


def _is_plain(path: str) -> bool:
    """Whether a path stays in its folder on every system."""
    pieces = path.split("/")
    return "\\" not in path and ":" not in path and "\0" not in path and not {"", ".", ".."} & set(pieces)


def model_of(web: Web, listing: Listing) -> ModelFormat:
    """The family of a repository.

    Raises:
        DownloadError: `download.not_diffusers`, naming what it has instead.
        ModelError: `model.wrong_family`.
    """
    if INDEX not in listing.files:
        raise not_diffusers(listing.repo, listing.files)
    return pipeline_model(listing.repo, web.json(listing.files[INDEX].address))


def not_diffusers(repo: str, paths: Collection[str]) -> DownloadError:
    """The error for a repository without a model that is whole; it names what it has instead."""
    files = sorted(path for path in paths if path.endswith(".safetensors"))
    shown = ", ".join(files[:SHOWN]) + (", …" if len(files) > SHOWN else "")
    example = f"{repo}/{files[0] if files else 'file.safetensors'}"
    return DownloadError(
        "download.not_diffusers", f"{repo} is not a diffusers model; its .safetensors files: {shown or 'none'}.",
        f"A repository with {INDEX}, or one of its files.", f"Enter one file in the download box, for example {example}.",
        name=repo, files=shown or "–", example=example, field="source",
    )  # fmt: skip


def pipeline_model(repo: str, index: Any) -> ModelFormat:
    """The family of a pipeline, from its index; of those that share one the first, since they share their parts too.

    Raises:
        ModelError: `model.wrong_family`.
    """
    pipeline = str(index.get("_class_name")) if isinstance(index, dict) else "?"
    for model in MODELS.values():
        if pipeline in model.pipelines:
            return model
    titles = ", ".join(model.title for model in MODELS.values())
    raise ModelError(
        "model.wrong_family", f"{repo} is a {pipeline} model, which is not known here.", f"One of: {titles}.",
        "Choose another model.", path=repo, family=pipeline,
    )  # fmt: skip


def needed_files(repo: str, paths: Collection[str], model: ModelFormat) -> list[str]:
    """What of a diffusers repository is read here: configs, tokenizers, and one set of weights per part.

    Raises:
        DownloadError: `download.incomplete`: a part is missing or exists only in formats that can carry code.
    """
    folders: dict[str, list[str]] = {}
    for path in sorted(paths):
        pure = PurePosixPath(path)
        folders.setdefault(str(pure.parent), []).append(pure.name)
    chosen, missing = [INDEX, SCHEDULE], [] if SCHEDULE in paths else [SCHEDULE]
    for part in model.parts:
        names = folders.get(part, [])
        if not names and part in model.optional:
            continue
        variant = best_variant(names)
        if variant is None or "config.json" not in names:
            missing.append(part)
            continue
        chosen += [f"{part}/{name}" for name in ("config.json", *weight_sets(names)[variant])]
        if tokenizer := model.tokenizers.get(part):
            missing += [] if tokenizer in folders else [tokenizer]
            chosen += [f"{tokenizer}/{name}" for name in folders.get(tokenizer, ())]
    if missing:
        raise incomplete(repo, missing)
    return list(dict.fromkeys(chosen))


def incomplete(repo: str, missing: Collection[str]) -> DownloadError:
    return DownloadError(
        "download.incomplete", f"{repo} lacks what is read here: {', '.join(missing)}.",
        "A diffusers model whose weights are .safetensors files.", "Look for another copy of the model.",
        name=repo, missing=", ".join(missing), field="source",
    )  # fmt: skip
