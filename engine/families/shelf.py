"""One base model in memory, for whoever needs it next: training after pictures, pictures after training.

Whoever takes the model leaves it as it was loaded: adapters out, originals back.
"""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from engine.families import load_model
from engine.families.base import Family
from engine.model_facts import ModelFacts
from engine.workspace import stamp


class ModelShelf:
    """Holds the model that was asked for last."""

    def __init__(self) -> None:
        self._model: Family | None = None
        self._key: tuple = ()

    def take(
        self, model: ModelFacts | Path | str, device: torch.device, dtype: torch.dtype, quantization: str = "none", streamed_blocks: int = 0
    ) -> Family:  # fmt: skip
        """The model, loaded only if it is not the one held or its files have changed.

        Args:
            quantization, streamed_blocks: how it is made to fit the device; see `load_model`.

        Raises:
            ModelError: as `load_model`.
        """
        if not self.holds(model, device, dtype, quantization, streamed_blocks):
            self.clear()  # two at once may not fit
            key = (*_key(model, device, dtype), quantization, streamed_blocks)
            self._model = load_model(model, device, dtype, None, quantization, streamed_blocks)
            self._key = key
        assert self._model
        return self._model

    def holds(
        self, model: ModelFacts | Path | str, device: torch.device, dtype: torch.dtype, quantization: str = "none", streamed_blocks: int = 0
    ) -> bool:  # fmt: skip
        """Whether `take` would load nothing. If not, let go of the model you had first, or two are in memory."""
        return self._model is not None and self._key == (*_key(model, device, dtype), quantization, streamed_blocks)

    def clear(self) -> None:
        """Let go of the model and its memory."""
        self._model, self._key = None, ()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _key(model: ModelFacts | Path | str, device: torch.device, dtype: torch.dtype) -> tuple:
    """The model and the state of every file that it is loaded from."""
    if isinstance(model, ModelFacts):
        sources, location = tuple(model.sources.items()), Path(model.location)
        places = {location, *(source.path for source in model.sources.values())}
    else:
        sources, location = (), Path(model)
        places = {location} if isinstance(model, Path) else set()
    return str(location), sources, device, dtype, *(stamped for place in sorted(places) for stamped in _stamps(place))


def _stamps(place: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time of the file, or of every file of the folder."""
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return tuple((str(file), *stamp(file)) for file in files)
