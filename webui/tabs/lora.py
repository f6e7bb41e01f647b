"""The LoRA tab: five choices, what will happen, Start; every other setting one click away. Above it the run at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from engine import library
from engine.config.dataset_file import DatasetFile
from engine.config.field import TRAITS
from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.datasets.dataset_file import read_dataset_file
from engine.errors import EngineError
from engine.fitting import check_config
from engine.jobs import actions
from engine.jobs.job import LIVE
from engine.preflight import Preflight, preflight, scan_dataset
from engine.workspace import check_name
from webui import presets
from webui.context import Context, reported
from webui.forms import PRESS, Checked, Form
from webui.i18n import label, t, table
from webui.widgets.chosen_model import AUTOMATIC, chosen_model, samplers, vae_choices
from webui.widgets.html import text
from webui.widgets.notices import notices, plain_problem, problem
from webui.widgets.plan import plan_html, strip_html
from webui.widgets.run_panel import RunPanel
from webui.widgets.runs import RunReader

SECTIONS = ("adapter", "training", "dataset", "samples", "output", "model")
Problems = dict[str | None, str]
"""What to say by field; None is the whole form."""
RECENT_SECONDS = 3600
"""A run that ended this long ago is still shown when the page opens."""


@dataclass
class LoraTab:
    """What the page connects."""

    panel: RunPanel
    load: Any
    load_inputs: list[Any]
    load_outputs: list[Any]
    dataset: Any
    fill: Any
    fill_inputs: list[Any]
    fill_outputs: list[Any]


def build(context: Context, reader: RunReader) -> LoraTab:
    return _Builder(context, reader).tab()


class _Builder:
    def __init__(self, context: Context, reader: RunReader) -> None:
        self.context, self.workspace = context, context.workspace
        self.form = Form("train", TrainConfig, traits=self._traits, device=context.device)
        self.panel: RunPanel
        self.reader = reader

    # ---- layout ----

    def tab(self) -> LoraTab:
        self.press = gr.Textbox(visible=False)
        self.marked = gr.State([])
        self._practice_card()
        self.panel = RunPanel(self.context, self.reader, "run")
        with gr.Row(elem_classes=["work"], equal_height=False):
            with gr.Column(scale=7, min_width=320):
                self._basics()
                with gr.Accordion(label("form.advanced"), open=False, elem_id="train-advanced", elem_classes=["card"]):
                    self._advanced()
            with gr.Column(scale=5, min_width=300, elem_classes=["side"]):
                with gr.Column(elem_classes=["card"]):
                    self.plan = gr.HTML(elem_id="train-plan")
                self.trouble = gr.HTML(elem_id="train-trouble", visible=False)
                self.start = gr.Button(label("form.start"), variant="primary", size="lg", elem_id="train-start")
        self._listen()
        return LoraTab(
            self.panel,
            self._load,
            [self.form.components["adapter.kind"], self.marked],
            self._load_outputs,
            self.form.components["dataset.folder"],
            self._fill_dataset,
            [self.preset, *self.form.inputs],
            [self.preset, *self.form.inputs],
        )

    def _practice_card(self) -> None:
        with gr.Column(visible=False, elem_id="practice-card", elem_classes=["card", "welcome"]) as self.card:
            gr.Markdown(label("lora.practice_title"), elem_classes=["welcome-title"])
            gr.Markdown(label("lora.practice_text"))
            with gr.Row(elem_classes=["buttons"]):
                self.practice = gr.Button(label("form.start_practice"), variant="primary", size="lg", elem_id="practice-start")
                self.fill = gr.Button(label("lora.practice_link"), variant="secondary", size="lg", elem_id="practice-fill")

    def _basics(self) -> None:
        place = self.form.place
        with gr.Column(elem_classes=["card"]):
            with gr.Row():
                place("model.path", min_width=220)
                place("dataset.kind", min_width=180)
            place("dataset.folder")
            self.strip = gr.HTML(elem_id="train-strip", visible=False)
            with gr.Row():
                place("output.name", min_width=200)
                place("dataset.trigger", min_width=200)
            self.preset = gr.Dropdown(
                self._fitting_presets("starter", None)["choices"],
                value=None,
                label=label("form.preset"),
                info=label("form.preset_help"),
                elem_id="train-preset",
            )

    def _advanced(self) -> None:
        self.form.place("adapter.kind", info=None)
        self.about = gr.HTML(elem_id="train-about")
        for section in SECTIONS:
            with gr.Accordion(label(f"form.section_{section}"), open=False, elem_id=f"train-section-{section}"):
                with gr.Row(elem_classes=["fields"]):
                    self.form.place_level(f"{section}.", "basic")
                    self.form.place_level(f"{section}.", "advanced")
                if any(key.startswith(f"{section}.") and key not in self.form.components for key in self.form.fields):
                    with (
                        gr.Accordion(label("form.expert"), open=False, elem_id=f"train-expert-{section}"),
                        gr.Row(elem_classes=["fields"]),
                    ):
                        self.form.place_level(f"{section}.", "expert")

    # ---- listeners ----

    def _listen(self) -> None:
        form, panel = self.form, self.panel
        shown = [self.plan, self.strip, self.trouble, self.marked, *form.inputs]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        given = [self.preset, self.marked, *form.inputs]
        gr.on(
            [component.change for component in form.inputs], self._recompute, given, shown, queue=False,
            trigger_mode="always_last", **quiet,
        )  # fmt: skip
        gr.on([kind.change for kind in form.deciding], form.seen, form.inputs, form.inputs, queue=False, **quiet)
        form.components["adapter.kind"].change(self._about, form.components["adapter.kind"], self.about, queue=False, **quiet)
        self.preset.input(
            self._choose_preset,
            [self.preset, *form.inputs],
            form.inputs,
            queue=False,
            **quiet,
        )
        form.components["model.path"].change(
            self._follow, [self.preset, *form.inputs], [self.preset, *form.inputs], queue=False, **quiet
        )
        self.fill.click(self._fill_practice, form.inputs, [self.preset, *form.inputs], queue=False, **quiet)
        started = [self.card, self.trouble, self.marked, *panel.outputs, *form.inputs]
        self.start.click(self._start, [self.press, self.marked, *form.inputs], started, js=PRESS, concurrency_limit=None, **quiet)
        self.practice.click(
            self._start_practice, [self.press, self.marked], [*started, self.preset], js=PRESS, concurrency_limit=None, **quiet
        )
        self._load_outputs = [
            self.card, *(form.components[key] for key in ("model.path", "model.vae", "dataset.folder")), self.plan, self.about, *form.fitted,
            *panel.outputs,
        ]  # fmt: skip

    # ---- what happens ----

    def _load(self, request: gr.Request, algorithm: str, marked: list[str]) -> list[Any]:
        """The page opens: what there is to choose from, and the run at work if there is one."""
        language = self.context.language(request)
        runs = self.context.jobs.list(limit=1, kinds=("train",))
        working = self.context.jobs.list(limit=1, kinds=("train",), states=("running", "pausing", "queued"))
        shown = (
            working or [job for job in runs if job.state in LIVE or _seconds_since(job.finished) < RECENT_SECONDS] or [None]
        )[0]
        return [
            gr.update(visible=not runs),
            gr.update(choices=[library.STARTER, *library.model_names(self.workspace)]),
            gr.update(choices=vae_choices(self.workspace)),
            gr.update(choices=library.datasets(self.workspace)),
            self._plan_or_hint(None, "", language),
            self._about(request, algorithm),
            *self.form.fit(language, marked),
            *self.panel.render(shown.id if shown else "", {}, language),
        ]

    def _about(self, request: gr.Request, kind: str) -> str:
        """What the chosen algorithm is good for, in a line."""
        words = table(self.context.language(request)).get(f"text.kind.{kind}", "")
        return text("p", words, class_="hint")

    def _recompute(self, request: gr.Request, preset: str | None, marked: list[str], *values: Any) -> list[Any]:
        """What will happen with the settings as they stand; problems at their fields, as long as the field is not merely empty."""
        language = self.context.language(request)
        checked = self.form.check(values, language)
        found, missing, problems = self._try(checked, language)
        hint = next(iter(missing.values()), "")
        plan = self._plan_or_hint(found, hint, language, checked.config, preset)
        strip = gr.update(visible=False)
        if found:
            strip = gr.update(value=strip_html(found.dataset, self.workspace, language), visible=True)
        over = gr.update(visible=False)  # what Start complained about may be put right by now
        return [plan, strip, over, [key for key in problems if key], *self.form.mark(problems, marked, language)]

    def _try(self, checked: Checked[TrainConfig], language: str) -> tuple[Preflight | None, Problems, Problems]:
        """(the plan, what is not filled in yet, what is wrong), the last two by field."""
        if not checked.config:
            return None, {}, checked.problems
        config, missing, problems = checked.config, Problems(), Problems()
        name = config.output.name.strip()
        if not name:
            missing["output.name"] = t("text.problem.name_empty", language)
        elif actions.is_taken(name, self.workspace):
            free = actions.free_name(name, self.workspace)
            problems["output.name"] = t("text.problem.name_taken", language, name=name, free=free)
        found = None
        errors = self._field_errors(config, name)
        if not errors:
            with reported(errors):
                named = config.model_copy(update={"output": config.output.model_copy(update={"name": name or "new"})})
                found = preflight(named, self.workspace)
        for error in errors:
            (missing if error.code == "dataset.none" else problems).update(self.form.problem_of(error, language))
        return found, missing, problems

    def _field_errors(self, config: TrainConfig, name: str) -> list[EngineError]:
        """Name, model, device and pictures looked at one by one, so that one that is wrong does not hide another."""
        looks: list[tuple[str, Callable[[], Any]]] = [
            ("model.path", lambda: library.choose(config.model.choice, self.workspace)),
            ("model.precision", lambda: check_config(self.context.device(), config)),
            ("dataset.folder", lambda: scan_dataset(config, self.workspace)),
            ("output.name", lambda: name and check_name(name)),
        ]
        errors: list[EngineError] = []
        for field, look in looks:
            with reported(errors):
                try:
                    look()
                except EngineError as error:
                    error.values.setdefault("field", field)
                    raise
        return errors

    def _plan_or_hint(
        self, found: Preflight | None, missing: str, language: str, config: TrainConfig | None = None, preset: str | None = None
    ) -> str:
        title = text("h3", t("lora.plan_title", language))
        if not found or not config:
            return title + text("p", missing or t("lora.empty_plan", language), class_="hint")
        body = plan_html(found, config, presets.flat(presets.settings(preset)), language)
        state = text("p", missing or t("text.plan.ready", language), class_="hint" if missing else "ready")
        return title + body + notices(found.notices, language) + state

    def _fitting_presets(self, model: str, chosen: str | None) -> Any:
        """Presets made for a base model; all of them while it is unknown."""
        fitting = presets.choices(chosen_model(model, self.workspace))
        return gr.update(choices=fitting, value=chosen if chosen in [name for _, name in fitting] else None)

    def _traits(self, given: Mapping[str, Any]) -> Set[str]:
        facts = chosen_model(given["model.path"], self.workspace)
        return facts.traits if facts else TRAITS

    def _follow(self, preset: str | None, *values: Any) -> list[Any]:
        """Another base model is chosen: its presets, the one for the same purpose if one was in force, and samplers it can use."""
        given = dict(zip(self.form.keys, values, strict=True))
        facts = chosen_model(given["model.path"], self.workspace)
        twin = presets.twin(preset, facts)
        filled = self._filled(twin, values) if twin and twin != preset else list(values)
        updates = [gr.update(value=new) if new != old else gr.skip() for new, old in zip(filled, values, strict=True)]
        place = self.form.keys.index("samples.sampler")
        able = [AUTOMATIC, *(word for word in samplers(facts) if word != AUTOMATIC)]
        updates[place] = gr.update(choices=able, value=filled[place] if filled[place] in able else AUTOMATIC)
        return [self._fitting_presets(given["model.path"], twin or preset), *updates]

    def _choose_preset(self, preset: str | None, *values: Any) -> list[Any]:
        if preset not in presets.names():
            return [gr.skip()] * len(values)
        return self._filled(preset, values)

    def _filled(self, preset: str, values: Sequence[Any]) -> list[Any]:
        settings = presets.applied(preset, self.form.settings(values))
        settings["output"]["name"] = self._free(settings["output"]["name"])
        return self.form.values(settings)

    def _free(self, name: str) -> str:
        return actions.free_name(name, self.workspace) if name and actions.is_taken(name, self.workspace) else name

    def _fill_dataset(self, dataset: str, preset: str | None, *values: Any) -> list[Any]:
        """A dataset shall be trained on: what it says of itself, the preset for its kind, and a name that is free."""
        told = read_dataset_file(self.workspace.dataset_folder(dataset)) or DatasetFile()
        given = dict(zip(self.form.keys, values, strict=True))
        fitting = presets.twin(f"any/{told.kind}", chosen_model(given["model.path"], self.workspace)) or preset
        filled = dict(zip(self.form.keys, self._filled(fitting, values) if fitting in presets.names() else values, strict=True))
        filled |= {
            "dataset.folder": dataset, "dataset.kind": told.kind, "dataset.trigger": told.trigger, "samples.prompts": "",
            "output.name": self._free(told.trigger or Path(dataset).name),
        }  # fmt: skip
        return [fitting, *filled.values()]

    def _fill_practice(self, *values: Any) -> list[Any]:
        return [presets.PRACTICE, *self._filled(presets.PRACTICE, values)]

    def _start_practice(self, request: gr.Request, press: str, marked: list[str]) -> list[Any]:
        defaults = self.form.values(TrainConfig())
        values = self._filled(presets.PRACTICE, defaults)
        updates = self._start(request, press, marked, *values)
        ahead = len(updates) - len(values)
        filled = [gr.update(value=value) for value in values]
        return [*updates[:ahead], *filled, presets.PRACTICE]

    def _start(self, request: gr.Request, press: str, marked: list[str], *values: Any) -> list[Any]:
        """Start is pressed. Either the run stands in the queue, or every problem stands at its field and nothing is lost."""
        language = self.context.language(request)
        errors: list[EngineError] = []
        job = None
        _, missing, problems = self._try(self.form.check(values, language), language)
        problems = {**missing, **problems}
        again = self.context.jobs.by_press(press) if press else None  # the second half of a double click finds its own name taken
        if again or not problems:
            problems = {}
            with reported(errors):
                self.context.check_owner(request)
                config = validate(TrainConfig, self.form.settings(values))
                job = actions.start_training(config, self.workspace, press or None)
                self.context.ensure_worker()
        for error in errors:
            problems |= self.form.problem_of(error, language)
        trouble = ""
        if problems:
            trouble = (
                problem(errors[0], language)
                if None in problems and errors
                else plain_problem(self.form.headline(problems, language))
            )
        panel = self.panel.render(job.id, {}, language) if job else [gr.skip()] * len(self.panel.outputs)
        return [
            gr.update(visible=False) if job else gr.skip(),
            gr.update(value=trouble, visible=bool(trouble)),
            [key for key in problems if key],
            *panel,
            *self.form.mark(problems, marked, language),
        ]


def _seconds_since(moment: float | None) -> float:
    return time.time() - moment if moment else 0.0
