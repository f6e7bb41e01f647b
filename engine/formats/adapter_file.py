"""Reading adapter files: LoRA and its relatives from Kohya, LyCORIS, PEFT and diffusers, in one form.

The file is copied into memory, never mapped, so that it can be replaced on disk while its adapter is in use. Knows no model:
which module a name means is `engine.formats.names`' affair. Torch is imported only when tensors are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import AdapterError
from engine.formats.peft_alpha import alpha_for, read_options
from engine.formats.safetensors_header import read_header
from engine.formats.suffixes import split_keys

if TYPE_CHECKING:
    from torch import Tensor

AdapterFormat = Literal["kohya", "lycoris", "peft", "diffusers"]


@dataclass(frozen=True)
class AdapterFile:
    """An adapter in memory.

    Attributes:
        metadata: the file's metadata strings.
        modules: module name as the file spells it -> tensor suffix (`lora_down.weight`, `alpha`, ...) -> tensor at its
            stored dtype.
        format: whose spelling the file uses.
        path: where it was read from.
    """

    metadata: dict[str, str]
    modules: dict[str, dict[str, Tensor]]
    format: AdapterFormat
    path: Path


def read_adapter(path: Path | str) -> AdapterFile:
    """Read an adapter. Every LoRA module comes out with an `alpha`; where the file has none, alpha = rank.

    Raises:
        ModelError: the file is missing, truncated or not safetensors (codes `file.*`).
        AdapterError: `adapter.not_an_adapter`, `adapter.unknown_tensor`, `adapter.incomplete_module`, `adapter.bad_shape`,
            `adapter.not_finite`, `adapter.bad_pickle`, `adapter.bad_peft_config`.
    """
    path = Path(path)
    metadata, tensors = _read_pickle(path) if path.suffix.lower() in (".pt", ".bin", ".ckpt", ".pth") else _read_safetensors(path)
    if broken := find_not_finite(tensors):
        raise AdapterError(
            "adapter.not_finite",
            f"{path.name}: tensor {broken!r} holds NaN or infinity.",
            "Finite numbers were expected.",
            "The training diverged or the file is damaged; use an earlier checkpoint.",
            path=path,
            tensor=broken,
        )
    split, unknown = split_keys(list(tensors))
    check_keys(path, list(split), unknown)
    modules: dict[str, dict[str, Tensor]] = {}
    for key, (module, suffix, written) in split.items():
        tensor = _dora_column(tensors[key]) if written.startswith("lora_magnitude_vector") else tensors[key]
        modules.setdefault(module, {})[suffix] = tensor
    _complete_lora(path, metadata, modules)
    return AdapterFile(metadata, modules, format_of(split.values()), path)


def check_keys(path: Path, known: list[str], unknown: list[str]) -> None:
    """Refuse a file that is no adapter, and one with tensors that would have to be left out.

    Raises:
        AdapterError: `adapter.not_an_adapter`, `adapter.unknown_tensor`.
    """
    if not known:
        raise AdapterError(
            "adapter.not_an_adapter",
            f"{path.name} is not an adapter: none of its {len(unknown)} tensors belongs to a LoRA.",
            "A LoRA file was expected.",
            "If it is a checkpoint, choose it as the base model.",
            path=path,
        )
    if unknown:
        raise AdapterError(
            "adapter.unknown_tensor",
            f"{path.name} has {len(unknown)} tensors of an unknown kind, the first is {unknown[0]!r}.",
            "LoRA, LoHa, LoKr, (IA)3, OFT, BOFT, GLoRA, full and norm adapters are known.",
            "Convert it with the program that made it.",
            path=path,
            tensor=unknown[0],
            count=len(unknown),
        )


def format_of(split: Iterable[tuple[str, str, str]]) -> AdapterFormat:
    """Whose spelling a file uses, from its (module, suffix, suffix as written)."""
    entries = list(split)
    if any(written.startswith("lora_A") for _, _, written in entries):
        return "peft"
    if any("." in module for module, _, _ in entries):
        return "diffusers"
    return "lycoris" if any(module.startswith("lycoris_") for module, _, _ in entries) else "kohya"


def find_not_finite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, or None."""
    import torch

    for name, tensor in tensors.items():
        # float8 has no isfinite; float32 holds each of its values exactly.
        if tensor.is_floating_point() and not torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all():
            return name
    return None


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors.torch import load

    header = read_header(path)
    return header.metadata, load(path.read_bytes())


def _read_pickle(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
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
    if not isinstance(content, dict):
        content = {}
    return {}, {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def _dora_column(magnitude: Tensor) -> Tensor:
    """PEFT's magnitude, (out,) or (1, out, 1, 1), as the (out, 1[, 1, 1]) of `dora_scale`."""
    return magnitude.reshape(-1, 1, *(1 for _ in range(magnitude.dim() - 2)))


def _complete_lora(path: Path, metadata: dict[str, str], modules: dict[str, dict[str, Tensor]]) -> None:
    """Check that the factors of every LoRA module fit each other, and give each an alpha."""
    import torch

    options = read_options(path, metadata)
    for name, parts in modules.items():
        down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
        if down is None and up is None:
            continue
        if down is None or up is None:
            raise AdapterError(
                "adapter.incomplete_module",
                f"{path.name}: module {name!r} has only one of its two LoRA factors.",
                "Both lora_down and lora_up were expected.",
                "The file is damaged; use another copy.",
                path=path,
                module=name,
            )
        if down.dim() < 2 or up.dim() < 2 or up.shape[1] != down.shape[0]:
            raise AdapterError(
                "adapter.bad_shape",
                f"{path.name}: in {name!r} lora_down is {tuple(down.shape)} and lora_up is {tuple(up.shape)}.",
                "The second size of lora_up must be the first of lora_down (the rank).",
                "The file is damaged; use another copy.",
                path=path,
                module=name,
            )
        parts.setdefault("alpha", torch.tensor(alpha_for(options, name, down.shape[0])))
