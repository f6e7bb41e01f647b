"""The forecast of a training step's memory beside what it really takes: real networks with random weights, a few steps each.

On CUDA networks of the published sizes, on a processor of the same kinds with 50 to 200 million parameters. Measured is the most
that PyTorch's allocator has given out at once. Every case has a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.load import validate
from engine.config.targets import choose
from engine.config.train import TrainConfig
from engine.device import device_profile, pick_device
from engine.families.base import adaptable_layers
from engine.families.checkpointing import checkpointing
from engine.families.parking import size_of
from engine.families.parts import part_class
from engine.families.placing import place
from engine.memory import base_model, forecast
from tests.benchmarks.report import Row
from tests.support.costs import shipped
from tests.support.unreal import picture_inputs

STEPS, RANK = 3, 16
MIB = 2**20
WITHIN = 1.15
"""The forecast is good where it is off by no more than this factor."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Case:
    """Attributes:
    side: of the picture in px.
    sizes: what the denoiser has smaller than the published one.
    settings: of the run.
    goal: the most MiB that it may take, where one is set.
    """

    name: str
    family: str
    variant: str
    side: int
    sizes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    goal: float | None = None


BF16 = {"precision": "bfloat16"}
RECOMPUTED = BF16 | {"gradient_checkpointing": True}
CUDA = (
    Case("SD1.5 512", "sd1", "base", 512, settings={"training": BF16}, goal=4096),
    Case("SDXL 1024, recomputed", "sdxl", "base", 1024, settings={"training": RECOMPUTED}),
    Case("SDXL 1024, recomputed, fp8", "sdxl", "base", 1024, settings={"training": RECOMPUTED, "model": {"quantization": "fp8"}}, goal=6144),
    Case("FLUX 512, NF4, recomputed", "flux", "dev", 512, settings={"training": RECOMPUTED, "model": {"quantization": "nf4"}}, goal=8192),
    Case("FLUX 512, streamed", "flux", "dev", 512, settings={"training": RECOMPUTED, "model": {"streamed_blocks": 57}}, goal=6144),
)  # fmt: skip
SMALL_XL = {"block_out_channels": [128, 256, 512], "attention_head_dim": [2, 4, 8], "transformer_layers_per_block": [1, 2, 4]}
SMALL_FLUX = {"num_attention_heads": 8, "num_layers": 3, "num_single_layers": 6}
CPU = (
    Case("like SDXL 512", "sdxl", "base", 512, SMALL_XL, {"training": BF16}),
    Case("like SDXL 512, recomputed", "sdxl", "base", 512, SMALL_XL, {"training": RECOMPUTED}),
    Case("like SDXL 512, float32", "sdxl", "base", 512, SMALL_XL, {"training": {"precision": "float32"}}),
    Case("like FLUX 512", "flux", "dev", 512, SMALL_FLUX, {"training": BF16}),
    Case("like FLUX 512, NF4, recomputed", "flux", "dev", 512, SMALL_FLUX, {"training": RECOMPUTED, "model": {"quantization": "nf4"}}),
)  # fmt: skip
TINY = (Case("like FLUX 256", "flux", "dev", 256, SMALL_FLUX | {"num_layers": 1, "num_single_layers": 1}, {"training": BF16}),)


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    cases = TINY if options.model == "tiny" else CUDA if torch.cuda.is_available() else CPU
    rows = []
    for case in cases:
        if options.only and not any(word in case.name for word in options.only):
            continue
        told, taken = foretold(case) / MIB, tuple(apart(case) for _ in range(options.rounds))
        rows += [Row(f"{case.name}: forecast", (told,), "MiB", case.goal), Row(f"{case.name}: measured", taken, "MiB", case.goal)]
        rows.append(Row(f"{case.name}: forecast / measured", (told / rows[-1].median,), "x", WITHIN))
    return rows


def foretold(case: Case) -> int:
    """Bytes of the phase "training" without the parts that it does not need."""
    base, config = base_of(case), config_of(case)
    network = base.predicting
    real = part_class(network.kind)
    with torch.device("meta"):
        part = real.from_config(dict(network.config))
    targets = choose(adaptable_layers(case.family, {base.denoiser: part}), LoraOptions(rank=RANK))[base.denoiser]
    ranks = {target.layer.path: RANK for target in targets}
    layers = [part.get_submodule(path).weight.shape for path in ranks]
    learning = forecast.Learning({base.denoiser: ranks}, sum(RANK * (shape[0] + shape[1:].numel()) for shape in layers))
    sizes = forecast.Sizes((case.side, case.side), None)
    found = forecast.memory_forecast(base, learning, config, sizes, device_profile(pick_device()))
    return sum(size for term, size in found.phases["training"].items() if term not in ("vae", "text_encoders"))


def base_of(case: Case) -> base_model.BaseModel:
    base = shipped(case.family, case.variant)
    network = base.predicting
    smaller = base_model.Network(network.kind, dict(network.config) | case.sizes)
    return base_model.BaseModel(base.denoiser, {**base.networks, base.denoiser: smaller})


def config_of(case: Case) -> TrainConfig:
    config = validate(TrainConfig, case.settings)
    config.model.precision = config.training.precision
    return config


def apart(case: Case) -> float:
    """MiB that the steps of a case take, in a new process."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_steps, args=(case, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{case.name} ended with {process.exitcode}")
    return answer.get()


def _steps(case: Case, answer: multiprocessing.SimpleQueue) -> None:
    device, base, config = pick_device(), base_of(case), config_of(case)
    dtype, tokens, side = DTYPES[config.training.precision], base.text_tokens, case.side // 8
    part = _part(base, device, dtype, config)
    components = {base.denoiser: part}
    network = Network.create(
        case.family, components, choose(adaptable_layers(case.family, components), LoraOptions(rank=RANK)), 0
    )
    network.to(device).train().insert(components)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    again = [part] if config.training.gradient_checkpointing else []

    def step() -> None:
        with torch.device(device), checkpointing(again), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            out = picture_inputs(base.predicting.kind, part, 1, side, side, tokens, dtype)
        out.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    answer.put((_peak_cuda(step) if device.type == "cuda" else size_of(part) + size_of(network) + _peak_cpu(step)) / MIB)


def _peak_cuda(step: Callable[[], None]) -> int:
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        step()
    return torch.cuda.max_memory_allocated()


def _peak_cpu(step: Callable[[], None]) -> int:
    """Of what is allocated in these steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        for _ in range(STEPS):
            step()
    waiting, most = list(seen.profiler.kineto_results.experimental_event_tree()), 0  # type: ignore[union-attr]
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag == _EventType.Allocation:
            most = max(most, event.extra_fields.total_allocated)
    return most


def _part(base: base_model.BaseModel, device: torch.device, dtype: torch.dtype, config: TrainConfig) -> Any:
    """The denoiser with whatever numbers its memory holds, made in its own number format and brought to the device."""
    plain = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        part = part_class(base.predicting.kind).from_config(dict(base.predicting.config)).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(plain)
    return place(part, device, config.model.quantization, config.model.streamed_blocks)
