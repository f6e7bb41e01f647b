"""The form of a grid: what varies along its axes, how many pictures that makes and how long they take, and the button that starts it.

The request that is varied is the form of Generate beside it. Nothing is computed here but the plan, which loads no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from engine import library
from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, AxisKind, GridConfig, GridOptions
from engine.errors import EngineError
from engine.grid.pace import seconds
from engine.grid.plan import LETTERS, plan_grid
from engine.jobs import run_folder
from engine.jobs.events import EventLog, fold
from engine.jobs.job import Job
from webui.context import Context, reported
from webui.forms import Form
from webui.i18n import label, t
from webui.widgets.html import text
from webui.widgets.notices import plain_problem
from webui.widgets.run_view import when
from webui.widgets.words import duration

INCOMPLETE = ("grid.no_adapter", "grid.no_run", "grid.no_values")
"""What is said in passing while the form is filled in, and at its field once the button is pressed."""
USUAL: dict[AxisKind, str] = dict.fromkeys(("strength", "text_encoder_strength", "unet_strength"), "0-1 [5]")
"""Kind of axis -> the values that it begins with."""
COUNTED = ("model", "steps", "width", "height", "batch_size", "batch_count", "hires.scale")
"""Fields of the request on which number and time depend."""
RUNS = 50
"""The most runs to choose from, the newest first."""


class Asked(NamedTuple):
    """A grid as the page asks for it.

    Attributes:
        config: None while it cannot be made.
        problems: by key of the grid's form; those of None stand in the line.
        told: the first of them in one line.
    """

    config: GridConfig | None
    problems: Mapping[str | None, str]
    told: str


class GridForm:
    """Components in the place where `place` is called.

    Attributes:
        form: the grid's own fields.
        request: the form whose request is varied.
        line: how many pictures and how long, or what is wrong.
        refresh_outputs: of `refresh`.
    """

    def __init__(self, context: Context, request: Form[GenerateConfig]) -> None:
        self.context, self.workspace, self.request = context, context.workspace, request
        self.form = Form("grid", GridOptions, "grid.", terse=[f"{letter}.kind" for letter in LETTERS])

    def place(self) -> None:
        place = self.form.place
        self.marked, self.lists, self.opened = gr.State([]), gr.State(""), gr.State(False)
        with gr.Accordion(label("gen.grid"), open=False, elem_id="generate-grid") as self.section:
            for letter in LETTERS:
                usual: Axis = getattr(GridOptions(), letter)  # a field declared once for all axes; the first has a use of its own
                with gr.Row(elem_classes=["axis"]):
                    place(f"{letter}.kind", min_width=150, scale=2, value=usual.kind)
                    place(
                        f"{letter}.values", min_width=150, scale=3, lines=1, max_lines=4, value=usual.values,
                        visible=usual.kind != "none", placeholder=label(f"axis.example.{usual.kind}"),
                    )  # fmt: skip
            with gr.Row():
                place("run", min_width=180)
                place("adapter", min_width=180)
            place("prompts", lines=2)
            with gr.Row():
                place("base_column", min_width=180)
                place("score", min_width=180)
            self.line = gr.HTML(elem_id="grid-line")
            self.go = gr.Button(label("gen.grid_go"), variant="primary", size="lg", elem_id="grid-start")
        self.refresh_outputs: list[Any] = [self.lists, self.form.components["run"], self.form.components["adapter"]]

    @property
    def inputs(self) -> list[Any]:
        """What `ask` is given after what the page sets itself: the grid's fields, then those of the request."""
        return [*self.form.inputs, *self.request.inputs]

    def listen(self, under: Sequence[Any], read: Callable[..., Mapping[str, Any]], quiet: Mapping[str, Any]) -> None:
        """Keep the line up to date.

        Args:
            under: components with what the page sets of the request.
            read: what they hold -> settings of the request.
        """
        self.read = read
        shown = [self.marked, self.line, *self.form.inputs]
        given = [self.opened, self.marked, *under, *self.inputs]
        changes = [component.change for component in self.form.inputs]
        changes += [self.request.components[key].change for key in COUNTED] + [self.request.components["prompt"].blur]
        gr.on(changes, self._look, given, shown, trigger_mode="always_last", **quiet)
        self.section.expand(self._open, self.lists, [self.opened, *self.refresh_outputs], **quiet).then(
            self._look, given, shown, **quiet
        )
        self.section.collapse(lambda: False, None, self.opened, **quiet)
        kinds, values = ([self.form.components[f"{letter}.{name}"] for letter in LETTERS] for name in ("kind", "values"))
        gr.on([kind.input for kind in kinds], self._begin, kinds, values, **quiet)
        gr.on([kind.change for kind in kinds], _hints, kinds, values, **quiet)

    # ---- what it says ----

    def ask(self, under: Mapping[str, Any], values: Sequence[Any], language: str) -> Asked:
        """Read both forms.

        Args:
            values: of `inputs`.
        """
        count = len(self.form.inputs)
        own, request = self.form.check(values[:count], language), self.request.check(values[count:], language, under)
        if own.config and request.config:
            return Asked(GridConfig(**own.config.model_dump(), picture=request.config), {}, "")
        told = self.form.headline(own.problems, language) if own.problems else self.request.headline(request.problems, language)
        return Asked(None, own.problems, told)

    def refused(self, error: EngineError, language: str) -> Asked:
        """What is wrong with a grid as a whole, or with one of its values."""
        problems = self.form.problem_of(error, language)
        return Asked(None, problems, self.form.headline(problems, language))

    def told(self, asked: Asked, marked: Sequence[str], language: str) -> list[Any]:
        """Updates of what is marked, the line and the fields: what is wrong and where."""
        keys = [key for key in asked.problems if key]
        return [keys, plain_problem(asked.told), *self.form.mark(asked.problems, marked, language)]

    def _look(self, request: gr.Request, opened: bool, marked: list[str], *given: Any) -> list[Any]:
        """Something changed: count, or say what is not right yet."""
        language = self.context.language(request)
        if not opened:
            return [gr.skip()] * (2 + len(self.form.inputs))
        count = len(given) - len(self.inputs)
        errors: list[EngineError] = []
        with reported(errors):
            asked = self.ask(self.read(*given[:count]), given[count:], language)
            if asked.config is None:
                return self.told(asked, marked, language)
            words = self._forecast(asked.config, language)
            return [[], text("p", words, class_="forecast", role="status"), *self.form.mark({}, marked, language)]
        refused = self.refused(errors[0], language)
        if errors[0].code in INCOMPLETE:
            return [[], text("p", refused.told, class_="hint"), *self.form.mark({}, marked, language)]
        return self.told(refused, marked, language)

    def _forecast(self, config: GridConfig, language: str) -> str:
        """Raises EngineError: as `plan_grid`."""
        plan = plan_grid(config, self.workspace)
        expected = seconds(plan, self.workspace)
        if expected is None:
            return t("text.grid.count", language, count=plan.pictures)
        return t("text.grid.count_time", language, count=plan.pictures, time=duration(expected, language))

    # ---- what it is filled with ----

    def _open(self, request: gr.Request, seen: str) -> list[Any]:
        return [True, *self.refresh(request, seen)]

    def _begin(self, event: gr.EventData, *kinds: AxisKind) -> list[Any]:
        """Somebody chose what varies along an axis: the values of before meant something else."""
        chosen = [self.form.components[f"{letter}.kind"] is event.target for letter in LETTERS]
        return [gr.update(value=USUAL.get(kind, "")) if its else gr.skip() for kind, its in zip(kinds, chosen, strict=True)]

    def refresh(self, request: gr.Request, seen: str) -> list[Any]:
        """The runs and LoRAs there are now; what has not changed is left alone."""
        runs = [(f"{job.name} · {when(job)}", job.id) for job in self._runs()]
        none = t("text.grid.no_run", self.context.language(request)), ""
        adapters = ["", *library.adapter_names(self.workspace)]
        now = repr((none, runs, adapters))
        if now == seen:
            return [gr.skip()] * 3
        return [now, gr.update(choices=[none, *runs]), gr.update(choices=adapters)]

    def _runs(self) -> list[Job]:
        """Runs with something saved."""
        found: list[Job] = []
        for job in self.context.jobs.list(limit=RUNS, kinds=("train",)):
            saved = (self.workspace.root / (job.folder or "-") / "checkpoints").glob("*.safetensors")
            if (job.result or {}).get("file") or next(saved, None):
                found.append(job)
        return found

    def of_run(self, job: Job) -> list[Any]:
        """Updates of the form that compare the saved versions of a run at several strengths, with its own sample prompts."""
        settings = {
            "run": job.id, "adapter": "", "prompts": prompts_of(job, self.context),
            "x": {"kind": "strength", "values": "0.4-1 [4]"}, "y": {"kind": "epoch"}, "z": {"kind": "none"},
        }  # fmt: skip
        updates = dict(zip(self.form.keys, map(_value, self.form.values(settings)), strict=True))
        updates["run"]["choices"] = [(f"{job.name} · {when(job)}", job.id)]
        for letter in LETTERS:
            updates[f"{letter}.values"] |= _hint(updates[f"{letter}.kind"]["value"])
        return list(updates.values())


def prompts_of(job: Job, context: Context) -> list[str]:
    """The prompts of a run's samples, or the word it was taught."""
    config = job.config
    prompts = config.get("samples", {}).get("prompts")
    if not prompts:
        try:
            samples = fold(EventLog(run_folder.locate(context.workspace, job)).read()).samples
        except EngineError:
            samples = []
        prompts = list(dict.fromkeys(str(sample.get("prompt", "")) for sample in sorted(samples, key=lambda each: each["index"])))
    return [" ".join(prompt.split()) for prompt in prompts] or [config.get("dataset", {}).get("trigger", "")]


def _value(value: Any) -> dict[str, Any]:
    return gr.update(value=value)


def _hints(*kinds: AxisKind) -> list[Any]:
    return [gr.update(**_hint(kind)) for kind in kinds]


def _hint(kind: AxisKind) -> dict[str, Any]:
    """What values of this kind look like."""
    return {"visible": kind != "none", "placeholder": label(f"axis.example.{kind}")}
