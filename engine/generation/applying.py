"""The adapters that a prompt's tags ask for: found, read, and in force while its pictures are made.

They are merged into the weights. Beside the weights they stay where nothing can be merged (`Merger`), and where the strength of
one changes on the way. One bad tag never takes the others down, and nothing of one prompt stays for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network, layer_paths
from engine.errors import AdapterError, EngineError, ModelError, PromptError
from engine.families.base import Family
from engine.families.rereading import FileOriginals
from engine.formats.adapter_file import AdapterFile, read_adapter
from engine.formats.leading_ranks import FACTORS, leading_ranks
from engine.formats.models import MODELS
from engine.formats.names import ModuleRef
from engine.formats.summary import base_of
from engine.generation.block_places import block_places
from engine.generation.blocks import LISTS, family_weights, presets_of
from engine.generation.lookup import AdapterNames
from engine.generation.prompt import AdapterTag
from engine.library import adapter_names
from engine.workspace import Workspace

NETWORKS_KEPT = 16
"""Adapter files kept in memory, the least recently used dropped first."""
OnStep = Callable[[int, int], None]
"""To be called before the denoiser is, with the step (from 1) and how many there are."""
Places = Callable[[], Mapping[ModuleRef, str]]
"""Layer -> its block, made when it is first asked for."""


def make_merger(model: Family) -> Merger:
    """A merger for a model that has just been loaded, and is neither quantised nor streamed."""
    return Merger(model.components, FileOriginals(model))


@contextmanager
def in_place(
    model: Family, merger: Merger | None, live: Network | None, applied: Sequence[Applied], without: bool = False
) -> Iterator[OnStep | None]:
    """Adapters in force while pictures are made. What is merged stays until the next time, what is beside the weights is undone.

    Args:
        merger: writes adapters into the weights; None leaves them beside the weights, which a model in training needs.
        live: a network already inserted into the model.
        without: leave `live` out.

    Yields:
        What brings the strengths to those of a step; None where they stay the same.
    """
    changing = any(entry.schedule for entry in applied)
    if merger and merger.apply([] if changing else applied) and not changing:
        for entry in applied:
            entry.mode = "merged"
        yield None
        return
    kept = live.strengths if live else {}
    if live and without:
        live.strengths = dict.fromkeys(kept, 0.0)
    moving: list[tuple[Callable[[int, int], float], dict[str, float]]] = []

    def on_step(step: int, steps: int) -> None:
        for schedule, strengths in moving:
            strengths[model.format.denoiser] = schedule(step, steps)

    try:
        for entry in applied:
            entry.mode = "beside"
            strengths = {component: entry.strength(component) for component in model.components}
            entry.network.to(model.device).insert(model.components, strengths, entry.factors)
            if entry.schedule:
                moving.append((entry.schedule, strengths))
        yield on_step if moving else None
    finally:
        for entry in applied:
            entry.network.remove()
            entry.network.to("cpu")  # many are kept ready, for which the device may have no room
        if live:
            live.strengths = kept


def resolve(
    tags: Sequence[AdapterTag], model: Family, workspace: Workspace, networks: dict[tuple, Network],
    extra: Mapping[str, Path] | None = None,
) -> tuple[list[Applied], list[dict]]:  # fmt: skip
    """The adapters that tags name, and what cannot be honoured; one bad tag never takes the others down.

    Args:
        networks: loaded adapters by file stamp and rank; used and filled.
        extra: name -> file of adapters that lie in none of the LoRA folders.
    """
    files = adapter_names(workspace) | {name: (file, None) for name, file in (extra or {}).items()} if tags else {}
    names = AdapterNames({name: alias for name, (_, alias) in files.items()})
    places = cache(lambda: _places(model))
    applied: list[Applied] = []
    problems: list[dict] = []
    for tag in tags:
        if tag.problem:
            continue  # already told by `find_problems`
        try:
            entry = _apply(tag, files[names.find(tag.name)][0], model, networks, places)
        except EngineError as error:
            problems.append(error.to_dict())
            continue
        applied.append(entry)
        if (match := entry.network.match).unmatched:
            problems.append(PromptError(
                "adapter.partly_matched", f"{tag.name}: {match.matched} of {match.total} modules exist in this base model.",
                "All of them, with the base model it was trained on.", "The rest has no effect here.",
                name=tag.name, matched=match.matched, total=match.total,
            ).to_dict())  # fmt: skip
    return applied, problems


def report(applied: Applied) -> dict:
    """What the page shows of an adapter in force: name, strengths, its file's modules that took effect, how it was applied."""
    match = applied.network.match
    return {
        "name": applied.key[0].stem, "text_encoder": applied.text_encoder, "unet": applied.unet,
        "matched": match.matched, "unmatched": list(match.unmatched[:20]), "total": match.total, "mode": applied.mode,
    }  # fmt: skip


def _apply(tag: AdapterTag, file: Path, model: Family, networks: dict[tuple, Network], places: Places) -> Applied:
    """Raises:
    PromptError: `prompt.block_weights`, `prompt.leading_ranks`.
    AdapterError, ModelError: the file cannot be read or is for another base.
    """
    key = (file, *_stamp(file), tag.options.get("dyn"))  # taken before reading: a file replaced meanwhile is read again next time
    network = _network(key, tag, model, networks)
    factors = _factors(tag, network, model.facts.family, places) if "lbw" in tag.options else {}
    # The text is encoded once, before the first step.
    steps = tag.options.get("text_encoder_steps")
    text_encoder = steps[0][0] if steps else tag.text_encoder
    changing = not tag.options.keys().isdisjoint(("start", "stop", "unet_steps"))
    return Applied(network, text_encoder, tag.unet, key, factors, _schedule(tag) if changing else None, name=tag.name)


def _schedule(tag: AdapterTag) -> Callable[[int, int], float]:
    return lambda step, steps: tag.strengths(step, steps)[1]


def _network(key: tuple, tag: AdapterTag, model: Family, networks: dict[tuple, Network]) -> Network:
    """A loaded adapter, from memory if its key (file, size, modification time, rank) is still the same."""
    if (network := networks.pop(key, None)) is None:
        file, family = read_adapter(key[0]), model.facts.family
        base = base_of(file)
        if base in MODELS and base != family:
            raise AdapterError(
                "adapter.other_base", f"{key[0].name} is for {MODELS[base].title}, and this model is {MODELS[family].title}.",
                "An adapter for this family of models.", "Choose a base model of its family, or take the tag out.",
                path=key[0].name, base=MODELS[base].title, model=MODELS[family].title,
            )  # fmt: skip
        if "dyn" in tag.options:
            file = _first_ranks(file, tag)
        network = Network.from_file(file, model.components, family).eval().requires_grad_(False)
    networks[key] = network
    while len(networks) > NETWORKS_KEPT:
        networks.pop(next(iter(networks)))
    return network


def _first_ranks(file: AdapterFile, tag: AdapterTag) -> AdapterFile:
    """Raises PromptError: `prompt.leading_ranks` where a module is no plain LoRA."""
    if other := next((name for name, parts in file.modules.items() if parts.keys() != FACTORS), None):
        raise PromptError(
            "prompt.leading_ranks", f"{tag.source}: dyn= takes the first ranks of a plain LoRA, and {other} is none.",
            "A LoRA whose first ranks work by themselves (DyLoRA).", "Take dyn= out of the tag.", tag=tag.source, module=other,
        )  # fmt: skip
    rank = tag.options["dyn"]
    return replace(file, modules={name: leading_ranks(parts, rank) for name, parts in file.modules.items()})


def _factors(tag: AdapterTag, network: Network, family: str, places: Places) -> dict[str, float]:
    """Block weights as factors by the names of layers.

    Raises:
        PromptError: `prompt.block_weights` where they are not this family's.
    """
    try:
        weights = family_weights(tag.options["lbw"], family)
    except ValueError as error:
        known = " or ".join(f"{length} numbers" for length in LISTS.get(family, ()))
        raise PromptError(
            "prompt.block_weights", f"{tag.source}: lbw= has {error}, which does not fit {MODELS[family].title}.",
            f"{known}, or a preset: {', '.join(presets_of(family))}." if known else "Such models have no block weights.",
            "Correct lbw= or take it out; the tag is not in force.", tag=tag.source, family=MODELS[family].title, known=known,
        ) from None  # fmt: skip
    rest = weights.get("", 1.0)
    return {name: weights.get(places().get(ref, ""), rest) for name, ref in network.refs.items()}


def _places(model: Family) -> dict[ModuleRef, str]:
    return {
        ModuleRef(component, path): block
        for component, part in model.components.items()
        for path, block in block_places(model.facts.family, component, layer_paths(part)).items()
    }


def _stamp(file: Path) -> tuple[int, int]:
    """Size and modification time.

    Raises:
        ModelError: `file.missing` when it has gone since the folder was read.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise ModelError(
            "file.missing", f"{file.name} cannot be opened: {error.strerror}.", todo="Check the path.", path=file
        ) from error
    return status.st_size, status.st_mtime_ns
