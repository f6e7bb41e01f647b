"""Samplers by AUTOMATIC1111's names: diffusers' schedulers and their options, and courses of our own where diffusers has none
that takes the levels and the noise of a picture.

A new sampler is one line here and its name in `engine.config.choices`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)

from engine.config.choices import SAMPLERS_FOR
from engine.errors import ConfigError
from engine.generation.sampling.ancestral import dpm_2s_ancestral, euler_ancestral, flow_euler_ancestral, lcm
from engine.generation.sampling.course import Start
from engine.generation.sampling.dpm_sde import dpm_2m_sde, dpm_3m_sde, dpm_sde
from engine.generation.sampling.plain import ddim, dpm_2
from engine.generation.sampling.scheduled import HIGHEST, scheduled


@dataclass(frozen=True)
class Sampler:
    """How a sampler walks.

    Args:
        start: starts its course.
        schedule: what the schedule "Automatic" means with it.
        leaves_out: whether the level next to last is left out, as AUTOMATIC1111 does.
        pure_noise: whether it can start from pure noise, where the first step is so long that extrapolated slopes break.
        fills: whether it starts from noise of level (1 + level^2)^(1/2), as if pictures were in it, instead of `level`;
            AUTOMATIC1111 does so where it walks timesteps.
    """

    start: Start
    schedule: str = "Uniform"
    leaves_out: bool = False
    pure_noise: bool = True
    fills: bool = False


DPM_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2}
SAMPLERS: dict[str, Sampler] = {
    # ancestral: an Euler step to below the next noise level, then fresh noise up to it
    "Euler a": Sampler(euler_ancestral),
    # Lu et al. 2022: DPM-Solver++, multistep (M) and singlestep (S), for the ODE and for the SDE
    "DPM++ 2M": Sampler(scheduled(DPMSolverMultistepScheduler, keeps_variance=True, **DPM_2M), "Karras"),
    "DPM++ SDE": Sampler(dpm_sde, "Karras"),
    "DPM++ 2M SDE": Sampler(dpm_2m_sde, "Exponential"),
    "DPM++ 3M SDE": Sampler(dpm_3m_sde, "Exponential", leaves_out=True),
    "DPM++ 2S a": Sampler(dpm_2s_ancestral, "Karras"),
    # Karras et al. 2022, algorithm 1 without fresh noise: without and with its second-order correction
    "Euler": Sampler(scheduled(EulerDiscreteScheduler)),
    "Heun": Sampler(scheduled(HeunDiscreteScheduler), pure_noise=False),
    "DPM2": Sampler(dpm_2, "Karras", leaves_out=True, pure_noise=False),
    # linear multistep, of order 4
    "LMS": Sampler(scheduled(LMSDiscreteScheduler), pure_noise=False),
    "DDIM": Sampler(ddim, "Own", fills=True),
    # Zhao et al. 2023
    "UniPC": Sampler(scheduled(UniPCMultistepScheduler, keeps_variance=True, solver_order=2), fills=True),
    "LCM": Sampler(lcm),
}
"""The names are those of `engine.config.choices.SAMPLERS_FOR["epsilon"]`."""

FLOW_SAMPLERS: dict[str, Sampler] = {
    "Euler": Sampler(scheduled(EulerDiscreteScheduler)),
    "Euler a": Sampler(flow_euler_ancestral),
    # Multistep samplers extrapolate over the logarithm of the level, where SD3's own last level lies too far from the others.
    "DPM++ 2M": Sampler(scheduled(DPMSolverMultistepScheduler, use_flow_sigmas=True, **DPM_2M), "Simple"),
    "Heun": Sampler(scheduled(HeunDiscreteScheduler)),
    "UniPC": Sampler(scheduled(UniPCMultistepScheduler, highest=HIGHEST, use_flow_sigmas=True, solver_order=2), "Simple"),
}
"""Those of flow matching; the names are those of `engine.config.choices.SAMPLERS_FOR["flow"]`."""


def find_sampler(name: str, prediction: str, pure_noise: bool) -> Sampler:
    """The sampler of a name for a model.

    Args:
        prediction: what the model predicts, key of `engine.config.choices.SAMPLERS_FOR`.
        pure_noise: whether the model was trained to start from pure noise (zero terminal SNR, Lin et al. 2023).

    Raises:
        ConfigError: `sampler.unknown` with the nearest names; `sampler.flow` or `sampler.zero_snr` when the model needs what the
            sampler lacks.
    """
    if name not in SAMPLERS:
        shown = ", ".join(difflib.get_close_matches(name, SAMPLERS, n=3, cutoff=0.4) or SAMPLERS)
        raise ConfigError(
            "sampler.unknown", f"There is no sampler {name!r}.", f"The nearest are {shown}.", "Choose one of them.",
            field="sampler", value=name, nearest=shown,
        )  # fmt: skip
    if prediction == "flow":
        if name not in FLOW_SAMPLERS:
            known = ", ".join(SAMPLERS_FOR["flow"])
            raise ConfigError(
                "sampler.flow", f"The sampler {name!r} cannot walk a flow, which is what this model predicts.", f"One of {known}.",
                "Choose Euler.", field="sampler", value=name, known=known,
            )  # fmt: skip
        return FLOW_SAMPLERS[name]
    if pure_noise and not SAMPLERS[name].pure_noise:
        raise ConfigError(
            "sampler.zero_snr", f"The sampler {name!r} cannot start from pure noise, which this model was trained to do.",
            "A sampler for zero terminal SNR.", "Choose Euler a, DPM++ 2M or DDIM.", field="sampler", value=name,
        )  # fmt: skip
    return SAMPLERS[name]
