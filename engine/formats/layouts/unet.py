"""The U-Net of Stable Diffusion in its original layout; the names are those of `engine.formats.ldm_names`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.formats.layouts.stored import Place
from engine.formats.ldm_names import unet_from_ldm, unet_to_ldm


class UNetKeys:
    """A `KeyMap`."""

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return by_module(keys, unet_to_ldm)

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        split = {key: key.rpartition(".") for key in stored}
        names = unet_from_ldm({module for module, _, _ in split.values()}, config["layers_per_block"])
        return {f"{names[module]}.{leaf}": Place(key) for key, (module, _, leaf) in split.items() if module in names}


def by_module(keys: Iterable[str], name: Callable[[Iterable[str]], Mapping[str, str]]) -> dict[str, Place]:
    """Keys -> places, by a function from module paths to those of the file. Raises KeyError for a strange module."""
    split = {key: key.rpartition(".") for key in keys}
    modules = name({module for module, _, _ in split.values()})
    return {key: Place(f"{modules[module]}.{leaf}") for key, (module, _, leaf) in split.items()}
