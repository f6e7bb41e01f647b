"""Words that may be chosen, shared by configs, forms and the code that carries them out."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

SamplerName = Literal[
    "Automatic", "Euler a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 3M SDE", "DPM++ 2S a", "Euler", "Heun", "DPM2", "LMS",
    "DDIM", "UniPC", "LCM",
]  # fmt: skip
SAMPLER_NAMES: tuple[str, ...] = get_args(SamplerName)
"""Samplers by AUTOMATIC1111's names, the most used first; "Automatic" is the model's own."""
ScheduleName = Literal[
    "Automatic", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "Uniform", "Simple", "Normal", "Beta", "Align Your Steps",
]  # fmt: skip
SCHEDULE_NAMES: tuple[str, ...] = get_args(ScheduleName)
"""How the noise falls from step to step, by AUTOMATIC1111's names; "Automatic" is what suits the sampler."""
SAMPLERS_FOR: dict[str, tuple[str, ...]] = {
    "epsilon": SAMPLER_NAMES[1:],
    "v_prediction": SAMPLER_NAMES[1:],
    "flow": ("Euler", "Euler a", "DPM++ 2M", "Heun", "UniPC"),
}
"""What a model predicts -> the samplers that can walk it."""
SCHEDULES_FOR: dict[str, tuple[str, ...]] = {
    "epsilon": SCHEDULE_NAMES,
    "v_prediction": SCHEDULE_NAMES,
    "flow": ("Automatic", "Simple", "Beta"),
}
"""What a model predicts -> the schedules it can be walked by. A flow has its own noise levels, and no Karras ones."""

Emphasis = Literal["Original", "No norm", "Ignore", "None"]
"""What the weights in a prompt do, by AUTOMATIC1111's names."""
NoiseSource = Literal["CPU", "NV"]
Resize = Literal["crop", "fill", "stretch"]
MaskedContent = Literal["original", "fill", "noise", "nothing"]
Upscaler = Literal["Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (nearest)", "Lanczos", "Nearest"]
"""How the second pass (hires fix) is given a larger picture: stretched latents, or the picture itself, encoded again."""


def split_sampler(written: str) -> tuple[str, str]:
    """Sampler and schedule of a name as older pictures have it: "DPM++ 2M Karras" -> ("DPM++ 2M", "Karras").

    A name without a schedule's is returned with "". Upper and lower case are the same; an unknown name stays as it is.
    """
    name, schedule = written.strip(), ""
    for known in SCHEDULE_NAMES[1:]:
        if name.casefold().endswith(f" {known.casefold()}"):
            name, schedule = name[: -len(known) - 1].rstrip(), known
            break
    return next((known for known in SAMPLER_NAMES if known.casefold() == name.casefold()), name), schedule


PictureFormat = Literal["png", "jpeg", "webp"]
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
