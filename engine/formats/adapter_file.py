"""Reading adapter files: LoRA and its relatives from Kohya, LyCORIS, PEFT and diffusers, in one form.

The file is copied into memory, never mapped, so that it can be replaced on disk while its adapter is in use. Knows no model:
which module a name means is `engine.formats.names`' affair. Torch is imported only when tensors are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.adapter_layout import AdapterFormat, lay_out, rank_of
from engine.formats.lazy_tensor import DTYPE_NAMES
from engine.formats.peft_alpha import PeftOptions, alpha_for, read_options, scale_without_rank
from engine.formats.pickled import tensors_in
from engine.formats.safetensors_header import TensorInfo, read_header
from engine.formats.suffixes import algorithm_of

if TYPE_CHECKING:
    from torch import Tensor

PICKLES = (".pt", ".bin", ".ckpt", ".pth")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter in memory.

    Attributes:
        metadata: the file's metadata strings.
        modules: module name as the file spells it -> tensor suffix (`lora_down.weight`, `alpha`, ...) -> tensor at its
            stored dtype.
        format: whose spelling the file uses.
        path: where it was read from.
        embeddings: bundled embeddings, by name -> their own tensor names (`string_to_param.*`, `clip_l`) -> tensor.
    """

    metadata: dict[str, str]
    modules: dict[str, dict[str, Tensor]]
    format: AdapterFormat
    path: Path
    embeddings: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def read_adapter(path: Path | str) -> AdapterFile:
    """Read an adapter. Every LoRA, LoHa and LoKr module comes out with an `alpha`; where the file has none, alpha = rank.

    Raises:
        ModelError: the file is missing, truncated or not safetensors (codes `file.*`).
        AdapterError: those of `lay_out`; `adapter.not_finite`, `adapter.bad_pickle`, `adapter.bad_peft_config`.
    """
    from safetensors.torch import load

    path = Path(path)
    if path.suffix.lower() in PICKLES:
        metadata, tensors = {}, _read_pickle(path)
        layout = lay_out(path, {name: _info(tensor) for name, tensor in tensors.items()})
    else:
        header = read_header(path)
        metadata, layout, tensors = header.metadata, lay_out(path, header.tensors), load(path.read_bytes())
    options = read_options(path, metadata)
    modules = {
        name: {suffix: _canonical(key, tensors[key]) for suffix, key in parts.items()} for name, parts in layout.modules.items()
    }
    if broken := find_not_finite({key: tensors[key] for parts in layout.modules.values() for key in parts.values()}):
        raise AdapterError(
            "adapter.not_finite", f"{path.name}: tensor {broken!r} holds NaN or infinity.", "Finite numbers were expected.",
            "The training diverged or the file is damaged; use an earlier checkpoint.", path=path, tensor=broken,
        )  # fmt: skip
    for name, parts in modules.items():
        _complete(name, parts, options)
    embeddings = {name: {part: tensors[key] for part, key in parts.items()} for name, parts in layout.embeddings.items()}
    return AdapterFile(metadata, modules, layout.format, path, embeddings)


def find_not_finite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, or None."""
    import torch

    for name, tensor in tensors.items():
        # float8 has no isfinite; float32 holds each of its values exactly.
        if tensor.is_floating_point() and not torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all():
            return name
    return None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the pickle makes it raise
        raise AdapterError(
            "adapter.bad_pickle",
            f"{path.name} cannot be read as plain tensors.",
            "Only weights are loaded from .pt files, never code.",
            "Use the .safetensors version of this adapter.",
            path=path,
        ) from error
    return tensors_in(content)


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(DTYPE_NAMES.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype)), tuple(tensor.shape), 0, 0)


def _canonical(key: str, tensor: Tensor) -> Tensor:
    """PEFT's magnitude, (out,) or (1, out, 1, 1), as the (out, 1[, 1, 1]) of `dora_scale`; anything else as it is."""
    if ".lora_magnitude_vector" not in key:
        return tensor
    return tensor.reshape(-1, 1, *(1 for _ in range(tensor.dim() - 2)))


def _complete(name: str, parts: dict[str, Tensor], options: Mapping[str, PeftOptions]) -> None:
    """Give a module the alpha that PEFT keeps elsewhere.

    PEFT scales a LoKr of two whole matrices too, which no other program does: there the factor goes into `lokr_w2`.
    """
    import torch

    shapes = {suffix: tuple(tensor.shape) for suffix, tensor in parts.items()}
    if algorithm_of(shapes) not in ("lora", "loha", "lokr") or "alpha" in parts:
        return
    if rank := rank_of(shapes):
        parts["alpha"] = torch.tensor(alpha_for(options, name, rank))
    elif (scale := scale_without_rank(options, name)) != 1:
        parts["lokr_w2"] = parts["lokr_w2"].float() * scale
