"""Getting a model from Hugging Face by its id: only the files that are needed, resumed if interrupted.

Looks into the local cache first, so that a downloaded model works offline.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import DryRunFileInfo, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from engine.downloads.hub import INDEX, needed_files, not_diffusers, pipeline_model
from engine.errors import EngineError, ModelError
from engine.model_facts import missing_parts


def download(hub_id: str, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The folder of a model, downloaded if it is not in the cache.

    Args:
        on_progress: bytes done and in all, called after each file.

    Raises:
        ModelError: `model.offline`, `model.gated`, `model.not_on_hub` or `model.download_failed`.
    """
    try:
        return _cached(hub_id) or _fetch(hub_id, on_progress or (lambda done, total: None))
    except GatedRepoError as error:
        raise ModelError(
            "model.gated", f"{hub_id} is shared only with people who accepted its terms.", "An account with access.",
            "Accept the terms on its page and enter a token in Settings, then download it in the Library; or log in with `hf auth login`.", name=hub_id, field="model.path",
        ) from error  # fmt: skip
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            "model.not_on_hub", f"Hugging Face has no model {hub_id!r}.", "owner/name as in the address of its page.",
            "Check the spelling; private models need `hf auth login`.", name=hub_id, field="model.path",
        ) from error  # fmt: skip
    except OSError as error:
        raise _unreachable(hub_id, error) from error
    except EngineError as error:
        error.values["field"] = "model.path"
        raise


def _cached(hub_id: str) -> Path | None:
    """The folder of a model that was downloaded before, if that download was finished."""
    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        return None
    return None if missing_parts(folder) else folder


def _fetch(hub_id: str, on_progress: Callable[[int, int], None]) -> Path:
    """Bring the files one by one, so that progress can be told in bytes. Without a network it fails, whatever is cached."""
    if not _listed(hub_id, [INDEX]):
        raise not_diffusers(hub_id, ())
    model = pipeline_model(hub_id, json.loads(Path(hf_hub_download(hub_id, INDEX)).read_text(encoding="utf-8")))
    folders = [*model.parts, *model.tokenizers.values(), "scheduler"]
    files = {file.filename: file for file in _listed(hub_id, [INDEX, *(f"{folder}/*" for folder in folders)])}
    names = needed_files(hub_id, files, model)
    done, total = 0, sum(files[name].file_size or 0 for name in names)
    for name in names:
        on_progress(done, total)
        hf_hub_download(hub_id, name, revision=files[name].commit_hash)
        done += files[name].file_size or 0
    on_progress(done, total)
    return Path(snapshot_download(hub_id, allow_patterns=names))


def _listed(hub_id: str, patterns: list[str]) -> list[DryRunFileInfo]:
    """The files of a repository that these patterns match."""
    try:
        return snapshot_download(hub_id, allow_patterns=patterns, dry_run=True)
    except DryRunError as error:
        raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None  # gated, not found, ...


def _unreachable(hub_id: str, error: OSError) -> ModelError:
    if error.errno == errno.ENOSPC:
        return ModelError(
            "model.download_failed", f"There is no room on the disk for {hub_id}.", "A few GiB for a base model.",
            "Free some space and try again; the download goes on where it stopped.", name=hub_id, field="model.path",
        )  # fmt: skip
    offline = bool(os.environ.get("HF_HUB_OFFLINE")) or not isinstance(error, HfHubHTTPError)
    return ModelError(
        "model.offline" if offline else "model.download_failed",
        f"{hub_id} is not on this machine, and Hugging Face cannot be reached.", "A network connection, or the file itself.",
        "Put the model's .safetensors file into models/checkpoints of the data folder and choose it there.",
        name=hub_id, field="model.path",
    )  # fmt: skip
