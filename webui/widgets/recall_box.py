"""The place where a picture is dropped, or its text pasted, to have its settings in the form again.

The file is read where it was uploaded; nothing is decoded and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from engine import outputs
from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.formats.infotext import made_with, read_infotext_from_image
from engine.recall import Line, Recalled, recall
from webui.context import Context, reported
from webui.forms import Form, to_widget
from webui.i18n import label
from webui.widgets.chosen_model import chosen_model, samplers, schedules
from webui.widgets.notices import problem
from webui.widgets.recall_report import recall_html

Settings = Mapping[str, Any]
ENDINGS = [".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"]


class RecallBox:
    """Components in the place where it is made; `listen` is called when the form is whole.

    Attributes:
        inputs: what `from_saved` is given after the name of a saved picture.
        outputs: what all functions return updates for: the box's own components, the form's, and those that `listen` was told.
    """

    def __init__(self, context: Context, form: Form[GenerateConfig]) -> None:
        self.context, self.form = context, form
        self.file = gr.File(label=label("recall.file"), file_types=ENDINGS, type="filepath", height=150, elem_id="recall-file")
        self.text = gr.Textbox(
            label=label("recall.text"), placeholder=label("recall.example"), lines=3, max_lines=8, elem_id="recall-text"
        )
        self.go = gr.Button(label("recall.go"), size="md", elem_id="recall-go")
        self.report = gr.HTML(elem_id="recall-report")

    def listen(self, also: Sequence[Any] = (), follow: Callable[[Settings], list[Any]] = lambda settings: []) -> None:
        """Connect the box to the form.

        Args:
            also: other components that settings change.
            follow: updates of these for the settings that were taken, nested; what is not among them stays.
        """
        self.follow = follow
        self.inputs = [self.form.components["model"]]
        self.outputs = [self.file, self.text, self.report, *self.form.inputs, *also]
        quiet: dict[str, Any] = {
            "outputs": self.outputs, "show_progress": "hidden", "api_visibility": "private", "queue": False,
        }  # fmt: skip
        self.file.upload(self._from_file, [self.file, *self.inputs], **quiet)
        self.go.click(self._from_text, [self.text, *self.inputs], **quiet)

    def from_saved(self, request: gr.Request, name: str, model: str) -> list[Any]:
        """Take the settings of a saved picture."""
        problems: list[EngineError] = []
        words = ""
        with reported(problems):
            words = outputs.infotext(self.context.workspace, name)
        return self._told(request, problems[0]) if problems else self._from_text(request, words, model)

    def _from_file(self, request: gr.Request, file: str, model: str) -> list[Any]:
        problems: list[EngineError] = []
        words: str | None = None
        with reported(problems):
            words = read_infotext_from_image(file)
        if problems:
            return self._told(request, problems[0])
        if not words and (program := made_with(file)):
            return self._shown(request, "", Recalled(report=[Line("", program, "unknown", "foreign")]), model)
        return self._from_text(request, words or "", model)

    def _from_text(self, request: gr.Request, words: str, model: str) -> list[Any]:
        return self._shown(request, words, recall(words or "", self.context.workspace), model)

    def _told(self, request: gr.Request, error: EngineError) -> list[Any]:
        """Say what is wrong and change nothing."""
        html = problem(error, self.context.language(request))
        return [None, gr.skip(), html, *[gr.skip()] * (len(self.outputs) - 3)]

    def _shown(self, request: gr.Request, words: str, recalled: Recalled, model: str) -> list[Any]:
        facts = chosen_model(recalled.settings.get("model", model), self.context.workspace)
        able = {"sampler": samplers(facts), "schedule": schedules(facts)}
        recalled = fitted(recalled, able)
        return [
            None, words, recall_html(recalled, self.context.language(request)), *self._updates(recalled.settings, able),
            *self.follow(recalled.settings),
        ]  # fmt: skip

    def _updates(self, settings: Settings, able: Mapping[str, list[str]]) -> list[Any]:
        """Updates of the form: of what the picture says, and of what its model can do."""
        updates = []
        for key in self.form.keys:
            field = self.form.fields[key]
            found, value = _at(settings, field.path)
            choices: dict[str, Any] = {"choices": able[key]} if found and key in able else {}
            updates.append(gr.update(value=to_widget(field, value), **choices) if found else gr.skip())
        return updates


def fitted(recalled: Recalled, able: Mapping[str, Sequence[str]]) -> Recalled:
    """Without the sampler and the schedule that the model cannot be walked by, which is reported."""
    names = {"sampler": "Sampler", "schedule": "Schedule type"}
    unfit = {key for key, choices in able.items() if key in recalled.settings and recalled.settings[key] not in choices}
    fields = {names[key] for key in unfit}
    return Recalled(
        {key: value for key, value in recalled.settings.items() if key not in unfit},
        [line._replace(fate="unknown", reason="base", became="") if line.field in fields else line for line in recalled.report],
    )


def _at(settings: Settings, path: str) -> tuple[bool, Any]:
    """(whether there is a setting of this path, its value)."""
    value: Any = settings
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value
