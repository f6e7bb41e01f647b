"""A picture beside diffusers' own pipeline, and how long a new strength or a new LoRA file takes to be in force."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.generate import GenerateConfig
from engine.families import load_model
from engine.formats.adapter_writer import write_adapter
from engine.generation.studio import Studio
from engine.library import find_model
from engine.workspace import Workspace
from tests.benchmarks.report import Row, ratio, timed
from tests.support.tiny import tiny_sd1

STEPS = 20


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    model, rounds = options.model, options.rounds
    workspace = Workspace(folder).prepare()
    if model == "tiny":
        tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny")
    location = Path(find_model(model, workspace))
    base = load_model(location, torch.device("cpu"), torch.float32)
    side = base.facts.resolution
    studio = Studio(workspace)

    def ours(prompt: str = "a red cat", steps: int = STEPS) -> float:
        config = GenerateConfig(model=model, prompt=prompt, steps=steps, seed=1, width=side, height=side)
        return timed(lambda: studio.generate(config, workspace.outputs))

    pipeline = StableDiffusionPipeline.from_pretrained(
        location, safety_checker=None, low_cpu_mem_usage=False, dtype=torch.float32
    )
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def bare() -> float:
        return timed(lambda: pipeline("a red cat", num_inference_steps=STEPS, guidance_scale=7.0, width=side, height=side))

    ours(), bare()  # the first of each is loading
    pairs = [(ours(), bare()) for _ in range(rounds)]
    for number in range(rounds + 1):
        write_lora(base, workspace.loras / f"lora{number}.safetensors", number)
    plain = [ours(steps=1) for _ in range(rounds)]
    ours("a red cat <lora:lora0:1>", steps=1)
    strengths = [ours(f"a red cat <lora:lora0:{0.9 - number / 10}>", steps=1) for number in range(rounds)]
    files = [ours(f"a red cat <lora:lora{number + 1}:1>", steps=1) for number in range(rounds)]
    usual = sorted(plain)[len(plain) // 2]
    return [
        Row(
            f"picture of {side} px, {STEPS} steps, request to PNG",
            tuple(pair[0] for pair in pairs),
            goal=1.5 if model == "starter" else None,
        ),
        Row("the same by diffusers' pipeline, not saved", tuple(pair[1] for pair in pairs)),
        ratio("ours / bare", [pair[0] for pair in pairs], [pair[1] for pair in pairs], goal=1.0),
        Row("a LoRA's strength changed", tuple(seconds - usual for seconds in strengths)),
        Row("a LoRA file that is new", tuple(seconds - usual for seconds in files), goal=1.0),
    ]


def write_lora(base, path: Path, seed: int) -> None:
    """A LoRA with random weights on every layer."""
    options = LoraOptions(rank=8, alpha=8, conv_rank=8)
    network = Network.create(base.facts.family, base.components, base.targets(options), seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(seed))
    write_adapter(path, {name: tensor.detach() for name, tensor in network.tensors().items()}, {})
