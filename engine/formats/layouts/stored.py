"""Where a tensor of a network lies in a single file, and how it is changed there. No torch.

Single files name modules otherwise than diffusers and transformers, write q, k and v as one matrix, attention of the VAE as 1x1
convolutions, a projection transposed. A `Place` says all of it for one tensor; reading and writing are its two directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engine.config.layers import Size

Change = Literal["", "convolution", "transposed", "swapped"]
"""What the file has instead: a 1x1 convolution of a Linear; the matrix transposed; the two halves of the rows exchanged."""


@dataclass(frozen=True)
class Place:
    """Attributes:
    key: of the tensor in the file, without the part's prefix.
    share: (start, stop, of): it is only rows start/of to stop/of of that tensor; the others belong to its siblings.
    """

    key: str
    share: tuple[int, int, int] | None = None
    change: Change = ""

    def size(self, stored: Size) -> Size:
        """Size of the network's tensor, from that of the file's."""
        size = stored
        if self.change == "convolution" and len(size) == 4:
            size = size[:2]
        if self.change == "transposed":
            size = size[::-1]
        if self.share:
            start, stop, of = self.share
            size = (size[0] * (stop - start) // of, *size[1:])
        return size


class KeyMap(Protocol):
    """The names of one kind of network in both worlds. Keys are those of a state dict, `module.leaf`."""

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        """Keys of the network -> where the file has them. Raises KeyError for a key that the layout does not know."""
        ...

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        """Keys of a file -> the network's keys that are in them, each with its place. Strange keys are left out."""
        ...
