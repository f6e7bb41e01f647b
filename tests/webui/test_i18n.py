from __future__ import annotations

import ast
import re
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest

from engine import fitting
from engine.config.field import fields
from engine.config.generate import GenerateConfig
from engine.config.tools import TOOLS
from engine.datasets.doctor import FINDINGS
from engine.errors import DatasetError, EngineError
from engine.formats.adapter_layout import AdapterFormat
from engine.formats.compatibility import PROGRAMS, REASONS, Loads
from webui.forms import keyed
from webui.i18n import COOKIE, LANGUAGES, SCOPES, browser_table, choice_key, explain, label, language, t, table

ROOT = Path(__file__).parents[2]
WEBUI = ROOT / "webui"
TABS = sorted((WEBUI / "tabs").glob("*.py"))
SHOWN = {"label", "info", "placeholder", "value", "title", "description"}
SPOKEN = {"Button", "Markdown", "Tab", "Accordion"}


@dataclass
class Request:
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)


def words(code: str) -> dict[str, str]:
    """The table without the text of errors, which in English is the engine's own."""
    return {key: text for key, text in table(code).items() if not key.startswith("error.")}


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_has_the_same_words(code: str) -> None:
    assert set(words(code)) == set(words("en"))
    assert [key for key, text in table(code).items() if not text.strip()] == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_word_has_the_same_blanks(code: str) -> None:
    def blanks(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [
        key for key, text in words(code).items() if key.startswith("text.") and blanks(text) != blanks(table("en")[key])
    ] == []


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("code", LANGUAGES)
def test_every_field_has_a_label_and_help(scope: str, code: str) -> None:
    for each in keyed(SCOPES[scope]).values():
        assert table(code)[f"{scope}{each.key}.label"]
        assert table(code)[f"{scope}{each.key}.help"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_algorithm_is_named_and_explained(code: str) -> None:
    for kind in keyed(SCOPES[""])["adapter.kind"].choices:
        assert table(code)[f"adapter.kind.choice.{kind}"]
        assert table(code)[f"text.kind.{kind}"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_tool_and_every_verdict_has_words(code: str) -> None:
    words = table(code)
    assert {f"text.tool.kind.{kind}" for kind in TOOLS} | {f"tools.tool.kind.choice.{kind}" for kind in TOOLS} <= set(words)
    assert {f"text.loads_why.{reason}" for reason in REASONS} | {f"text.program.{name}" for name in PROGRAMS} <= set(words)
    assert {f"text.loads.{verdict}" for verdict in get_args(Loads)} <= set(words)
    assert {f"text.detail.formats.{name}" for name in get_args(AdapterFormat)} <= set(words)


def test_reasons_are_told_in_english_as_the_engine_says_them() -> None:
    assert {code: table("en")[f"text.loads_why.{code}"] for code in REASONS} == REASONS


def test_what_a_device_cannot_do_has_words() -> None:
    assert {code: table("en")[f"text.device.why.{code}"] for code in fitting.REASONS} == fitting.REASONS
    assert {f"text.device.row.{setting}" for setting in fitting.TABLE} <= set(table("en"))
    assert {f"text.device.kind.{kind}" for kind in get_args(fitting.Kind)} <= set(table("en"))


def test_no_key_is_the_beginning_of_another() -> None:
    keys = set(table("en"))
    assert [key for key in keys if any(other.startswith(f"{key}.") for other in keys)] == []


def test_help_in_english_is_the_docstring() -> None:
    assert table("en")["training.learning_rate.help"] == next(
        each.help for each in fields(SCOPES[""]) if each.path == "training.learning_rate"
    )


def codes() -> set[str]:
    """Codes of every error and finding the engine can raise, read from its sources."""
    found = set()
    for file in (ROOT / "engine").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                code = node.args[0].value
                if (
                    (called.endswith("Error") or called == "Finding")
                    and isinstance(code, str)
                    and re.fullmatch(r"\w+\.\w+", code)
                ):
                    found.add(code)
    return found


def test_every_error_is_translated() -> None:
    assert len(codes()) > 60
    assert sorted(code for code in codes() if f"error.{code}.what" not in table("ja")) == []


def test_every_finding_of_the_doctor_is_translated() -> None:
    assert sorted(code for code in FINDINGS if f"error.{code}.what" not in table("ja")) == []


def test_errors_are_told_in_both_languages() -> None:
    error = DatasetError("dataset.no_pictures", "There are no pictures in 'x'.", "", "Look.", folder="x", extensions=".png")
    assert explain(error, "en").what == "There are no pictures in 'x'."
    assert "x に使える画像がありません" in explain(error, "ja").text


def test_the_reason_of_a_refusal_is_told_in_both_languages() -> None:
    with pytest.raises(EngineError) as refused:
        fitting.check_config(fitting.DeviceProfile("mps", "M3"), GenerateConfig(streamed_blocks=4))
    assert fitting.REASONS["mps_streaming"] in explain(refused.value, "en").what
    told = explain(refused.value, "ja")
    assert told.what.startswith("M3 では 4 を使えません") and table("ja")["text.device.why.mps_streaming"] in told.what
    assert told.expected == "使える値: 0。"


def test_an_error_without_its_values_is_told_in_english() -> None:
    assert explain(DatasetError("dataset.no_pictures", "No pictures."), "ja").what == "No pictures."
    assert explain(EngineError("new.code", "Something new.", todo="Do it."), "ja").text == "Something new. Do it."


def test_values_are_not_read_as_a_template() -> None:
    error = DatasetError("dataset.not_a_folder", "?", folder="{0.__class__}{folder}")
    assert "{0.__class__}{folder}" in explain(error, "ja").what
    assert t("text.run.folder", "en", path="{x}") == "Folder: {x}"


def test_unknown_word() -> None:
    with pytest.raises(KeyError):
        label("no.such.word")


@pytest.mark.parametrize(
    ("request_", "forced", "expected"),
    [
        (Request({"accept-language": "ja-JP,ja;q=0.9,en;q=0.8"}), None, "ja"),
        (Request({"accept-language": "fr-FR,fr;q=0.9"}), None, "en"),
        (Request({"accept-language": "fr, ja;q=0.5, en;q=0.3"}), None, "ja"),
        (Request({"accept-language": "ja"}), "en", "en"),
        (Request({"accept-language": "en"}, {COOKIE: "ja"}), "en", "ja"),
        (Request({}, {COOKIE: "../etc"}), None, "en"),
        (None, "ja", "ja"),
    ],
)
def test_language_of_a_visitor(request_: Request | None, forced: str | None, expected: str) -> None:
    assert language(request_, forced) == expected


def test_units_stand_at_labels() -> None:
    assert browser_table("en")["dataset.resolution.label"] == "Resolution [px]"
    assert "error.dataset.none.what" not in browser_table("ja")


def test_proper_names_have_no_translation() -> None:
    every = keyed(SCOPES[""])
    assert choice_key("", every["training.schedule"], "cosine") == "training.schedule.choice.cosine"
    assert choice_key("", every["samples.sampler"], "Euler a") is None


@pytest.mark.parametrize("file", TABS, ids=lambda file: file.stem)
def test_tabs_hold_no_words_of_their_own(file: Path) -> None:
    """A text that a component shows is a key of the locales, never a literal."""
    offenders = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        literal = [keyword.value for keyword in node.keywords if keyword.arg in SHOWN]
        literal += node.args[:1] if name in SPOKEN else []
        literal += node.args[1:2] if name == "text" else []
        for value in literal:
            parts = [value] if isinstance(value, ast.Constant) else value.values if isinstance(value, ast.JoinedStr) else []
            if any(isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.strip() for part in parts):
                offenders.append(f"{file.name}:{node.lineno}")
    assert offenders == []
