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
from webui.context import Context, reported
from webui.forms import PRESS, Form
from webui.i18n import label, t
from webui.widgets.adapter_cards import insertable
from webui.widgets.chosen_model import chosen_model, own_settings, samplers, vae_choices
from webui.widgets.html import text
from webui.widgets.notices import empty, plain_problem, problem
from webui.widgets.picture_report import report_html
from webui.widgets.run_view import bar
from webui.widgets.token_count import count_html
from webui.widgets.words import duration

SECONDS = 0.25
"""Between two looks at a picture job."""
TERSE = ("model", "prompt", "negative_prompt", "sampler", "steps", "guidance_scale", "distilled_guidance", "batch_size")
"""Fields that everybody knows; their help would only be noise."""
UNENDED = ("queued", "running", "pausing")


@dataclass
class GenerateTab:
    """What the page connects: functions with the components they take and give."""

    load: Any
    load_outputs: list[Any]
    refresh: Any
    refresh_inputs: list[Any]
    refresh_outputs: list[Any]
    try_run: Any
    try_outputs: list[Any]


def build(context: Context) -> GenerateTab:
    return _Builder(context).tab()


class _Builder:
    def __init__(self, context: Context) -> None:
        self.context, self.workspace = context, context.workspace
        self.jobs: JobStore = context.jobs
        self.form = Form(
            "generate", GenerateConfig, "generate.", omit=("live_run",), terse=TERSE, traits=self._traits, device=context.device
        )
        self.own = own_settings(chosen_model(library.STARTER, self.workspace))

    # ---- layout ----

    def tab(self) -> GenerateTab:
        self.press, self.live_run = gr.Textbox(visible=False), gr.State("")
        self.marked, self.job, self.cards_seen = gr.State([]), gr.State(""), gr.State({})
        self.followed = gr.State(self.own)
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Row(elem_classes=["work", "bench"], equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self._prompt_card()
                with gr.Column(elem_classes=["card"]):
                    self.cards = gr.HTML(elem_id="generate-loras")
                self._settings_card()
            with gr.Column(scale=6, min_width=320, elem_classes=["side"]):
                self._result_card()
        self._listen()
        return GenerateTab(
            load=self._load,
            load_outputs=self._load_outputs,
            refresh=self._refresh,
            refresh_inputs=[self.cards_seen, self.form.components["model"], self.live_run],
            refresh_outputs=self._refresh_outputs,
            try_run=self._try_run,
            try_outputs=[self.form.components["prompt"], self.form.components["model"], self.live, self.live_run],
        )

    def _prompt_card(self) -> None:
        place = self.form.place
        with gr.Column(elem_classes=["card"]):
            place("model")
            place("prompt", lines=4, placeholder=label("gen.placeholder"), elem_classes=["prompt"])
            self.tokens = gr.HTML(elem_id="generate-tokens")
            place("negative_prompt", lines=2, placeholder=label("gen.negative_placeholder"))
            self.live = gr.Checkbox(label=label("gen.live"), visible=False, elem_id="generate-live")
            place("compare")
            with gr.Row(elem_classes=["go"]):
                self.go = gr.Button(label("gen.go"), variant="primary", size="lg", elem_id="generate-start", scale=3)
                self.stop = gr.Button(label("gen.stop"), size="lg", elem_id="generate-stop", scale=1, visible=False, min_width=90)

    def _settings_card(self) -> None:
        place, able = self.form.place, samplers(chosen_model(library.STARTER, self.workspace))
        with gr.Column(elem_classes=["card"]):
            with gr.Row():
                place("sampler", min_width=180, choices=able, value=self.own["sampler"])
                place("steps", min_width=180, value=self.own["steps"])
            with gr.Row():
                place("guidance_scale", min_width=180, maximum=20, value=self.own["guidance_scale"])
                place("batch_size", min_width=180)
            place("distilled_guidance", maximum=10)
            with gr.Row(elem_classes=["seed"]):
                place("seed", min_width=160, scale=4)
                self.dice = gr.Button(label("gen.dice"), elem_id="generate-dice", scale=0, min_width=90, elem_classes=["tool"])
                self.reuse = gr.Button(label("gen.reuse"), elem_id="generate-reuse", scale=0, min_width=90, elem_classes=["tool"])
            with gr.Accordion(label("gen.advanced"), open=False, elem_id="generate-advanced"):
                with gr.Row(elem_classes=["fields"]):
                    for key in ("width", "height", "clip_skip"):
                        place(key)
                with (
                    gr.Accordion(label("form.expert"), open=False, elem_id="generate-expert"),
                    gr.Row(elem_classes=["fields"]),
                ):
                    self.form.place_level("", "expert")

    def _result_card(self) -> None:
        with gr.Column(elem_classes=["card", "results"]):
            self.status = gr.HTML(elem_id="generate-status")
            self.gallery = gr.Gallery(
                type="filepath", format="png", label=label("gen.gallery"), elem_id="generate-gallery", columns=2, object_fit="contain",
                height="auto", visible=False, interactive=False, buttons=["download", "fullscreen"], preview=True,
            )  # fmt: skip
            self.slider = gr.ImageSlider(
                type="filepath",
                format="png",
                label=label("gen.compare"),  # type: ignore[arg-type]  # its annotation forgets what the component can do
                elem_id="generate-compare-view",
                visible=False,
                interactive=False,
            )
            self.report = gr.HTML(elem_id="generate-report")
            self.parameters = gr.Textbox(
                label=label("gen.parameters"), lines=4, max_lines=12, interactive=False, buttons=["copy"], visible=False,
                elem_id="generate-parameters",
            )  # fmt: skip

    # ---- listeners ----

    def _listen(self) -> None:
        form = self.form
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [self.job, self.timer, self.status, self.stop, self.gallery, self.slider, self.report, self.parameters]
        started = [self.marked, *shown, *form.inputs]
        self.go.click(
            self._start,
            [self.press, self.marked, self.live, self.live_run, *form.inputs],
            started,
            js=PRESS,
            queue=False,
            **quiet,
        )
        self.timer.tick(self._look, [self.job], shown, queue=False, **quiet)
        self.stop.click(self._stop, [self.job], shown, queue=False, **quiet)
        self.dice.click(None, None, form.components["seed"], js="() => -1", **quiet)
        self.reuse.click(self._last_seed, [self.job], form.components["seed"], queue=False, **quiet)
        gr.on(
            [form.components["prompt"].change, form.components["model"].change], self._count,
            [form.components["prompt"], form.components["model"]], self.tokens, queue=False, trigger_mode="always_last", **quiet,
        )  # fmt: skip
        followers = [form.components[key] for key in self.own]
        form.components["model"].change(
            self._follow, [form.components["model"], self.followed, *followers], [self.followed, *followers], queue=False, **quiet
        ).then(form.seen, form.inputs, form.inputs, queue=False, **quiet)
        self._refresh_outputs = [
            self.cards_seen, self.cards, self.live, self.live_run, form.components["model"], form.components["vae"],
        ]  # fmt: skip
        self._load_outputs = [*form.fitted, *self._refresh_outputs, *shown]

    # ---- what happens ----

    def _load(self, request: gr.Request) -> list[Any]:
        """The page opens: models, adapters, and the last pictures."""
        language = self.context.language(request)
        last = next(iter(self.jobs.list(limit=1, kinds=("generate",))), None)
        shown = self._show(last, language) if last else self._nothing(language)
        return [*self.form.fit(language), *self._refresh(request, {}, "starter", ""), *shown]

    def _refresh(self, request: gr.Request, seen: dict[str, str], model: str, live_run: str) -> list[Any]:
        """The adapters, models and VAEs there are now, and the run at work; what has not changed is left alone."""
        language = self.context.language(request)
        named = library.adapter_names(self.workspace)
        by_file = {file: name for name, (file, _) in named.items()}
        cards = [card for card in library.adapters(self.workspace) if card.path in by_file]
        html = insertable(cards, [by_file[card.path] for card in cards], self._family(model), self.workspace, language)
        run, live = self._live(live_run, language)
        models, vaes = [library.STARTER, *library.model_names(self.workspace)], vae_choices(self.workspace)
        now = {"cards": html, "live": repr(live), "models": repr(models), "vaes": repr(vaes)}
        shown = {"cards": html, "live": live, "models": gr.update(choices=models), "vaes": gr.update(choices=vaes)}
        cards, live, *lists = (gr.skip() if seen.get(name) == now[name] else update for name, update in shown.items())
        return [now, cards, live, run, *lists]

    def _live(self, before: str, language: str) -> tuple[str, Any]:
        """(id of the run that has something to try, update of its checkbox)."""
        run = next(iter(self.jobs.list(limit=1, kinds=("train",), states=("running",))), None)
        progress = (run.progress or {}) if run else {}
        if not run or not progress.get("step"):
            return "", gr.update(visible=False, value=False)
        words = t("text.gen.live_label", language, name=run.name, step=progress["step"], steps=progress["steps"])
        kept: dict[str, Any] = {} if run.id == before else {"value": False}
        return run.id, gr.update(visible=True, label=words, info=t("text.gen.live_note", language), **kept)

    def _family(self, model: str) -> str:
        facts = chosen_model(model, self.workspace)
        return facts.family if facts else ""

    def _traits(self, given: Mapping[str, Any]) -> Set[str]:
        facts = chosen_model(given["model"], self.workspace)
        return facts.traits if facts else TRAITS

    def _follow(self, model: str, before: dict[str, Any], *values: Any) -> list[Any]:
        """Another model is chosen: what was the last one's own becomes this one's; what somebody set stays, if the model can do it."""
        facts = chosen_model(model, self.workspace)
        own, able = own_settings(facts), samplers(facts)
        kept = {
            key: own[key] if value == before.get(key) or (key == "sampler" and value not in able) else value
            for key, value in zip(self.own, values, strict=True)
        }
        return [own, gr.update(choices=able, value=kept.pop("sampler")), *(gr.update(value=value) for value in kept.values())]

    def _count(self, request: gr.Request, prompt: str, model: str) -> str:
        return count_html(prompt or "", model or "", self.workspace, self.context.language(request))

    def _start(
        self, request: gr.Request, press: str, marked: list[str], use_live: bool, live_run: str, *values: Any
    ) -> list[Any]:
        """Generate is pressed: queue the pictures, or say at the field what is wrong."""
        language = self.context.language(request)
        checked = self.form.check(values, language, {"live_run": live_run if use_live else ""})
        problems: dict[str | None, str] = dict(checked.problems)
        errors: list[EngineError] = []
        job = None
        if checked.config:
            with reported(errors):
                job = actions.start_generation(checked.config, self.workspace, press or None)
                self.context.ensure_worker()
        for error in errors:
            problems |= self.form.problem_of(error, language)
        if job:
            shown = self._show(job, language)
        else:
            first = problem(errors[0], language) if errors else plain_problem(self.form.headline(problems, language))
            shown = [gr.skip(), gr.skip(), first, *[gr.skip()] * 5]
        return [[key for key in problems if key], *shown, *self.form.mark(problems, marked, language)]

    def _look(self, request: gr.Request, id: str) -> list[Any]:
        language = self.context.language(request)
        try:
            return self._show(self.jobs.get(id), language)
        except EngineError:
            return self._nothing(language)

    def _stop(self, request: gr.Request, id: str) -> list[Any]:
        with contextlib.suppress(EngineError):
            actions.cancel(self.jobs.get(id), self.workspace)
        return self._look(request, id)

    def _nothing(self, language: str) -> list[Any]:
        html = empty(t("text.gen.empty_title", language), t("text.gen.empty", language))
        return [
            "",
            gr.Timer(active=False),
            html,
            gr.update(visible=False),
            *[gr.update(visible=False)] * 2,
            "",
            gr.update(visible=False),
        ]

    def _show(self, job: Job, language: str) -> list[Any]:
        """Updates for a picture job: on the way, ended badly, or its pictures. The last pictures stay until new ones come."""
        if job.state in UNENDED:
            self.context.ensure_worker()  # also finds out when the worker has died with the job
            return [job.id, gr.Timer(active=True), _waiting(job, language), gr.update(visible=True), *[gr.skip()] * 4]
        over = [job.id, gr.Timer(active=False)]
        pictures = actions.pictures(job, self.workspace)
        if job.state != "done" or not pictures:
            error = EngineError.from_dict(job.error) if job.error else None
            after = t("text.gen.unbroken", language)
            html = problem(error, language, after) if error else text("p", t(f"text.state.{job.state}", language), class_="hint")
            if job.state == "done":
                html = empty(t("text.gen.empty_title", language), t("text.gen.empty", language))
            return [*over, html, gr.update(visible=False), *[gr.skip()] * 4]
        made, bare = [each for each in pictures if not each.without], [each for each in pictures if each.without]
        seconds = (job.finished or 0) - (job.started or 0)
        pair = (str(bare[0].file), str(made[0].file)) if bare and made and len(made) == 1 else None
        return [
            *over,
            text("p", t("text.gen.done", language, time=duration(seconds, language)), class_="hint", role="status"),
            gr.update(visible=False),
            gr.update(
                value=None if pair else [(str(each.file), None) for each in pictures],
                visible=not pair,
                selected_index=0 if len(pictures) == 1 else None,
            ),
            gr.update(value=pair, visible=bool(pair)),
            report_html(made, self.workspace, language),
            gr.update(value=made[0].infotext if made else "", visible=True),
        ]

    def _last_seed(self, id: str) -> Any:
        try:
            pictures = actions.pictures(self.jobs.get(id), self.workspace)
        except EngineError:
            pictures = []
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
            return [prompts[0], model, gr.update(visible=True, value=True), job.id]
        name = str((job.result or {}).get("file", job.name)).removesuffix(".safetensors")
        return [f"{prompts[0]} <lora:{name}:0.8>".strip(), model, gr.update(value=False), ""]


def _waiting(job: Job, language: str) -> str:
    progress = job.progress or {}
    done, total = progress.get("done", 0), progress.get("total", 0)
    if job.state == "queued":
        words = t("text.gen.queued", language)
    elif total:
        words = t("text.gen.progress", language, done=done, total=total)
    else:
        words = t("text.gen.waiting", language)
    return text("p", words, class_="status", role="status") + bar(done / total if total else 0)
