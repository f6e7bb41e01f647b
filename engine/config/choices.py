"""Words that may be chosen, shared by configs, forms and the code that carries them out."""

from __future__ import annotations

from typing import Literal, get_args

SamplerName = Literal["Euler a", "DPM++ 2M Karras", "DDIM", "Euler", "DPM++ 2M", "Heun", "UniPC"]
SAMPLER_NAMES: tuple[str, ...] = get_args(SamplerName)
"""Samplers by AUTOMATIC1111's names, the most used first."""
