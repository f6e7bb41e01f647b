"""A base model as it lies on disk: its layers without weights, and each weight read when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from engine.errors import ModelError
from engine.families.hub import download
from engine.formats.safetensors_header import Header, read_header
from engine.formats.safetensors_reader import read_tensor
from engine.formats.single_file import build_empty, empty_components, ldm_keys
from engine.library import model_facts

COMPONENTS = ("text_encoder", "unet")


class Place(NamedTuple):
    """A tensor on disk."""

    file: Path
    key: str


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    location: the file or folder.
    components: "unet" and "text_encoder", their parameters on the meta device.
    places: (component, key of its state) -> every place where that tensor lies; a folder may hold variants, the plain one first.
    headers: of the files.
    """

    location: Path
    components: dict[str, nn.Module]
    places: dict[tuple[str, str], list[Place]]
    headers: dict[Path, Header]

    def tensor(self, component: str, key: str) -> Tensor:
        """A weight in its stored number format, in the shape that the layer has."""
        file, name = self.places[component, key][0]
        return read_tensor(file, self.headers[file], name).view(self.components[component].get_parameter(key).shape)

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
        ModelError: it is missing, damaged, incomplete or of a family that is not supported.
    """
    folder = download(location) if isinstance(location, str) else location
    model_facts(folder)
    return _from_folder(folder) if folder.is_dir() else _from_file(folder)


def _from_file(file: Path) -> Checkpoint:
    components = empty_components(file)
    header = read_header(file)
    places = {}
    for component in COMPONENTS:
        for key, name in ldm_keys(component, dict(components[component].named_parameters())).items():
            shorter = name.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")  # some merges
            places[component, key] = [Place(file, each) for each in dict.fromkeys((name, shorter)) if each in header.tensors]
    return _complete(Checkpoint(file, components, places, {file: header}))


def _from_folder(folder: Path) -> Checkpoint:
    components, places = {}, {}
    headers: dict[Path, Header] = {}
    for component in COMPONENTS:
        config = json.loads((folder / component / "config.json").read_text(encoding="utf-8"))
        components[component] = build_empty(component, config)
        # Plain names are shortest, so that a variant's file (`….fp16.safetensors`) is never read instead.
        files = sorted((folder / component).glob("*.safetensors"), key=lambda file: (len(file.name), file.name))
        headers |= {file: read_header(file) for file in files}
        for key, _ in components[component].named_parameters():
            names = (key, f"text_model.{key}", key.removeprefix("text_model."))
            places[component, key] = [
                Place(file, name) for file in files for name in dict.fromkeys(names) if name in headers[file].tensors
            ]
    return _complete(Checkpoint(folder, components, places, headers))


def _complete(checkpoint: Checkpoint) -> Checkpoint:
    """Raises ModelError: `model.missing_tensors`."""
    missing = [f"{component}.{key}" for (component, key), places in checkpoint.places.items() if not places]
    if missing:
        raise ModelError(
            "model.missing_tensors", f"{checkpoint.location.name} lacks {len(missing)} tensors, first {missing[0]!r}.",
            "A complete checkpoint was expected.", "Download it again.",
            path=checkpoint.location, count=len(missing), tensor=missing[0],
        )  # fmt: skip
    return checkpoint
