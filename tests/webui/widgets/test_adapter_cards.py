"""Adapter cards: what they say, what they insert, how many of them there are; nothing a file could inject."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from engine.adapter_library import named_adapters
from engine.config.generate import GenerateConfig
from engine.errors import EngineError, PromptError
from engine.formats.infotext import png_bytes
from engine.formats.summary import describe
from engine.jobs.generating import ResultPicture
from engine.jobs.store import open_store
from engine.sidecars import find_preview, read_sidecar, set_preview, write_sidecar
from engine.workspace import Workspace
from tests.engine.test_library import lora, put
from webui.context import Context
from webui.i18n import LANGUAGES, t
from webui.widgets.adapter_cards import insertable, live_card, suggested_words
from webui.widgets.adapter_pictures import thumbnails
from webui.widgets.adapter_shelf import PORTION, AdapterShelf, keep, search_cards, sort_cards
from webui.widgets.diagnosis_view import early_html
from webui.widgets.picture_report import report_html

BAD = """<img src=x onerror=alert(1)>"'{{x}}${y}`z`"""
SD1, SDXL = {"ss_base_model_version": "sd_v1"}, {"ss_base_model_version": "sdxl_base_v1-0"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


def drawn(workspace: Workspace, language: str = "en", base: str = "sd1") -> str:
    cards = named_adapters(workspace)
    return insertable(list(cards.values()), list(cards), base, workspace, language)


def harmless(shown: str) -> bool:
    return "<img src=x" not in shown and "{{x}}" not in shown and "${y}" not in shown and "`z`" not in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_card_says_what_file_and_sidecar_say(workspace: Workspace, language: str) -> None:
    tags = json.dumps({"1_x": {"hat": 9, "smile": 3}})
    file = put(
        workspace.loras / "sub" / "x.safetensors", lora(ss_tag_frequency=tags, **SDXL, **{"modelspec.trigger_phrase": "mofumo"})
    )
    shown = drawn(workspace, language)
    assert 'data-name="sub/x"' in shown and 'data-trigger="mofumo"' in shown and 'value="0.8"' in shown
    assert t("text.gen.other_base", language, base="SDXL") in shown and ">hat</button>" in shown
    write_sidecar(
        file,
        {
            "activation text": "hana",
            "negative text": "blur",
            "preferred weight": 1.8,
            "atelier": {"suggested weight": 0.9, "why": "so"},
        },
    )
    shown = drawn(workspace, language)
    assert 'data-trigger="hana"' in shown and 'data-negative="blur"' in shown and 'max="1.8"' in shown and 'value="1.8"' in shown
    assert (
        html.escape(t("text.card.of_grid", language, strength="0.9", epoch="", why=t("text.card.why", language, why="so")))
        in shown
    )


def test_captions_are_taken_apart_and_tags_are_not(workspace: Workspace) -> None:
    def words(**tags: int) -> list[str]:
        return suggested_words(describe(put(workspace.loras / "x.safetensors", lora(ss_tag_frequency=json.dumps({"1": tags})))))

    assert words(**{"red hat": 9, "a smile": 3}) == ["red hat", "a smile"]
    assert words(**{"a photograph of a red hat": 3, "a red hat on the wide green field": 2})[:2] == ["red", "hat"]


def test_whatever_a_file_says_is_text(workspace: Workspace) -> None:
    tags = json.dumps({"1_x": {BAD: 3}})
    said = dict.fromkeys(("ss_output_name", "modelspec.trigger_phrase", "modelspec.description", "ss_base_model_version"), BAD)
    for name in ("fine", BAD.replace("/", "")):
        file = put(workspace.loras / f"{name}.safetensors", lora(ss_tag_frequency=tags, **said))
        write_sidecar(
            file,
            dict.fromkeys(("description", "activation text", "negative text", "notes"), BAD)
            | {"atelier": {"suggested weight": 1, "why": BAD}},
        )
    shown = drawn(workspace)
    assert harmless(shown) and html.escape(BAD)[:12] in shown
    assert shown.count('class="insert"') == 1 and t("text.card.untypable", "en") in html.unescape(shown)
    write_sidecar(workspace.loras / "fine.safetensors", {})
    (workspace.loras / "fine.json").write_text("{", encoding="utf-8")
    assert "fine.json" in drawn(workspace) and 'class="sidecar"' not in drawn(workspace)


def test_pictures_come_from_beside_the_file_then_from_inside(workspace: Workspace, tmp_path: Path) -> None:
    picture = tmp_path / "made.png"
    picture.write_bytes(png_bytes(Image.new("RGB", (300, 600), "red"), ""))
    from engine.formats.cover import make_cover

    inside = put(workspace.loras / "inside.safetensors", lora(**{"modelspec.thumbnail": make_cover(picture)}))
    beside, none = (put(workspace.loras / f"{name}.safetensors", lora()) for name in ("beside", "none"))
    set_preview(beside, picture)
    (workspace.loras / "none.preview.png").write_bytes(b"no picture")
    cards = list(named_adapters(workspace).values())
    found, whole = thumbnails(cards, workspace, 60)
    assert set(found) == {inside, beside} and whole and all("/cache/previews/" in address for address in found.values())
    assert none not in found and thumbnails(cards, workspace, -1) == (found, False)  # what is made is shown, what is not waits


def test_search_and_order(workspace: Workspace) -> None:
    for name, metadata in {"cat": SDXL, "b/Dog": SD1, "zebra": SD1 | {"modelspec.trigger_phrase": "striped Horse"}}.items():
        put(workspace.loras / f"{name}.safetensors", lora(**metadata))
    write_sidecar(workspace.loras / "cat.safetensors", {"activation text": "nyanko"})
    cards = named_adapters(workspace)
    assert list(search_cards(cards, "HORSE striped")) == ["zebra"] and list(search_cards(cards, "nyan")) == ["cat"]
    assert set(search_cards(cards, " ")) == set(cards) and not search_cards(cards, "cat dog")
    assert sort_cards(cards, "name", "sd1") == ["b/Dog", "cat", "zebra"]
    assert sort_cards(cards, "fits", "sdxl")[0] == "cat" and sort_cards(cards, "newest", "sdxl") == list(cards)


def test_however_many_files_there_are_the_page_stays_small(workspace: Workspace) -> None:
    import gradio as gr

    tags = json.dumps({"1_x": {f"some tag {n}": n for n in range(40)}})
    for number in range(PORTION * 3):
        put(workspace.loras / f"{number:04}.safetensors", lora(ss_tag_frequency=tags, **SD1))
    with gr.Blocks():
        shelf = AdapterShelf(Context(workspace, open_store(workspace.database)), gr.Textbox())
    named_adapters(workspace)
    page, _, timer = shelf.refresh(SimpleNamespace(cookies={}, headers={}), "starter", "", "", "fits", 1, "")  # type: ignore[arg-type]
    assert page.count('class="insert"') == PORTION and len(page) < 250_000 and not timer.active
    assert t("text.gen.shown", "en", shown=PORTION, count=PORTION * 3) in page and 'data-verb="more"' in page
    again = shelf.refresh(SimpleNamespace(cookies={}, headers={}), "starter", page, "", "fits", 1, "")  # type: ignore[arg-type]
    assert again[0] == page and again[1] == gr.skip()
    whole = shelf.refresh(SimpleNamespace(cookies={}, headers={}), "starter", page, "", "fits", 3, "")[0]  # type: ignore[arg-type]
    assert whole.count('class="insert"') == PORTION * 3 and 'data-verb="more"' not in whole


def test_what_a_card_keeps_lies_beside_the_file(workspace: Workspace) -> None:
    file = put(workspace.loras / "x.safetensors", lora())
    fields = {"verb": "save", "name": "x", "activation": " hana ", "negative": "", "weight": "0.7", "notes": "n"}
    assert keep(fields, workspace) == file.with_suffix(".json")
    assert (read_sidecar(file).activation, read_sidecar(file).weight) == ("hana", 0.7)
    picture = put(workspace.outputs / "2026-01-01" / "a b.png", png_bytes(Image.new("RGB", (8, 8)), "recipe"))
    asked = {"verb": "preview", "name": "x", "picture": f"http://127.0.0.1:1/gradio_api/file={str(picture).replace(' ', '%20')}"}
    assert keep(asked, workspace) == find_preview(file)
    assert keep({"verb": "anything", "name": "x"}, workspace) is None


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"verb": "save", "weight": "nan"}, "sidecar.bad_weight"), ({"verb": "save", "weight": "1e9"}, "sidecar.bad_weight"),
        ({"verb": "save", "name": "../../x"}, "adapter.gone"), ({"verb": "preview"}, "sidecar.no_picture"),
        ({"verb": "preview", "picture": "http://x/file=/etc/passwd"}, "sidecar.no_picture"),
        ({"verb": "preview", "picture": "/file={outputs}/../jobs.sqlite3"}, "sidecar.no_picture"),
        ({"verb": "preview", "picture": "/file=%00"}, "sidecar.no_picture"),
    ],
)  # fmt: skip
def test_what_shall_not_be_kept_is_not(workspace: Workspace, said: dict[str, str], code: str) -> None:
    file = put(workspace.loras / "x.safetensors", lora())
    open_store(workspace.database)
    asked = {"name": "x"} | {key: value.replace("{outputs}", str(workspace.outputs)) for key, value in said.items()}
    with pytest.raises(EngineError) as caught:
        keep(asked, workspace)
    assert caught.value.code == code and not file.with_suffix(".json").exists() and find_preview(file) is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_adapter_in_training_is_a_card_once_it_has_learnt_something(language: str) -> None:
    run: Any = SimpleNamespace(name=BAD, progress={"step": 3, "steps": 10})
    shown = live_card(run, False, language)
    assert t("text.run.step", language, step=3, steps=10) in shown and harmless(shown) and 'aria-pressed="false"' in shown
    assert 'aria-pressed="true"' in live_card(run, True, language)
    assert live_card(SimpleNamespace(name="x", progress=None), True, language) == live_card(None, True, language) == ""  # type: ignore[arg-type]


# ---- what is told of pictures ----


def picture(**values: Any) -> ResultPicture:
    known = {
        "file": Path("x.png"),
        "seed": 1,
        "infotext": "a cat <lora:x:0>\nSteps: 1, Sampler: Euler, Seed: 1",
        "without": False,
    }
    return ResultPicture(**{**known, "problems": [], "adapters": [], **values})


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_tells_modules_mode_and_nearest_names(workspace: Workspace, language: str) -> None:
    adapter = {
        "name": BAD,
        "text_encoder": 1,
        "unet": 0.5,
        "matched": 3,
        "total": 5,
        "unmatched": [BAD, "lora_x"],
        "mode": "merged",
    }
    unknown = PromptError("prompt.adapter_unknown", "no", name=BAD, nearest="one, two").to_dict()
    partly = PromptError("adapter.partly_matched", "twice", name="x", matched=3, total=5).to_dict()
    shown = report_html([picture(adapters=[adapter], problems=[unknown, partly])], workspace, language)
    assert harmless(shown) and "lora_x" in shown and t("text.gen.mode_merged", language) in shown and "twice" not in shown
    assert re.findall(r'data-name="(\w+)"', shown) == ["one", "two"]


def test_why_nothing_happens_is_told_under_and_before_the_pictures(workspace: Workspace) -> None:
    put(workspace.loras / "x.safetensors", lora(**{"modelspec.trigger_phrase": BAD}))
    config = GenerateConfig(prompt="{a|b} <lora:x:0>")
    shown = report_html([picture()], workspace, "en", config)
    assert t("text.gen.nothing_happens", "en") in shown and "strength 0" in shown and 'open=""' in shown
    fine = report_html([picture(infotext="a cat\nSteps: 1, Sampler: Euler, Seed: 1")], workspace, "en", config)
    assert t("text.gen.nothing_happens", "en") not in fine
    early = early_html(GenerateConfig(prompt="a <lora:x:1>"), workspace, "en")
    assert "was taught to answer" in early and harmless(early)
    assert (
        early_html(GenerateConfig(prompt="a cat"), workspace, "en")
        == early_html(GenerateConfig(prompt="<lora:no:1>"), workspace, "en")
        == ""
    )
