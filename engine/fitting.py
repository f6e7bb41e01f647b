"""What a device can do: a table of settings and values with the reason why not. Imports no torch.

The page greys by it, a run is checked by it before anything is loaded, and the automatic number formats follow from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.workspace import atomic_write

Kind = Literal["cuda", "rocm", "mps", "cpu"]
PROFILE = "device.json"
"""Name of a profile below the workspace's `config` folder."""
BIG = 100_000_000
"""Parameters of a denoiser from which on half precision pays on a processor that has it; below, exactness is worth more."""


class DeviceError(EngineError):
    """A device, a number format or a way of computing that this machine does not have."""


@dataclass(frozen=True)
class DeviceProfile:
    """A device as far as the table asks.

    Attributes:
        kind: an NVIDIA card, an AMD card, an Apple GPU or a processor.
        capability: compute capability of an NVIDIA card.
        memory_mib: of the card; for the others main memory.
        bfloat16: it computes bfloat16 in hardware; of a processor: avx512_bf16 or amx_bf16.
        bitsandbytes: the package is installed.
    """

    kind: Kind
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    memory_mib: int = 0
    bfloat16: bool = False
    bitsandbytes: bool = False


@dataclass(frozen=True)
class Needs:
    """What a value asks of a device.

    Attributes:
        absent: kind of device -> why it does not exist there.
        capability: of NVIDIA cards.
        bfloat16: cards must have it in hardware; a processor without is merely slow.
    """

    absent: Mapping[Kind, str] = field(default_factory=dict)
    capability: tuple[int, int] = (0, 0)
    bfloat16: bool = False
    bitsandbytes: bool = False


TABLE: dict[str, dict[str, Needs]] = {
    "precision": {
        "auto": Needs(),
        "float32": Needs(),
        "bfloat16": Needs({"mps": "mps_half"}, bfloat16=True),
        "float16": Needs({"mps": "mps_half", "cpu": "cpu_float16"}),
    },
    "quantization": {
        "none": Needs(),
        "nf4": Needs({"mps": "mps_bitsandbytes"}, bitsandbytes=True),
        "int8": Needs(),
        "fp8": Needs({"mps": "mps_fp8"}),
    },
    "attention": {
        "auto": Needs(),
        "flash": Needs({"mps": "no_kernel"}, capability=(8, 0)),
        "efficient": Needs({"mps": "no_kernel", "cpu": "no_kernel"}, capability=(5, 0)),
        "cudnn": Needs({"rocm": "no_kernel", "mps": "no_kernel", "cpu": "no_kernel"}, capability=(8, 0)),
        "math": Needs(),
    },
    "optimizer": {
        "adamw": Needs(),
        "adamw8bit": Needs({"mps": "mps_bitsandbytes"}, bitsandbytes=True),
    },
    "streaming": {"off": Needs(), "on": Needs({"mps": "mps_streaming"})},
}
"""Setting -> value -> what it needs. The values are those of the config, except for streaming, where any number is "on"."""

REASONS = {
    "mps_half": "On Apple's GPUs half precision loses small gradients; they compute in float32.",
    "cpu_float16": "Processors compute float16 at a crawl.",
    "no_bfloat16": "This card has no bfloat16 in hardware.",
    "mps_bitsandbytes": "The package bitsandbytes does not support Apple's GPUs.",
    "no_bitsandbytes": "The package bitsandbytes is not installed.",
    "mps_fp8": "Apple's GPUs have no 8-bit floating-point numbers.",
    "no_kernel": "This device has no such attention kernel.",
    "old_card": "This card is too old for this attention kernel.",
    "mps_streaming": "Apple's GPUs work in main memory already; nothing would be saved.",
}
"""Why something is not allowed, by code."""

FIELDS = {
    "model.precision": "precision", "training.precision": "precision",
    "model.quantization": "quantization", "model.attention": "attention", "model.streamed_blocks": "streaming",
    "training.optimizer.kind": "optimizer",
    "precision": "precision", "quantization": "quantization", "attention": "attention", "streamed_blocks": "streaming",
}  # fmt: skip
"""Field of a TrainConfig or a GenerateConfig -> its setting in the table."""


def why_not(profile: DeviceProfile, setting: str, value: str) -> str:
    """The code of the reason why a value is not allowed on a device; "" where it is."""
    needs = TABLE[setting][value]
    if profile.kind in needs.absent:
        return needs.absent[profile.kind]
    if profile.kind == "cuda" and profile.capability < needs.capability:
        return "old_card"
    if needs.bfloat16 and profile.kind in ("cuda", "rocm") and not profile.bfloat16:
        return "no_bfloat16"
    return "no_bitsandbytes" if needs.bitsandbytes and not profile.bitsandbytes else ""


def refusals(profile: DeviceProfile, setting: str) -> dict[str, str]:
    """Value -> code of the reason, of everything that a device does not allow."""
    return {value: reason for value in TABLE[setting] if (reason := why_not(profile, setting, value))}


def check_config(profile: DeviceProfile | None, config: TrainConfig | GenerateConfig) -> None:
    """Refuse what the device cannot do before anything is loaded; of a device that is not known yet nothing is refused.

    Raises:
        DeviceError: `device.unsupported`.
    """
    if profile is None:
        return
    device = profile.name or profile.kind
    for name, setting in FIELDS.items():
        try:
            value = attrgetter(name)(config)
        except AttributeError:  # the other config's
            continue
        word = ("on" if value else "off") if setting == "streaming" else str(value)
        if reason := why_not(profile, setting, word):
            allowed = ["0" if each == "off" else each for each in TABLE[setting] if not why_not(profile, setting, each)]
            raise DeviceError(
                "device.unsupported", f"{name}: {value} is not possible on {device}. {REASONS[reason]}", f"One of: {', '.join(allowed)}.",
                "Choose another value. If the machine has changed since, check it in Settings or with: python -m engine doctor",
                field=name, value=value, device=device, reason=reason, allowed=", ".join(allowed),
            )  # fmt: skip


def automatic_precision(profile: DeviceProfile, parameters: int) -> str:
    """The number format of the base and of the calculation.

    Half precision where the device has it in hardware: bfloat16 before float16, whose gradients overflow; on a processor only
    for a denoiser of BIG parameters or more.
    """
    if profile.kind in ("cuda", "rocm"):
        return "bfloat16" if profile.bfloat16 else "float16"
    return "bfloat16" if profile.kind == "cpu" and profile.bfloat16 and parameters >= BIG else "float32"


def vae_precision(precision: str, force_upcast: bool) -> str:
    """The number format of a VAE beside a denoiser in `precision`.

    Args:
        force_upcast: the VAE's config says that its activations overflow float16, as SDXL's do.
    """
    return "float32" if precision == "float16" and force_upcast else precision


def write_profile(profile: DeviceProfile, folder: Path) -> None:
    """Leave a profile for those who have no PyTorch."""
    with atomic_write(folder / PROFILE) as stream:
        stream.write(json.dumps(asdict(profile), indent=1).encode())


def read_profile(folder: Path) -> DeviceProfile | None:
    """The profile that was left last; None where there is none, or none of this version."""
    try:
        told = json.loads((folder / PROFILE).read_bytes())
        return DeviceProfile(**{**told, "capability": tuple(told["capability"])})
    except (OSError, ValueError, LookupError, TypeError):
        return None
