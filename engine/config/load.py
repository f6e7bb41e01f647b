"""Reading configs: YAML over a preset over the defaults, `--set` on top, older versions migrated, errors by field path."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.config.field import Field, fields
from engine.config.text import dump, parse
from engine.errors import ConfigError
from engine.workspace import SHIPPED_PRESETS, atomic_write, safe_join

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
        with path.open("rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ValueError("the file is larger than 1 MB")
        data = parse(content.decode("utf-8-sig"))
        if not isinstance(data, dict | None):
            raise ValueError("the file does not hold named settings")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "config.unreadable", f"The settings file {path.name} cannot be read: {reason}.",
            "A YAML file with sections such as model, dataset and training.", "Correct the file or choose another.",
            file=path.name, reason=reason, field="",
        ) from None  # fmt: skip
    return data or {}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section."""
    result = copy.deepcopy(dict(base))
    for name, value in over.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merge(old, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return result


def lay_over(model: type[BaseModel], base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, where `over` may change the kind of a section: of `base` then stays what the new kind has too."""
    base = copy.deepcopy(dict(base))
    for path, declared in by_path(model).items():
        section, _, name = path.rpartition(".")
        old, kind = _at(base, section), _at(over, section).get("kind")
        if kind is not None and not any(field.belongs_to(kind) for field in declared):
            old.pop(name, None)
    return merge(base, over)


def by_path(model: type[BaseModel]) -> dict[str, list[Field]]:
    """Path -> its field, or its fields where kinds declare it differently."""
    declared: dict[str, list[Field]] = {}
    for field in fields(model):
        declared.setdefault(field.path, []).append(field)
    return declared


def _at(data: Any, section: str) -> dict[str, Any]:
    """The settings of a section, {} where there are none."""
    for name in section.split(".") if section else ():
        data = data.get(name) if isinstance(data, Mapping) else None
    return data if isinstance(data, dict) else {}


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`{"training.seed": 1}` as `{"training": {"seed": 1}}`.

    Raises:
        ConfigError: `config.bad_set` where a path goes through a value.
    """
    result: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        level = result
        for section in sections:
            level = level.setdefault(section, {})
            if not isinstance(level, dict):
                raise ConfigError(
                    "config.bad_set", f"{path} cannot be set: {section} is set to {level!r} already.", "field.path=value",
                    "Set the section or its fields, not both.", field=path, value=level,
                )  # fmt: skip
        level[name] = value
    return result


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`--set field.path=value` pairs as nested settings; values are read as YAML, so `null`, `true` and `[a, b]` work.

    Raises:
        ConfigError: `config.bad_set` for a pair without `=`.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        if not separator or not path.strip():
            raise ConfigError(
                "config.bad_set", f"--set {pair!r} has no value.", "field.path=value", field=path.strip(), value=pair
            )
        settings[path.strip()] = _value(text)
    return nested(settings)


def _value(text: str) -> Any:
    """A value typed in one line. Lists and sections are written with brackets; "a cat: big" is text."""
    try:
        value = parse(text) if text.strip() else ""
    except ValueError:
        return text
    return text if isinstance(value, list | dict) and text.lstrip()[0] not in "[{" else value


def validate(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Check settings against a config model.

    Raises:
        ConfigError: `config.invalid`; `values["field"]` is the path of the first offending field and `values["problems"]` a
            list of (path, problem) of all of them. `config.too_new` for settings of a later version.
    """
    try:
        return model.model_validate(migrate(dict(data)))
    except ValidationError as error:
        declared = by_path(model)
        raise _invalid([_told(each, declared) for each in error.errors(include_url=False)]) from None


def _invalid(problems: list[tuple[str, str]]) -> ConfigError:
    field, problem = problems[0]
    rest = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return ConfigError(
        "config.invalid", f"{field}: {problem}{rest}.", todo="Correct the field and try again.",
        field=field, problem=problem, problems=problems,
    )  # fmt: skip


def _told(error: Any, declared: Mapping[str, list[Field]]) -> tuple[str, str]:
    """(path, problem) of what pydantic found."""
    path, kind = _place(error["loc"], declared)
    if error["type"].startswith("union_tag"):
        path = f"{path}.kind"
        return path, f"expected {expectation(declared[path][0])} (given: {_shown(error['ctx'].get('tag'))})"
    own = [field for field in declared.get(path, ()) if field.belongs_to(kind)]
    if error["type"] == "extra_forbidden":
        others = ", ".join(word for field in declared.get(path, ()) for word in field.kinds)
        if others:
            return path, f"{kind} has no such setting; these have it: {others}"
        known = [name for name, each in declared.items() if any(field.belongs_to(kind) for field in each)]
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.7)
        return path, "there is no such setting" + (f"; {near[0]} is one" if near else "")
    if error["type"] == "value_error":
        return path, error["msg"].removeprefix("Value error, ").removesuffix(".")
    wanted = expectation(own[0]) if own else "named settings"
    return path, f"expected {wanted} (given: {_shown(error['input'])})"


def _place(location: tuple, declared: Mapping[str, list[Field]]) -> tuple[str, str]:
    """The path of the field that pydantic points at, and the kind of its section, "" outside unions.

    In a union the kind stands before the name of the field; a place inside a list belongs to the list's field.
    """
    unions = {field.path.rpartition(".")[0] for each in declared.values() for field in each if field.kinds}
    path, kind = "", ""
    for part in (part for part in location if isinstance(part, str)):
        if path in unions and not kind:
            kind = part
        else:
            path = f"{path}.{part}" if path else part
    return path, kind


def expectation(field: Field) -> str:
    """What a field wants, from its declaration: "a whole number from 1 to 1024"."""
    if field.choices:
        return "one of: " + ", ".join(str(word) for word in field.choices)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list of texts"}
    span = (
        f" from {field.minimum:.10g} to {field.maximum:.10g}" if field.minimum is not None and field.maximum is not None else ""
    )
    return words[field.type] + span + (", or nothing" if field.optional else "")


def _shown(given: object) -> str:
    text = repr(given) if isinstance(given, str) else "nothing" if given is None else str(given)
    return text if len(text) <= 80 else f"{text[:77]}..."


def migrate(data: dict[str, Any]) -> dict[str, Any]:
    """Bring settings of an older version up to date.

    Raises:
        ConfigError: `config.too_new`, or `config.invalid` for a version that is no number.
    """
    version = data.get("version", VERSION)
    if type(version) is not int or version < 1:
        raise _invalid([("version", f"expected a whole number from 1 to {VERSION} (given: {_shown(version)})")])
    if version > VERSION:
        raise ConfigError(
            "config.too_new", f"version: these settings have version {version}.", f"This program reads up to {VERSION}.",
            "Update the program.", field="version", version=version,
        )  # fmt: skip
    for step in range(version, VERSION):
        data = MIGRATIONS[step](data)
    return {**data, "version": VERSION}


def preset_path(name: str) -> Path:
    """`starter/character` as the file of a shipped preset.

    Raises:
        PathError: `path.outside`.
    """
    return safe_join(SHIPPED_PRESETS, f"{name}.yaml")


def load(model: type[Model], path: Path | None, settings: Mapping[str, Any] | None = None) -> Model:
    """A config from a file (or the defaults) with nested `settings` on top."""
    data = read_yaml(path) if path else {}
    return validate(model, lay_over(model, data, settings or {}))


def save(config: BaseModel, path: Path) -> None:
    """Write a whole config as YAML."""
    with atomic_write(path, "w") as stream:
        stream.write(dump(config.model_dump(mode="json")))
