"""The line "Nothing happens?": what may keep an adapter from showing, under the pictures and, where it is certain, before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.adapter_library import named_adapters
from engine.config.generate import GenerateConfig
from engine.diagnosis import CERTAIN, diagnose
from engine.errors import EngineError, PromptError
from engine.formats.infotext import parse_infotext
from engine.styles import apply_styles, read_styles
from engine.workspace import Workspace
from webui.i18n import explain, t
from webui.widgets.chosen_model import chosen_model
from webui.widgets.html import tag, text

TOLD_ELSEWHERE = "diagnosis.in_negative"
"""What a finished picture tells as a problem of its own."""
LOOK_SECONDS = 0.2
"""For reading headers that nobody has read yet."""


def early_html(config: GenerateConfig, workspace: Workspace, language: str) -> str:
    """What is certain to go wrong with the request as it stands; "" where nothing is. For each change of the prompt."""
    if "<" not in config.prompt + config.negative_prompt:
        return ""
    try:
        prompt, negative, _ = apply_styles(config.prompt, config.negative_prompt, config.styles, read_styles(workspace))
    except PromptError:  # told when it is drawn
        prompt, negative = config.prompt, config.negative_prompt
    drawn = config.model_copy(update={"prompt": prompt, "negative_prompt": negative})
    found = [each for each in _diagnose(drawn, workspace) if each.code in CERTAIN]
    return tag("ul", "".join(_line(each, language) for each in found), class_="early", role="status") if found else ""


def late_html(
    config: GenerateConfig, infotext: str, applied: Sequence[Mapping[str, Any]], workspace: Workspace, language: str
) -> str:
    """What may be the reason where a picture shows nothing of its adapters, to be opened; open where it is certain.

    Args:
        config: what the picture was asked for with.
        infotext: its recipe, which holds the prompt as it was drawn.
        applied: its report of the adapters in force.
    """
    prompt, negative, _ = parse_infotext(infotext)
    drawn = config.model_copy(update={"prompt": prompt, "negative_prompt": negative})
    found = [each for each in _diagnose(drawn, workspace, applied) if each.code != TOLD_ELSEWHERE]
    if not found:
        return ""
    title = text("summary", t("text.gen.nothing_happens", language))
    lines = tag("ul", "".join(_line(each, language) for each in found), class_="plain")
    return tag("details", title + lines, class_="diagnosis", open="" if any(each.code in CERTAIN for each in found) else None)


def _diagnose(config: GenerateConfig, workspace: Workspace, applied: Sequence[Mapping[str, Any]] = ()) -> list[EngineError]:
    return diagnose(config, named_adapters(workspace, LOOK_SECONDS), chosen_model(config.model, workspace), applied)


def _line(found: EngineError, language: str) -> str:
    told = explain(found, language)
    return tag("li", text("span", told.what) + text("strong", told.todo))
