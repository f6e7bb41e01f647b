"""The networks of a base model with their configs, before it is loaded: what its cost is calculated from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.formats.models import MODELS
from engine.formats.models.base import PartSource
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import part_config
from engine.model_facts import ModelFacts

CLIP_TOKENS = 77
CAPTION_TOKENS = {"clip": CLIP_TOKENS, "clip_projected": CLIP_TOKENS, "t5": 512, "qwen3": 128}
"""Tokens that a text encoder reads of a caption; Qwen3 is told captions as long as they are, about so many."""
SHORT_T5 = 256
"""What Stable Diffusion 3 and FLUX.1 schnell read of T5's."""


@dataclass(frozen=True)
class Network:
    kind: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class BaseModel:
    """Attributes:
    denoiser: name of the part that predicts.
    networks: part -> network.
    """

    denoiser: str
    networks: Mapping[str, Network]

    @property
    def predicting(self) -> Network:
        return self.networks[self.denoiser]

    @property
    def encoders(self) -> list[str]:
        return [name for name in self.networks if name not in (self.denoiser, "vae")]

    @property
    def shrink(self) -> int:
        """Pixels of a picture's side that are one of the latents."""
        return 2 ** (len(self.networks["vae"].config["block_out_channels"]) - 1)

    def caption_tokens(self, encoder: str) -> int:
        """Tokens that an encoder reads of a caption."""
        kind, told = self.networks[encoder].kind, self.predicting
        short = told.kind == "sd3" or (told.kind == "flux" and not told.config.get("guidance_embeds"))
        return SHORT_T5 if kind == "t5" and short else CAPTION_TOKENS[kind]

    @property
    def text_tokens(self) -> int:
        """Tokens that the denoiser is told."""
        if self.predicting.kind == "sd3":  # CLIP's, then T5's, or zeros where there is no T5
            return CLIP_TOKENS + SHORT_T5
        return max(self.caption_tokens(name) for name in self.encoders)


def base_model(facts: ModelFacts) -> BaseModel:
    """Raises:
    ModelError: `model.bad_shape`.
    OSError, ValueError: a config of a folder cannot be read.
    """
    return _read(facts.family, facts.variant, tuple((name, source, *_stamp(source)) for name, source in facts.sources.items()))


def _stamp(source: PartSource) -> tuple[int, int]:
    status = (source.path / "config.json" if source.path.is_dir() else source.path).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _read(family: str, variant: str, sources: tuple[tuple[str, PartSource, int, int], ...]) -> BaseModel:
    model = MODELS[family]
    configs = model.variants[variant].configs
    found = {}
    for name, source, _, _ in sources:
        part = source.form(model.parts[name])
        if source.path.is_dir():
            config = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
        else:
            config = part_config(source.path, name, part, configs, read_header(source.path), source.prefix)
        found[name] = Network(part.kind, config)
    return BaseModel(model.denoiser, found)
