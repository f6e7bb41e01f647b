"""Pictures beside a bare loop of diffusers: time per step with and without adapters and previews, and how long a change of adapters,
a new file and a grid take."""

from __future__ import annotations

import argparse
import secrets
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, GridConfig
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_writer import write_adapter
from engine.generation.grid import make_cells
from engine.generation.studio import Studio
from engine.grid.plan import plan_grid
from engine.grid.record import begin_record
from engine.library import find_model
from engine.workspace import Workspace
from tests.benchmarks.report import Row, ratio, timed
from tests.support.tiny import tiny_sd1

STEPS, FEW = 40, 20
"""Time per step is the difference of two pictures, divided by the difference of their steps: what comes before and after falls out."""
STACKED = 5
CELLS = "0-1 [5]"
NAMES = [f"<lora:lora{number}:0.3>" for number in range(STACKED)]


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    model, rounds = options.model, options.rounds
    workspace = Workspace(folder).prepare()
    if model == "tiny":
        tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny")
    location = Path(find_model(model, workspace))
    base = load_model(location, torch.device("cpu"), torch.float32)
    bench = _Bench(model, base, location, workspace)
    for number in range(rounds + STACKED):
        write_lora(base, workspace.loras / f"lora{number}.safetensors", number)
    return [*bench.pictures(rounds), *bench.steps(rounds), *bench.changes(rounds), *bench.grid(rounds)]


class _Bench:
    def __init__(self, model: str, base: Family, location: Path, workspace: Workspace) -> None:
        self.model, self.base, self.workspace = model, base, workspace
        self.studio, self.side = Studio(workspace), base.facts.resolution
        self.starter = model == "starter"
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            location, safety_checker=None, low_cpu_mem_usage=False, dtype=torch.float32
        )
        self.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)

    def request(self, prompt: str = "a red cat", steps: int = FEW, **options: object) -> GenerateConfig:
        given = {"model": self.model, "prompt": prompt, "steps": steps, "seed": 1, "width": self.side, "height": self.side}
        return GenerateConfig(**given | options)  # type: ignore[arg-type]

    def ours(self, prompt: str = "a red cat", steps: int = FEW, previews: bool = False, **options: object) -> float:
        show = {"on_preview": lambda image: image.tobytes()} if previews else {}
        config = self.request(prompt, steps, **options)
        return timed(lambda: self.studio.generate(config, self.workspace.outputs, **show))  # type: ignore[arg-type]

    def bare(self, steps: int = FEW) -> float:
        size = {"width": self.side, "height": self.side}
        return timed(lambda: self.pipeline("a red cat", num_inference_steps=steps, guidance_scale=7.0, **size))

    def pictures(self, rounds: int) -> list[Row]:
        self.ours(), self.bare()  # the first of each is loading
        pairs = [(self.ours(), self.bare()) for _ in range(rounds)]
        ours, bare = zip(*pairs, strict=True)
        return [
            Row(f"picture of {self.side} px, {FEW} steps, request to PNG", ours, goal=1.5 if self.starter else None),
            Row("the same by diffusers' pipeline, not saved", bare),
            ratio("ours / bare", ours, bare, goal=1.0),
        ]

    def steps(self, rounds: int) -> list[Row]:
        """Of each way of making a picture the time of a step, interleaved, as ratios."""
        ways: dict[str, Callable[[int], float]] = {
            "bare": self.bare,
            "plain": lambda steps: self.ours(steps=steps),
            "one": lambda steps: self.ours(f"a red cat {NAMES[0]}", steps),
            "stacked": lambda steps: self.ours(f"a red cat {''.join(NAMES)}", steps),
            "previews": lambda steps: self.ours(steps=steps, previews=True),
        }
        for way in ways.values():
            way(FEW)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                few = way(FEW)
                taken[name].append((way(STEPS) - few) / (STEPS - FEW))
        return [
            Row("a step, diffusers' loop", tuple(taken["bare"])),
            Row("a step, ours", tuple(taken["plain"])),
            ratio("ours / bare, per step", taken["plain"], taken["bare"], goal=1.05),
            ratio("with a LoRA / without, per step", taken["one"], taken["plain"], goal=1.02),
            ratio(f"with {STACKED} LoRAs / without, per step", taken["stacked"], taken["plain"], goal=1.05),
            ratio("with previews / without, per step", taken["previews"], taken["plain"], goal=1.03),
        ]

    def changes(self, rounds: int) -> list[Row]:
        """What a new strength and a new file add to a picture of one step."""
        self.ours(f"a red cat {NAMES[0]}", 1)
        usual = statistics.median([self.ours(f"a red cat {NAMES[0]}", 1) for _ in range(rounds)])
        strengths = [self.ours(f"a red cat <lora:lora0:{0.9 - number / 10}>", 1) for number in range(rounds)]
        files = [self.ours(f"a red cat <lora:lora{STACKED + number}:1>", 1) for number in range(rounds)]
        return [
            Row("a LoRA's strength changed", tuple(each - usual for each in strengths), goal=0.02 if self.starter else None),
            Row("a LoRA file that is new", tuple(each - usual for each in files), goal=0.1 if self.starter else None),
        ]

    def grid(self, rounds: int) -> list[Row]:
        """Five strengths by five seeds, beside the same 25 pictures asked for one strength at a time."""
        picture = self.request(f"a red cat {NAMES[0]}")
        config = GridConfig(
            picture=picture,
            x=Axis(kind="strength", values=CELLS),
            y=Axis(kind="seed", values="1-5"),
            base_column=False,
            score=False,
        )
        plan = plan_grid(config, self.workspace)

        def whole() -> None:
            record = begin_record(plan, self.workspace.outputs / secrets.token_hex(4))
            make_cells(plan, self.studio, record, lambda share: None, lambda: None)

        def one_by_one() -> None:
            for strength in (0, 0.25, 0.5, 0.75, 1):
                self.ours(f"a red cat <lora:lora0:{strength}>", batch_size=5)

        pairs = [(timed(whole), timed(one_by_one)) for _ in range(max(2, rounds // 3))]
        ours, single = zip(*pairs, strict=True)
        return [
            Row("a grid of 25 pictures", ours),
            Row("25 pictures in 5 batches", single),
            ratio("grid / batches", ours, single, goal=1.0),
        ]


def write_lora(base: Family, path: Path, seed: int) -> None:
    """A LoRA with random weights on every layer."""
    options = LoraOptions(rank=8, alpha=8, conv_rank=8)
    network = Network.create(base.facts.family, base.components, base.targets(options), seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(seed))
    write_adapter(path, {name: tensor.detach() for name, tensor in network.tensors().items()}, {})
