"""Writing the weights of one part of a diffusers model, as one file or, where they are large, as several with an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from engine.formats.layouts.folder import FOLDER
from engine.formats.lazy_tensor import LazyTensor
from engine.formats.models.base import Part
from engine.formats.safetensors_header import DTYPE_BITS
from engine.formats.safetensors_writer import Watch, write_lazily
from engine.formats.whole_model import PartState
from engine.workspace import atomic_write

LARGEST = 10 * 10**9
"""Bytes of one file of weights, as diffusers splits them."""
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
"""Name of the files of weights, by whose networks they are."""


def write_part(
    folder: Path,
    part: Part,
    state: PartState,
    metadata: Mapping[str, str],
    on_tensor: Watch = lambda done, total: None,
    largest: int = LARGEST,
) -> None:
    """Write a part's weights into its folder; the config is not written.

    Raises:
        ModelError: `model.not_finite`, `file.write_failed`.
    """
    tensors = folder_tensors(part, state)
    stem = TRANSFORMERS if part.kind in ("clip", "clip_projected", "t5", "qwen3") else DIFFUSERS
    shards = list(_shards(tensors, largest))
    names = [f"{stem}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    names = names if len(shards) > 1 else [f"{stem}.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        write_lazily(folder / name, shard, {"format": "pt", **metadata}, on_tensor)
    if len(shards) > 1:
        lies_in = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": sum(map(_size, tensors.values()))}, "weight_map": lies_in}
        with atomic_write(folder / f"{stem}.safetensors.index.json", "w") as stream:
            stream.write(json.dumps(index, indent=1))


def folder_tensors(part: Part, state: PartState) -> dict[str, LazyTensor]:
    """A part's tensors by their names in a folder."""
    places = FOLDER[part.kind].places(state.tensors, state.config)
    return {place.key: state.tensors[key] for key, place in places.items()}


def _shards(tensors: Mapping[str, LazyTensor], largest: int) -> Iterator[dict[str, LazyTensor]]:
    """The tensors in their order, in groups of at most so many bytes or of one tensor."""
    shard: dict[str, LazyTensor] = {}
    filled = 0
    for key, tensor in tensors.items():
        if shard and filled + _size(tensor) > largest:
            yield shard
            shard, filled = {}, 0
        shard[key] = tensor
        filled += _size(tensor)
    yield shard


def _size(tensor: LazyTensor) -> int:
    """Bytes."""
    return prod(tensor.shape) * DTYPE_BITS[tensor.dtype] // 8
