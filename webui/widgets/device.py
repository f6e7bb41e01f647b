"""What the device of this machine cannot do: in the choices and the help of a field, and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config.field import Field, fields
from engine.config.train import TrainConfig
from engine.fitting import FIELDS, TABLE, DeviceProfile, refusals
from webui.i18n import choice_key, t, table
from webui.widgets.html import tag, text
from webui.widgets.memory import gibibytes

SIGN = "⊘"
"""In front of what is refused; `assets/style.css` greys the choices that begin with it."""


def choice_names(field: Field, scope: str, refused: Mapping[str, str], language: str) -> list[tuple[str, Any]]:
    """Name and value of each choice; those refused can be seen, and are told from the others."""
    named = [(_name(field, scope, word, language), word) for word in field.choices]
    return [(f"{SIGN} {name}" if word in refused else name, word) for name, word in named]


def refused_words(field: Field, scope: str, refused: Mapping[str, str], language: str) -> list[str]:
    """The reasons, each with the choices that it holds for: "⊘ bfloat16, float16: On Apple's GPUs …"."""
    reasons: dict[str, list[str]] = {}
    for word, reason in refused.items():
        reasons.setdefault(reason, []).append(_name(field, scope, word, language))
    told = []
    for reason, names in reasons.items():
        which = f"{', '.join(names)}: " if field.choices else ""
        told.append(f"{SIGN} {which}{t(f'text.device.why.{reason}', language)}")
    return told


def device_html(profile: DeviceProfile | None, language: str) -> str:
    """The device, its memory, and what it refuses with the reason."""
    if profile is None:
        return text("p", t("text.device.unknown", language), class_="hint")
    field_of = {FIELDS[field.path]: field for field in fields(TrainConfig) if field.path in FIELDS}
    refused = {setting: refusals(profile, setting) for setting in TABLE}
    rows = {
        "name": [f"{profile.name} ({t(f'text.device.kind.{profile.kind}', language)})"],
        "memory": [gibibytes(profile.memory_mib * 2**20)],
        **{setting: refused_words(field_of[setting], "", words, language) for setting, words in refused.items() if words},
    }
    if not any(refused.values()):
        rows["refused"] = [t("text.device.nothing", language)]
    cells = ""
    for name, lines in rows.items():
        cells += text("dt", t(f"text.device.row.{name}", language)) + tag("dd", "".join(text("span", line) for line in lines))
    return tag("dl", cells, class_="facts")


def _name(field: Field, scope: str, word: str, language: str) -> str:
    key = choice_key(scope, field, word)
    return table(language)[key] if key else word
