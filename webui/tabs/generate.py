"""The Generate tab: a prompt with `<lora:name:weight>`, and the pictures with all that is to know about them.

Pictures are made by the worker. While a job is under way a timer looks at its row; nothing here waits for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import library
from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.formats.infotext import parse_infotext
from engine.jobs import actions
from engine.jobs.job import Job
from engine.jobs.store import JobStore
from webui.context import Context, reported
from webui.forms import Form
from webui.i18n import label, t
from webui.tabs.lora import PRESS
from webui.widgets.adapter_cards import insertable
from webui.widgets.html import text
from webui.widgets.notices import empty, plain_problem, problem
from webui.widgets.picture_report import report_html
from webui.widgets.run_panel import RunPanel
from webui.widgets.run_view import bar
from webui.widgets.runs import RunReader
from webui.widgets.token_count import count_html
from webui.widgets.words import duration

SECONDS = 0.25
"""Between two looks at a picture job."""
UNENDED = ("queued", "running", "pausing")


@dataclass
class GenerateTab:
    form: Form[GenerateConfig]
    load: Any
    load_outputs: list[Any]
    listen_to: Any
    refresh: Any
    refresh_io: tuple[list[Any], list[Any]]


def build(context: Context, reader: RunReader) -> GenerateTab:
    return _Builder(context, reader).tab()


class _Builder:
    def __init__(self, context: Context, reader: RunReader) -> None:
        self.context, self.workspace, self.reader = context, context.workspace, reader
        self.jobs: JobStore = context.jobs
        self.form = Form("generate", GenerateConfig, "generate.", omit=("live_run",))

    # ---- layout ----

    def tab(self) -> GenerateTab:
        self.press, self.live_run = gr.Textbox(visible=False), gr.State("")
        self.marked, self.job, self.cards_seen = gr.State([]), gr.State(""), gr.State("")
        self.timer = gr.Timer(SECONDS, active=False)
        with gr.Row(elem_classes=["work"], equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self._prompt_card()
                with gr.Column(elem_classes=["card"]):
                    self.cards = gr.HTML(elem_id="generate-loras")
                self._settings_card()
            with gr.Column(scale=6, min_width=320, elem_classes=["side"]):
                self._result_card()
        self._listen()
        refresh = ([self.cards_seen, self.form.components["model"], self.live, self.live_run], [self.cards_seen, self.cards, self.live, self.live_run])
        return GenerateTab(self.form, self._load, self._load_outputs, self._try_run, self._refresh, refresh)

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
        place = self.form.place
        with gr.Column(elem_classes=["card"]):
            with gr.Row():
                place("sampler", min_width=180)
                place("steps", min_width=180)
            with gr.Row():
                place("guidance_scale", min_width=180, maximum=20)
                place("batch_size", min_width=120)
            with gr.Row(elem_classes=["seed"]):
                place("seed", min_width=160, scale=4)
                self.dice = gr.Button("🎲", elem_id="generate-dice", scale=0, min_width=48, elem_classes=["tool"])
                self.reuse = gr.Button("♻️", elem_id="generate-reuse", scale=0, min_width=48, elem_classes=["tool"])
            with gr.Accordion(label("gen.advanced"), open=False, elem_id="generate-advanced"), gr.Row(elem_classes=["fields"]):
                for key in ("width", "height", "clip_skip"):
                    place(key)

    def _result_card(self) -> None:
        with gr.Column(elem_classes=["card", "results"]):
            self.status = gr.HTML(elem_id="generate-status")
            self.gallery = gr.Gallery(
                type="filepath", format="png", label=label("gen.gallery"), elem_id="generate-gallery", columns=2, object_fit="contain",
                height="auto", visible=False, interactive=False, buttons=["download", "fullscreen"], preview=True,
            )  # fmt: skip
            self.slider = gr.ImageSlider(
                type="filepath", format="png", label=label("gen.compare"), elem_id="generate-compare-view", visible=False, interactive=False
            )
            self.report = gr.HTML(elem_id="generate-report")
            self.parameters = gr.Textbox(
                label=label("gen.parameters"), lines=4, max_lines=12, interactive=False, buttons=["copy"], visible=False,
                elem_id="generate-parameters",
            )  # fmt: skip

    # ---- listeners ----

    def _listen(self) -> None:
        form = self.form
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [self.job, self.timer, self.status, self.stop, self.gallery, self.slider, self.report, self.parameters]
        started = [self.marked, *shown, *form.inputs]
        self.go.click(
            self._start, [self.press, self.marked, self.live, self.live_run, *form.inputs], started, js=PRESS, queue=False, **quiet
        )  # type: ignore[arg-type]
        self.timer.tick(self._look, [self.job], shown, queue=False, **quiet)  # type: ignore[arg-type]
        self.stop.click(self._stop, [self.job], shown, queue=False, **quiet)  # type: ignore[arg-type]
        self.dice.click(None, None, form.components["seed"], js="() => -1", **quiet)  # type: ignore[arg-type]
        self.reuse.click(self._last_seed, [self.job], form.components["seed"], queue=False, **quiet)  # type: ignore[arg-type]
        gr.on(
            [form.components["prompt"].change, form.components["model"].change], self._count,
            [form.components["prompt"], form.components["model"]], self.tokens, queue=False, trigger_mode="always_last", **quiet,
        )  # type: ignore[arg-type]  # fmt: skip
        self._load_outputs = [form.components["model"], self.cards_seen, self.cards, self.live, self.live_run, *shown]

    # ---- what happens ----

    def _load(self, request: gr.Request) -> list[Any]:
        """The page opens: models, adapters, and the last pictures."""
        language = self.context.language(request)
        models = gr.update(choices=[card.name for card in library.models(self.workspace)])
        last = next(iter(self.jobs.list(limit=1, kinds=("generate",))), None)
        shown = self._show(last, language) if last else self._nothing(language)
        return [models, *self._refresh(request, "", "starter", False, ""), *shown]

    def _refresh(self, request: gr.Request, seen: str, model: str, use_live: bool, live_run: str) -> list[Any]:
        """The adapters there are now, and the run at work; what has not changed is left alone."""
        language = self.context.language(request)
        named = library.adapter_names(self.workspace)
        by_file = {file: name for name, (file, _) in named.items()}
        cards = [card for card in library.adapters(self.workspace) if card.path in by_file]
        html = insertable(cards, [by_file[card.path] for card in cards], self._family(model), self.workspace, language)
        run = next(iter(self.jobs.list(limit=1, kinds=("train",), states=("running",))), None)
        step, steps = ((run.progress or {}).get("step", 0), (run.progress or {}).get("steps", 0)) if run else (0, 0)
        digest = hashlib.sha1(f"{html}{run and run.id}{step}".encode()).hexdigest()
        if digest == seen:
            return [gr.skip()] * 4
        if not run or not step:
            live = gr.update(visible=False, value=False)
        else:
            words = t("text.gen.live_label", language, name=run.name, step=step, steps=steps)
            kept = {} if run.id == live_run else {"value": False}
            live = gr.update(visible=True, label=words, info=t("text.gen.live_note", language), **kept)
        return [digest, gr.skip() if digest and _same_cards(seen, html) else html, live, run.id if run and step else ""]

    def _family(self, model: str) -> str:
        try:
            return library.model_facts(library.find_model(model, self.workspace)).family
        except EngineError:
            return ""

    def _count(self, request: gr.Request, prompt: str, model: str) -> str:
        return count_html(prompt or "", model or "", self.workspace, self.context.language(request))

    def _start(self, request: gr.Request, press: str, marked: list[str], use_live: bool, live_run: str, *values: Any) -> list[Any]:
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
        return [[key for key in problems if key], *shown, *self.form.mark(problems, marked)]

    def _look(self, request: gr.Request, id: str) -> list[Any]:
        language = self.context.language(request)
        try:
            return self._show(self.jobs.get(id), language)
        except EngineError:
            return self._nothing(language)

    def _stop(self, request: gr.Request, id: str) -> list[Any]:
        try:
            actions.cancel(self.jobs.get(id), self.workspace)
        except EngineError:
            pass
        return self._look(request, id)

    def _nothing(self, language: str) -> list[Any]:
        html = empty(t("text.gen.empty_title", language), t("text.gen.empty", language))
        return ["", gr.Timer(active=False), html, gr.update(visible=False), *[gr.update(visible=False)] * 2, "", gr.update(visible=False)]

    def _show(self, job: Job, language: str) -> list[Any]:
        """Updates for a picture job: on the way, ended badly, or its pictures. The last pictures stay until new ones come."""
        if job.state in UNENDED:
            self._settle_dead(job)
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
            gr.update(value=None if pair else [(str(each.file), None) for each in pictures], visible=not pair, selected_index=0 if len(pictures) == 1 else None),
            gr.update(value=pair, visible=bool(pair)),
            report_html(made, self.workspace, language),
            gr.update(value=made[0].infotext if made else "", visible=True),
        ]

    def _settle_dead(self, job: Job) -> None:
        """A worker that died leaves its job behind; looking is what finds out."""
        if self.context.supervisor:
            self.context.ensure_worker()

    def _last_seed(self, id: str) -> Any:
        try:
            pictures = actions.pictures(self.jobs.get(id), self.workspace)
        except EngineError:
            pictures = []
        return pictures[0].seed if pictures else gr.skip()

    def _try_run(self, id: str, panel: RunPanel) -> tuple[str, str, bool, str]:
        """What Generate holds to try a run: prompt, model, whether the live adapter is used, and the run's id."""
        job = panel.find(id)
        if job is None:
            return "", "starter", False, ""
        config = job.config
        trigger = str(config.get("dataset", {}).get("trigger", "")).strip()
        prompts = config.get("samples", {}).get("prompts") or [trigger]
        live = job.state == "running"
        name = parse_name(job)
        prompt = prompts[0] if live else f"{prompts[0]} <lora:{name}:0.8>".strip()
        return prompt, config.get("model", {}).get("path", "starter"), live, job.id if live else ""


def parse_name(job: Job) -> str:
    """What a tag calls the result of a run."""
    return str((job.result or {}).get("file", f"{job.name}.safetensors")).removesuffix(".safetensors")


def _same_cards(seen: str, html: str) -> bool:
    return False


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
