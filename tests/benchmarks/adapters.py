"""Adapters on the layers of a U-Net: a training step beside PEFT's and LyCORIS' of the same algorithm, injection, saving.

A step is forward and backward through layers of real widths, attention projections or 3x3 convolutions, without what lies
between them; gradients go to the adapters and to the input, as in the middle of a model. bf16 means a bfloat16 base, float32
adapters and autocast, which is how mixed precision trains. Rounds are interleaved, so that a busy machine is busy for all.
Memory is what autograd keeps for the backward pass, each piece of memory once, less the weights.
"""

from __future__ import annotations

import argparse
import copy
import logging
import random
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from engine.adapters.network import Network
from engine.config.adapter import OPTIONS, LayerOptions
from engine.config.targets import Layer, Target, choose
from engine.families.base import adaptable_layers
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from tests.benchmarks.report import Row, timed
from tests.benchmarks.rivals import BLOCK_SIZE, LYCORIS, PEFT, with_lycoris, with_peft

SIZES = {"sd15": ((320, 64), (640, 32), (1280, 16), (1280, 8)), "tiny": ((32, 16), (64, 8), (96, 4))}
"""Channels and side of the latents at each level: SD1.5 at 512 px; about the starter's."""
RANK = {"sd15": 16, "tiny": 8}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
STEPS = {"sd15": 1, "tiny": 10}
"""Steps of a round, whose median counts: those of tiny layers take a millisecond or two."""
WARM_UP = 3
SLOWEST, LORA, SECOND = 1.05, 0.9, 1.0
"""Goals: time over the faster rival's; that of plain LoRA on attention; seconds for what should take no time."""


class Attention(nn.Module):
    """The projections of one self-attention, over (B, tokens, channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out(self.to_q(x) + self.to_k(x) + self.to_v(x))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("lora", {"decompose": "outputs"}),
    "pissa": ("lora", {"initial": "pissa"}),
}
"""Variants of an algorithm that the others call by names of their own."""


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    logging.getLogger("LyCORIS").disabled = True
    warnings.filterwarnings("ignore")
    rows: list[Row] = []
    for name in options.only or dict.fromkeys([*PEFT, *LYCORIS]):
        for where in ("attention", "convolution"):
            rows += race(name, where, options.layers, DTYPES[options.dtype], options.rounds)
    return rows + injection(options.rounds) + saving(folder, options.rounds)


def options_of(name: str, rank: int) -> LayerOptions:
    kind, settings = CASES.get(name, (name, {}))
    model = OPTIONS[kind]
    wanted = {"rank": rank, "alpha": rank, "conv_rank": rank, "block_size": BLOCK_SIZE, **settings}
    return model(**{field: value for field, value in wanted.items() if field in model.model_fields})


# ---- a training step ----


def layers_of(where: str, sizes: tuple[tuple[int, int], ...]) -> tuple[list[nn.Module], list[Tensor]]:
    """One module for each level, and what goes into it."""
    if where == "attention":
        return [Attention(width) for width, _ in sizes], [torch.randn(1, side * side, width) for width, side in sizes]
    modules = [nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for width, _ in sizes]
    return modules, [torch.randn(1, width, side, side) for width, side in sizes]


class Levels(nn.Module):
    """The layers of all levels, each with its own input."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(modules)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        return [level(x) for level, x in zip(self.levels, inputs, strict=True)]


def race(name: str, where: str, layers: str, dtype: torch.dtype, rounds: int) -> list[Row]:
    """Time and memory of a step for ours and for each rival that has the algorithm, and ours over the faster rival's."""
    torch.manual_seed(0)
    modules, inputs = layers_of(where, SIZES[layers])
    base = Levels(modules).to(dtype).requires_grad_(False)
    paths = [path for path, module in base.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    rank, convolutions = RANK[layers], where == "convolution"
    models = {who: copy.deepcopy(base) for who in ("ours", "PEFT", "LyCORIS")}
    learning = {
        "ours": with_ours(models["ours"], name, rank, paths),
        "PEFT": with_peft(models["PEFT"], name, rank, paths, convolutions),
        "LyCORIS": with_lycoris(models["LyCORIS"], name, rank, convolutions),
    }
    racers = {who: Racer(models[who], parameters, inputs, dtype) for who, parameters in learning.items() if parameters}
    if len(racers) == 1:
        return []
    for number in range(WARM_UP + rounds):
        for who in random.Random(number).sample(list(racers), len(racers)):
            taken = statistics.median(racers[who].step() for _ in range(STEPS[layers]))
            if number >= WARM_UP:
                racers[who].seconds.append(taken)
    seconds = {who: racer.seconds for who, racer in racers.items()}
    best = min((who for who in racers if who != "ours"), key=lambda who: statistics.median(seconds[who]))
    kept = {who: racer.kept_mib() for who, racer in racers.items()}
    each = [ours / theirs for ours, theirs in zip(seconds["ours"], seconds[best], strict=True)]
    title = f"{name}, {where}"
    return [
        *(Row(f"{title}: {who}", tuple(1000 * s for s in seconds[who]), "ms") for who in racers),
        Row(f"{title}: ours / {best}", tuple(each), "x", LORA if title == "lora, attention" else SLOWEST, interval(each)),
        *(Row(f"{title}: kept by {who}", (kept[who],), "MiB", kept[best] if who == "ours" else None) for who in racers),
    ]


def with_ours(model: nn.Module, name: str, rank: int, paths: list[str]) -> list[nn.Parameter]:
    options = options_of(name, rank)
    shared = ("to_q", "to_k", "to_v")
    targets = [
        Target(Layer(path, "attention", shared_input=path.rpartition(".")[0] if path.endswith(shared) else ""), options)
        for path in paths
    ]
    network = Network.create("sd1", {"unet": model}, {"unet": targets}, seed=0).train()
    network.insert({"unet": model})
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


class Racer:
    """A model with its adapters, stepped again and again."""

    def __init__(self, model: nn.Module, learning: list[nn.Parameter], inputs: list[Tensor], dtype: torch.dtype) -> None:
        self.model, self.learning, self.dtype = model, learning, dtype
        self.inputs = [x.to(dtype).requires_grad_() for x in inputs]
        self.seconds: list[float] = []

    def forward(self) -> list[Tensor]:
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            return self.model([x * 1 for x in self.inputs])  # no leaves, as in the middle of a model

    def step(self) -> float:
        """Seconds that forward and backward take."""
        for tensor in (*self.learning, *self.inputs):
            tensor.grad = None
        began = time.perf_counter()
        outputs = self.forward()
        torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
        return time.perf_counter() - began

    def kept_mib(self) -> float:
        """What autograd keeps between forward and backward, MiB."""
        known = {tensor.untyped_storage().data_ptr() for tensor in (*self.model.parameters(), *self.learning, *self.inputs)}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = self.forward()
        del outputs
        return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in known) / 2**20


def interval(values: list[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the median, from order statistics."""
    ordered, reach = sorted(values), 0.98 * len(values) ** 0.5
    last = len(ordered) - 1
    return ordered[max(0, round(last / 2 - reach))], ordered[min(last, round(last / 2 + reach))]


# ---- what should take no time ----


def injection(rounds: int) -> list[Row]:
    """Adapters for a U-Net of SD1.5's size, on a base without memory: only its shapes matter."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    layers = adaptable_layers("sd1", {"unet": unet})

    def inject(options: LayerOptions) -> None:
        network = Network.create("sd1", {"unet": unet}, choose(layers, options), seed=0)
        network.insert({"unet": unet})
        network.remove()

    cases: dict[str, Callable[[], None]] = {
        "attention + mlp, rank 16": lambda: inject(OPTIONS["lora"](rank=16)),  # type: ignore[call-arg]
        "every layer, rank 16": lambda: inject(OPTIONS["lora"](rank=16, targets="full")),  # type: ignore[call-arg]
    }
    few = min(rounds, 5)
    return [
        Row(f"into SD1.5's U-Net: {name}", tuple(timed(work) for _ in range(few)), goal=SECOND) for name, work in cases.items()
    ]


def saving(folder: Path, rounds: int) -> list[Row]:
    """40 MB written and read back bit for bit, as a run does before it says that it has saved; and loaded."""
    tensors: dict[str, Tensor] = {}
    for number in range(160):
        module = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_{number}_attn1_to_q"
        tensors |= {f"{module}.lora_down.weight": torch.randn(32, 1000), f"{module}.lora_up.weight": torch.randn(1000, 32)}
        tensors[f"{module}.alpha"] = torch.tensor(16.0)
    file, few = folder / "40.safetensors", min(rounds, 5)
    return [
        Row("40 MB saved and verified", tuple(timed(lambda: write_adapter(file, tensors, {})) for _ in range(few)), goal=SECOND),
        Row("40 MB loaded", tuple(timed(lambda: read_adapter(file)) for _ in range(few))),
    ]
