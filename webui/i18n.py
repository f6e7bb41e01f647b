"""The words of the page in every language, from one table each in `locales/`.

Labels are translated in the browser (`label`), text that the server builds here (`t`, `explain`). Both follow one choice of
language, see `language`. It does not know the screens that show the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from engine.config.caption import CaptionConfig
from engine.config.check import CheckConfig
from engine.config.edits import EditConfig
from engine.config.field import Field, fields
from engine.config.generate import GenerateConfig
from engine.config.grid import GridOptions
from engine.config.tools import ToolConfig
from engine.config.train import TrainConfig
from engine.errors import EngineError

if TYPE_CHECKING:
    from gradio.i18n import I18nData

LOCALES = Path(__file__).parent / "locales"
LANGUAGES = tuple(sorted(file.stem for file in LOCALES.glob("*.yaml")))
DEFAULT = "en"
COOKIE = "atelier_language"
SERVER_ONLY = ("edits.", "error.", "text.", "unit.")
"""Groups that only server-built text uses; they are not sent to the browser."""
SCOPES = {
    "": TrainConfig,
    "generate.": GenerateConfig,
    "grid.": GridOptions,
    "tools.": ToolConfig,
    "edits.": EditConfig,
    "caption.": CaptionConfig,
    "check.": CheckConfig,
}
"""Prefix of the keys -> config whose fields they name."""


class Asks(Protocol):
    """What is needed of a request."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def cookies(self) -> Mapping[str, str]: ...


@cache
def table(language: str) -> dict[str, str]:
    """Key -> text. English help is the docstring of the field, where the table has no help of its own."""
    words = _flat(_read((LOCALES / f"{language}.yaml").read_text(encoding="utf-8")))
    if language == DEFAULT:
        for scope, config in SCOPES.items():
            words = {f"{scope}{field.key}.help": field.help for field in fields(config)} | words
    return words


def _read(text: str) -> dict[str, Any]:
    """YAML, by the parser in C where there is one: the same rules as `safe_load` and ten times as fast, which a start feels."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        result.update(_flat(value, f"{key}.") if isinstance(value, Mapping) else {key: str(value)})
    return result


def browser_table(language: str) -> dict[str, str]:
    """The words the browser needs; labels of fields carry their unit."""
    words = {key: text for key, text in table(language).items() if not key.startswith(SERVER_ONLY)}
    for scope, config in SCOPES.items():
        for field in fields(config):
            key = f"{scope}{field.key}.label"
            if key in words and (unit := table(language).get(f"unit.{field.ui.unit}")):
                words[key] += f" [{unit}]"
    return words


def label(key: str) -> I18nData:
    """A word for a component, translated in the browser.

    Raises:
        KeyError: there is no such word.
    """
    from gradio.i18n import I18nData

    if key not in table(DEFAULT):
        raise KeyError(key)
    return I18nData(key)


def t(key: str, language: str, **values: object) -> str:
    """A word for text built on the server. `values` fill its braces; the result is plain text, not HTML."""
    return table(language)[key].format(**values)


def choice_key(scope: str, field: Field, word: object) -> str | None:
    """The key of a choice's name, or None where the word is a proper name that stands in every language."""
    key = f"{scope}{field.key}.choice.{word}"
    return key if key in table(DEFAULT) else None


@dataclass(frozen=True)
class Told:
    """An error in the user's language."""

    what: str
    expected: str
    todo: str

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.what, self.expected, self.todo) if part)


def explain(error: EngineError, language: str) -> Told:
    """An engine's error in the user's language; the engine's own English where there is no translation."""
    words, key = table(language), f"error.{error.code}"
    if f"{key}.what" not in words:
        return Told(error.what, error.expected, error.todo)
    values = {name: str(value) for name, value in error.values.items()}
    if (why := f"text.device.why.{values.get('reason')}") in words:
        values["reason"] = words[why]
    try:
        return Told(*(words.get(f"{key}.{part}", "").format_map(values) for part in ("what", "expected", "todo")))
    except (KeyError, IndexError):  # an older job row may lack a value that the sentence names
        return Told(error.what, error.expected, error.todo)


def language(request: Asks | None, forced: str | None = None) -> str:
    """The language of a visitor: chosen in Settings, else `--lang`, else the first of the browser's that we have."""
    if request is None:
        return forced or DEFAULT
    chosen = request.cookies.get(COOKIE) or forced
    wanted = (
        [chosen] if chosen else [part.split(";")[0].strip() for part in request.headers.get("accept-language", "").split(",")]
    )
    codes = [str(word).split("-")[0].lower() for word in wanted]
    return next((code for code in codes if code in LANGUAGES), DEFAULT)
