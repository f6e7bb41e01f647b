"""What a Stable Diffusion 2.x file predicts whose card says nothing, as the published ones do. Standard library only.

The 512 px model (noise) and the 768 px model (velocity) have the very same names and shapes. One bias of their last block of
attention is told apart by how far its numbers spread, which is ComfyUI's test too.
"""

from __future__ import annotations

import struct
from pathlib import Path
from statistics import pstdev
from typing import Literal

from engine.formats.safetensors_header import Header

ENTRY = "model.diffusion_model.input_blocks.0.0.weight"
BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
SPREAD = 0.09
"""Standard deviation above which the model predicts velocity."""
_FORMATS = {"F32": "f", "F16": "e"}


def sd2_prediction(path: Path, header: Header) -> Literal["epsilon", "v_prediction"] | None:
    """None for an inpainting model, whose bias tells nothing, and where the bias is not there in a usual number format."""
    info, entry = header.tensors.get(BIAS), header.tensors.get(ENTRY)
    if not info or len(info.shape) != 1 or info.dtype not in (*_FORMATS, "BF16") or not entry or entry.shape[1:2] != (4,):
        return None
    with path.open("rb") as stream:
        stream.seek(header.payload_offset + info.start)
        content = stream.read(info.end - info.start)
    if info.dtype == "BF16":  # the upper halves of float32
        content = b"".join(b"\0\0" + content[at : at + 2] for at in range(0, len(content), 2))
    numbers = struct.unpack(f"<{info.shape[0]}{_FORMATS.get(info.dtype, 'f')}", content)
    return "v_prediction" if pstdev(numbers) > SPREAD else "epsilon"
