"""A base model as it lies on disk: its networks without weights, and each weight read when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from engine.errors import ModelError
from engine.families.base import config_of
from engine.families.hub import download
from engine.families.parts import build_empty
from engine.formats.layouts.folder import FOLDER
from engine.formats.layouts.stored import Place
from engine.formats.lazy_tensor import LazyTensor
from engine.formats.models import MODELS
from engine.formats.models.base import Part, PartSource
from engine.formats.safetensors_header import Header, read_header
from engine.formats.safetensors_reader import read_tensor
from engine.formats.scaled import SCALES, WEIGHT_SCALES
from engine.formats.single_file import bad_shape, part_config, part_shapes, read_place
from engine.formats.whole_model import PartState
from engine.model_facts import ModelFacts, model_facts


class Lying(NamedTuple):
    """A tensor on disk: the file, the prefix of its part there, and its place behind it."""

    file: Path
    prefix: str
    place: Place

    @property
    def key(self) -> str:
        return self.prefix + self.place.key


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    facts: of the model.
    parts: name -> network, its parameters on the meta device.
    sizes: (part, key of its state) -> shape.
    places: (part, key of its state) -> every place where that tensor lies; a folder may hold variants, the plain one first.
    headers: of the files.
    """

    facts: ModelFacts
    parts: dict[str, nn.Module] = field(default_factory=dict)
    sizes: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    places: dict[tuple[str, str], list[Lying]] = field(default_factory=dict)
    headers: dict[Path, Header] = field(default_factory=dict)

    @property
    def location(self) -> Path:
        return Path(self.facts.location)

    @property
    def own_place(self) -> Path:
        """The folder or file of the model itself: other files may have parts of it, and of a pickle a converted copy is read."""
        return self.location if self.location.is_dir() else self.facts.sources[MODELS[self.facts.family].denoiser].path

    @property
    def components(self) -> dict[str, nn.Module]:
        """The parts that adapters may change."""
        return {name: self.parts[name] for name in MODELS[self.facts.family].trained if name in self.parts}

    @property
    def scaled(self) -> bool:
        """Whether some weights are 8-bit numbers with scales beside them."""
        return any(name.endswith(SCALES) for header in self.headers.values() for name in header.tensors)

    def tensor(self, part: str, key: str) -> Tensor:
        """A weight in its stored number format, in the shape that the layer has; one with a scale in float32."""
        lying, size = self.places[part, key][0], self.sizes[part, key]
        info = self.headers[lying.file].tensors[lying.key]
        if lying.place.share or lying.place.change or info.dtype.startswith("F8"):
            with safe_open(lying.file, framework="pt") as file:
                return read_place(file, lying.prefix, lying.place, size)
        return read_tensor(lying.file, self.headers[lying.file], lying.key).view(size)

    def layer(self, component: str, path: str) -> LayerTensors:
        return LayerTensors(self, component, path)

    def state(self, part: str) -> PartState:
        """A part, every tensor of which is read when it is needed. Those with a scale become bfloat16, which holds it."""
        tensors = {key: self._lazy(part, key) for of, key in self.places if of == part}
        return PartState(config_of(self.parts[part]), tensors)

    def _lazy(self, part: str, key: str) -> LazyTensor:
        size, places = self.sizes[part, key], self.places[part, key]
        if not places:
            return LazyTensor("F32", size, partial(torch.eye, *size))
        lying, tensors = places[0], self.headers[places[0].file].tensors
        stored = tensors[lying.key].dtype
        scaled = any(lying.key.removesuffix(".weight") + ending in tensors for ending in WEIGHT_SCALES)
        return LazyTensor(stored, size, partial(self.tensor, part, key)).rounded("BF16" if scaled else stored)


class LayerTensors(Mapping[str, Tensor]):
    """The tensors of one layer by their names there, each read when it is looked at."""

    def __init__(self, checkpoint: Checkpoint, component: str, path: str) -> None:
        self.checkpoint, self.component, self.path = checkpoint, component, path
        self.names = [name for name, _ in checkpoint.parts[component].get_submodule(path).named_parameters(recurse=False)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.checkpoint.tensor(self.component, f"{self.path}.{name}")

    def places(self) -> list[Lying]:
        """Where all of them lie."""
        return [lying for name in self.names for lying in self.checkpoint.places[self.component, f"{self.path}.{name}"]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def open_checkpoint(model: ModelFacts | Path | str, whole: bool = False) -> Checkpoint:
    """Look at a base model's headers.

    Args:
        model: its facts, a folder or a file; a Hugging Face id is downloaded first.
        whole: all its parts, not only those that adapters may change.

    Raises:
        ModelError: it is missing, damaged, incomplete or of a family that is not known.
    """
    if isinstance(model, ModelFacts) and not model.family:
        model = model.location
    facts = model if isinstance(model, ModelFacts) else model_facts(download(model) if isinstance(model, str) else model)
    checkpoint, made = Checkpoint(facts), MODELS[facts.family]
    for name in made.parts if whole else made.trained:
        if name in facts.sources:
            _add(checkpoint, name, facts.sources[name].form(made.parts[name]), facts.sources[name])
    identities = {(name, part.identity) for name, part in made.parts.items()}
    missing = [".".join(place) for place, found in checkpoint.places.items() if not found and place not in identities]
    if missing:
        raise ModelError(
            "model.missing_tensors", f"{checkpoint.location.name} lacks {len(missing)} tensors, first {missing[0]!r}.",
            "A complete checkpoint was expected.", "Download it again.",
            path=checkpoint.location, count=len(missing), tensor=missing[0],
        )  # fmt: skip
    return checkpoint


def _add(checkpoint: Checkpoint, name: str, part: Part, source: PartSource) -> None:
    config, files = _folder(source.path) if source.path.is_dir() else _file(checkpoint.facts, name, part, source)
    checkpoint.headers.update({file: read_header(file) for file in files})
    try:
        network = checkpoint.parts[name] = build_empty(part.kind, config)
    except ValueError as error:
        raise bad_shape(source.path, str(error)) from error
    keys = FOLDER[part.kind] if source.path.is_dir() else part.keys
    found: dict[str, list[Lying]] = {}
    for file in files:
        for key, place in keys.find(part_shapes(checkpoint.headers[file], source.prefix), config).items():
            found.setdefault(key, []).append(Lying(file, source.prefix, place))
    for key, tensor in network.state_dict().items():
        checkpoint.sizes[name, key], checkpoint.places[name, key] = tuple(tensor.shape), found.get(key, [])


def _folder(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Config and weights of a part."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Plain names are shortest, so that a variant's file (`….fp16.safetensors`) is never read instead.
    return config, sorted(folder.glob("*.safetensors"), key=lambda file: (len(file.name), file.name))


def _file(facts: ModelFacts, name: str, part: Part, source: PartSource) -> tuple[dict[str, Any], list[Path]]:
    configs = MODELS[facts.family].variants[facts.variant].configs
    return part_config(source.path, name, part, configs, read_header(source.path), source.prefix), [source.path]
