"""From the body of `txt2img` or `img2img` to the config of a job.

Bounds are those of `GenerateConfig`; a value beyond them is refused under the name that the caller knows it by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import HTTPException

from engine.config.choices import SAMPLER_NAMES, SCHEDULE_NAMES, split_sampler
from engine.config.generate import GenerateConfig
from engine.config.load import nested, validate
from engine.errors import ConfigError
from webui.api.bodies import Body, ImageBody, TextBody
from webui.api.options import OVERRIDES, Options
from webui.api.refusals import invalid, several_invalid

BOTH = {
    "prompt": "prompt", "negative_prompt": "negative_prompt", "styles": "styles", "steps": "steps", "guidance_scale": "cfg_scale",
    "distilled_guidance": "distilled_cfg_scale", "seed": "seed", "variation_seed": "subseed", "variation_strength": "subseed_strength",
    "width": "width", "height": "height", "batch_size": "batch_size", "batch_count": "n_iter",
}  # fmt: skip
"""Field of the config -> field of the body."""
HIRES = {
    "hires.scale": "hr_scale", "hires.upscaler": "hr_upscaler", "hires.denoising": "denoising_strength",
    "hires.steps": "hr_second_pass_steps", "hires.prompt": "hr_prompt", "hires.negative_prompt": "hr_negative_prompt",
}  # fmt: skip
SOURCE = {
    "source.denoising": "denoising_strength", "source.mask_blur": "mask_blur", "source.only_masked": "inpaint_full_res",
    "source.padding": "inpaint_full_res_padding", "source.invert_mask": "inpainting_mask_invert",
}  # fmt: skip
RESIZE = ("stretch", "crop", "fill")
MASKED_CONTENT = ("fill", "original", "noise", "nothing")
"""What the numbers of `resize_mode` and `inpainting_fill` mean."""
ASPECT = 0.02
"""Two ratios nearer than this are one: sides are whole pixels."""


def text_order(body: TextBody, options: Options) -> GenerateConfig:
    """The config of a `txt2img`.

    Raises:
        RequestValidationError: naming the field of the body.
        HTTPException: 400, there is no such sampler.
    """
    given: dict[str, Any] = {}
    if body.enable_hr:
        given = _taken(body, HIRES)
        if body.hr_resize_x or body.hr_resize_y:
            given["hires.scale"] = _scale(body)
        if body.hr_upscaler == "None":  # it stretches the picture, with Lanczos
            given["hires.upscaler"] = "Lanczos"
    return _order(body, options, given, HIRES)


def image_order(body: ImageBody, options: Options, picture: Path, mask: Path | None) -> GenerateConfig:
    """The config of an `img2img` whose picture and mask lie in these files. Raises the same."""
    given = {**_taken(body, SOURCE), "source.picture": str(picture), "source.resize": RESIZE[body.resize_mode]}
    if mask:
        given |= {"source.mask": str(mask), "source.masked_content": MASKED_CONTENT[body.inpainting_fill]}
    return _order(body, options, given, SOURCE)


def _order(body: Body, options: Options, given: dict[str, Any], names: dict[str, str]) -> GenerateConfig:
    sampler, schedule = _walk(body)
    settings = {**_taken(body, BOTH), **options.settings(), **given, "sampler": sampler, "schedule": schedule}
    try:
        return validate(GenerateConfig, nested(settings))
    except ConfigError as error:
        called = {**BOTH, **names, **{path: f"override_settings.{name}" for path, name in OVERRIDES.items()}}
        raise several_invalid([(called.get(path, path), told) for path, told in error.values["problems"]]) from None  # type: ignore[attr-defined]


def _taken(body: Body, names: dict[str, str]) -> dict[str, Any]:
    return {path: getattr(body, name) for path, name in names.items()}


def _walk(body: Body) -> tuple[str, str]:
    """Sampler and schedule; "DPM++ 2M Karras" names both."""
    sampler, schedule = split_sampler(body.sampler_name or body.sampler_index or "Automatic")
    if sampler not in SAMPLER_NAMES:
        raise HTTPException(400, "Sampler not found")
    asked = schedule_named(body.scheduler)
    return sampler, schedule if schedule and asked == "Automatic" else asked


def schedule_named(name: str) -> str:
    """The schedule of a label ("SGM Uniform") or a name ("sgm_uniform"); Automatic for "".

    Raises:
        RequestValidationError: there is none of it.
    """
    found = [known for known in SCHEDULE_NAMES if _word(known) == _word(name or "Automatic")]
    if not found:
        raise invalid("scheduler", f"expected one of: {', '.join(SCHEDULE_NAMES)}")
    return found[0]


def _word(name: str) -> str:
    return name.strip().casefold().replace(" ", "_")


def _scale(body: TextBody) -> float:
    """How many times as large the second pass is, where its size is given instead."""
    if not (body.width and body.height):
        raise invalid("hr_resize_x", "expected with width and height")
    scales = [given / side for given, side in ((body.hr_resize_x, body.width), (body.hr_resize_y, body.height)) if given]
    if max(scales) - min(scales) > ASPECT * max(scales):
        raise invalid("hr_resize_y", "expected the shape of width and height: the second pass does not cut")
    return scales[0]
