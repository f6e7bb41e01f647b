"""What `txt2img` and `img2img` answer: the files themselves, and what AUTOMATIC1111 calls `info`, a JSON text."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from typing import Any

from engine.config.generate import GenerateConfig
from engine.formats.infotext import parse_infotext
from engine.jobs.generating import ResultPicture
from engine.jobs.job import Job
from webui.api.bodies import Body

PLAIN = ("Steps", "Sampler", "CFG scale", "Seed", "Size-1", "Size-2", "Model", "Model hash", "VAE", "VAE hash", "Version")
"""Parameters that have a field of their own in `info`."""


def reply(body: Body, job: Job, pictures: Sequence[ResultPicture]) -> dict[str, Any]:
    """The reply for a job's pictures, which may be none when it was interrupted early."""
    images = [base64.b64encode(picture.file.read_bytes()).decode() for picture in pictures] if body.send_images else []
    return {"images": images, "parameters": body.echo(), "info": json.dumps(_info(body, job, pictures), ensure_ascii=False)}


def _info(body: Body, job: Job, pictures: Sequence[ResultPicture]) -> dict[str, Any]:
    """Of all pictures, and of the first one; `problems` is our own, what could not be done as asked."""
    config = GenerateConfig.model_validate(job.config)
    read = [parse_infotext(picture.infotext) for picture in pictures] or [(config.prompt, config.negative_prompt, {})]
    prompt, negative, first = read[0]
    subseeds = [_number(parameters.get("Variation seed"), config.variation_seed) for *_, parameters in read]
    return {
        "prompt": prompt,
        "all_prompts": [each for each, *_ in read],
        "negative_prompt": negative,
        "all_negative_prompts": [each for _, each, _ in read],
        "seed": pictures[0].seed if pictures else config.seed,
        "all_seeds": [picture.seed for picture in pictures],
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": config.variation_strength,
        "width": _number(first.get("Size-1"), config.width),
        "height": _number(first.get("Size-2"), config.height),
        "sampler_name": first.get("Sampler", config.sampler),
        "cfg_scale": float(first.get("CFG scale", config.guidance_scale)),
        "steps": _number(first.get("Steps"), config.steps),
        "batch_size": config.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": first.get("Model", config.model),
        "sd_model_hash": first.get("Model hash"),
        "sd_vae_name": first.get("VAE"),
        "sd_vae_hash": first.get("VAE hash"),
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": _denoising(config),
        "extra_generation_params": {name: value for name, value in first.items() if name not in PLAIN},
        "index_of_first_image": 0,
        "infotexts": [picture.infotext for picture in pictures],
        "styles": config.styles,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(job.created)),
        "clip_skip": config.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": first.get("Version"),
        "problems": _problems(body, pictures),
    }


def _problems(body: Body, pictures: Sequence[ResultPicture]) -> list[str]:
    ignored = [f"{name} is not done here and was ignored." for name in body.not_honoured()]
    return [*ignored, *dict.fromkeys(_sentence(problem) for picture in pictures for problem in picture.problems)]


def _sentence(problem: dict) -> str:
    return " ".join(part for part in (problem["what"], problem.get("expected"), problem.get("todo")) if part)


def _denoising(config: GenerateConfig) -> float | None:
    if config.source.picture:
        return config.source.denoising
    return config.hires.denoising if config.hires.scale > 1 else None


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() else otherwise
