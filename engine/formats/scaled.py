"""8-bit floats with a scale, as checkpoints are published in fp8: the weight is number times scale, the scale one for all or one a row.

Scales for inputs are left aside: they serve products in 8 bits, and here a product is made in a wider format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_SCALES = (".scale_weight", ".weight_scale")
"""Instead of `.weight`; the first is the older spelling."""
SCALES = (*WEIGHT_SCALES, ".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""How the keys end that come with scaled numbers."""


def rescaled(file: Any, name: str, tensor: Tensor, rows: slice) -> Tensor:
    """A tensor read from an open safetensors file times its scale, float32; as it is where there is none.

    Args:
        tensor: rows `rows` of the one with this name.

    Raises:
        ValueError: the scales are neither one nor one a row.
    """
    from safetensors import SafetensorError

    for ending in WEIGHT_SCALES:
        try:
            scale = file.get_tensor(name.removesuffix(".weight") + ending).float().flatten()
        except SafetensorError:  # there is none of this name
            continue
        if scale.numel() > 1:
            scale = scale[rows]
            if len(scale) != len(tensor):
                raise ValueError(f"{name} has {len(scale)} scales for {len(tensor)} rows")
        return tensor.float() * scale.view(-1, *[1] * (tensor.dim() - 1))
    return tensor
