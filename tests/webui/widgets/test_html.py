from __future__ import annotations

import html
import json
import time
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from engine.datasets.dataset import Concept, Dataset, Picture
from engine.errors import EngineError
from engine.formats.summary import AdapterSummary
from engine.jobs.events import RunView
from engine.jobs.job import Job
from engine.library import AdapterCard
from engine.workspace import Workspace
from webui.widgets.adapter_cards import gallery, insertable
from webui.widgets.adapter_detail import detail_html
from webui.widgets.html import esc, plain_info, tag, text
from webui.widgets.notices import notices, problem
from webui.widgets.plan import strip_html
from webui.widgets.run_view import curve_html, files_html, head_html, samples_html
from webui.widgets.tool_report import job_html as tool_html

BAD = """<img src=x onerror=alert(1)>"'{{x}}${y}`z` javascript:alert(1)"""


@given(st.text())
def test_text_comes_back_and_means_nothing(words: str) -> None:
    written = esc(words)
    assert html.unescape(written) == words
    assert not set(written) & set("<>\"'{}$`")


def test_what_nothing_can_send_is_replaced() -> None:
    assert esc("a\ud800\udfffb") == "a??b"


def test_elements() -> None:
    assert tag("a", "<b>", class_="x", data_name='"', title=None) == '<a class="x" data-name="&quot;"><b></a>'
    assert tag("img", src="/x") == '<img src="/x">'
    assert text("p", "<") == "<p>&lt;</p>"


def test_info_text_holds_no_link_and_no_emphasis() -> None:
    shown = plain_info("[a](javascript:alert(1)) **b** `c`")
    assert "](" not in shown and "*" not in shown and "`" not in shown


def summary(name: str) -> AdapterSummary:
    return AdapterSummary(
        path=Path(name), name=name, output_name=name, format="kohya", algorithm="lora", dora=False, ranks=(8,), modules={"unet": 3},
        base=BAD, base_name=BAD, trigger=BAD, tags=(), pictures=3, resolution=BAD, created=BAD, model_hash=BAD, description=BAD,
        size=1000, mtime_ns=time.time_ns(),
    )  # fmt: skip


def job(**values) -> Job:
    data = {
        "id": "1", "kind": "train", "name": BAD, "state": "running", "config": {}, "folder": f"runs/{BAD}", "error": None,
        "result": None, "request": None, "created": 0.0, "started": 0.0, "finished": None, "attempt": 1, "progress": None,
        "worker": None,
    }  # fmt: skip
    return Job(**{**data, **values})


def bad_adapter(file: Path) -> Path:
    """A LoRA whose names and metadata are hostile."""
    said = ("ss_output_name", "modelspec.trigger_phrase", "modelspec.description", "ss_sd_model_name", "modelspec.thumbnail", BAD)
    tags = json.dumps({"1_x": {BAD: 3, "fine": 1}})
    tensors = {f"lora_unet_{BAD}.lora_{side}.weight": numpy.zeros(size, numpy.float32) for side, size in SIDES.items()}
    save_file(tensors, file, {**dict.fromkeys(said, BAD), "ss_tag_frequency": tags})
    return file


SIDES = {"down": (2, 4), "up": (4, 2)}
REPORT = {
    "modules": 3, "worst": BAD, "unmatched": [BAD], "not_finite": [BAD], "needs_base": BAD, "blocks": {BAD: 1.0}, "matched": 1,
    "total": 2, "files": [{"file": BAD, "matched": 1, "total": 2}], "embeddings": {BAD: 2}, "changed": [BAD],
}  # fmt: skip
TOOL_JOBS = (
    {"state": "done", "result": {"file": BAD, "report": REPORT}},
    {"state": "failed", "error": EngineError(BAD, BAD, BAD, BAD).to_dict()},
    {"state": "running", "progress": {"done": 1, "total": 2}},
)


def every_view(workspace: Workspace) -> list[str]:
    error = EngineError(BAD, BAD, BAD, BAD, name=BAD)
    card, broken = AdapterCard(BAD, Path(BAD), summary(BAD)), AdapterCard(BAD, Path(BAD), None, error)
    view = RunView(
        phase=BAD, step=3, steps=10, losses=[(1, 0.5)],
        samples=[{"step": 0, "index": 0, "prompt": BAD, "file": "samples/x.png", "seed": 1}],
        checkpoints=[{"step": 1, "epoch": 1, "file": BAD}], warnings=[{"code": BAD, "text": BAD}],
    )  # fmt: skip
    runs = [job(), job(state="failed", error=error.to_dict()), job(state="done", result={"file": BAD})]
    pictures = Dataset(Path(BAD), [Concept(BAD, 1, BAD, [Picture(Path(BAD), 64, 64, BAD, "file")])], [])
    return [
        insertable([card, broken], [BAD, BAD], "sd1", workspace, "en"), gallery([card, broken], [BAD, BAD], "", "ja"), problem(error, "en"),
        notices([error, error], "ja"), strip_html(pictures, workspace, "en"), samples_html(job(), view, workspace, "en"),
        files_html(job(), view, workspace, "en"), curve_html(job(), view, "en"), *(head_html(each, view, "en") for each in runs),
        detail_html(BAD, bad_adapter(workspace.loras / "bad.safetensors"), "ja"), detail_html(BAD, Path(BAD), "en"),
        *(tool_html(job(kind="tool", config={"tool": {"kind": BAD}}, **each), "ja") for each in TOOL_JOBS),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(16))
def test_no_view_lets_text_become_html(number: int, tmp_path: Path) -> None:
    shown = every_view(Workspace(tmp_path).prepare())[number]
    assert "<img src=x" not in shown
    assert "{{x}}" not in shown and "${y}" not in shown
