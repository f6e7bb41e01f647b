"""The kinds of bulk edits and their fields, as the scripts draw them, in the visitor's language."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from engine.config.edits import EDITS, EditConfig
from engine.config.field import Field, fields
from webui.datasets.opened import Here
from webui.datasets.replies import Json
from webui.i18n import t, table

router = APIRouter(default_response_class=Json)
SCOPE = "edits."
LAST = ("edit.keep", "edit.seed")
"""Fields that are seldom touched."""


@router.get("/edits")
def edits(request: Request, context: Here) -> list[dict[str, Any]]:
    language = context.language(request)
    declared = sorted((field for field in fields(EditConfig) if field.kinds), key=lambda field: field.path in LAST)
    return [
        {
            "kind": kind, "label": t(f"{SCOPE}edit.kind.choice.{kind}", language), "help": t(f"text.dataset.edit_help.{kind}", language),
            "fields": [_told(field, kind, language) for field in declared if field.belongs_to(kind)],
        }
        for kind in EDITS
    ]  # fmt: skip


def _told(field: Field, kind: str, language: str) -> dict[str, Any]:
    """`required` is what may not be empty; its default is only an example."""
    name, key = field.path.removeprefix("edit."), f"{SCOPE}{field.key}"
    info = EDITS[kind].model_fields[name]
    required = field.type is str and not field.choices and info.get_default() != ""
    words = table(language)
    return {
        "name": name, "type": field.type.__name__, "label": words[f"{key}.label"], "help": words[f"{key}.help"],
        "default": "" if required else field.default, "example": (required and field.default) or "", "required": required,
        "choices": [{"value": word, "label": words[f"{key}.choice.{word}"]} for word in field.choices],
        "minimum": field.minimum, "maximum": field.maximum, "step": field.ui.step, "lines": field.ui.widget == "lines",
    }  # fmt: skip
