"""The denoiser's tensors read again from the model's files, as they were loaded: for merges that have no room to keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.errors import ModelError
from engine.families.base import Family, config_of
from engine.formats.single_file import read_place
from engine.formats.weight_names import best_variant, weight_sets
from engine.workspace import stamp


class FileOriginals:
    """Reads from the files of a model that has just been loaded.

    Of the denoiser alone: it is the part that may be too large to be there twice, and diffusers' folders have its tensors under
    the network's own names.
    """

    def __init__(self, model: Family) -> None:
        self._model, self._name = model, model.format.denoiser
        self._source = model.facts.sources[self._name]
        self._stamps = self._now()

    def has(self, component: str) -> bool:
        return component == self._name

    def read(self, component: str, names: Sequence[str]) -> dict[str, Tensor]:
        """Parameter name -> its original, on the CPU.

        Raises:
            ModelError: `model.changed_on_disk`.
        """
        own = {name: self._model.denoiser.get_parameter(name) for name in names}
        if self._now() != self._stamps:
            raise self._changed()
        try:
            found = self._in_folder(names) if self._source.path.is_dir() else self._in_file(own)
        except (OSError, SafetensorError) as error:
            raise self._changed() from error
        if self._now() != self._stamps:
            raise self._changed()
        return {name: tensor.to(own[name].dtype, copy=True).contiguous() for name, tensor in found.items()}

    def _in_folder(self, names: Sequence[str]) -> dict[str, Tensor]:
        found = {}
        for path in self._stamps:
            with safe_open(path, framework="pt") as file:
                found |= {name: file.get_tensor(name) for name in set(names).intersection(file.keys())}
        return found

    def _in_file(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        part, prefix = self._source.form(self._model.format.parts[self._name]), self._source.prefix
        with safe_open(self._source.path, framework="pt") as file:
            stored = [key.removeprefix(prefix) for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
            places = part.keys.find(stored, config_of(self._model.denoiser))
            return {name: read_place(file, prefix, places[name], tensor.shape) for name, tensor in own.items()}

    def _now(self) -> dict[Path, tuple[int, int]]:
        """The files with the weights -> size and modification time."""
        path = self._source.path
        if not path.is_dir():
            return {path: stamp(path)}
        names = [file.name for file in path.iterdir()]
        used = weight_sets(names).get(best_variant(names) or "", [])
        return {path / name: stamp(path / name) for name in used if name.endswith(".safetensors")}

    def _changed(self) -> ModelError:
        return ModelError(
            "model.changed_on_disk", f"The file of {self._model.facts.name} has changed while its model was in use.",
            "The file that was loaded.", "Make the picture again: the model is loaded anew.", name=self._model.facts.name,
        )  # fmt: skip
