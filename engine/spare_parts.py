"""Parts of a base model that lie in files of their own: a VAE in place of its own, the text encoders a denoiser comes without.

What a file holds is told from its keys, whether it is the right one from sizes: the parts of a model must fit each other. Reads
headers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from engine.errors import EngineError, ModelError
from engine.formats.models import MODELS
from engine.formats.models.base import ModelFormat, PartSource
from engine.formats.safetensors_header import kept_header
from engine.formats.single_file import incomplete, part_config
from engine.workspace import stamp

VAE_WORDS = {
    "sd1": ("sd1", "sd15", "mse", "ema"), "sd2": ("sd2", "mse", "ema"), "sdxl": ("sdxl", "xl"), "sd3": ("sd3", "sd35"),
    "flux": ("flux", "flux1", "ae"), "z_image": ("flux", "flux1", "ae", "z"),
}  # fmt: skip
"""Family -> words in the names of its VAEs: those of two families may be alike in everything but their weights."""
Configs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class SpareParts:
    """Files beside a model's own.

    Attributes:
        vae, text_encoders: chosen; used in place of the model's own.
        found: looked at for what is lacking then.
    """

    vae: Path | None = None
    text_encoders: tuple[Path, ...] = ()
    found: tuple[Path, ...] = ()

    @property
    def chosen(self) -> tuple[Path, ...]:
        return (*([self.vae] if self.vae else []), *self.text_encoders)

    def field(self, file: Path) -> str:
        """The setting that a chosen file stands in."""
        return "model.vae" if file == self.vae else "model.text_encoders"


NONE = SpareParts()


@dataclass(frozen=True)
class Candidate:
    """A part in a file, and its config."""

    source: PartSource
    config: Mapping[str, Any]


def complete(
    place: Path, family: str, configs: str, own: Mapping[str, PartSource], known: Configs, spare: SpareParts
) -> dict[str, PartSource]:
    """Where each part of a model is taken from: chosen files first, then the model's own, then those found.

    Args:
        place: the model, for messages.
        configs: folder below CONFIGS.
        own: the parts that it has.
        known: their configs.

    Raises:
        ModelError: `model.incomplete`; `model.part_does_not_fit` for a chosen file.
    """
    model = MODELS[family]
    for file in spare.chosen:
        try:
            kept_header(file)  # a damaged one is named as such
        except ModelError as error:
            error.values["field"] = spare.field(file)
            raise
    options = {name: _options(name, family, configs, own, known, spare) for name in model.parts if name != model.denoiser}
    usable = {each.source.path for listed in options.values() for each in listed if each}
    if unusable := [file for file in spare.chosen if file not in usable]:
        raise _does_not_fit(unusable[0], place, model, spare)
    if missing := [name for name, listed in options.items() if not listed]:
        raise incomplete(place, model, missing)
    for combination in product(*options.values()):
        parts = {name: each for name, each in zip(options, combination, strict=True) if each}
        used = {each.source.path for each in parts.values()}
        if used.issuperset(spare.chosen) and model.fits({**known, **{name: each.config for name, each in parts.items()}}):
            sources = {**own, **{name: each.source for name, each in parts.items()}}
            return {name: sources[name] for name in model.parts if name in sources}
    if spare.chosen:
        raise _does_not_fit(spare.chosen[0], place, model, spare)
    raise incomplete(place, model, [name for name in options if name not in own])


def _options(
    name: str, family: str, configs: str, own: Mapping[str, PartSource], known: Configs, spare: SpareParts
) -> list[Candidate | None]:
    """What a part can be taken from, the best first; None stands for a model without it."""
    model = MODELS[family]
    fitting = partial(_fitting, name=name, model=model, configs=configs, denoiser={model.denoiser: known[model.denoiser]})
    chosen = (spare.vae,) if name == "vae" else spare.text_encoders
    first = fitting(file for file in chosen if file)
    if name in own:
        return [*first, Candidate(own[name], known[name])]
    if name in model.optional:
        return [*first, None]
    return [*first, *fitting(_ranked(spare.found, name, family))]


def _fitting(files: Iterable[Path], name: str, model: ModelFormat, configs: str, denoiser: Configs) -> Iterator[Candidate]:
    """The files that hold such a part, of a size that suits the denoiser."""
    for file in files:
        candidate = _candidate(file, name, model, configs)
        if candidate and model.fits({**denoiser, name: candidate.config}):
            yield candidate


def _candidate(file: Path, name: str, model: ModelFormat, configs: str) -> Candidate | None:
    try:
        header = kept_header(file)
        for alone, part in enumerate((model.parts[name], model.parts[name].alone)):
            for prefix in dict.fromkeys((*part.prefixes, "")) if part else ():
                assert part
                mark = re.compile(re.escape(prefix) + part.mark)
                if any(mark.fullmatch(key) for key in header.tensors):
                    config = part_config(file, name, part, configs, header, prefix)
                    return Candidate(PartSource(file, prefix, bool(alone)), config)
    except EngineError:  # damaged, or an unusual make: no candidate, whatever else it is
        return None
    return None


def _ranked(files: Iterable[Path], name: str, family: str) -> list[Path]:
    """The usual name first, then the most precise file (the largest). VAEs whose names speak for another family are left out."""
    usual = MODELS[family].parts[name].file.removesuffix(".safetensors").removesuffix("_fp16")
    said = {file: _families(file) if name == "vae" else set() for file in files}
    allowed = [file for file in said if not said[file] or family in said[file]]
    return sorted(allowed, key=lambda file: (not said[file], not file.stem.startswith(usual), -stamp(file)[0], file.name))


def _families(file: Path) -> set[str]:
    """The families that a VAE's name speaks of."""
    words = set(re.split(r"[^a-z0-9]+", file.stem.lower()))
    return {family for family, spoken in VAE_WORDS.items() if not words.isdisjoint(spoken)}


def _does_not_fit(file: Path, place: Path, model: ModelFormat, spare: SpareParts) -> ModelError:
    return ModelError(
        "model.part_does_not_fit", f"{file.name} is no part that {place.name} can use.",
        f"A VAE or a text encoder of the sizes that {model.title} has.", "Choose another file, or none.",
        part=file.name, path=place.name, family=model.title, field=spare.field(file),
    )  # fmt: skip
