"""Presets for the form: which there are for a model, and what one sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config.load import lay_over, preset_path, read_yaml
from engine.config.train import TrainConfig
from engine.model_facts import ModelFacts
from engine.workspace import SHIPPED_PRESETS
from webui.i18n import label, table

PRACTICE = "starter/character"
"""The preset of the practice run."""
OWN = ("model.path", "dataset.folder", "dataset.trigger", "output.name")
"""What the user has chosen stays unless the preset names it."""


def names(model: ModelFacts | None = None) -> list[str]:
    """`folder/purpose` of the presets made for a model, or of all."""
    found = sorted(file.relative_to(SHIPPED_PRESETS).with_suffix("").as_posix() for file in SHIPPED_PRESETS.glob("*/*.yaml"))
    if model is None:
        return found
    folder = "starter" if model.practice else model.family
    return [name for name in found if name.startswith(f"{folder}/")]


def twin(name: str | None, model: ModelFacts | None) -> str | None:
    """The preset for the same purpose that is made for a model; None where there is none, or no preset at all."""
    purpose = (name or "").rpartition("/")[2]
    return next((fitting for fitting in names(model) if model and fitting.endswith(f"/{purpose}")), None)


def choices(model: ModelFacts | None = None) -> list[tuple[Any, str]]:
    """Names for a list: translated where the locales know the preset."""
    keys = {name: f"preset.{name.replace('/', '-')}" for name in names(model)}
    return [(label(key) if key in table("en") else name, name) for name, key in keys.items()]


def settings(name: str | None) -> dict[str, Any]:
    """What a preset sets, nested; {} for none."""
    return {key: value for key, value in read_yaml(preset_path(name)).items() if key != "version"} if name in names() else {}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by path."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return result


def applied(name: str, current: Mapping[str, Any]) -> dict[str, Any]:
    """All settings after choosing a preset in a form that holds `current`."""
    before = flat(current)
    kept: dict[str, Any] = {}
    for path in OWN:
        section, _, field = path.partition(".")
        kept.setdefault(section, {})[field] = before.get(path, "")
    over = settings(name)
    if not name.startswith("starter/"):  # a preset for a family names a model only as an example
        over.get("model", {}).pop("path", None)
    return lay_over(TrainConfig, lay_over(TrainConfig, TrainConfig().model_dump(), kept), over)
