"""The adapters that a prompt's tags ask for: found, read, and in force while its pictures are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.errors import EngineError, ModelError, PromptError
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.generation.prompt import AdapterTag, find_adapter
from engine.library import adapter_names
from engine.workspace import Workspace

NETWORKS_KEPT = 16
"""Adapter files kept in memory, the least recently used dropped first."""
OnStep = Callable[[int, int], None]
"""Called before the denoiser's call at a step (from 1) of so many."""


@contextmanager
def in_place(
    model: Family, merger: Merger | None, live: Network | None, applied: Sequence[Applied], without: bool = False
) -> Iterator[OnStep | None]:
    """The adapters in force while pictures are made, merged or beside the weights; undone afterwards where that is cheap."""
    if merger:
        merger.apply(applied)
        yield None
        return
    kept = live.strengths if live else {}
    if live and without:
        live.strengths = dict.fromkeys(kept, 0.0)
    try:
        for entry in applied:
            strengths = {component: entry.strength(component) for component in model.components}
            entry.network.to(model.device).insert(model.components, strengths)
        yield None
    finally:
        for entry in applied:
            entry.network.remove()
        if live:
            live.strengths = kept


def resolve(
    tags: Sequence[AdapterTag], model: Family, workspace: Workspace, networks: dict[tuple, Network]
) -> tuple[list[Applied], list[dict]]:
    """The adapters that tags name, and what cannot be honoured; one bad tag never takes the others down."""
    names = adapter_names(workspace)
    applied: list[Applied] = []
    problems: list[dict] = []
    for tag in tags:
        if tag.problem:
            continue  # already told by `find_problems`
        try:
            file, _ = names[find_adapter(tag.name, {path: alias for path, (_, alias) in names.items()})]
            stamp = (file, *_stamp(file))  # taken before reading: a file replaced meanwhile is read again next time
            network = _network(stamp, model, networks)
        except EngineError as error:
            problems.append(error.to_dict())
            continue
        applied.append(Applied(network, tag.text_encoder, tag.unet, stamp))
        ignored = sorted(set(tag.options))
        if ignored:
            problems.append(PromptError(
                "prompt.option_ignored", f"{tag.source}: {', '.join(ignored)} is not applied yet.", "One strength for the whole picture.",
                "Remove the option.", tag=tag.source, options=", ".join(ignored),
            ).to_dict())  # fmt: skip
        if network.match.unmatched:
            problems.append(PromptError(
                "adapter.partly_matched", f"{tag.name}: {network.match.matched} of {network.match.total} modules exist in this base model.",
                "All of them, with the base model it was trained on.", "The rest has no effect here.",
                name=tag.name, matched=network.match.matched, total=network.match.total,
            ).to_dict())  # fmt: skip
    return applied, problems


def _network(stamp: tuple, model: Family, networks: dict[tuple, Network]) -> Network:
    """A loaded adapter, from memory if its stamp (file, size, modification time) is still the same."""
    network = networks.pop(stamp, None) or Network.from_file(
        read_adapter(stamp[0]), model.components, model.facts.family
    ).eval().requires_grad_(False)
    networks[stamp] = network
    while len(networks) > NETWORKS_KEPT:
        networks.pop(next(iter(networks)))
    return network


def report(applied: Applied) -> dict:
    """Name, strengths and matched / unmatched / total modules of an adapter in force."""
    match = applied.network.match
    return {
        "name": applied.key[0].stem, "text_encoder": applied.text_encoder, "unet": applied.unet,
        "matched": match.matched, "unmatched": list(match.unmatched[:20]), "total": match.total,
    }  # fmt: skip


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
