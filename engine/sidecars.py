"""What lies beside an adapter file and belongs to it, as AUTOMATIC1111 and the tools around it keep it.

`<base>.json` holds words and numbers, `<base>.preview.png` or `<base>.png` a picture, `<base>.txt` a description. All of it is
input from strangers: read bounded, believed only as text. What is written keeps every entry that is not known here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import AdapterError, EngineError
from engine.workspace import atomic_write, stamp

PICTURES = ("png", "jpg", "jpeg", "webp", "gif")
"""Endings of previews in the order they are looked for; of each, the picture of the file's own name comes first."""
OWN = "atelier"
"""Key of what this program adds: `suggested weight`, `suggested epoch`, `why`."""
MAX_BYTES = 2**20
MAX_TEXT = 4000
"""Characters of one value."""
MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class Sidecar:
    """The words beside an adapter file; "" or 0 where nothing is said.

    Attributes:
        base: the family it is for, by AUTOMATIC1111's name: "SD1".
        activation: what is written into the prompt with the tag.
        weight: the strength its owner prefers.
        negative: what is written into the negative prompt with the tag.
        suggested_weight, suggested_epoch, why: what the scoring of a grid of this file says.
        problem: why the `.json` could not be read.
    """

    description: str = ""
    base: str = ""
    activation: str = ""
    weight: float = 0.0
    negative: str = ""
    notes: str = ""
    suggested_weight: float = 0.0
    suggested_epoch: str = ""
    why: str = ""
    problem: EngineError | None = None

    @property
    def start(self) -> float:
        """The strength to begin with; 0 where neither its owner nor its grid says one."""
        return self.weight or self.suggested_weight


def read_sidecar(file: Path) -> Sidecar:
    """The words beside an adapter file. Nothing raises; see `Sidecar.problem`."""
    places = file.with_suffix(".json"), file.with_suffix(".txt"), file.with_suffix(".description.txt")
    return _read_sidecar(places, tuple(stamp(place) for place in places))


@lru_cache(maxsize=8192)
def _read_sidecar(places: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> Sidecar:
    entries, problem = {}, None
    if any(stamps[0]):
        try:
            entries = _entries(places[0])
        except AdapterError as error:
            problem = error
    own = entries.get(OWN)
    own = own if isinstance(own, dict) else {}
    beside = (_read_text(place) for place, seen in zip(places[1:], stamps[1:], strict=True) if any(seen))
    return Sidecar(
        description=_words(entries.get("description")) or next((words for words in beside if words), ""),
        base=_words(entries.get("sd version")),
        activation=_words(entries.get("activation text")),
        weight=_weight(entries.get("preferred weight")),
        negative=_words(entries.get("negative text")),
        notes=_words(entries.get("notes")),
        suggested_weight=_weight(own.get("suggested weight")),
        suggested_epoch=_words(own.get("suggested epoch")),
        why=_words(own.get("why")),
        problem=problem,
    )


def write_sidecar(file: Path, entries: Mapping[str, Any]) -> Path:
    """Set entries of the `.json` beside an adapter file, by AUTOMATIC1111's names ("activation text") or `OWN`; the others stay.

    Raises:
        AdapterError: `sidecar.unreadable`: the file that is there would be lost.
    """
    place = file.with_suffix(".json")
    kept = _entries(place) if place.exists() else {}
    content = json.dumps({**kept, **entries}, indent=4, ensure_ascii=False)
    with atomic_write(place) as stream:
        stream.write(content.encode("utf-8", "backslashreplace"))  # a half character becomes JSON's own escape of it
    return place


def find_preview(file: Path) -> Path | None:
    """The preview picture beside an adapter file, the one that AUTOMATIC1111 shows too."""
    places = (file.with_suffix(f"{middle}.{ending}") for ending in PICTURES for middle in ("", ".preview"))
    return next((place for place in places if place.is_file()), None)


def set_preview(file: Path, picture: Path) -> Path:
    """Make a copy of a picture the preview of an adapter file. A PNG is copied as it is, with the recipe in it.

    Returns:
        The preview: `<base>.preview.png`, or `<base>.png` where that is there, because it would be shown instead.

    Raises:
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    from engine.datasets.decode import load_picture, picture_size, read_bytes

    own = file.with_suffix(".png")
    place = own if own.exists() else file.with_suffix(".preview.png")
    picture_size(picture)
    content = read_bytes(picture)
    with atomic_write(place) as stream:
        if content.startswith(b"\x89PNG"):
            stream.write(content)
        else:
            load_picture(picture).save(stream, format="PNG")
    return place


def introduce(file: Path, trigger: str, samples: Path) -> None:
    """Give an adapter that has just been trained its sidecars: the words that call it, and its last sample as the preview.

    Args:
        samples: folder of the run's samples, one folder in it for each step.

    Raises:
        AdapterError: `sidecar.unreadable`.
        DatasetError: `picture.unreadable`, `picture.too_large`.
    """
    if trigger:
        write_sidecar(file, {"activation text": trigger})
    folders = sorted(folder for folder in samples.glob("*") if any(folder.glob("*.png")))
    if folders:
        set_preview(file, min(folders[-1].glob("*.png")))


def _entries(place: Path) -> dict[str, Any]:
    """Raises AdapterError: `sidecar.unreadable`."""
    try:
        if place.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        entries = json.loads(place.read_text(encoding="utf-8-sig"))
        if not isinstance(entries, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(
            "sidecar.unreadable", f"{place.name} cannot be read: {error}.", "A JSON object as AUTOMATIC1111 writes it.",
            "Correct it or move it away.", path=place.name,
        ) from error  # fmt: skip
    return entries


def _read_text(place: Path) -> str:
    try:
        with place.open("rb") as stream:
            return _words(stream.read(MAX_TEXT * 4).decode("utf-8-sig", "replace"))
    except OSError:
        return ""


def _words(value: object) -> str:
    """A value as text that can be sent: no half characters, not endless."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return str(value)[:MAX_TEXT].encode("utf-8", "replace").decode().strip()


def _weight(value: object) -> float:
    """A strength, or 0 where it is none; tools write it as a number or as text."""
    try:
        weight = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return weight if math.isfinite(weight) and abs(weight) <= MAX_WEIGHT else 0.0
