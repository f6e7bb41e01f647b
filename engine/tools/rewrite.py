"""A base model written part by part in a layout and number format of choice, whatever it was stored as.

Every tensor is read, changed, rounded and written by itself, so that a model of any size needs the memory of one layer. Then the
new model is read in its new layout, and every tensor must be what was meant, to the bit. What no part reads (averaged weights,
the 24th block of Stable Diffusion 2.x's text encoder) is not taken over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path

from torch import Tensor

from engine.families.loading import load_schedule
from engine.formats.folder_writer import folder_tensors, write_part
from engine.formats.lazy_tensor import DTYPE_NAMES, LazyTensor
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_writer import not_as_written, tensor_bytes
from engine.formats.single_file import CONFIGS_KEY
from engine.formats.single_file_writer import write_model_file
from engine.formats.whole_model import PartState, WholeModel
from engine.tools.bench import Bench, Progress, shared_metadata
from engine.tools.checkpoint import Checkpoint, open_checkpoint
from engine.tools.furnishing import furnish, keep_tokenizers
from engine.tools.layer_sum import LayerSum
from engine.workspace import staged

Digests = dict[tuple[str, str], bytes]
"""Part and key of its state -> hash of the tensor that was written."""


def rewrite(
    checkpoint: Checkpoint, sums: Mapping[tuple[str, str], LayerSum], precision: str, bench: Bench, about: Mapping[str, str]
) -> None:
    """Write `bench.out`: a single file if it ends in .safetensors, otherwise a folder. Progress is told twice, of writing and reading.

    Args:
        checkpoint: opened whole.
        sums: component and path of a layer -> what is added there.
        precision: a number format, or "same".
        about: metadata over those that the model has.

    Raises:
        ModelError: `model.not_finite`, `model.not_identity`, `model.tokenizer_differs`, `file.write_failed`.
    """
    facts, digests = checkpoint.facts, Digests()
    parts = {name: _outgoing(checkpoint, name, sums, precision, digests) for name in checkpoint.parts}
    model = WholeModel(facts.family, facts.variant, facts.prediction, facts.resolution, parts, load_schedule(facts))
    with staged(bench.out) as place:
        if place.suffix == ".safetensors":
            write_model_file(place, model, {**_metadata(checkpoint), **about}, bench.on_progress)
        else:
            _write_folder(place, model, about, bench.on_progress)
            furnish(place, checkpoint, model.schedule)
        _read_back(place, checkpoint, digests, bench.on_progress)
        if place.suffix == ".safetensors":
            keep_tokenizers(checkpoint, bench.out)


def _outgoing(
    checkpoint: Checkpoint, name: str, sums: Mapping[tuple[str, str], LayerSum], precision: str, digests: Digests
) -> PartState:
    """A part as it will be."""
    state = checkpoint.state(name)
    changes = {
        f"{path}.{tensor}": partial(added.add, tensor)
        for (component, path), added in sums.items() if component == name for tensor in added.base
    }  # fmt: skip
    tensors = {}
    for key, tensor in state.tensors.items():
        changed = _changed(tensor, changes[key]) if key in changes else tensor
        tensors[key] = _noted(changed.rounded(DTYPE_NAMES.get(precision, tensor.dtype)), (name, key), digests)
    return PartState(state.config, tensors)


def _changed(tensor: LazyTensor, change: Callable[[Tensor], Tensor]) -> LazyTensor:
    return LazyTensor("F32", tensor.shape, lambda: change(tensor.read()).float())


def _noted(tensor: LazyTensor, place: tuple[str, str], digests: Digests) -> LazyTensor:
    """The same; when it is made, its hash is noted."""

    def read() -> Tensor:
        made = tensor.read()
        digests[place] = hashlib.sha256(tensor_bytes(made)).digest()
        return made

    return LazyTensor(tensor.dtype, tensor.shape, read)


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file that the model was says of itself, less how it was laid out."""
    own = checkpoint.own_place
    kept = {} if own.is_dir() else shared_metadata([read_header(own).metadata])
    return {key: value for key, value in kept.items() if key != CONFIGS_KEY}


def _write_folder(folder: Path, model: WholeModel, about: Mapping[str, str], on_progress: Progress) -> None:
    forms = model.format.parts
    total, done = sum(len(folder_tensors(forms[name], state)) for name, state in model.parts.items()), count(1)
    for name, state in model.parts.items():
        write_part(folder / name, forms[name], state, about, lambda *_: on_progress(next(done), total))


def _read_back(place: Path, checkpoint: Checkpoint, digests: Digests, on_progress: Progress) -> None:
    """Raises ModelError: `file.write_failed`."""
    again = open_checkpoint(place, whole=True)
    seen, meant = ((each.facts.family, each.facts.variant, each.facts.prediction, each.sizes) for each in (again, checkpoint))
    assert seen == meant
    written = {tensor: digest for tensor, digest in digests.items() if again.places[tensor]}  # an identity need not be
    for done, (tensor, digest) in enumerate(written.items(), 1):
        if hashlib.sha256(tensor_bytes(again.tensor(*tensor))).digest() != digest:
            raise not_as_written(place)
        on_progress(done, len(written))
