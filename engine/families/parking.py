"""Parts that leave the device for main memory while others have their turn: text, pictures and steps need different ones.

So the memory needed is that of the largest phase, not the sum of all parts. Nothing ever moves where the device is the
processor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from engine.families.streaming import is_streamed

RESERVE = 2**30
"""Bytes of the device that parts leave to whatever they compute."""
MAIN_MEMORY = torch.device("cpu")


@contextmanager
def visiting(
    parts: Mapping[str, nn.Module], names: Collection[str], device: torch.device, free: Callable[[torch.device], float] | None = None
) -> Iterator[None]:  # fmt: skip
    """Inside, the named parts are on the device; others leave it, the largest first, where these would not fit beside.

    Afterwards every part is where it was.

    Args:
        free: bytes of a device that are free; of the real one by default.
    """
    free = free or free_memory
    coming = {name: part for name, part in parts.items() if name in names and not is_on(part, device)}
    leaving: dict[str, nn.Module] = {}
    if coming:
        lacking = sum(size_of(part) for part in coming.values()) + RESERVE - free(device)
        present = [name for name, part in parts.items() if name not in names and is_on(part, device) and not is_streamed(part)]
        for name in sorted(present, key=lambda name: -size_of(parts[name])):
            if lacking > 0:
                leaving[name] = parts[name]
                lacking -= size_of(parts[name])
    try:
        _move(leaving, MAIN_MEMORY)
        _move(coming, device)
        yield
    finally:
        _move(coming, MAIN_MEMORY)
        _move(leaving, device)


@contextmanager
def parked(parts: Mapping[str, nn.Module], names: Collection[str], device: torch.device) -> Iterator[None]:
    """Inside, the named parts are in main memory; those with streamed blocks stay as they are. Afterwards all are where they were."""
    leaving = {name: parts[name] for name in names if is_on(parts[name], device) and not is_streamed(parts[name])}
    try:
        _move(leaving, MAIN_MEMORY)
        yield
    finally:
        _move(leaving, device)


def is_on(part: nn.Module, device: torch.device) -> bool:
    return next(part.parameters()).device.type == device.type


def size_of(part: nn.Module) -> int:
    """Bytes of its weights."""
    return sum(tensor.nbytes for tensor in (*part.parameters(), *part.buffers()))


def free_memory(device: torch.device) -> float:
    """Bytes that may still be asked of a device; of one that works in main memory any number."""
    if device.type != "cuda":
        return float("inf")
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _move(parts: Mapping[str, nn.Module], to: torch.device) -> None:
    for part in parts.values():
        if not is_on(part, to):
            part.to(to)
    if parts and torch.cuda.is_available():
        torch.cuda.empty_cache()
