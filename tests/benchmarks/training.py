"""A training step beside the least that diffusers and PEFT need for it, and the practice run from click to finished LoRA."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig

from engine.config.load import load, preset_path
from engine.config.train import TrainConfig
from engine.library import find_model
from engine.training.events import Done, Step
from engine.training.trainer import Trainer
from engine.workspace import Workspace
from tests.benchmarks.report import Row, peak_mib, ratio
from tests.support.tiny import tiny_sd1

WARM_UP, STEPS = 3, 20
RESOLUTION = {"starter": 0, "tiny": 64}


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    model, rounds = options.model, options.rounds
    workspace = Workspace(folder).prepare()
    if model == "tiny":
        tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny")
    ours, bare = [], []
    for number in range(rounds):
        config = practice(
            model, {"training": {"max_steps": WARM_UP + STEPS}, "samples": {"count": 0}, "output": {"save_count": 1}}
        )
        trainer = Trainer(config, workspace.runs / str(number), workspace)
        ours += [event.seconds for event in trainer.run() if isinstance(event, Step)][WARM_UP:]
        bare += bare_steps(trainer, Path(find_model(model, workspace)))[WARM_UP:]
    seconds, mib = practice_run(model, folder / "practice")
    return [
        Row("step at batch 8", tuple(ours), goal=0.3 if model == "starter" else None),
        Row("the same with diffusers and PEFT alone", tuple(bare)),
        ratio("ours / bare", ours, bare, goal=1.0),
        Row("practice run, click to finished LoRA", (seconds,), goal=90),
        Row("peak memory of the worker in it", (mib,), "MiB", goal=1536),
    ]


def practice(model: str, settings: dict) -> TrainConfig:
    """The shipped practice preset, on this model."""
    config = load(TrainConfig, preset_path("starter/character"), settings)
    config.model.path, config.dataset.resolution = model, RESOLUTION[model]
    return config


def bare_steps(trainer: Trainer, folder: Path) -> list[float]:
    """Seconds of each step of a plain loop: the same layers, rank, batches, latents and texts as the trainer had."""
    adapter, training, data = trainer.config.adapter, trainer.config.training, trainer.data
    unet = UNet2DConditionModel.from_pretrained(
        folder, subfolder="unet", low_cpu_mem_usage=False, dtype=torch.float32
    ).requires_grad_(False)
    targets = [target.layer.path for target in trainer.model.targets(adapter)["unet"]]
    unet.add_adapter(LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=targets, init_lora_weights="gaussian"))
    parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=training.learning_rate)
    scheduler = DDPMScheduler.from_config(trainer.model.scheduler_config)
    seconds = []
    for step in range(1, WARM_UP + STEPS + 1):
        (batch,) = data.step_batches(step)
        began = time.perf_counter()
        noise, timesteps = torch.randn_like(batch.encoded), torch.randint(1000, (len(batch.encoded),))
        noisy = scheduler.add_noise(batch.encoded, noise, timesteps)  # type: ignore[union-attr]
        loss = F.mse_loss(unet(noisy, timesteps, data.encode(batch.captions)["text"]).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - began)
    return seconds


def practice_run(model: str, folder: Path) -> tuple[float, float]:
    """The whole practice run, caching and samples included, in a process that is warm as a worker is: seconds and peak MiB."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_practice, args=(model, str(folder), answer))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the practice run ended with {process.exitcode}")
    return answer.get()


def _practice(model: str, folder: str, answer: multiprocessing.SimpleQueue) -> None:
    workspace = Workspace(Path(folder)).prepare()
    if model == "tiny":
        tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny")
    began = time.perf_counter()
    short = {"training": {"max_steps": 4}, "samples": {"count": 1}} if model == "tiny" else {}
    (done,) = [
        event for event in Trainer(practice(model, short), workspace.runs / "1", workspace).run() if isinstance(event, Done)
    ]
    assert (workspace.loras / done.file).is_file()
    answer.put((time.perf_counter() - began, peak_mib()))
