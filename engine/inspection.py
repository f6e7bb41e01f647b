"""What a file or folder of weights is: a model and its parts, or what else. From headers and configs alone, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.formats.kinds import detect_kind, recognise
from engine.formats.mistaken import network_in
from engine.formats.models import MODELS
from engine.formats.number_formats import numbers_by_format
from engine.formats.safetensors_header import Header, TensorInfo, read_header
from engine.formats.single_file import find_parts, part_shapes
from engine.model_facts import missing_parts, model_facts

LONGEST = 2000
"""Characters of one value of the model card that are kept; covers and long licences are left out."""


@dataclass(frozen=True)
class PartSummary:
    """One network.

    Attributes:
        parameters: how many numbers its tensors have.
        formats: number format -> how many of them are in it.
    """

    title: str
    parameters: int
    formats: dict[str, int]


@dataclass(frozen=True)
class ModelSummary:
    """Attributes:
    kind: "model" or "model folder"; what it is instead: "LoRA", "VAE", "text encoder (T5)", "embedding"; "" when nothing tells.
    family, variant, prediction: as people call them; "" where there is no model.
    resolution: side of the square it was made for, px; 0 when nothing tells.
    parts: name -> network; of a file that is not a model the one it is, as far as it is known.
    missing: what a whole model of the family has besides.
    size: bytes of all its weights.
    card: what it says of itself (`modelspec.*`), without the prefix.
    problem: why it cannot be used as a base model by itself, or "".
    """

    name: str
    kind: str
    family: str
    variant: str
    prediction: str
    resolution: int
    parts: dict[str, PartSummary]
    missing: tuple[str, ...]
    size: int
    card: dict[str, str]
    problem: str


def inspect_model(path: Path) -> ModelSummary:
    """Look into a `.safetensors` file or the folder of a diffusers model.

    Raises:
        ModelError: the file is missing, damaged or of another format (codes `file.*`).
    """
    return _folder(path) if path.is_dir() else _file(path)


def _file(path: Path) -> ModelSummary:
    header = read_header(path)
    family = recognise(header) if detect_kind(header) == "checkpoint" else None
    size = sum(info.end - info.start for info in header.tensors.values())
    card = {
        key.removeprefix("modelspec."): value
        for key, value in header.metadata.items()
        if key.startswith("modelspec.") and len(value) <= LONGEST
    }
    if family is None:
        kind = _other_kind(header)
        whole = {kind: _summary(kind, header.tensors.values())} if kind else {}
        return ModelSummary(path.name, kind, "", "", "", 0, whole, (), size, card, "")
    model = MODELS[family]
    prefixes = find_parts(header, model)
    parts = {name: _part(header, model.parts[name].title, prefix) for name, prefix in prefixes.items()}
    missing = tuple(part.title for name, part in model.parts.items() if name not in parts)
    try:
        facts = model_facts(path)
        variant, prediction, resolution, problem = facts.variant, facts.prediction, facts.resolution, ""
    except EngineError as error:
        shown = part_shapes(header, prefixes[model.denoiser]) if model.denoiser in prefixes else None
        variant = model.variant(shown, header.metadata) if shown else ""
        prediction, resolution, problem = model.variants[variant].prediction if variant else "", 0, str(error)
    title = model.variants[variant].title if variant else ""
    return ModelSummary(path.name, "model", model.title, title, prediction, resolution, parts, missing, size, card, problem)


def _other_kind(header: Header) -> str:
    """What a file is that holds no model."""
    kind = detect_kind(header)
    return {"adapter": "LoRA", "embedding": "embedding"}.get(kind) or network_in(header)


def _part(header: Header, title: str, prefix: str) -> PartSummary:
    return _summary(title, (info for key, info in header.tensors.items() if key.startswith(prefix)))


def _summary(title: str, tensors: Iterable[TensorInfo]) -> PartSummary:
    formats = numbers_by_format(tensors)
    return PartSummary(title, sum(formats.values()), formats)


def _folder(folder: Path) -> ModelSummary:
    """A folder, whether or not it is whole."""
    try:
        facts = model_facts(folder)
        model = MODELS[facts.family]
        said = (model.title, model.variants[facts.variant].title, facts.prediction, facts.resolution)
        titles: Mapping[str, str] = {name: part.title for name, part in model.parts.items()}
        problem = ""
    except EngineError as error:
        said, titles, problem = ("", "", "", 0), {}, str(error)
    parts, size = {}, 0
    for place in sorted(each for each in folder.iterdir() if each.is_dir()):
        if files := weight_files(place):
            tensors = [info for file in files for info in read_header(file).tensors.values()]
            parts[place.name] = _summary(titles.get(place.name, place.name), tensors)
            size += sum(info.end - info.start for info in tensors)
    return ModelSummary(folder.name, "model folder", *said, parts, tuple(missing_parts(folder)), size, {}, problem)


def weight_files(folder: Path) -> list[Path]:
    """The weights of a part of a diffusers model, one file or several; not those of another number format beside them."""
    found = sorted(folder.glob("*.safetensors"))
    return [file for file in found if "." not in file.stem] or found
