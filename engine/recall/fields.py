"""The fields of a picture's text, by the names that AUTOMATIC1111 and Forge give them, and what reads each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.config.choices import Upscaler, split_sampler
from engine.generation.recipe_words import MASKED_CONTENT, RESIZE
from engine.recall import at_hand
from engine.recall.reading import DECLARED, Reading

Reader = Callable[[Reading, str, str], None]
"""Is given the name and the value as they stand in the picture."""
WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
CONTENT_NAME = re.compile(r"[0-9a-f]{32}\.png")
DECIMAL = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?", re.ASCII)


def has_hires(given: Mapping[str, str]) -> bool:
    """Whether there was a second pass."""
    return "Hires upscale" in given or "Hires resize-1" in given


def number(path: str) -> Reader:
    """A reader of one number."""
    convert, form = (int, WHOLE) if DECLARED[path].type is int else (float, DECIMAL)

    def read(reading: Reading, name: str, value: str) -> None:
        reading.put(name, value, {path: convert(value) if form.fullmatch(value) else None})

    return read


def word(path: str, words: Mapping[str, Any] | None = None) -> Reader:
    """A reader of one of the setting's own words, or of those that stand for a setting."""
    known = {
        str(each).casefold(): setting for each, setting in (words or {each: each for each in DECLARED[path].choices}).items()
    }

    def read(reading: Reading, name: str, value: str) -> None:
        reading.put(name, value, {path: known.get(value.strip().casefold())})

    return read


def words(path: str) -> Reader:
    """A reader of text."""
    return lambda reading, name, value: reading.put(name, value, {path: value})


def _sampler(reading: Reading, name: str, value: str) -> None:
    sampler, schedule = split_sampler(value)
    if schedule and "Schedule type" not in reading.given:
        reading.put(name, value, {"sampler": sampler, "schedule": schedule}, "translated", "split")
    else:
        reading.put(name, value, {"sampler": sampler})


def _size(reading: Reading, name: str, value: str) -> None:
    sides = [reading.given.get(f"Size-{side}", "") for side in (1, 2)]
    numbers = [int(side) if WHOLE.fullmatch(side) else None for side in sides]
    reading.put("Size", "x".join(sides), dict(zip(("width", "height"), numbers, strict=True)))


def _model(reading: Reading, name: str, value: str) -> None:
    title, digest = reading.given.get("Model", ""), reading.given.get("Model hash", "")
    reading.put_file("Model", title, digest, "model", at_hand.model_called(title, digest, reading.workspace))


def _vae(reading: Reading, name: str, value: str) -> None:
    title, digest = reading.given.get("VAE", ""), reading.given.get("VAE hash", "")
    if title.casefold() in ("automatic", "none"):
        reading.put("VAE", title, {"vae": ""})
    else:
        reading.put_file("VAE", title, digest, "vae", at_hand.vae_called(title, digest, reading.workspace))


def _module(reading: Reading, name: str, value: str) -> None:
    """Forge lists VAE and text encoders under one name."""
    if encoder := at_hand.text_encoder_called(value, reading.workspace):
        chosen = reading.settings.get("text_encoders", [])
        reading.put(name, value, {"text_encoders": [*chosen, encoder.name]})
    else:
        reading.put_file(name, value, "", "vae", at_hand.vae_called(value, "", reading.workspace))


def _denoising(reading: Reading, name: str, value: str) -> None:
    """Of the second pass, or of a picture made from another one: both have one name."""
    second = has_hires(reading.given) and "Source picture" not in reading.given
    number("hires.denoising" if second else "source.denoising")(reading, name, value)
    if not second and "Source picture" not in reading.given:
        reading.tell("Source picture", "", "ignored", "source")


def _upscaler(reading: Reading, name: str, value: str) -> None:
    """Upscalers that are networks of their own become Lanczos."""
    if value.casefold() in {str(each).casefold() for each in DECLARED["hires.upscaler"].choices}:
        word("hires.upscaler")(reading, name, value)
        return
    nearest: Upscaler = "Latent (bicubic)" if value.casefold().startswith("latent") else "Lanczos"
    reading.put(name, value, {"hires.upscaler": nearest}, "translated", "nearest")


def _hires_size(reading: Reading, name: str, value: str) -> None:
    """The size of the second pass as a multiple of the first; 8 px are the grid that both are on."""
    names = [f"{key}-{side}" for key in ("Size", "Hires resize") for side in (1, 2)]
    sides = [int(text) if WHOLE.fullmatch(text := reading.given.get(each, "")) else 0 for each in names]
    width, height, wide, high = sides
    shown = f"{wide}x{high}"
    if min(sides) <= 0:
        reading.tell("Hires resize", shown, "unknown", "bounds")
    elif abs(wide * height - high * width) > 8 * max(width, height):
        reading.tell("Hires resize", shown, "ignored", "shape")
    else:
        reading.put("Hires resize", shown, {"hires.scale": wide / width}, "translated")


def _information(reading: Reading, name: str, value: str) -> None:
    reading.tell(name, value, "ignored", "information")


def source(path: str) -> Reader:
    """A reader of the picture or the mask that a picture was made from, which the page keeps by their content."""

    def read(reading: Reading, name: str, value: str) -> None:
        file = reading.workspace.sources / value
        if CONTENT_NAME.fullmatch(value) and file.is_file():
            # A picture without a mask is not painted over with the last one's.
            mask = {"source.mask": reading.settings.get("source.mask", "")}
            reading.put(name, value, mask | {path: str(file)})
        else:
            reading.tell(name, value, "ignored", "source")

    return read


def _beside(head: str, alone: Reader) -> Reader:
    """A field that is read together with another one, or alone where that is missing."""
    return lambda reading, name, value: None if head in reading.given else alone(reading, name, value)


def read_unknown(reading: Reading, name: str, value: str) -> None:
    reading.tell(name, value, "unknown", "field")


READERS: dict[str, Reader] = {
    "Steps": number("steps"),
    "Sampler": _sampler,
    "Schedule type": word("schedule"),
    "CFG scale": number("guidance_scale"),
    "Distilled CFG Scale": number("distilled_guidance"),
    "Seed": number("seed"),
    "Size-1": _size,
    "Size-2": _beside("Size-1", read_unknown),
    "Model": _model,
    "Model hash": _beside("Model", _model),
    "VAE": _vae,
    "VAE hash": _beside("VAE", _vae),
    **{f"Module {place}": _module for place in range(1, 10)},
    "Variation seed": number("variation_seed"),
    "Variation seed strength": number("variation_strength"),
    "Denoising strength": _denoising,
    "Clip skip": number("clip_skip"),
    "ENSD": number("eta_noise_seed_delta"),
    "RNG": word("noise_source", {"CPU": "CPU", "NV": "NV", "GPU": "NV"}),
    "Emphasis": word("emphasis"),
    "Source picture": source("source.picture"),
    "Source mask": source("source.mask"),
    "Resize mode": word("source.resize", {written: setting for setting, written in RESIZE.items()}),
    "Mask blur": number("source.mask_blur"),
    "Mask mode": word("source.invert_mask", {"Inpaint masked": False, "Inpaint not masked": True}),
    "Masked content": word("source.masked_content", {written: setting for setting, written in MASKED_CONTENT.items()}),
    "Inpaint area": word("source.only_masked", {"Whole picture": False, "Only masked": True}),
    "Masked area padding": number("source.padding"),
    "Hires upscale": number("hires.scale"),
    "Hires resize-1": _hires_size,
    "Hires resize-2": _beside("Hires resize-1", read_unknown),
    "Hires steps": number("hires.steps"),
    "Hires upscaler": _upscaler,
    "Hires prompt": words("hires.prompt"),
    "Hires negative prompt": words("hires.negative_prompt"),
    "Hires denoising strength": number("hires.denoising"),
    **dict.fromkeys(("Version", "User", "Batch size", "Batch pos", "Init image hash", "Template"), _information),
}
"""Name in a picture -> what reads it. A size `WxH` has been read as two fields already."""
