"""Bringing a loaded model to its device: quantised, streamed, and what has no room stays in main memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from engine.families.blocks import blocks_of
from engine.families.parking import MAIN_MEMORY, free_memory, size_of
from engine.families.quantise import quantise
from engine.families.streaming import Packed, Stream
from engine.memory.order import spread

LARGE = 10**9
"""Parameters from which on a text encoder is quantised with the denoiser: T5 and Qwen3, not CLIP."""


def settle(
    loaded: Iterable[tuple[str, nn.Module]], denoiser: str, device: torch.device, quantization: str = "none", streamed_blocks: int = 0
) -> dict[str, nn.Module]:  # fmt: skip
    """Bring the frozen parts of a model from main memory to the device, each as soon as it is loaded.

    So main memory holds one part in full at any time, and the others as they will be. The denoiser always comes to the device.
    The others do where they leave it half of the memory that is free then; else they stay, and visit when they have their turn
    (`engine.families.parking`).

    Args:
        loaded: the parts by name, one after the other.

    Raises:
        ModelError: as `quantise`, and what loading raises.
    """
    parts: dict[str, nn.Module] = {}
    for name, part in loaded:
        parts[name] = part.eval().requires_grad_(False)
        if name == denoiser:
            place(part, device, quantization, streamed_blocks)
        elif quantization != "none" and name != "vae" and sum(each.numel() for each in part.parameters()) >= LARGE:
            quantise(part, quantization, device, MAIN_MEMORY)
    others = [part for name, part in parts.items() if name != denoiser]
    if 2 * sum(map(size_of, others)) <= free_memory(device):
        for part in others:
            part.to(device)
    return parts


def place(part: nn.Module, device: torch.device, quantization: str = "none", streamed: int = 0) -> nn.Module:
    """Bring a frozen part to the device, quantised, with `streamed` of its blocks streamed; all if it has fewer.

    Only what stays is on the device at any time, and one block more.

    Args:
        quantization: "none" or a key of `engine.families.quantise.FORMATS`.

    Raises:
        ModelError: as `quantise`.
    """
    visitors = spread(blocks_of(part), streamed)
    away = {id(module) for block in visitors for module in block.modules()}
    hosts = []
    for block in visitors:
        if quantization != "none":
            quantise(block, quantization, device)
        hosts.append(Packed(block.to(device)))
    if quantization != "none":
        quantise(part, quantization, device)
    for module in part.modules():
        if id(module) not in away:
            module._apply(lambda tensor: tensor.to(device), recurse=False)
    if visitors:
        Stream(visitors, hosts, device)
    return part
