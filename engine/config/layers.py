"""The size of a layer that may carry an adapter. Plain data: of a loaded module, or of the header of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from torch import nn

HeadAxis = Literal["outputs", "inputs"]
Size = tuple[int, ...]


@dataclass(frozen=True)
class LayerShape:
    """What an algorithm must know of a layer: Linear has `kernel` (); Conv2d (k, k); normalisation has no `inputs`.

    Attributes:
        heads: attention heads that its `head_axis` is cut into, equal parts in order.
        bias: whether it has one.
    """

    outputs: int
    inputs: int
    kernel: Size = ()
    heads: int = 1
    head_axis: HeadAxis = "outputs"
    bias: bool = True

    @classmethod
    def of(cls, layer: nn.Module, heads: int = 1, head_axis: HeadAxis = "outputs") -> Self:
        """Raises:
        TypeError: the layer cannot carry an adapter.
        """
        from torch import nn  # whoever has a layer has PyTorch

        bias = getattr(layer, "bias", None) is not None
        if isinstance(layer, nn.Linear):
            return cls(layer.out_features, layer.in_features, (), heads, head_axis, bias)
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            return cls(layer.out_channels, layer.in_channels, tuple(layer.kernel_size), bias=bias)
        if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1 and layer.elementwise_affine:
            return cls(layer.normalized_shape[0], 0, bias=bias)
        if isinstance(layer, nn.GroupNorm) and layer.affine:
            return cls(layer.num_channels, 0, bias=bias)
        raise TypeError(f"{type(layer).__name__} cannot carry an adapter")

    @classmethod
    def of_weight(cls, weight: Size, bias: bool) -> Self:
        """The layer that has a weight of this size: (C,), (out, in) or (out, in, k, k)."""
        outputs, *inputs = weight
        return cls(outputs, inputs[0] if inputs else 0, tuple(inputs[1:]), bias=bias)

    @property
    def spatial(self) -> bool:
        """Whether the layer looks at more than one pixel: a convolution larger than 1x1."""
        return any(side > 1 for side in self.kernel)

    @property
    def norm(self) -> bool:
        return self.inputs == 0

    @property
    def ones(self) -> Size:
        """The sides of a 1x1 kernel, where the layer has a kernel."""
        return tuple(1 for _ in self.kernel)

    @property
    def weight(self) -> Size:
        """Size of the layer's weight."""
        return (self.outputs,) if self.norm else (self.outputs, self.inputs, *self.kernel)
