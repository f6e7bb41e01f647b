"""Published base models by their shipped configs alone, and the ranks of a plain LoRA on them."""

from __future__ import annotations

import json
from collections.abc import Collection

from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS
from engine.memory.base_model import BaseModel, Network
from engine.memory.walk import denoise

VARIANTS = [(family, variant) for family, model in MODELS.items() for variant in model.variants]


def shipped(family: str, variant: str) -> BaseModel:
    model = MODELS[family]
    folder = CONFIGS / model.variants[variant].configs
    networks = {
        name: Network(part.kind, json.loads((folder / name / "config.json").read_text(encoding="utf-8")))
        for name, part in model.parts.items()
    }
    return BaseModel(model.denoiser, networks)


def ranks_of(family: str, base: BaseModel, rank: int, groups: Collection[str] = ("attention", "mlp")) -> dict[str, int]:
    """Path -> rank, for the layers of the denoiser in these groups."""
    listed = MODELS[family].parts[base.denoiser].layers
    assert listed
    network = base.predicting
    walked = denoise(network.kind, network.config, 64, 64, 1)
    paths = [path for block in walked.blocks for path, weight in block.weights.items() if weight.matrix or weight.others]
    return {layer.path: rank for layer in listed(paths, network.config) if layer.group in groups}
