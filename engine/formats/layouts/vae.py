"""The VAE of all families in its original layout: up levels counted from below, attention as 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from engine.formats.layouts.stored import Place
from engine.formats.layouts.unet import by_module
from engine.formats.ldm_names import vae_from_ldm, vae_to_ldm


class VaeKeys:
    """A `KeyMap`."""

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return {key: _attention(place) for key, place in by_module(keys, vae_to_ldm).items()}

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        levels = len(config["block_out_channels"])
        split = {key: key.rpartition(".") for key in stored}
        names = {module: vae_from_ldm(module, levels) for module, _, _ in split.values()}
        return {f"{names[module]}.{leaf}": _attention(Place(key)) for key, (module, _, leaf) in split.items()}


def _attention(place: Place) -> Place:
    module, _, leaf = place.key.rpartition(".")
    matrix = ".attn_1." in module and leaf == "weight" and not module.endswith(".norm")
    return replace(place, change="convolution") if matrix else place
