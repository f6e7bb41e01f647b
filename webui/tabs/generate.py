"""The Generate tab: a prompt with `<lora:name:weight>`, and the pictures with all that is to know about them.

Pictures are made by the worker. While a job is under way a timer looks at its row; nothing here waits for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import library
from engine.config.field import TRAITS
from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import Job
from engine.jobs.store import JobStore
from engine.styles import read_styles
from webui.context import Context, reported
from webui.forms import PRESS, Form
from webui.i18n import label
from webui.widgets import source_box
from webui.widgets.adapter_cards import live_card
from webui.widgets.adapter_shelf import AdapterShelf
from webui.widgets.chosen_model import chosen_model, own_settings, samplers, schedules, vae_choices
from webui.widgets.diagnosis_view import early_html
from webui.widgets.grid_bench import GridBench
from webui.widgets.history import History
from webui.widgets.notices import plain_problem, problem
from webui.widgets.recall_box import RecallBox
from webui.widgets.result_panel import ResultPanel
from webui.widgets.token_count import count_html

TERSE = (
    "model", "prompt", "negative_prompt", "sampler", "schedule", "steps", "guidance_scale", "distilled_guidance", "batch_size", "batch_count",
)  # fmt: skip
"""Fields that everybody knows; their help would only be noise."""
READ = ("prompt", "negative_prompt", "model")
"""What is looked at while it is typed."""
SET_BY_PAGE = ("live_run", "source.picture", "source.mask")


@dataclass
class GenerateTab:
    """What the page connects: functions with the components they take and give."""

    load: Any
    load_outputs: list[Any]
    refresh: Any
    refresh_inputs: list[Any]
    refresh_outputs: list[Any]
    shelf: AdapterShelf
    history: History
    try_run: Any
    try_outputs: list[Any]
    grid: GridBench


def build(context: Context) -> GenerateTab:
    return _Builder(context).tab()


class _Builder:
    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.jobs: JobStore = context.jobs
        self.result = ResultPanel(context)
        self.form = Form(
            "generate", GenerateConfig, "generate.", omit=SET_BY_PAGE, terse=TERSE, traits=self._traits, device=context.device
        )
        self.grid = GridBench(context, self.form)
        self.own = own_settings(chosen_model(library.STARTER, self.workspace))

    # ---- layout ----

    def tab(self) -> GenerateTab:
        self.press, self.live_run = gr.Textbox(visible=False), gr.State("")
        self.marked, self.cards_seen = gr.State([]), gr.State({})
        self.followed = gr.State(self.own)
        with gr.Row(elem_classes=["work", "bench"], equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self._prompt_card()
                with gr.Column(elem_classes=["card"]):
                    self.live_view = gr.HTML(elem_id="generate-live-run")
                    self.shelf = AdapterShelf(self.context, self.form.components["model"])
                self._settings_card()
            with (
                gr.Column(scale=6, min_width=320, elem_classes=["side"]),
                gr.Column(elem_classes=["card", "results"]),
                gr.Tabs(elem_id="generate-results") as self.results,
            ):
                with gr.Tab(label("gen.pictures"), id="pictures"):
                    self.result.place(self.stop, self.skip)
                with gr.Tab(label("gen.grid_tab"), id="grid"):
                    self.grid.panel.place()
                with gr.Tab(label("gen.saved"), id="saved") as self.saved_tab:
                    self.history = History(self.context)
        self._listen()
        return GenerateTab(
            load=self._load,
            load_outputs=self._load_outputs,
            refresh=self._refresh,
            refresh_inputs=[self.cards_seen, self.live_run, self.live],
            refresh_outputs=self._refresh_outputs,
            shelf=self.shelf,
            history=self.history,
            try_run=self._try_run,
            try_outputs=[self.form.components["prompt"], self.form.components["model"], self.live, self.live_run],
            grid=self.grid,
        )

    def _prompt_card(self) -> None:
        place = self.form.place
        with gr.Column(elem_classes=["card"]):
            place("model")
            place("prompt", lines=4, placeholder=label("gen.placeholder"), elem_classes=["prompt"])
            self.tokens = gr.HTML(elem_id="generate-tokens")
            self.early = gr.HTML(elem_id="generate-early")
            place("negative_prompt", lines=2, placeholder=label("gen.negative_placeholder"))
            self.live = gr.Checkbox(label=label("gen.live"), visible="hidden", elem_id="generate-live")  # its card has the button
            place("styles", visible=False)
            place("compare")
            with gr.Row(elem_classes=["go"]):
                self.go = gr.Button(label("gen.go"), variant="primary", size="lg", elem_id="generate-start", scale=3)
                self.skip = gr.Button(label("gen.skip"), size="lg", elem_id="generate-skip", scale=1, visible=False, min_width=90)
                self.stop = gr.Button(label("gen.stop"), size="lg", elem_id="generate-stop", scale=1, visible=False, min_width=90)

    def _settings_card(self) -> None:
        place, starter = self.form.place, chosen_model(library.STARTER, self.workspace)
        with gr.Column(elem_classes=["card"]):
            with gr.Row():
                place("sampler", min_width=180, choices=samplers(starter), value=self.own["sampler"])
                place("schedule", min_width=180, choices=schedules(starter))
            with gr.Row():
                place("steps", min_width=180, value=self.own["steps"])
                place("guidance_scale", min_width=180, maximum=20, value=self.own["guidance_scale"])
            place("distilled_guidance", maximum=10)
            with gr.Row():
                place("batch_size", min_width=180)
                place("batch_count", min_width=180)
            with gr.Row(elem_classes=["seed"]):
                place("seed", min_width=160, scale=4)
                self.dice = gr.Button(label("gen.dice"), elem_id="generate-dice", scale=0, min_width=90, elem_classes=["tool"])
                self.reuse = gr.Button(label("gen.reuse"), elem_id="generate-reuse", scale=0, min_width=90, elem_classes=["tool"])
            self._sections()
            self.grid.form.place()

    def _sections(self) -> None:
        """What not every picture needs, one click away."""
        with gr.Accordion(label("gen.recall"), open=False, elem_id="generate-recall"):
            self.recall = RecallBox(self.context, self.form)
        section = self.form.place_level
        fields: dict[str, Any] = {"elem_classes": ["fields"]}
        with gr.Accordion(label("gen.source"), open=False, elem_id="generate-source-section"):
            self.editor = source_box.editor()
            with gr.Row(**fields):
                section("source.", "advanced")
            with gr.Accordion(label("gen.inpaint"), open=False, elem_id="generate-inpaint-section"), gr.Row(**fields):
                section("source.", "expert")
        with gr.Accordion(label("gen.hires"), open=False, elem_id="generate-hires-section"):
            with gr.Row(**fields):
                section("hires.", "advanced")
            section("hires.", "expert")
        with gr.Accordion(label("gen.advanced"), open=False, elem_id="generate-advanced"):
            with gr.Row(**fields):
                for key in ("width", "height"):
                    self.form.place(key)
                section("", "advanced")
            with gr.Accordion(label("form.expert"), open=False, elem_id="generate-expert"), gr.Row(**fields):
                section("", "expert")

    # ---- listeners ----

    def _listen(self) -> None:
        form = self.form
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        result = self.result
        shown = result.shown
        started = [self.marked, self.results, *shown, *form.inputs]
        self.go.click(
            self._start,
            [self.press, self.marked, self.live, self.live_run, self.editor, *form.inputs],
            started,
            js=PRESS,
            queue=False,
            **quiet,
        )
        result.timer.tick(self._look, [result.job], shown, queue=False, **quiet)
        self.stop.click(self._stop, [result.job], shown, queue=False, **quiet)
        self.skip.click(self._skip, [result.job], queue=False, **quiet)
        self.dice.click(None, None, form.components["seed"], js="() => -1", **quiet)
        self.reuse.click(self._last_seed, [result.job], form.components["seed"], queue=False, **quiet)
        gr.on(
            [form.components[key].change for key in READ], self._read, [form.components[key] for key in READ],
            [self.tokens, self.early], queue=False, trigger_mode="always_last", **quiet,
        )  # fmt: skip
        followers = [form.components[key] for key in self.own]
        schedule = form.components["schedule"]
        form.components["model"].change(
            self._follow,
            [form.components["model"], self.followed, schedule, *followers],
            [self.followed, schedule, *followers],
            queue=False,
            **quiet,
        ).then(form.seen, form.inputs, form.inputs, queue=False, **quiet)
        self._remember(quiet)
        self._refresh_outputs = [
            self.cards_seen, self.live_view, self.live, self.live_run, form.components["model"], form.components["vae"],
            form.components["styles"],
        ]  # fmt: skip
        self._load_outputs = [*form.fitted, *self._refresh_outputs, *shown]

    def _remember(self, quiet: dict[str, Any]) -> None:
        """Pictures of before: their settings into the form, themselves as something to start from."""
        recall, history = self.recall, self.history
        recall.listen([self.followed, self.editor], self._recalled)
        self.grid.listen([self.live, self.live_run, self.editor], self._under, self.press, self.results, self.recall)
        at_once: dict[str, Any] = {"queue": False, **quiet}
        for button in (history.use, history.to_grid):
            button.click(recall.from_saved, [history.chosen, *recall.inputs], recall.outputs, **at_once)
        self.grid.used.then(self.shelf.refresh, self.shelf.inputs, self.shelf.outputs, **at_once)
        history.to_grid.click(self.grid.open, None, self.grid.fill_outputs[:2], **at_once)
        history.to_source.click(self._as_source, history.chosen, self.editor, **at_once)
        self.saved_tab.select(history.load, history.load_inputs, history.load_outputs, **at_once)

    # ---- what happens ----

    def _load(self, request: gr.Request) -> list[Any]:
        """The page opens: models, adapters, and the last pictures."""
        language = self.context.language(request)
        return [*self.form.fit(language), *self._refresh(request, {}, "", False), *self.result.latest(language)]

    def _refresh(self, request: gr.Request, seen: dict[str, str], live_run: str, on: bool) -> list[Any]:
        """The models, VAEs and styles there are now, and the run at work; what has not changed is left alone."""
        run = self._live()
        on = bool(on and run and run.id == live_run)
        card = live_card(run, on, self.context.language(request))
        lists = {
            "models": [library.STARTER, *library.model_names(self.workspace)], "vaes": vae_choices(self.workspace),
            "styles": self._styles(),
        }  # fmt: skip
        now = {"live": card} | {name: repr(choices) for name, choices in lists.items()}
        shown = {"live": card} | {name: gr.update(choices=choices) for name, choices in lists.items()}
        shown["styles"] = gr.update(choices=lists["styles"], visible=bool(lists["styles"]))
        view, *others = (gr.skip() if seen.get(name) == now[name] else update for name, update in shown.items())
        return [now, view, on, run.id if run else "", *others]

    def _live(self) -> Job | None:
        """The run that has something to try."""
        run = next(iter(self.jobs.list(limit=1, kinds=("train",), states=("running",))), None)
        return run if run and (run.progress or {}).get("step") else None

    def _styles(self) -> list[str]:
        """Names of the styles; none where the file cannot be read, which a picture with a style will tell."""
        with contextlib.suppress(EngineError):
            return list(read_styles(self.workspace))
        return []

    def _traits(self, given: Mapping[str, Any]) -> Set[str]:
        facts = chosen_model(given["model"], self.workspace)
        return facts.traits if facts else TRAITS

    def _follow(self, model: str, before: dict[str, Any], schedule: str, *values: Any) -> list[Any]:
        """Another model is chosen: what was the last one's own becomes this one's; what somebody set stays, if the model can do it."""
        facts = chosen_model(model, self.workspace)
        own, able = own_settings(facts), samplers(facts)
        kept = {
            key: own[key] if value == before.get(key) or (key == "sampler" and value not in able) else value
            for key, value in zip(self.own, values, strict=True)
        }
        levels = schedules(facts)
        return [
            own, gr.update(choices=levels, value=schedule if schedule in levels else levels[0]),
            gr.update(choices=able, value=kept.pop("sampler")), *(gr.update(value=value) for value in kept.values()),
        ]  # fmt: skip

    def _read(self, request: gr.Request, prompt: str, negative: str, model: str) -> list[str]:
        """While a prompt is typed: how long it is, and what is certain not to happen."""
        language = self.context.language(request)
        config = GenerateConfig(prompt=prompt or "", negative_prompt=negative or "", model=model or "")
        return [count_html(config.prompt, config.model, self.workspace, language), early_html(config, self.workspace, language)]

    def _start(
        self, request: gr.Request, press: str, marked: list[str], use_live: bool, live_run: str, painted: source_box.Painted, *values: Any
    ) -> list[Any]:  # fmt: skip
        """Generate is pressed: queue the pictures, or say at the field what is wrong."""
        language = self.context.language(request)
        errors: list[EngineError] = []
        under: dict[str, Any] = {}
        with reported(errors):
            under = self._under(use_live, live_run, painted)
        checked = self.form.check(values, language, under)
        problems: dict[str | None, str] = dict(checked.problems)
        job = None
        if checked.config and not errors:
            with reported(errors):
                job = actions.start_generation(checked.config, self.workspace, press or None)
                self.context.ensure_worker()
        for error in errors:
            problems |= self.form.problem_of(error, language)
        if job:
            shown = self.result.show(job, language)
        else:
            first = problem(errors[0], language) if errors else plain_problem(self.form.headline(problems, language))
            shown = self.result.told(first)
        return [
            [key for key in problems if key], gr.Tabs(selected="pictures"), *shown, *self.form.mark(problems, marked, language)
        ]  # fmt: skip

    def _under(self, use_live: bool, live_run: str, painted: source_box.Painted) -> dict[str, Any]:
        """Settings that no field of the form holds. Raises DatasetError: the picture to start from is none."""
        return {"live_run": live_run if use_live else "", "source": source_box.given(painted, self.workspace)}

    def _look(self, request: gr.Request, id: str) -> list[Any]:
        return self.result.look(id, self.context.language(request))

    def _stop(self, request: gr.Request, id: str) -> list[Any]:
        with contextlib.suppress(EngineError):
            actions.cancel(self.jobs.get(id), self.workspace)
        return self._look(request, id)

    def _skip(self, id: str) -> None:
        with contextlib.suppress(EngineError):
            actions.skip(self.jobs.get(id), self.workspace)

    def _recalled(self, settings: Mapping[str, Any]) -> list[Any]:
        """What follows from settings that a picture brought: the model's own values, and the picture to start from."""
        source = settings.get("source", {})
        own = own_settings(chosen_model(settings["model"], self.workspace)) if "model" in settings else gr.skip()
        if "picture" not in source:
            return [own, gr.skip()]
        return [own, source_box.held(source["picture"]) if source["picture"] else None]

    def _as_source(self, name: str) -> Any:
        file = self.history.file(name)
        return source_box.held(file) if file else gr.skip()

    def _last_seed(self, id: str) -> Any:
        pictures = self.result.pictures(id)
        return pictures[0].seed if pictures else gr.skip()

    def _try_run(self, id: str) -> list[Any]:
        """What the tab holds to try a run: a prompt that calls it, its base model, and its live adapter while it trains."""
        try:
            job = self.jobs.get(id)
        except EngineError:
            return [gr.skip()] * 4
        prompts = job.config.get("samples", {}).get("prompts") or [job.config.get("dataset", {}).get("trigger", "")]
        model = job.config.get("model", {}).get("path", "starter")
        if job.state == "running":
            return [prompts[0], model, True, job.id]
        name = str((job.result or {}).get("file", job.name)).removesuffix(".safetensors")
        return [f"{prompts[0]} <lora:{name}:0.8>".strip(), model, False, ""]
