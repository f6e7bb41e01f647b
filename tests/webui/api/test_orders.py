"""Bodies as clients send them, and the configs they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from engine.config.generate import GenerateConfig
from webui.api.bodies import NOT_HERE, ImageBody, TextBody
from webui.api.options import Options
from webui.api.orders import image_order, text_order

PICTURE, MASK = Path("/data/init_image.png"), Path("/data/mask.png")


def text(**given: Any) -> GenerateConfig:
    return text_order(TextBody.model_validate(given), Options())


def image(mask: Path | None = None, **given: Any) -> GenerateConfig:
    return image_order(ImageBody.model_validate(given), Options(), PICTURE, mask)


def test_what_is_left_out_or_null_is_the_models_own() -> None:
    assert text() == GenerateConfig() == text(steps=None, width=None, sampler_name=None, scheduler=None, cfg_scale=None)


def test_every_field_arrives() -> None:
    config = text(
        prompt="a <lora:b:0.5>", negative_prompt="c", styles=["d"], seed=1, subseed=2, subseed_strength=0.25, sampler_name="Heun",
        scheduler="beta", steps="30", cfg_scale=6, distilled_cfg_scale=3.5, width=64, height=96, batch_size=2, n_iter=3, unknown=[1],
    )  # fmt: skip
    assert config == GenerateConfig(
        prompt="a <lora:b:0.5>", negative_prompt="c", styles=["d"], seed=1, variation_seed=2, variation_strength=0.25, sampler="Heun",
        schedule="Beta", steps=30, guidance_scale=6, distilled_guidance=3.5, width=64, height=96, batch_size=2, batch_count=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sampler", "schedule"),
    [
        ({"sampler_index": "Euler a"}, "Euler a", "Automatic"),
        ({"sampler_name": "LMS", "sampler_index": "Euler a"}, "LMS", "Automatic"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "automatic"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Exponential"}, "DPM++ 2M", "Exponential"),
        ({"sampler_name": "euler A", "scheduler": "sgm_uniform"}, "Euler a", "SGM Uniform"),
        ({"scheduler": "Align Your Steps"}, "Automatic", "Align Your Steps"),
    ],
)
def test_sampler_and_schedule(given: dict[str, Any], sampler: str, schedule: str) -> None:
    config = text(**given)
    assert (config.sampler, config.schedule) == (sampler, schedule)


@pytest.mark.parametrize("name", ["nothing", "DPM++ 2M Nothing", "Karras"])
def test_an_unknown_sampler_is_400(name: str) -> None:
    with pytest.raises(HTTPException) as refused:
        text(sampler_name=name)
    assert (refused.value.status_code, refused.value.detail) == (400, "Sampler not found")


def test_hires_fix() -> None:
    hires = text(
        enable_hr=True, hr_scale=1.5, hr_upscaler="Latent (bicubic)", denoising_strength=0.6, hr_second_pass_steps=9, hr_prompt="p",
        hr_negative_prompt="n",
    ).hires  # fmt: skip
    assert hires.model_dump() == {
        "scale": 1.5, "upscaler": "Latent (bicubic)", "denoising": 0.6, "steps": 9, "prompt": "p", "negative_prompt": "n",
    }  # fmt: skip
    assert text(enable_hr=True).hires.scale == 2
    assert text(enable_hr=False, hr_scale=3, denoising_strength=0.1).hires == GenerateConfig().hires
    assert text(enable_hr=True, hr_upscaler="None").hires.upscaler == "Lanczos"


@pytest.mark.parametrize(("x", "y", "scale"), [(128, 0, 2.0), (0, 192, 2.0), (96, 144, 1.5), (97, 144, 97 / 64)])
def test_a_size_of_the_second_pass_is_a_scale(x: int, y: int, scale: float) -> None:
    assert text(enable_hr=True, width=64, height=96, hr_resize_x=x, hr_resize_y=y).hires.scale == scale


def test_img2img() -> None:
    source = image(denoising_strength=0.4, resize_mode=1).source
    assert (source.picture, source.denoising, source.resize, source.mask) == (str(PICTURE), 0.4, "crop", "")
    assert image().source.resize == "stretch"
    masked = image(
        MASK, mask_blur=8, inpainting_fill=2, inpaint_full_res=1, inpaint_full_res_padding=16, inpainting_mask_invert=1
    ).source
    assert (masked.mask, masked.mask_blur, masked.masked_content) == (str(MASK), 8, "noise")
    assert (masked.only_masked, masked.padding, masked.invert_mask) == (True, 16, True)
    assert image(MASK).source.masked_content == "fill"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"steps": 9999}, "steps"), ({"cfg_scale": -1}, "cfg_scale"), ({"cfg_scale": float("nan")}, "cfg_scale"), ({"n_iter": 0}, "n_iter"),
        ({"batch_size": 1000}, "batch_size"), ({"seed": 2**40}, "seed"), ({"subseed_strength": 2}, "subseed_strength"),
        ({"width": 10**6}, "width"), ({"scheduler": "nothing"}, "scheduler"), ({"enable_hr": True, "hr_scale": 99}, "hr_scale"),
        ({"enable_hr": True, "hr_upscaler": "LDSR"}, "hr_upscaler"), ({"enable_hr": True, "hr_resize_x": 128}, "hr_resize_x"),
        ({"enable_hr": True, "denoising_strength": 2}, "denoising_strength"),
        ({"enable_hr": True, "width": 64, "height": 64, "hr_resize_x": 128, "hr_resize_y": 64}, "hr_resize_y"),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_named_as_they_were_sent(given: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestValidationError) as refused:
        text(**given)
    assert [each["loc"] for each in refused.value.errors()] == [("body", field)]


def test_so_are_those_of_img2img() -> None:
    with pytest.raises(RequestValidationError) as refused:
        image(MASK, mask_blur=1000, inpaint_full_res_padding=-1, denoising_strength=1.5)
    fields = {each["loc"][-1] for each in refused.value.errors()}
    assert fields == {"mask_blur", "inpaint_full_res_padding", "denoising_strength"}


def test_fields_that_are_not_done_here_are_told_when_they_ask_for_something() -> None:
    quiet = {
        "restore_faces": False,
        "tiling": None,
        "script_name": "",
        "alwayson_scripts": {},
        "seed_resize_from_h": -1,
        "s_churn": 0,
    }
    assert TextBody.model_validate(quiet).not_honoured() == []
    assert TextBody.model_validate({**quiet, "restore_faces": True, "s_churn": 1.5}).not_honoured() == [
        "restore_faces",
        "s_churn",
    ]
    assert set(NOT_HERE).isdisjoint(TextBody.model_fields) and set(NOT_HERE).isdisjoint(ImageBody.model_fields)


def test_the_echo_leaves_the_pictures_out_unless_they_are_asked_for() -> None:
    sent = {"init_images": ["x"], "mask": "y", "prompt": "p", "more": 1}
    assert ImageBody.model_validate(sent).echo() | {"init_images": 0} == ImageBody.model_validate(sent).model_dump() | {
        "init_images": 0,
        "mask": None,
    }
    assert ImageBody.model_validate({**sent, "include_init_images": True}).echo()["init_images"] == ["x"]
