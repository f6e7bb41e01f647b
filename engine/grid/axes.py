"""What an axis can vary: how the values of each kind are read, and what each does to a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from engine.config.choices import SAMPLER_NAMES, SCHEDULE_NAMES, ModelChoice
from engine.config.field import fields
from engine.config.generate import GenerateConfig
from engine.config.grid import AxisKind
from engine.config.load import expectation
from engine.errors import ConfigError, EngineError
from engine.grid.ranges import read_numbers, shown, split_list
from engine.grid.request import Request
from engine.grid.surroundings import Surroundings
from engine.grid.versions import Run, Version
from engine.library import choose

OFF = "off"
"""The value that takes the adapter out of the prompt."""
_STEP = re.compile(r"(?:epoch\s+\d+\s*/\s*)?step\s+(\d+)", re.IGNORECASE)
_FIELDS = {each.path: each for each in fields(GenerateConfig)}


class Choice(NamedTuple):
    """One value of an axis: what stands beside its row, and what it does."""

    label: str
    change: Callable[[Request], Request]


Read = Callable[[str, str, Surroundings], list[Choice]]
"""Values as typed, the field's path for errors, and where to look things up."""


@dataclass(frozen=True)
class AxisType:
    """A kind of axis.

    Attributes:
        name: in the recipe of a grid, AUTOMATIC1111's where it has one.
        read: gives the choices.
        of_adapter: it varies the adapter.
        bare: its values are numbers, which say nothing without its name.
    """

    name: str
    read: Read
    of_adapter: bool = False
    bare: bool = False


def _set(path: str, value: Any) -> Callable[[Request], Request]:
    return lambda request: request.with_setting(path, value)


def _alter(**changes: Any) -> Callable[[Request], Request]:
    return lambda request: request.with_adapter(**changes)


def _off(label: str) -> Choice:
    return Choice(label, _alter(off=True))


def _is_off(item: str) -> bool:
    return item.casefold() == OFF


def _number(path: str) -> Read:
    """A number among the settings."""
    declared = _FIELDS[path]
    convert: Callable[[Decimal], Any] = declared.type

    def read(text: str, field: str, around: Surroundings) -> list[Choice]:
        numbers = read_numbers(split_list(text, field), field, whole=declared.type is int)
        _check_bounds(numbers, path, field)
        return [Choice(shown(number), _set(path, convert(number))) for number in numbers]

    return read


def _check_bounds(numbers: Sequence[Decimal], path: str, field: str) -> None:
    """Raises ConfigError: `grid.out_of_bounds`."""
    declared = _FIELDS[path]
    low, high = declared.minimum, declared.maximum
    outside = (number for number in numbers if not (low is None or low <= number) or not (high is None or number <= high))
    if (number := next(outside, None)) is not None:
        raise ConfigError(
            "grid.out_of_bounds", f"{field}: {shown(number)} is out of bounds.", f"Each value is {expectation(declared)}.",
            "Correct it.", field=field, value=shown(number), minimum=low, maximum=high,
        )  # fmt: skip


def _word(path: str, words: Sequence[str]) -> Read:
    """One of some words, upper and lower case being one."""

    def read(text: str, field: str, around: Surroundings) -> list[Choice]:
        known = {word.casefold(): word for word in words}
        items = split_list(text, field)
        if unknown := next((item for item in items if item.casefold() not in known), None):
            raise ConfigError(
                "grid.unknown_word", f"{field}: {unknown!r} is not known.", f"One of: {', '.join(words)}.", "Correct it.",
                field=field, value=unknown, words=", ".join(words),
            )  # fmt: skip
        found = [known[item.casefold()] for item in items]
        return [Choice(word, _set(path, word)) for word in found]

    return read


def _denoising(text: str, field: str, around: Surroundings) -> list[Choice]:
    """Of the picture to start from, and of the second pass: of what the request has."""
    picture = around.config.picture
    paths = ["source.denoising"] * bool(picture.source.picture) + ["hires.denoising"] * (picture.hires.scale > 1)
    if not paths:
        raise ConfigError(
            "grid.no_denoising", f"{field}: there is nothing to denoise.", "A picture to start from, or a second pass (hires fix).",
            "Choose one of them, or vary something else.", field=field,
        )  # fmt: skip
    numbers = read_numbers(split_list(text, field), field)
    _check_bounds(numbers, paths[0], field)

    def change(value: float) -> Callable[[Request], Request]:
        def set_all(request: Request) -> Request:
            for path in paths:
                request = request.with_setting(path, value)
            return request

        return set_all

    return [Choice(shown(number), change(float(number))) for number in numbers]


def _model(text: str, field: str, around: Surroundings) -> list[Choice]:
    names, picture = split_list(text, field), around.config.picture
    for name in names:
        try:
            choose(ModelChoice(name, picture.vae, tuple(picture.text_encoders)), around.workspace)
        except EngineError as error:
            error.values["field"] = field
            raise
    return [Choice(name.removesuffix(".safetensors"), _set("model", name)) for name in names]


def _prompt(text: str, field: str, around: Surroundings) -> list[Choice]:
    """Search and replace: the first item is looked for, it and the others are put in its place."""
    items = split_list(text, field)
    config = around.config
    for prompt in config.prompts or [config.picture.prompt]:
        if items and items[0] not in prompt and items[0] not in config.picture.negative_prompt:
            raise ConfigError(
                "grid.not_in_prompt", f"{field}: {items[0]!r} does not stand in the prompt.",
                "The first item is looked for; it and the others are put in its place.", "Write it as in the prompt.",
                field=field, value=items[0],
            )  # fmt: skip
    texts = ("prompt", "negative_prompt", "hires.prompt", "hires.negative_prompt")

    def change(item: str) -> Callable[[Request], Request]:
        def replace_all(request: Request) -> Request:
            for path in texts:
                section, _, name = path.rpartition(".")
                old = getattr(getattr(request.config, section) if section else request.config, name)
                request = request.with_setting(path, old.replace(items[0], item))
            return request

        return replace_all

    return [Choice(item, change(item)) for item in items]


def _adapter(text: str, field: str, around: Surroundings) -> list[Choice]:
    names = split_list(text, field)
    for name in names:
        if not _is_off(name):
            around.check_adapter(name, field)
    return [_off(name) if _is_off(name) else Choice(name, _alter(name=name)) for name in names]


def _strength(**parts: bool) -> Read:
    """A strength of the adapter, for each named part of the model."""

    def read(text: str, field: str, around: Surroundings) -> list[Choice]:
        choices = []
        for item in split_list(text, field):
            if _is_off(item):
                choices.append(_off(item))
                continue
            numbers = map(shown, read_numbers([item], field))
            choices += [Choice(number, _alter(**dict.fromkeys(parts, number))) for number in numbers]
        return choices

    return read


def _epoch(text: str, field: str, around: Surroundings) -> list[Choice]:
    """Versions of the run: all of them, or the last one of each epoch that is listed, or `step 120`."""
    run, choices = around.run, []
    if not run.versions:
        raise ConfigError(
            "grid.no_versions", f"run: {run.name} has no saved versions.", "They are saved as it trains.",
            "Choose another run.", field="run", name=run.name,
        )  # fmt: skip
    for item in split_list(text, field):
        if _is_off(item):
            choices.append(_off(item))
        elif found := _STEP.fullmatch(item):
            choices.append(_version(run, field, "step", int(found[1])))
        else:
            choices += [_version(run, field, "epoch", int(each)) for each in read_numbers([item], field, whole=True)]
    return choices or [_chosen(version) for version in run.versions]


def _version(run: Run, field: str, by: str, number: int) -> Choice:
    """Raises ConfigError: `grid.no_version`."""
    found = [version for version in run.versions if getattr(version, by) == number]
    if not found:
        saved = ", ".join(dict.fromkeys(str(getattr(version, by)) for version in run.versions))
        raise ConfigError(
            "grid.no_version", f"{field}: no version was saved at {by} {number} of {run.name}.", f"Saved were: {saved}.",
            "Choose among these, or leave the list empty for all.", field=field, name=run.name, value=f"{by} {number}", saved=saved,
        )  # fmt: skip
    return _chosen(found[-1])


def _chosen(version: Version) -> Choice:
    file = None if version.shared else version.file
    return Choice(version.label, _alter(name=version.file.stem, file=file))


AXES: dict[AxisKind, AxisType] = {
    "adapter": AxisType("LoRA", _adapter, of_adapter=True),
    "epoch": AxisType("LoRA epoch", _epoch, of_adapter=True),
    "strength": AxisType("LoRA strength", _strength(text_encoder=True, unet=True), of_adapter=True, bare=True),
    "text_encoder_strength": AxisType("LoRA TE strength", _strength(text_encoder=True), of_adapter=True, bare=True),
    "unet_strength": AxisType("LoRA UNet strength", _strength(unet=True), of_adapter=True, bare=True),
    "seed": AxisType("Seed", _number("seed"), bare=True),
    "prompt": AxisType("Prompt S/R", _prompt),
    "guidance_scale": AxisType("CFG Scale", _number("guidance_scale"), bare=True),
    "steps": AxisType("Steps", _number("steps"), bare=True),
    "sampler": AxisType("Sampler", _word("sampler", SAMPLER_NAMES)),
    "schedule": AxisType("Schedule type", _word("schedule", SCHEDULE_NAMES)),
    "model": AxisType("Checkpoint name", _model),
    "clip_skip": AxisType("Clip skip", _number("clip_skip"), bare=True),
    "denoising": AxisType("Denoising", _denoising, bare=True),
}
"""Kind -> how it is read. Strengths come after names, and one part's strength after that of both: later ones win."""
