"""A training run as HTML: where it is, its loss, its samples over time, its files. Reads a folded log; starts nothing."""

from __future__ import annotations

import time
from pathlib import Path

from engine.errors import EngineError
from engine.jobs.events import RunView
from engine.jobs.job import WORKING, Job
from engine.workspace import Workspace, safe_join
from webui.i18n import t, table
from webui.widgets.curve import curve_svg, smooth
from webui.widgets.html import esc, tag, text
from webui.widgets.notices import problem
from webui.widgets.previews import preview, url
from webui.widgets.run_data import data_html
from webui.widgets.words import duration, short

SAMPLE = 384
COUNTED = ("latents", "text", "sampling", "scanning", "loading")
"""Phases whose parts are worth a count."""


def state_badge(job: Job, language: str) -> str:
    return text("span", t(f"text.state.{job.state}", language), class_=f"badge state-{job.state}")


def phase_of(job: Job, view: RunView) -> str:
    """The key of what is going on."""
    if job.state == "queued":
        return "queued"
    if job.state == "pausing":
        return "stopping"
    return view.phase or "starting"


def head_html(job: Job, view: RunView, language: str) -> str:
    """Name, state, what it is doing, how far and how long yet."""
    title = tag("h3", esc(job.name) + state_badge(job, language))
    if job.state in ("queued", *WORKING):
        return title + _progress(job, view, language)
    return title + _ended(job, view, language)


def _progress(job: Job, view: RunView, language: str) -> str:
    phase = phase_of(job, view)
    words = [table(language).get(f"text.phase.{phase}", phase)]
    counted = phase in COUNTED and view.phase_total > 0
    if counted:
        words[0] += " · " + t("text.run.count", language, done=view.phase_done, total=view.phase_total)
    if view.steps:
        words.append(t("text.run.step", language, step=f"{view.step:,}", steps=f"{view.steps:,}"))
    if view.seconds_left is not None and phase == "training":
        words.append(t("text.run.left", language, time=duration(view.seconds_left, language)))
    if job.state == "queued":
        words.append(t("text.run.queued", language))
    done = view.step / view.steps if view.steps else 0.0
    if counted and not view.step:
        done = view.phase_done / view.phase_total
    spans = "".join(text("span", word) for word in words)
    return tag("p", spans, class_="status", role="status") + bar(done)


def bar(done: float) -> str:
    """A progress bar; `done` is a fraction."""
    percent = f"{100 * min(max(done, 0), 1):.1f}"
    inner = tag("div", style=f"width: {percent}%")
    return tag("div", inner, class_="bar", role="progressbar", aria_valuenow=percent, aria_valuemin=0, aria_valuemax=100)


def _ended(job: Job, view: RunView, language: str) -> str:
    if job.state == "done":
        name = Path(str((job.result or {}).get("file", job.name))).stem
        words = t("text.run.done", language, name=name, tag=f"<lora:{name}:0.8>")
        if job.started and job.finished:
            words += " (" + t("text.run.took", language, time=duration(job.finished - job.started, language)) + ")"
        return text("p", words, class_="note note-good", role="status")
    if job.state == "failed":
        error = EngineError.from_dict(job.error) if job.error else EngineError("run.failed", t("text.run.failed", language))
        return problem(error, language)
    words = t(f"text.run.{job.state}", language, step=view.step)
    why = problem(EngineError.from_dict(job.error), language) if job.error and job.state == "paused" else ""
    return why + text("p", words, class_="note", role="status") + (bar(view.step / view.steps) if view.steps else "")


def curve_html(job: Job, view: RunView, language: str) -> str:
    title = t("text.run.loss", language)
    drawn = curve_svg(view.losses, view.steps, title, t("text.run.loss_axis", language))
    if not drawn:
        waiting = job.state in ("queued", *WORKING)
        return text("p", t("text.run.loss_waiting", language), class_="hint") if waiting else ""
    facts = [t("text.run.loss_now", language, loss=short(smooth(view.losses)[-1][1]))]
    if view.learning_rates:
        facts.append(t("text.run.rate", language, rate=short(view.learning_rates[-1][1])))
    return tag("h4", esc(title) + text("small", " · ".join(facts))) + drawn


def samples_html(job: Job, view: RunView, workspace: Workspace, language: str) -> str:
    """One row a prompt, one column a step, so that the eye sees it learn."""
    title = text("h4", t("text.run.samples", language))
    if not view.samples:
        waiting = job.state in ("queued", *WORKING)
        return title + text("p", t("text.run.samples_waiting", language), class_="hint") if waiting else ""
    rows: dict[int, list[dict]] = {}
    for sample in sorted(view.samples, key=lambda sample: (sample["index"], sample["step"])):
        rows.setdefault(sample["index"], []).append(sample)
    body = ""
    for row in rows.values():
        cells = "".join(_sample(job, sample, workspace, language) for sample in row)
        body += text("p", row[0]["prompt"], class_="sample-prompt") + tag("div", cells, class_="timeline")
    return title + body


def _sample(job: Job, sample: dict, workspace: Workspace, language: str) -> str:
    step = int(sample["step"])
    words = t("text.run.samples_step", language, step=f"{step:,}") if step else t("text.run.samples_before", language)
    try:
        file = safe_join(workspace.root / (job.folder or ""), str(sample["file"]))
    except EngineError:
        return ""
    copy = preview(workspace, file, SAMPLE)
    image = (
        tag("img", src=url(copy), alt=f"{sample['prompt']}, {words}", loading="lazy") if copy else tag("div", class_="missing")
    )
    return tag("figure", image + text("figcaption", words))


def files_html(job: Job, view: RunView, workspace: Workspace, language: str) -> str:
    """What learns, saved versions, warnings, whether its data has changed, and where the run lies."""
    parts = _learning(view, language)
    if view.checkpoints:
        lines = "".join(
            tag("li", text("code", Path(each["file"]).name) + text("span", _version(each, language))) for each in view.checkpoints
        )
        parts += text("h4", t("text.run.versions", language)) + tag("ul", lines, class_="files")
    if view.warnings:
        lines = "".join(text("li", _warning(each, language)) for each in view.warnings[:20])
        parts += tag("div", text("strong", t("text.run.warnings", language)) + tag("ul", lines), class_="note")
    parts += data_html(job, workspace, language)
    if job.folder:
        parts += text("p", t("text.run.folder", language, path=workspace.root / job.folder), class_="hint path")
    return parts


def _learning(view: RunView, language: str) -> str:
    """How many layers and numbers of each component learn."""
    modules, parameters = view.started.get("modules"), view.started.get("parameters")
    if not (isinstance(modules, dict) and isinstance(parameters, dict)):
        return ""
    lines = "".join(
        text("li", component_words(name, count, int(parameters.get(name, 0)), language)) for name, count in modules.items()
    )
    return text("h4", t("text.run.learning", language)) + tag("ul", lines, class_="plain")


def component_words(component: str, modules: int, parameters: int, language: str) -> str:
    """ "U-Net: 192 modules, 3,188,736 parameters"."""
    name = table(language).get(f"text.component.{component}", component)
    return t("text.run.component", language, name=name, modules=f"{modules:,}", parameters=f"{parameters:,}")


def _version(checkpoint: dict, language: str) -> str:
    return t("text.run.version_at", language, step=f"{checkpoint['step']:,}", epoch=checkpoint["epoch"])


def _warning(warning: dict, language: str) -> str:
    key = f"error.{warning.get('code', '')}.what"
    words = table(language).get(key, "")
    return words if words and "{" not in words else str(warning["text"])


def when(job: Job) -> str:
    """Local date and time of a job's creation."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
