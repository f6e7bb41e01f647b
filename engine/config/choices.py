"""Words that may be chosen, shared by configs, forms and the code that carries them out."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

SamplerName = Literal["Automatic", "Euler a", "DPM++ 2M Karras", "DDIM", "Euler", "DPM++ 2M", "Heun", "UniPC"]
SAMPLER_NAMES: tuple[str, ...] = get_args(SamplerName)
"""Samplers by AUTOMATIC1111's names, the most used first; the first is the model's own."""
SAMPLERS_FOR: dict[str, tuple[str, ...]] = {
    "epsilon": SAMPLER_NAMES[1:],
    "v_prediction": SAMPLER_NAMES[1:],
    "flow": ("Euler", "Euler a", "DPM++ 2M", "Heun", "UniPC"),
}
"""What a model predicts -> the samplers that can walk it. A flow has its own noise levels, and no Karras ones."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "nf4", "int8", "fp8"]
Attention = Literal["auto", "flash", "efficient", "cudnn", "math"]
"""What of these a device has, `engine.fitting` knows."""


class ModelChoice(NamedTuple):
    """A base model as the user names it.

    Attributes:
        model: a name of the library, a path or a Hugging Face id.
        vae, text_encoders: files in place of its own, or that it lacks; "" and () leave it to the model.
    """

    model: str
    vae: str = ""
    text_encoders: tuple[str, ...] = ()
