"""From a prompt to pictures: encode, draw noise, walk the sampler, decode.

Works on a loaded base model whose adapters are already in place; knows no adapter, no file and no queue. The same function
makes the sample pictures of a training run and the pictures of the Generate tab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.config.generate import GenerateConfig
from engine.errors import ConfigError, PromptError
from engine.families.attention import attention
from engine.families.base import Conditions, Family, Placing
from engine.generation.prompt import parse_schedule, split_composable
from engine.generation.samplers import make_scheduler, noise, set_steps, take_step

Progress = Callable[[int, int], None]
"""Called with denoiser calls done and in all."""
OnProblem = Callable[[PromptError], None]
"""Called with what is not done as the prompts ask."""


@dataclass(frozen=True)
class Part:
    """One part of an AND prompt: its weight and, for every denoiser call, the text in force."""

    weight: float
    texts: tuple[str, ...]


def picture_size(config: GenerateConfig, model: Family) -> tuple[int, int]:
    """Width and height in px; 0 is the model's own.

    Raises:
        ConfigError: `config.size`.
    """
    size = config.width or model.facts.resolution, config.height or model.facts.resolution
    for name, side in zip(("width", "height"), size, strict=True):
        if side % model.size_step:
            raise ConfigError(
                "config.size", f"{name}: {side} px does not fit this model.", f"A multiple of {model.size_step} px.",
                f"Choose {side - side % model.size_step or model.size_step}.", field=name, value=side, step=model.size_step,
            )  # fmt: skip
    return size


def with_habits(config: GenerateConfig, model: Family) -> GenerateConfig:
    """The request with the model's own sampler, steps and guidance where it leaves them open."""
    habits = model.facts.habits
    return config.model_copy(update={
        "sampler": habits.sampler if config.sampler == "Automatic" else config.sampler,
        "steps": config.steps or habits.steps,
        "guidance_scale": config.guidance_scale or habits.guidance_scale,
        "distilled_guidance": (config.distilled_guidance or habits.distilled_guidance) if habits.distilled_guidance else 0.0,
    })  # fmt: skip


def plan_texts(text: str, steps: int, calls: int) -> tuple[str, ...]:
    """The text in force at each denoiser call. A schedule counts steps; samplers of second order make two calls a step."""
    stages = parse_schedule(text, steps)
    of_step = [next(stage for until, stage in stages if step <= until) for step in range(1, steps + 1)]
    return tuple(of_step[call * steps // calls] for call in range(calls))


def plan_parts(text: str, steps: int, calls: int) -> list[Part]:
    """What each denoiser call is told, for every part of an AND prompt."""
    return [Part(weight, plan_texts(part, steps, calls)) for part, weight in split_composable(text)]


@torch.no_grad()
def make_pictures(
    model: Family, text: str, negative: str, config: GenerateConfig, seeds: Sequence[int], on_progress: Progress | None = None,
    on_problem: OnProblem | None = None,
) -> Tensor:  # fmt: skip
    """Pictures of one prompt.

    Args:
        text: the prompt without adapter tags.
        seeds: one per picture.

    Returns:
        (len(seeds), 3, H, W), float32 in [0, 1].
    """
    width, height = picture_size(config, model)
    config = with_habits(config, model)
    scheduler = make_scheduler(config.sampler, model.scheduler_config, model.prediction)
    set_steps(
        scheduler, model.scheduler_config, config.steps, model.device, **model.schedule_options(width, height, config.steps)
    )
    timesteps = scheduler.timesteps
    parts = plan_parts(text, config.steps, len(timesteps))
    guided = config.guidance_scale != 1
    against = plan_texts(negative, config.steps, len(timesteps)) if guided else ()
    wanted = dict.fromkeys([*(stage for part in parts for stage in part.texts), *against])
    with model.on_device(*model.encoders):
        words = model.conditioning(config.clip_skip)
        encoded = words.encode(wanted)
    if on_problem:
        for problem in words.problems:
            on_problem(problem)
    common = model.picture_conditions([Placing((width, height), (0, 0), (width, height))])
    if config.distilled_guidance:
        common["guidance"] = torch.tensor([config.distilled_guidance], device=model.device)

    latents, generators = noise(model.latent_shape(width, height), seeds, model.device)
    latents = latents * getattr(scheduler, "init_noise_sigma", 1.0)
    with model.on_device(model.format.denoiser), attention(config.attention):
        for call, timestep in enumerate(timesteps):
            rows = [encoded[text] | common for text in (*(part.texts[call] for part in parts), *against[call : call + 1])]
            scaled = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            predictions = _predict(model, scaled, timestep, rows)
            guided_by = _guide(predictions, parts, config.guidance_scale, guided)
            latents = take_step(scheduler, guided_by, timestep, latents, generators)
            if on_progress:
                on_progress(call + 1, len(timesteps))
    with model.on_device("vae"):
        return torch.cat([model.decode_latents(latent[None]).cpu() for latent in latents])


def _predict(model: Family, latents: Tensor, timestep: Tensor, rows: list[Conditions]) -> list[Tensor]:
    """The model's prediction for every text, in one batch; float32."""
    count = len(latents)
    conditions = {name: torch.cat([row[name].expand(count, *row[name].shape[1:]) for row in rows]) for name in rows[0]}
    output = model.predict(latents.repeat(len(rows), 1, 1, 1), timestep.expand(count * len(rows)), conditions)
    return list(output.float().split(count))


def _guide(predictions: list[Tensor], parts: list[Part], scale: float, guided: bool) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), composed (Liu et al. 2022): uncond + sum of w * scale * (cond - uncond)."""
    if not guided:
        return torch.stack([part.weight * p for part, p in zip(parts, predictions, strict=True)]).sum(0)
    *conditional, base = predictions
    return base + scale * torch.stack([part.weight * (p - base) for part, p in zip(parts, conditional, strict=True)]).sum(0)


def to_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W) in [0, 1] as 8-bit RGB."""
    return Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
