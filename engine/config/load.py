"""Reading configs: YAML over a preset over the defaults, `--set` on top, older versions migrated, errors by field path."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from engine.errors import ConfigError
from engine.workspace import SHIPPED_PRESETS, atomic_write

Model = TypeVar("Model", bound=BaseModel)
MAX_CONFIG_BYTES = 1_000_000
VERSION = 1
MIGRATIONS: dict[int, Callable[[dict], dict]] = {}
"""From version n to n + 1, in order. Empty while there is one version."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file, with the file named in every error.

    Raises:
        ConfigError: `config.unreadable`.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("the file is larger than 1 MB")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict | None):
            raise ValueError("the file does not hold named settings")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            "config.unreadable", f"The settings file {path.name} cannot be read: {reason}.",
            "A YAML file with sections such as model, dataset and training.", "Correct the file or choose another.",
            file=path.name, reason=reason, field="",
        ) from None  # fmt: skip
    return data or {}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section. A section whose `kind` changes starts afresh."""
    result = copy.deepcopy(dict(base))
    for name, value in over.items():
        old = result.get(name)
        same_kind = isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind", old.get("kind")) == old.get("kind")
        result[name] = merge(old, value) if same_kind else copy.deepcopy(value)
    return result


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`{"training.seed": 1}` as `{"training": {"seed": 1}}`."""
    result: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        level = result
        for section in sections:
            level = level.setdefault(section, {})
        level[name] = value
    return result


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`--set field.path=value` pairs as nested settings; values are read as YAML, so `null`, `true` and lists work.

    Raises:
        ConfigError: `config.bad_set` for a pair without `=`.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        if not separator or not path.strip():
            raise ConfigError("config.bad_set", f"--set {pair!r} has no value.", "field.path=value", field=path.strip(), value=pair)
        try:
            value = yaml.safe_load(text) if text.strip() else ""
        except yaml.YAMLError:
            value = text
        # YAML reads 1e-4 as text; a number field would refuse it.
        settings[path.strip()] = _number(value) if isinstance(value, str) else value
    return nested(settings)


def _number(text: str) -> Any:
    try:
        return float(text) if any(c.isdigit() for c in text) and set(text) <= set("0123456789.eE+-") else text
    except ValueError:
        return text


def validate(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Check settings against a config model.

    Raises:
        ConfigError: `config.invalid`; `values["field"]` is the path of the first offending field and `values["problems"]` a
            list of (path, problem) of all of them.
    """
    try:
        return model.model_validate(migrate(dict(data)))
    except ValidationError as error:
        problems = [(_path(model, e["loc"]), _problem(e)) for e in error.errors(include_url=False)]
        field, problem = problems[0]
        rest = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(
            "config.invalid", f"{field}: {problem}{rest}.", todo="Correct the field and try again.",
            field=field, problem=problem, problems=problems,
        ) from None  # fmt: skip


def _path(model: type[BaseModel], location: tuple) -> str:
    """pydantic puts a union member's tag into the location; a field path has none."""
    return ".".join(str(part) for part in location) or model.__name__


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such setting"
    given = error.get("input")
    shown = "" if isinstance(given, dict | None) else f" (given: {str(given)[:80]!r})"
    message = error["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:] + shown


def migrate(data: dict[str, Any]) -> dict[str, Any]:
    """Bring settings of an older version up to date.

    Raises:
        ConfigError: `config.too_new`.
    """
    version = data.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise ConfigError(
            "config.too_new", f"version: these settings have version {version!r}.", f"This program reads up to {VERSION}.",
            "Update the program.", field="version", version=version,
        )  # fmt: skip
    for step in range(version, VERSION):
        data = MIGRATIONS[step](data)
    return {**data, "version": VERSION}


def preset_path(name: str) -> Path:
    """`starter/character` as the file of a shipped preset."""
    return SHIPPED_PRESETS / f"{name}.yaml"


def load(model: type[Model], path: Path | None, settings: Mapping[str, Any] | None = None) -> Model:
    """A config from a file (or the defaults) with nested `settings` on top."""
    data = read_yaml(path) if path else {}
    return validate(model, merge(data, settings or {}))


def save(config: BaseModel, path: Path) -> None:
    """Write a whole config as YAML."""
    with atomic_write(path, "w") as stream:
        yaml.safe_dump(config.model_dump(mode="json"), stream, sort_keys=False, allow_unicode=True, width=130)
