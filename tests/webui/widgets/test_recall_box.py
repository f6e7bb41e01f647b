"""A picture's settings in the form: what is set, what is left, what is told, and that a stranger's text stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.config.generate import GenerateConfig
from engine.formats.infotext import encode_picture
from engine.jobs.store import open_store
from engine.recall import REASONS, Line, Recalled
from engine.workspace import Workspace
from webui.context import Context
from webui.forms import Form
from webui.i18n import LANGUAGES, table
from webui.widgets.recall_box import RecallBox, fitted
from webui.widgets.recall_report import CLASSES, recall_html

KEYS = ("model", "prompt", "sampler", "schedule", "seed", "clip_skip", "batch_size", "hires.scale", "styles")
TEXT = "a cat, <lora:gone:1>\nSteps: 20, Sampler: DPM++ 2M Karras, Seed: 42, Size: 64x64, Hires upscale: 1.5, Odd: <b>x</b>"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture
def box(workspace: Workspace) -> RecallBox:
    form = Form("generate", GenerateConfig, "generate.")
    with gr.Blocks():
        for key in KEYS:
            form.place(key)
        also = gr.State()
        box = RecallBox(Context(workspace, open_store(workspace.database)), form)
        box.listen([also], lambda settings: [settings.get("seed")])
    return box


def shown(updates: list[Any]) -> dict[str, Any]:
    """The new values of the form's components that got one."""
    form = dict(zip(KEYS, updates[3 : 3 + len(KEYS)], strict=True))
    return {key: update["value"] for key, update in form.items() if "value" in update}


def dropped(box: RecallBox, file: Path, data: bytes, model: str = "starter") -> list[Any]:
    file.write_bytes(data)
    return box._from_file(None, str(file), model)  # type: ignore[arg-type]  # nobody asks: English


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_dropped_picture_sets_the_form(box: RecallBox, tmp_path: Path, format: Any) -> None:
    data, ending = encode_picture(Image.new("RGB", (8, 8)), TEXT, format)
    updates = dropped(box, tmp_path / f"x{ending}", data)
    assert len(updates) == len(box.outputs) and updates[0] is None and updates[1] == TEXT and updates[-1] == 42
    assert shown(updates) == {
        "prompt": "a cat, <lora:gone:1>", "sampler": "DPM++ 2M", "schedule": "Karras", "seed": 42, "clip_skip": 1, "hires.scale": 1.5,
        "styles": [],
    }  # fmt: skip
    assert "&lt;b&gt;x&lt;/b&gt;" in updates[2] and "<b>" not in updates[2]


def test_a_saved_picture_by_its_name(box: RecallBox, workspace: Workspace) -> None:
    (workspace.outputs / "a.png").write_bytes(encode_picture(Image.new("RGB", (8, 8)), TEXT)[0])
    assert shown(box.from_saved(None, "a.png", "starter"))["seed"] == 42  # type: ignore[arg-type]
    for name in ("../data/outputs/b.png", "b.png", ""):
        updates = box.from_saved(None, name, "starter")  # type: ignore[arg-type]
        assert shown(updates) == {} and "note-bad" in updates[2] and len(updates) == len(box.outputs)


def test_pictures_without_settings_are_told(box: RecallBox, tmp_path: Path) -> None:
    plain = encode_picture(Image.new("RGB", (8, 8)), "")[0]
    assert REASONS["no_text"] in dropped(box, tmp_path / "plain.png", plain)[2]
    info = PngInfo()
    info.add_text("workflow", "{}")
    Image.new("RGB", (8, 8)).save(tmp_path / "comfy.png", pnginfo=info)
    updates = dropped(box, tmp_path / "comfy.png", (tmp_path / "comfy.png").read_bytes())
    assert "ComfyUI" in updates[2] and shown(updates) == {}
    assert "note-bad" in dropped(box, tmp_path / "broken.png", b"\x89PNG\r\n\x1a\n")[2]


def test_what_the_model_cannot_be_walked_by_is_told() -> None:
    told = Recalled(
        {"sampler": "DDIM", "schedule": "Beta", "seed": 1}, [Line("Sampler", "DDIM", "taken"), Line("Seed", "1", "taken")]
    )
    got = fitted(told, {"sampler": ["Euler"], "schedule": ["Automatic", "Beta"]})
    assert got.settings == {"schedule": "Beta", "seed": 1}
    assert got.report == [Line("Sampler", "DDIM", "unknown", "base"), Line("Seed", "1", "taken")]


def test_a_strangers_words_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>${x}{{y}}`"
    html = recall_html(Recalled({}, [Line(evil, evil * 20, "translated", "renamed", evil), Line(evil, evil, "taken")]), "en")
    assert "<img" not in html and not set("{}$`") & set(html) and "…" in html


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_fate_and_reason_has_words(code: str) -> None:
    assert {f"text.recall.why.{reason}" for reason in REASONS} | {f"text.recall.fate.{fate}" for fate in CLASSES} <= set(
        table(code)
    )


def test_reasons_are_told_in_english_as_the_engine_says_them() -> None:
    assert {code: table("en")[f"text.recall.why.{code}"] for code in REASONS} == REASONS
