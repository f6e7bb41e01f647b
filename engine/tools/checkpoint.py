"""A base model as it lies on disk: its layers without weights, and each weight read when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from torch import Tensor, nn

from engine.errors import ModelError
from engine.families.hub import download
from engine.families.parts import build_empty
from engine.formats.layouts.stored import Place
from engine.formats.models import MODELS
from engine.formats.safetensors_header import Header, read_header
from engine.formats.safetensors_reader import read_tensor
from engine.formats.single_file import bad_shape, part_config, part_shapes, read_place
from engine.library import ModelFacts, PartSource, model_facts


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
    components: the parts that adapters may change, their parameters on the meta device.
    places: (component, key of its state) -> every place where that tensor lies; a folder may hold variants, the plain one first.
    headers: of the files.
    """

    facts: ModelFacts
    components: dict[str, nn.Module]
    places: dict[tuple[str, str], list[Lying]]
    headers: dict[Path, Header]

    @property
    def location(self) -> Path:
        return Path(self.facts.location)

    def tensor(self, component: str, key: str) -> Tensor:
        """A weight in its stored number format, in the shape that the layer has."""
        lying = self.places[component, key][0]
        size = self.components[component].get_parameter(key).shape
        if lying.place.share or lying.place.change:
            with safe_open(lying.file, framework="pt") as file:
                return read_place(file, lying.prefix, lying.place, tuple(size))
        return read_tensor(lying.file, self.headers[lying.file], lying.key).view(size)

    def layer(self, component: str, path: str) -> LayerTensors:
        return LayerTensors(self, component, path)


class LayerTensors(Mapping[str, Tensor]):
    """The tensors of one layer by their names there, each read when it is looked at."""

    def __init__(self, checkpoint: Checkpoint, component: str, path: str) -> None:
        self.checkpoint, self.component, self.path = checkpoint, component, path
        self.names = [name for name, _ in checkpoint.components[component].get_submodule(path).named_parameters(recurse=False)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.checkpoint.tensor(self.component, f"{self.path}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def open_checkpoint(location: Path | str) -> Checkpoint:
    """Look at a base model's headers.

    Args:
        location: what `engine.library.find_model` gave; a Hugging Face id is downloaded first.

    Raises:
        ModelError: it is missing, damaged, incomplete or of a family that is not known.
    """
    facts = model_facts(download(location) if isinstance(location, str) else location)
    checkpoint = Checkpoint(facts, {}, {}, {})
    for component in MODELS[facts.family].trained:
        if component in facts.sources:
            _add(checkpoint, component, facts.sources[component])
    missing = [f"{component}.{key}" for (component, key), places in checkpoint.places.items() if not places]
    if missing:
        raise ModelError(
            "model.missing_tensors", f"{checkpoint.location.name} lacks {len(missing)} tensors, first {missing[0]!r}.",
            "A complete checkpoint was expected.", "Download it again.",
            path=checkpoint.location, count=len(missing), tensor=missing[0],
        )  # fmt: skip
    return checkpoint


def _add(checkpoint: Checkpoint, component: str, source: PartSource) -> None:
    part = MODELS[checkpoint.facts.family].parts[component]
    if source.path.is_dir():
        config = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
        # Plain names are shortest, so that a variant's file (`….fp16.safetensors`) is never read instead.
        files = sorted(source.path.glob("*.safetensors"), key=lambda file: (len(file.name), file.name))
    else:
        configs = MODELS[checkpoint.facts.family].variants[checkpoint.facts.variant].configs
        config = part_config(source.path, component, part, configs, read_header(source.path), source.prefix)
        files = [source.path]
    checkpoint.headers.update({file: read_header(file) for file in files})
    try:
        network = checkpoint.components[component] = build_empty(part.kind, config)
    except ValueError as error:
        raise bad_shape(source.path, str(error)) from error
    found: dict[str, list[Lying]] = {}
    for file in files:
        if source.path.is_dir():
            own = {name: Place(name) for name in checkpoint.headers[file].tensors}
        else:
            own = part.keys.find(part_shapes(checkpoint.headers[file], source.prefix), config)
        for key, place in own.items():
            found.setdefault(key, []).append(Lying(file, source.prefix, place))
    for key, _ in network.named_parameters():
        names = (key, f"text_model.{key}", key.removeprefix("text_model."))
        checkpoint.places[component, key] = [lying for name in dict.fromkeys(names) for lying in found.get(name, ())]
