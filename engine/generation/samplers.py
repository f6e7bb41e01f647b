"""Samplers by AUTOMATIC1111's names, and the noise of each picture.

A sampler is one of diffusers' schedulers, built from the model's own scheduler config: betas, prediction type, timestep
spacing and offset stay the model's; flow matching has its own (`engine.generation.flow_samplers`). Knows no prompt and no model.
A new sampler is one line in either table and its name in `engine.config.choices`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from engine.config.choices import SAMPLERS_FOR
from engine.errors import ConfigError
from engine.generation.flow_samplers import FLOW_SAMPLERS, set_flow_steps, walks_flow


@dataclass(frozen=True)
class SamplerSpec:
    """A scheduler class and what is set on top of the model's config.

    Args:
        leading: whether diffusers' "leading" spacing reaches the noisiest steps with this class; where it does not (200 steps
            start at 800 of 1000), "linspace" takes its place.
    """

    scheduler: Any  # the class
    options: Mapping[str, Any] = field(default_factory=dict)
    leading: bool = True


SAMPLERS: dict[str, SamplerSpec] = {
    # ancestral: an Euler step to below the next noise level, then fresh noise up to it
    "Euler a": SamplerSpec(EulerAncestralDiscreteScheduler),
    # Lu et al. 2022, DPM-Solver++(2M); Karras' noise levels (equation 5, rho 7)
    "DPM++ 2M Karras": SamplerSpec(
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
        leading=False,
    ),
    # Song et al. 2020, eta 0. diffusers clips to [-1, 1] unless told not to, which is wrong for latents
    "DDIM": SamplerSpec(DDIMScheduler, {"clip_sample": False, "thresholding": False}),
    # Karras et al. 2022, algorithm 1 without its second-order correction
    "Euler": SamplerSpec(EulerDiscreteScheduler, {"use_karras_sigmas": False}),
    "DPM++ 2M": SamplerSpec(
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": False},
        leading=False,
    ),
    # Karras et al. 2022, algorithm 1: two evaluations a step
    "Heun": SamplerSpec(HeunDiscreteScheduler, {"use_karras_sigmas": False}),
    # Zhao et al. 2023
    "UniPC": SamplerSpec(UniPCMultistepScheduler, {"solver_order": 2, "use_karras_sigmas": False}, leading=False),
}
AUTOMATIC = {"DPM++ 2M": "DPM++ 2M Karras"}  # what the schedule "Automatic" means where it is not the model's own
OWN_SCHEDULE = ("", "automatic", "uniform")


def sampler_name(name: str, schedule: str | None = None) -> str:
    """The key in SAMPLERS for a sampler as written in a picture: one name, or sampler and schedule apart.

    Args:
        name: "DPM++ 2M Karras" or "DPM++ 2M"; upper and lower case are the same.
        schedule: "Karras", "Automatic" or None for what the name says.

    Raises:
        ConfigError: `sampler.unknown` with the nearest names.
    """
    wanted, ending = name.strip(), (schedule or "").strip()
    if ending.casefold() not in OWN_SCHEDULE and not wanted.casefold().endswith(ending.casefold()):
        written = f"{wanted} {ending}"
    else:
        written = wanted
    known = {key.casefold(): key for key in SAMPLERS}
    if written.casefold() not in known:
        near = difflib.get_close_matches(written.casefold(), known, n=3, cutoff=0.4) or list(known)
        shown = ", ".join(known[key] for key in near)
        raise ConfigError(
            "sampler.unknown", f"There is no sampler {written!r}.", f"The nearest are {shown}.", "Choose one of them.",
            field="sampler", value=written, nearest=shown,
        )  # fmt: skip
    key = known[written.casefold()]
    return AUTOMATIC.get(key, key) if ending.casefold() == "automatic" else key


def infotext_names(key: str) -> tuple[str, str]:
    """Sampler and schedule as a picture states them; `sampler_name` makes the key of them again."""
    if key.endswith(" Karras"):
        return key.removesuffix(" Karras"), "Karras"
    return key, "Uniform" if key in AUTOMATIC else "Automatic"


def make_scheduler(name: str, scheduler_config: Mapping[str, Any], prediction: str = "epsilon") -> Any:
    """A fresh scheduler for one run of a sampler.

    Args:
        scheduler_config: the model's own (`pipeline.scheduler.config`).
        prediction: what the model predicts, key of `engine.config.choices.SAMPLERS_FOR`.

    Raises:
        ConfigError: `sampler.unknown`; `sampler.flow` or `sampler.zero_snr` when the model needs what the sampler lacks.
    """
    key = sampler_name(name)
    if prediction == "flow":
        return _flow_scheduler(key, scheduler_config)
    spec = SAMPLERS[key]
    if scheduler_config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in signature(spec.scheduler).parameters:
        raise ConfigError(
            "sampler.zero_snr", f"The sampler {key!r} cannot start from pure noise, which this model was trained to do.",
            "A sampler for zero terminal SNR.", "Choose Euler a, DPM++ 2M Karras or DDIM.", field="sampler", value=key,
        )  # fmt: skip
    options = dict(spec.options)
    if not spec.leading and scheduler_config.get("timestep_spacing") == "leading":
        options["timestep_spacing"] = "linspace"
    return spec.scheduler.from_config(scheduler_config, **options)


def _flow_scheduler(key: str, scheduler_config: Mapping[str, Any]) -> Any:
    if key not in FLOW_SAMPLERS:
        known = ", ".join(SAMPLERS_FOR["flow"])
        raise ConfigError(
            "sampler.flow", f"The sampler {key!r} cannot walk a flow, which is what this model predicts.", f"One of {known}.",
            "Choose Euler.", field="sampler", value=key, known=known,
        )  # fmt: skip
    scheduler, options = FLOW_SAMPLERS[key]
    return scheduler(num_train_timesteps=scheduler_config.get("num_train_timesteps", 1000), **options)


def set_steps(
    scheduler: Any, scheduler_config: Mapping[str, Any], steps: int, device: torch.device | str = "cpu", **options: Any
) -> None:
    """Lay out the steps of a run.

    Args:
        scheduler: of `make_scheduler` for the same config.
        options: of flow matching, see `engine.generation.flow_samplers.flow_levels`.
    """
    if walks_flow(scheduler):
        set_flow_steps(scheduler, scheduler_config, steps, device, **options)
    else:
        scheduler.set_timesteps(steps, device=device)


def take_step(
    scheduler: Any,
    output: torch.Tensor,  # (B, C, H, W), what the model predicts
    timestep: torch.Tensor,
    latents: torch.Tensor,  # (B, C, H, W)
    generators: list[torch.Generator],
) -> torch.Tensor:
    """One scheduler step; fresh noise, where the sampler wants some, comes from each picture's own generator."""
    options = {"generator": generators} if "generator" in signature(scheduler.step).parameters else {}
    return scheduler.step(output, timestep, latents, return_dict=False, **options)[0]


def noise(
    shape: tuple[int, ...], seeds: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, list[torch.Generator]]:
    """Unit noise, picture by picture, and the generators it came from.

    Drawn on the CPU in float32 whatever the device, so that a seed means the same picture everywhere; multiply by the
    scheduler's `init_noise_sigma`.

    Args:
        shape: of one picture's latents, (C, H, W).
        seeds: one per picture.

    Returns:
        (len(seeds), C, H, W) on `device`, and one CPU generator per picture, past its first draw.
    """
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    return torch.stack(drawn).to(device=device, dtype=dtype), generators
