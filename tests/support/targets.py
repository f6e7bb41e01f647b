"""Layers named one by one, in place of a family's choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer, Target


def targets(paths: Mapping[str, Iterable[str]], options: Any) -> dict[str, list[Target]]:
    return {component: [Target(Layer(path, "other"), options) for path in listed] for component, listed in paths.items()}
