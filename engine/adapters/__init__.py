"""Adapter algorithms, one file each. `ADAPTERS` is the one place that lists them."""

from __future__ import annotations

from engine.adapters.base import Adapter
from engine.adapters.lora import Lora

ADAPTERS: dict[str, type[Adapter]] = {"lora": Lora}
"""Algorithm name (as in configs and `engine.formats.suffixes.algorithm_of`) -> its class."""
