"""The recipe of a picture: everything that made it, by AUTOMATIC1111's names and in its order, so that others can read it.

`engine.recall` reads it back. A field of our own stands only where that program has none and passes over what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine import __version__
from engine.adapters.merge import Applied
from engine.config.generate import GenerateConfig, SourceOptions
from engine.families.base import Family
from engine.formats.hashes import adapter_hash, model_hashes
from engine.formats.infotext import write_infotext
from engine.generation.pipeline import picture_size
from engine.generation.prompt import parse_tags
from engine.generation.recipe_words import MASKED_CONTENT, RESIZE

PROGRAM = "LoRA Atelier"


def recipe(
    config: GenerateConfig, model: Family, prompt: str, negative: str, seed: int, *, variation_seed: int | None = None,
    applied: Sequence[Applied] = (), embeddings: Sequence[tuple[str, str]] = (), without: bool = False,
) -> str:  # fmt: skip
    """The infotext of a picture.

    Args:
        config: with the model's own habits filled in (`with_habits`).
        prompt: as it was drawn, styles and choices made, its tags still in it.
        seed: of this picture.
        variation_seed: of this picture; it is told when the variation has a strength.
        applied: the adapters in force.
        embeddings: word and hash of those that the prompts name.
        without: this is the comparison without any adapter; neither tags nor hashes are told.
    """
    if without:
        prompt, applied = parse_tags(prompt)[0], ()
    width, height = picture_size(config, model)
    location, vae = model.facts.location, model.facts.other_vae
    varied = config.variation_strength if variation_seed is not None else 0.0
    weighted = config.emphasis != "Original" and re.search(r"[(\[]", prompt + negative)
    return write_infotext(prompt.strip(), negative.strip(), {
        "Steps": config.steps,
        "Sampler": config.sampler,
        "Schedule type": config.schedule,
        "CFG scale": number(config.guidance_scale),
        "Distilled CFG Scale": number(config.distilled_guidance) if config.distilled_guidance else None,
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model hash": model_hashes(location).short if isinstance(location, Path) else None,
        "Model": model.facts.name,
        "VAE hash": model_hashes(vae).short if vae else None,
        "VAE": vae.name if vae else None,
        "Variation seed": variation_seed if varied else None,
        "Variation seed strength": number(varied) if varied else None,
        "Denoising strength": _denoising(config),
        "Clip skip": config.clip_skip if config.clip_skip > 1 else None,
        "ENSD": config.eta_noise_seed_delta or None,
        "RNG": config.noise_source,
        **_source(config.source),
        **_hires(config),
        "Lora hashes": _hash_list((entry.name or entry.key[0].stem, adapter_hash(entry.key[0])[:12]) for entry in applied),
        "TI hashes": _hash_list(embeddings),
        "Emphasis": config.emphasis if weighted else None,
        **{f"Module {index}": Path(name).stem for index, name in enumerate(config.text_encoders, 1)},
        "Version": f"{PROGRAM} {__version__}",
    })  # fmt: skip


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")


def _denoising(config: GenerateConfig) -> str | None:
    if config.source.picture:
        return number(config.source.denoising)
    return number(config.hires.denoising) if config.hires.scale > 1 else None


def _source(source: SourceOptions) -> dict[str, object]:
    """Of a picture made from another one, and of the mask where it has one."""
    if not source.picture:
        return {}
    told: dict[str, object] = {"Source picture": Path(source.picture).name, "Resize mode": RESIZE[source.resize]}
    if source.mask:
        told |= {
            "Mask blur": source.mask_blur,
            "Mask mode": "Inpaint not masked" if source.invert_mask else None,
            "Masked content": MASKED_CONTENT[source.masked_content] if source.masked_content != "original" else None,
            "Inpaint area": "Only masked" if source.only_masked else None,
            "Masked area padding": source.padding if source.only_masked else None,
            "Source mask": Path(source.mask).name,
        }
    return told


def _hires(config: GenerateConfig) -> dict[str, object]:
    """Of the second pass, when there is one."""
    hires = config.hires
    if hires.scale <= 1:
        return {}
    return {
        "Hires upscale": number(hires.scale),
        "Hires steps": hires.steps or None,
        "Hires upscaler": hires.upscaler,
        "Hires prompt": hires.prompt or None,
        "Hires negative prompt": hires.negative_prompt or None,
        "Hires denoising strength": number(hires.denoising) if config.source.picture else None,
    }


def _hash_list(hashes: Iterable[tuple[str, str]]) -> str | None:
    """`name: hash, name: hash`; a name must not hold the marks of the list."""
    return ", ".join(dict.fromkeys(f"{re.sub('[:,]', '', name)}: {digest}" for name, digest in hashes)) or None
