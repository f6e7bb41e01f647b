"""The page as it is built, without a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from engine.jobs.store import JobStore
from engine.workspace import Workspace
from webui.app import build
from webui.context import Context
from webui.i18n import LANGUAGES, browser_table

ROOT = Path(__file__).parents[2]
FIELDS = {"textbox", "number", "dropdown", "checkbox", "slider", "radio"}
PAGE_BYTES = 1_000_000


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict:
    workspace = Workspace(tmp_path_factory.mktemp("page")).prepare()
    page = build(Context(workspace, JobStore(workspace.database)))
    return json.loads(json.dumps(page.get_config_file(), default=str))


def test_nothing_is_public(config: dict) -> None:
    assert [each["api_name"] for each in config["dependencies"] if each["api_visibility"] != "private"] == []


def test_the_page_is_light(config: dict) -> None:
    words = sum(len(json.dumps(browser_table(code), ensure_ascii=False).encode()) for code in LANGUAGES)
    assert len(json.dumps(config)) + words < PAGE_BYTES
    assert len(config["dependencies"]) < 130


def inside(config: dict, id: int) -> dict:
    """The layout node of a component."""

    def find(node: dict) -> dict | None:
        if node["id"] == id:
            return node
        return next((found for child in node.get("children", []) if (found := find(child))), None)

    found = find(config["layout"])
    assert found
    return found


def test_few_fields_are_seen_at_first(config: dict) -> None:
    """What the LoRA tab mounts: everything outside closed accordions."""
    kinds = {each["id"]: each for each in config["components"]}
    tab = next(each for each in config["components"] if each["type"] == "tabitem" and each["props"].get("id") == "lora")

    def seen(node: dict) -> int:
        each = kinds[node["id"]]
        if (each["type"] == "accordion" and not each["props"]["open"]) or each["props"].get("visible") is False:
            return 0
        return (each["type"] in FIELDS) + sum(seen(child) for child in node.get("children", []))

    assert 5 <= seen(inside(config, tab["id"])) <= 12


def test_every_field_has_an_address(config: dict) -> None:
    for each in config["components"]:
        if each["type"] in FIELDS and each["props"].get("visible") is not False:
            assert each["props"]["elem_id"], each
    ids = [each["props"]["elem_id"] for each in config["components"] if each["props"].get("elem_id")]
    assert len(ids) == len(set(ids))


def test_labels_are_keys_of_the_locales(config: dict) -> None:
    known = browser_table("en")
    for each in config["components"]:
        label = str(each["props"].get("label") or "")
        if each["type"] in FIELDS | {"button", "tabitem", "accordion"} and label and each["props"].get("visible") is not False:
            marker = json.loads(label.removeprefix("__i18n__")) if label.startswith("__i18n__") else eval_marker(label)
            assert marker["key"] in known


def eval_marker(label: str) -> dict:
    """Configs hold the marker either as its text or as plain data."""
    assert label.startswith("{"), label
    return json.loads(label.replace("'", '"'))


def test_the_page_imports_nothing_heavy() -> None:
    code = (
        "import sys, webui.app, webui.server, webui.tabs.generate, engine.jobs.actions\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'accelerate', 'matplotlib'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_marker_is_what_gradio_expects() -> None:
    assert str(gr.I18n(en={"a": "b"})("a")).startswith("__i18n__")
