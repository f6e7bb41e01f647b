"""A base model written anew: adapters in it for good, in another layout, in another number format.

W + sum of weight * change is added in float32 and rounded once. Where layout and number format stay, what no adapter touches is
copied bit for bit, with whatever else lies in the file or folder. Otherwise `engine.tools.rewrite` writes the parts that make
the model. The new one draws what the base draws with the adapters applied at these weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from engine.adapters.network import Network
from engine.config.tools import BakeOptions
from engine.formats.hashes import model_hashes
from engine.formats.layouts.stored import Place
from engine.formats.safetensors_copy import copy_safetensors
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_writer import HASH
from engine.formats.single_file import swap_halves
from engine.tools.bench import Bench, Report, shared_metadata
from engine.tools.checkpoint import Checkpoint
from engine.tools.furnishing import copy_file, keep_tokenizers, model_files
from engine.tools.layer_sum import LayerSum, Term
from engine.tools.rewrite import rewrite
from engine.workspace import staged

Changer = Callable[[Tensor], Tensor]
Changers = Mapping[str, Changer]
LayerSums = Mapping[tuple[str, str], LayerSum]
"""Component and path of a layer -> what is added there."""


def bake(options: BakeOptions, bench: Bench) -> Report:
    """The report has modules matched and in all per file, `tensors` changed, and the `hash` that AUTOMATIC1111 shows.

    Raises:
        AdapterError: a file does not fit the model.
        ModelError: `model.not_finite`, `model.not_identity`, `model.tokenizer_differs`.
    """
    checkpoint = bench.checkpoint(whole=True)
    assert checkpoint
    counted: set[Hashable] = set()
    matches, sums = _sums(checkpoint, bench, counted)
    about = {"modelspec.title": bench.out.name.removesuffix(".safetensors")}
    if sums:
        sources = (checkpoint.facts.name, *(path.stem for path, _ in bench.plan.files))
        about["modelspec.merged_from"] = ", ".join(sources)
    if _stays(options, checkpoint, sums):
        _copy(checkpoint, bench, sums, about)
    else:
        rewrite(checkpoint, sums, options.precision, bench, about)
    return {"files": matches, "layers": len(sums), "tensors": len(counted), "hash": model_hashes(bench.out).short}


def _sums(checkpoint: Checkpoint, bench: Bench, counted: set[Hashable]) -> tuple[list[Report], dict[tuple[str, str], LayerSum]]:
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
    return matches, {layer: LayerSum(checkpoint.layer(*layer), own, counted) for layer, own in terms.items()}


def _stays(options: BakeOptions, checkpoint: Checkpoint, sums: LayerSums) -> bool:
    """Whether the files themselves can be copied: nothing is asked but the adapters, and what they change lies in one place."""
    own = checkpoint.own_place
    layout = "folder" if own.is_dir() else "single_file"
    changed = {lying.file for component, path in sums for lying in checkpoint.layer(component, path).places()}
    inside = all(file == own or file.is_relative_to(own) for file in changed)
    return options.layout in ("same", layout) and options.precision == "same" and inside and not checkpoint.scaled


def _copy(checkpoint: Checkpoint, bench: Bench, sums: LayerSums, about: Mapping[str, str]) -> None:
    own, changed = checkpoint.own_place, _changers(checkpoint, sums)
    if own.is_dir():
        _copy_folder(own, bench, changed, about)
        return
    metadata = {**shared_metadata([read_header(own).metadata]), **about, HASH: ""}
    with staged(bench.out) as place:
        copy_safetensors(own, place, metadata, changed[own], bench.on_progress)
        keep_tokenizers(checkpoint, bench.out)


def _changers(checkpoint: Checkpoint, sums: LayerSums) -> defaultdict[Path, dict[str, Changer]]:
    """File -> tensor in it -> what makes the new tensor of the old."""
    changed: defaultdict[Path, dict[str, Changer]] = defaultdict(dict)
    for (component, path), added in sums.items():
        for name in added.base:
            for lying in checkpoint.places[component, f"{path}.{name}"]:
                before = changed[lying.file].get(lying.key)
                changed[lying.file][lying.key] = partial(_change_part, lying.place, partial(added.add, name), before)
    return changed


def _change_part(place: Place, add: Changer, before: Changer | None, old: Tensor) -> Tensor:
    """A stored tensor of which a layer has the part `place` with that part changed, after the other parts; the very same tensor where
    nothing is."""
    whole = before(old) if before else old
    rows = slice(None)
    if place.share:
        start, stop = (each * whole.shape[0] // place.share[2] for each in place.share[:2])
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


def _copy_folder(source: Path, bench: Bench, changed: Mapping[Path, Changers], about: Mapping[str, str]) -> None:
    files = model_files(source)
    total = sum(len(read_header(file).tensors) for file in files if file in changed)
    done = 0
    with staged(bench.out) as folder:
        for file in files:
            target = folder / file.relative_to(source)
            if file in changed:
                before = done

                def count(part: int, of: int, before: int = before) -> None:
                    bench.on_progress(before + part, total)

                copy_safetensors(file, target, {**read_header(file).metadata, **about}, changed[file], count)
                done += len(read_header(file).tensors)
            else:
                copy_file(file, target)
