"""Which device computes, in which number format, and how much memory it has.

Knows nothing of models or training.
"""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from engine.fitting import DeviceError, DeviceProfile, automatic_precision, why_not

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MIB = 2**20


def available() -> list[str]:
    """The devices of this machine, the best first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def pick_device(requested: str = "auto") -> torch.device:
    """The device to compute on.

    Args:
        requested: `auto` (CUDA, else Apple's MPS, else the CPU), or a name such as `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        DeviceError: `device.unavailable`.
    """
    present = available()
    if requested == "auto":
        return torch.device(present[0])
    name = "cuda:0" if requested == "cuda" else requested
    if name not in present:
        raise DeviceError(
            "device.unavailable", f"This machine has no device {requested!r}.", f"It has: {', '.join(present)}.",
            "Use auto or one of these; `python -m engine doctor` tells what PyTorch sees.", device=requested,
        )  # fmt: skip
    return torch.device(name)


def device_profile(device: torch.device) -> DeviceProfile:
    """The device as the table in `engine.fitting` asks of it."""
    facts = device_facts(device)
    common = {"name": facts["name"], "memory_mib": facts["total_mib"], "bitsandbytes": find_spec("bitsandbytes") is not None}
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        kind = "rocm" if torch.version.hip else "cuda"
        return DeviceProfile(kind, capability=torch.cuda.get_device_capability(device), bfloat16=native, **common)
    if device.type == "mps":
        return DeviceProfile("mps", **common)
    flags = torch.cpu.get_capabilities()
    return DeviceProfile("cpu", bfloat16=bool(flags.get("avx512_bf16") or flags.get("amx_bf16")), **common)


def pick_dtype(device: torch.device, requested: str = "auto", parameters: int = 0) -> torch.dtype:
    """The number format to compute in.

    Args:
        requested: `auto` (see `engine.fitting.automatic_precision`), `float32`, `bfloat16` or `float16`.
        parameters: of the denoiser.

    Raises:
        DeviceError: `device.dtype`: the device has no such format, or computes wrongly or at a crawl in it.
    """
    profile = device_profile(device)
    usable = [name for name in DTYPES if not why_not(profile, "precision", name)]
    word = automatic_precision(profile, parameters) if requested == "auto" else requested
    if word not in usable:
        raise DeviceError(
            "device.dtype", f"The device {str(device)!r} does not compute in {requested!r}.",
            f"Expected auto or one of: {', '.join(usable)}.", "Set the precision to auto.", device=device, precision=requested,
        )  # fmt: skip
    return DTYPES[word]


def device_facts(device: torch.device | None = None) -> dict:
    """What there is to compute with.

    Returns:
        `device` (`cuda:0`), `name`, `total_mib` and `free_mib` (MiB; for CPU and MPS of main memory), `threads` and
        `torch` (its version).
    """
    device = device or pick_device()
    if device.type == "cuda":
        name, (free, total) = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)
    else:
        memory = psutil.virtual_memory()
        name, free, total = _processor(), memory.available, memory.total
    return {
        "device": str(device), "name": name, "total_mib": total // MIB, "free_mib": free // MIB,
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip


def set_deterministic(enabled: bool) -> None:
    """Make CUDA kernels repeatable, or fast again. Call before the first CUDA work of the process: cuBLAS looks only once.

    On the CPU kernels are repeatable at one thread count without it.
    """
    if enabled:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(enabled)
    torch.backends.cudnn.benchmark = not enabled


def _processor() -> str:
    """The processor's trade name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
