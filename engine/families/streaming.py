"""Frozen blocks in main memory that visit the device one after the other, for cards that are too small for the model.

Two places on the device take turns: in one are the weights of the block that computes, into the other the next block's are
copied meanwhile (on CUDA on a stream of its own, from locked memory). Nothing is ever copied back, since nothing changes. In
training a streamed block keeps its inputs alone: its backward pass brings the weights again. That works because backward
passes through the blocks strictly one after the other, the last one first.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.families.blocks import blocks_of
from engine.families.checkpointing import recomputed

ALIGNMENT = 256
"""Bytes; kernels want tensors to begin at multiples of 16."""


def is_streamed(part: nn.Module) -> bool:
    """Whether some of its blocks are streamed: then it has its place, and is not to be moved."""
    return any(isinstance(block.__dict__.get("forward"), _Visiting) for block in blocks_of(part))


class Packed:
    """All tensors of a frozen block, packed into one piece of main memory, from which they can be seen.

    Args:
        block: anywhere; afterwards its tensors are here.
    """

    def __init__(self, block: nn.Module) -> None:
        self.tensors = [*block.parameters(), *block.buffers()]
        ends = [0]
        for tensor in self.tensors:
            ends.append(-(-(ends[-1] + tensor.nbytes) // ALIGNMENT) * ALIGNMENT)
        self.starts, self.size = ends[:-1], ends[-1]
        device = next((tensor.device for tensor in self.tensors), torch.device("cpu"))
        self.memory = locked(self.size, device)
        self.at_home = self.views(self.memory)
        for tensor, view in zip(self.tensors, self.at_home, strict=True):
            view.copy_(tensor.data)
        self.show(self.at_home)

    def views(self, memory: Tensor) -> list[Tensor]:
        """The tensors as they lie in a piece of memory that holds this block."""
        return [
            memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for start, tensor in zip(self.starts, self.tensors, strict=True)
        ]

    def show(self, views: list[Tensor]) -> None:
        """Let the block's tensors be these."""
        for tensor, view in zip(self.tensors, views, strict=True):
            tensor.data = view


def locked(size: int, device: torch.device) -> Tensor:
    """Main memory, which a CUDA card may read by itself."""
    memory = torch.empty(size, dtype=torch.uint8)
    if device.type == "cuda":  # pin_memory would round up to a power of two, twice the model at worst
        runtime, address = torch.cuda.cudart(), memory.data_ptr()
        torch.cuda.check_error(int(runtime.cudaHostRegister(address, size, 0)))
        weakref.finalize(memory, runtime.cudaHostUnregister, address)
    return memory


class Stream:
    """Lets blocks visit the device from their first call on.

    Args:
        hosts: where each block's tensors are at home.
    """

    def __init__(self, blocks: Sequence[nn.Module], hosts: Sequence[Packed], device: torch.device) -> None:
        self.hosts, self.device = hosts, device
        largest = max(host.size for host in hosts)
        self.slots = [torch.empty(largest, dtype=torch.uint8, device=device) for _ in range(2)]
        self.views = [[host.views(slot) for host in hosts] for slot in self.slots]
        self.holds: list[int | None] = [None, None]
        """Slot -> the block whose weights were copied there last."""
        self.slot, self.path = 0, (-1, -1)
        """The slot of the block that computes, and the last two blocks that did."""
        self.follows: dict[tuple[int, int], int] = {}
        """Two blocks in the order they were called -> the one after them, as it was last time, forward and backward."""
        self.copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.copied = [torch.cuda.Event() for _ in self.slots] if self.copies else []
        for number, block in enumerate(blocks):
            block.forward = _Visiting(self, number, block.forward)  # type: ignore[method-assign]

    def bring(self, number: int) -> None:
        """Show a block its weights on the device, and begin to copy those of the one that will be next."""
        if number not in self.holds:
            self._copy(number, 1 - self.slot)
        slot = self.holds.index(number)
        if self.copies:
            torch.cuda.current_stream(self.device).wait_event(self.copied[slot])
        present = self.path[1]
        if present != number:
            if present >= 0:
                self.hosts[present].show(self.hosts[present].at_home)
            self.hosts[number].show(self.views[slot][number])
        self.follows[self.path] = number
        self.slot, self.path = slot, (present, number)
        following = self.follows.get(self.path, number)
        if following not in self.holds:
            self._copy(following, 1 - slot)

    @torch.no_grad()
    def _copy(self, number: int, slot: int) -> None:
        host = self.hosts[number]
        self.holds[slot] = number
        into = self.slots[slot][: host.size]
        if self.copies is None:
            into.copy_(host.memory)
            return
        self.copies.wait_stream(torch.cuda.current_stream(self.device))  # whoever computed with what was there is done
        with torch.cuda.stream(self.copies):
            into.copy_(host.memory, non_blocking=True)
            self.copied[slot].record(self.copies)


class _Visiting:
    """The forward of a streamed block."""

    def __init__(self, stream: Stream, number: int, forward: Any) -> None:
        self.stream, self.number, self.forward = stream, number, forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return recomputed(self._compute, *args, **kwargs)

    def _compute(self, *args: Any, **kwargs: Any) -> Any:
        self.stream.bring(self.number)
        return self.forward(*args, **kwargs)
