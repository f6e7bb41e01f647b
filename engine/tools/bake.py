"""Adapters written into a checkpoint for good: W + sum of weight * change, added in float32 and rounded once.

The new checkpoint has the layout of the old one, a single file or a folder; what no adapter touches is copied bit for bit. It
draws what the base draws with the adapters applied at these weights.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters.network import Network
from engine.config.tools import BakeOptions
from engine.formats.layouts.stored import Place
from engine.formats.safetensors_copy import copy_safetensors
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import swap_halves
from engine.tools.bench import Bench, Report, shared_metadata
from engine.tools.checkpoint import Checkpoint, LayerTensors, Lying
from engine.workspace import atomic_write, sync_folder

STALE = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
"""Other programs' weights in a folder: they would still be the old ones."""

Term = tuple[Network, str, float]
"""Network, its module, and the weight."""
Changer = Callable[[Tensor], Tensor]
Changers = dict[str, Changer]


def bake(options: BakeOptions, bench: Bench) -> Report:
    """The report has modules matched and in all per file, and `tensors` changed.

    Raises:
        AdapterError: a file does not fit the model. ModelError: `model.not_finite`.
    """
    checkpoint = bench.checkpoint()
    assert checkpoint
    terms: defaultdict[tuple[str, str], list[Term]] = defaultdict(list)
    matches = []
    for file, (_, weight) in zip(bench.adapters(), bench.plan.files, strict=True):
        network = Network.from_file(file, checkpoint.components, checkpoint.facts.family).eval()
        matches.append({
            "file": file.path.stem, "matched": network.match.matched, "total": network.match.total,
            "unmatched": list(network.match.unmatched[:20]),
        })  # fmt: skip
        for name, ref in network.refs.items():
            terms[ref.component, ref.path].append((network, name, weight))
    counted: set[Lying] = set()
    changed = _changers(checkpoint, terms, counted)
    sources = (checkpoint.location, *(path for path, _ in bench.plan.files))
    about = {"modelspec.title": bench.out.stem, "modelspec.merged_from": ", ".join(path.stem for path in sources)}
    if checkpoint.location.is_dir():
        _bake_folder(checkpoint.location, bench, changed)
    else:
        metadata = shared_metadata([read_header(checkpoint.location).metadata])
        copy_safetensors(checkpoint.location, bench.out, {**metadata, **about}, changed[checkpoint.location], bench.on_progress)
    return {"files": matches, "layers": len(terms), "tensors": len(counted)}


def _changers(
    checkpoint: Checkpoint, terms: dict[tuple[str, str], list[Term]], counted: set[Lying]
) -> defaultdict[Path, Changers]:
    """File -> tensor in it -> what makes the new tensor of the old. Those that did change something are noted in `counted`."""
    changed: defaultdict[Path, Changers] = defaultdict(dict)
    for (component, path), own in terms.items():
        layer = _LayerSum(checkpoint.layer(component, path), own)
        for name in layer.base:
            for place in checkpoint.places[component, f"{path}.{name}"]:
                before = changed[place.file].get(place.key)
                changed[place.file][place.key] = partial(_change_part, place.place, partial(layer.add, name, place, counted), before)
    return changed


def _change_part(place: Place, add: Changer, before: Changer | None, old: Tensor) -> Tensor:
    """A stored tensor of which a layer has the part `place` with that part changed, after the other parts; the very same tensor where
    nothing is."""
    whole = before(old) if before else old
    rows = slice(None)
    if place.share:
        start, stop, of = (each * whole.shape[0] // place.share[2] for each in place.share)
        rows = slice(start, stop)
    part = swap_halves(whole[rows]) if place.change == "swapped" else whole[rows]
    if (new := add(part)) is part:
        return whole
    new = swap_halves(new) if place.change == "swapped" else new
    if not place.share:
        return new
    changed = whole.float().clone()
    changed[rows] = new
    return changed


class _LayerSum:
    """The sum of changes of a layer. Made when its first tensor is asked for, and forgotten part by part as these are taken."""

    def __init__(self, base: LayerTensors, terms: list[Term]) -> None:
        self.base, self.terms = base, terms
        self._ready: dict[str, Tensor | None] = {}

    def add(self, name: str, place: Lying, counted: set[Lying], old: Tensor) -> Tensor:
        """A tensor of the layer with what the adapters add, float32; the very same tensor where they add nothing."""
        if name not in self._ready:
            self._ready = self._sum()
        delta = self._ready.pop(name)
        if delta is None:
            return old
        counted.add(place)
        return old.float() + delta.view(old.shape)

    @torch.no_grad()
    def _sum(self) -> dict[str, Tensor | None]:
        total: dict[str, Tensor | None] = dict.fromkeys(self.base)
        for network, module, weight in self.terms:
            for name, delta in network.adapters[module].deltas(self.base).items():  # type: ignore[operator]
                before = total[name]
                total[name] = weight * delta if before is None else before + weight * delta
        return total


def _bake_folder(source: Path, bench: Bench, changed: dict[Path, Changers]) -> None:
    """A folder like `source`, complete in a hidden place first, then renamed."""
    out = bench.out
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name[:20]}.", suffix=".tmp", dir=out.parent))
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and _belongs(file, source)]
    files.sort(key=lambda file: file.name == "model_index.json")  # last: it is what makes the folder a model
    total = sum(len(read_header(file).tensors) for file in files if file in changed)
    done = 0
    try:
        for file in files:
            target = staging / file.relative_to(source)
            if file in changed:
                before = done

                def count(part: int, of: int, before: int = before) -> None:
                    bench.on_progress(before + part, total)

                copy_safetensors(file, target, read_header(file).metadata, changed[file], count)
                done += len(read_header(file).tensors)
            else:
                with atomic_write(target) as out_stream, file.open("rb") as stream:
                    shutil.copyfileobj(stream, out_stream)
        staging.chmod(0o755)
        staging.rename(out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(out.parent)


def _belongs(file: Path, folder: Path) -> bool:
    """Whether a file is part of the diffusers model; a single-file checkpoint beside the folders is not."""
    path = file.relative_to(folder)
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and file.suffix not in STALE and not (len(path.parts) == 1 and file.suffix == ".safetensors")
