"""A config model and the components that show it: the only place that maps a field to a component.

Values travel as a list in the order of `Form.keys`. Of a union the fields of the chosen kind are seen; the others keep what
they hold and are not read. A problem is shown at its field, in place of the help.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gradio as gr
from pydantic import BaseModel

from engine.config.field import TRAITS, Field, fields
from engine.config.load import lay_over, nested, validate
from engine.errors import ConfigError, EngineError
from engine.fitting import FIELDS, DeviceProfile, refusals
from webui.i18n import DEFAULT, choice_key, explain, label, t, table
from webui.widgets.device import choice_names, refused_words
from webui.widgets.html import plain_info

Model = TypeVar("Model", bound=BaseModel)
HIDDEN = ("version",)
"""Fields that nobody sets by hand."""
INVALID = "field-invalid"
PRESS = "(...given) => { given[0] = window.atelier.press(); return given; }"
"""One id for one press: a double click carries the same id twice, and the queue knows it."""


def keyed(model: type[BaseModel]) -> dict[str, Field]:
    """Key -> field, in the order of declaration, of everything that there is something to choose about."""
    return {field.key: field for field in fields(model) if field.path not in HIDDEN and len(field.choices) != 1}


def to_widget(field: Field, value: Any) -> Any:
    """A setting as its component holds it."""
    if field.type is list:
        return list(value or ()) if field.ui.widget == "styles" else "\n".join(value or ())
    if _may_be_empty(field):
        return "" if value is None else str(value)
    return value


def from_widget(field: Field, value: Any) -> Any:
    """What a component holds as a setting. Nothing is rounded or clamped here; what is no number stays text and is refused later."""
    if field.ui.widget == "styles":
        return list(value or ())
    if field.type is list:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]
    if field.type is str:
        return "" if value is None else str(value)
    if field.type in (int, float) and isinstance(value, str):
        return _read_number(field, value.strip())
    if field.type is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _read_number(field: Field, words: str) -> Any:
    try:
        return field.type(words) if words else None
    except ValueError:
        return words


def _may_be_empty(field: Field) -> bool:
    return field.optional and field.type in (int, float)


@dataclass(frozen=True)
class Checked(Generic[Model]):
    """Settings as read from a form: `config` when they are valid, else the problems by key (or None for the whole form)."""

    config: Model | None
    problems: dict[str | None, str]


class Form(Generic[Model]):
    """The components of one config on one page.

    Args:
        name: first part of every `elem_id`.
        model: the config.
        scope: prefix of the keys in the locales.
        omit: paths that the page sets itself.
        terse: keys of fields shown without their help.
        traits: of the base model that a form with these values (by key) has chosen; fields that need others are not seen.
        device: what computes, as far as it is known by now; what it refuses is told in choices and help.
    """

    def __init__(
        self, name: str, model: type[Model], scope: str = "", omit: Iterable[str] = (), terse: Iterable[str] = (),
        traits: Callable[[Mapping[str, Any]], Set[str]] = lambda given: TRAITS, device: Callable[[], DeviceProfile | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.name, self.model, self.scope, self.terse, self.traits, self.device = name, model, scope, set(terse), traits, device
        self.fields = {key: field for key, field in keyed(model).items() if field.path not in omit}
        self.components: dict[str, Any] = {}

    @property
    def keys(self) -> list[str]:
        return list(self.components)

    @property
    def inputs(self) -> list[Any]:
        return list(self.components.values())

    def elem_id(self, key: str) -> str:
        return f"{self.name}-" + key.replace(".", "-").replace("@", "-")

    def place(self, key: str, **options: Any) -> Any:
        """Make the component of a field where the layout now stands. `options` override what the declaration says."""
        field = self.fields[key]
        seen = key in self._in_force({key: field.default for key, field in self.fields.items()})
        common = {
            "label": label(f"{self.scope}{key}.label"), "info": self._help(key), "elem_id": self.elem_id(key), "visible": seen,
        }  # fmt: skip
        if (example := f"{self.scope}{key}.example") in table(DEFAULT):
            common["placeholder"] = label(example)
        component = _build(field, self.scope, {**common, "value": to_widget(field, field.default), **options})
        self.components[key] = component
        return component

    def _help(self, key: str, language: str = "") -> Any:
        """The help of a field; once it is known who asks, with what the device refuses there."""
        if key in self.terse:
            return None
        words, refused = f"{self.scope}{key}.help", self._refused(key) if language else {}
        if not refused:
            return label(words)
        return "\n".join([t(words, language), *refused_words(self.fields[key], self.scope, refused, language)])

    def _refused(self, key: str) -> dict[str, str]:
        """Choice -> code of the reason for which the device does not have it."""
        setting, profile = FIELDS.get(self.fields[key].path), self.device()
        return refusals(profile, setting) if setting and profile else {}

    def place_level(self, section: str, level: str) -> int:
        """Make all components of a section's level that are not placed yet; returns how many."""
        chosen = [k for k, f in self.fields.items() if k not in self.components and k.startswith(section) and f.ui.level == level]
        for key in chosen:
            self.place(key)
        return len(chosen)

    @property
    def deciding(self) -> list[Any]:
        """The components that say of which kind a section is, and the base model; when one changes, `seen` follows."""
        unions = {f"{_section(field)}.kind" for field in self.fields.values() if field.kinds}
        return [component for key, component in self.components.items() if key in unions or self.fields[key].ui.widget == "model"]

    def seen(self, *values: Any) -> list[Any]:
        """Updates of all components: those of the chosen kinds that mean something for the base model are seen."""
        given = dict(zip(self.components, values, strict=True))
        seen = self._in_force(given)
        depends = [self.fields[key].kinds or self.fields[key].ui.needs for key in given]
        return [gr.update(visible=key in seen) if any_ else gr.skip() for key, any_ in zip(given, depends, strict=True)]

    @property
    def fitted(self) -> list[Any]:
        """The components whose choices depend on the device; when the page opens, `fit` follows."""
        return [component for key, component in self.components.items() if self.fields[key].path in FIELDS]

    def fit(self, language: str, marked: Sequence[str] = ()) -> list[Any]:
        """Updates of `fitted`: what the device refuses can be seen, with the reason. Problems `marked` before stay."""
        updates = []
        for key in self.components:
            if self.fields[key].path in FIELDS:
                choices = choice_names(self.fields[key], self.scope, self._refused(key), language)
                told: dict[str, Any] = {} if key in marked else {"info": self._help(key, language)}
                updates.append(gr.update(**told, **({"choices": choices} if choices else {})))
        return updates

    def settings(self, values: Sequence[Any]) -> dict[str, Any]:
        """Nested settings, of those fields only that are seen."""
        given = dict(zip(self.components, values, strict=True))
        seen = self._in_force(given)
        return nested({self.fields[key].path: from_widget(self.fields[key], given[key]) for key in given if key in seen})

    def values(self, config: Model | Mapping[str, Any]) -> list[Any]:
        """What the components show for a config; fields that it does not have keep their default."""
        data = config if isinstance(config, Mapping) else config.model_dump()
        return [to_widget(self.fields[key], _dig(data, self.fields[key])) for key in self.components]

    def check(self, values: Sequence[Any], language: str, under: Mapping[str, Any] | None = None) -> Checked[Model]:
        """Validate what the components hold, laid over the settings `under` that have no component."""
        try:
            return Checked(validate(self.model, lay_over(self.model, under or {}, self.settings(values))), {})
        except ConfigError as error:
            problems: dict[str | None, str] = {}
            for path, problem in error.values.get("problems", [("", explain(error, language).text)]):  # type: ignore[union-attr]
                keys = self._keys_of(path, problem, values)
                for key in keys:
                    problems.setdefault(key, self._say(keys[-1], path, problem, language))
            return Checked(None, problems)

    def _keys_of(self, path: str, problem: str, values: Sequence[Any]) -> list[str | None]:
        """The fields that a problem at `path` belongs to; a contradiction of a section belongs to all that it names."""
        given = dict(zip(self.components, values, strict=True))
        seen = self._in_force(given)
        chosen = [key for key in self.components if key in seen]
        exact = [key for key in chosen if self.fields[key].path == path]
        inside = [key for key in chosen if key.startswith(f"{path}.") and _names(problem, self.fields[key])]
        return list(exact or inside) or [None]

    def _in_force(self, given: Mapping[str, Any]) -> set[str]:
        """The fields that belong to the chosen kinds and mean something for the base model."""
        traits = self.traits(given)
        return {
            key
            for key, field in self.fields.items()
            if field.belongs_to(given.get(f"{_section(field)}.kind")) and (not field.ui.needs or field.ui.needs in traits)
        }

    def _say(self, key: str | None, path: str, problem: str, language: str) -> str:
        field = self.fields.get(key or "")
        exact = field is not None and field.path == path
        own = f"text.{'problem' if exact else 'contradiction'}.{self.scope}{field.path if field else path}"
        if own in table(language):
            return t(own, language)
        return (field and exact and _expectation(field, language)) or f"{path}: {problem}"

    def problem_of(self, error: EngineError, language: str) -> dict[str | None, str]:
        """An engine's error as problems by key."""
        path = str(error.values.get("field", ""))
        keys: list[str | None] = [key for key in self.components if self.fields[key].path == path]
        return dict.fromkeys(keys or [None], explain(error, language).text)

    def mark(self, problems: Mapping[str | None, str], marked: Sequence[str], language: str) -> list[Any]:
        """Updates that show problems at their fields and put the help back at those `marked` before."""
        updates = []
        for key in self.components:
            if key in problems:
                updates.append(gr.update(info=plain_info(problems[key]), elem_classes=[INVALID]))
            elif key in marked:
                updates.append(gr.update(info=self._help(key, language), elem_classes=[]))
            else:
                updates.append(gr.skip())
        return updates

    def headline(self, problems: Mapping[str | None, str], language: str) -> str:
        """The first problem as one line with the field's name, as plain text."""
        key, problem = next(iter(problems.items()))
        name = t(f"{self.scope}{key}.label", language) if key else ""
        return f"{name}: {problem}" if name else problem


def _names(problem: str, field: Field) -> bool:
    return re.search(rf"\b{field.path.rpartition('.')[2]}\b", problem) is not None


def _section(field: Field) -> str:
    return field.path.rpartition(".")[0]


def _dig(data: Any, field: Field) -> Any:
    section = data
    for part in _section(field).split("."):
        section = section.get(part, {}) if part and isinstance(section, Mapping) else section
    if "kind" in section and not field.belongs_to(section["kind"]):
        return field.default
    return section.get(field.path.rpartition(".")[2], field.default)


def _expectation(field: Field, language: str) -> str:
    """What a number field wants, from its declaration."""
    if field.type not in (int, float):
        return ""
    word = "integer" if field.type is int else "number"
    empty = t("text.problem.or_empty", language) if field.optional else ""
    return t(f"text.problem.{word}", language, low=_number(field.minimum), high=_number(field.maximum)) + empty


def _number(value: float | None) -> str:
    return "?" if value is None else f"{int(value):,}" if math.isclose(value, int(value)) else f"{value:g}"


def _build(field: Field, scope: str, options: dict[str, Any]) -> Any:
    """The component for a field. Bounds are left to the validation, whose words say more than a number box."""
    if field.choices:
        names = [(label(key) if (key := choice_key(scope, field, word)) else str(word), word) for word in field.choices]
        return gr.Dropdown(**{"choices": names, "filterable": len(names) > 12, **options})
    if field.ui.widget in ("model", "vae", "dataset", "adapter", "run", "tagger"):
        return gr.Dropdown(**{"choices": [], "allow_custom_value": True, **options})
    if field.ui.widget == "styles":
        return gr.Dropdown(**{"choices": [], "multiselect": True, **options})
    if field.type is bool:
        return gr.Checkbox(**options)
    if field.ui.widget == "slider":
        return gr.Slider(**{"minimum": field.minimum, "maximum": field.maximum, "step": field.ui.step, **options})
    if _may_be_empty(field):  # a number box without a value turns into 0 when its accordion opens (seen in Gradio 6.31)
        return gr.Textbox(**{"max_lines": 1, "placeholder": label("form.computed"), **options})
    if field.type in (int, float):
        return gr.Number(**{"step": field.ui.step or 1, **options})
    lines = 3 if field.ui.widget == "lines" else 1
    return gr.Textbox(**{"lines": lines, "max_lines": 10 if lines > 1 else 1, **options})
