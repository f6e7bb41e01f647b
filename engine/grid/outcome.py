"""What becomes of a suggestion: words beside the LoRA's file, and a version of the run that a prompt can call by its name."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.errors import AdapterError
from engine.grid.suggest import GroupScore, suggest
from engine.grid.versions import Run, Version
from engine.sidecars import OWN, write_sidecar
from engine.workspace import Workspace, atomic_write


def note_suggestion(groups: Sequence[GroupScore], run: Run) -> list[Path]:
    """Keep beside each version in the LoRA folder at which strength it scored best; returns the sidecars written.

    Raises:
        AdapterError: `sidecar.unreadable`.
    """
    return [_note(version, version.file, groups) for version in run.versions if version.shared and _own(groups, version)]


def keep_version(version: Version, groups: Sequence[GroupScore], workspace: Workspace) -> str:
    """Copy a version into the LoRA folder, where prompts find it, with what its scores say. Returns its name in a tag.

    Raises:
        AdapterError: `grid.version_gone`; `sidecar.unreadable`.
    """
    if not version.file.is_file():
        raise AdapterError(
            "grid.version_gone", f"The file of {version.label} is not there any more.", todo="Choose another one.",
            version=version.label,
        )  # fmt: skip
    if version.shared:
        return version.file.stem
    stem = version.file.stem
    places = (workspace.loras / f"{stem}{f'-v{number}' if number > 1 else ''}.safetensors" for number in range(1, 1000))
    place = next(each for each in places if not each.exists() or filecmp.cmp(each, version.file, shallow=False))
    if not place.exists():
        with version.file.open("rb") as source, atomic_write(place) as stream:
            shutil.copyfileobj(source, stream)
    if _own(groups, version):
        _note(version, place, groups)
    return place.stem


def _own(groups: Sequence[GroupScore], version: Version) -> list[GroupScore]:
    """The scores of one version, where more than one strength was tried."""
    own = [group for group in groups if group.name == version.file.stem]
    return own if len({group.unet for group in own}) > 1 and suggest(own) else []


def _note(version: Version, file: Path, groups: Sequence[GroupScore]) -> Path:
    own, overall = suggest(_own(groups, version)), suggest(groups)
    assert own and overall
    why = f"likeness {own.best.likeness:.2f}"
    why += f", diversity {own.best.diversity:.2f}" if own.best.diversity is not None else ""
    if overall.best.step != version.step:
        why += f"; {overall.best.version} at {overall.best.unet:g} scored higher"
    entry = {"suggested weight": own.best.unet, "suggested epoch": str(version.epoch), "why": why}
    return write_sidecar(file, {OWN: entry})
