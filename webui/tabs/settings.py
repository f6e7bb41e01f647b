"""The Settings tab: language and colours of this browser, where things lie, what the machine is like."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from engine import __version__
from engine.workspace import Workspace
from webui.context import Context
from webui.i18n import COOKIE, LANGUAGES, label, t
from webui.widgets.device import device_html
from webui.widgets.html import tag, text
from webui.widgets.notices import plain_problem
from webui.widgets.token_box import TokenBox

ROOT = Path(__file__).parents[2]
THEME_COOKIE = "atelier_theme"
CHECK_SECONDS = 120
PACKAGES = ("gradio", "torch", "diffusers", "transformers")
CHECKER = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from engine.doctor import checks
from engine.workspace import Workspace
print(json.dumps([asdict(check) for check in checks(Workspace(Path(sys.argv[1])))]))
"""
"""Runs apart from the page, since it imports PyTorch."""
COMMANDS = (
    ("listen", "python launch.py --listen"),
    ("share", "python launch.py --share"),
    ("ckpt", "python launch.py --ckpt-dir DIR --lora-dir DIR"),
)


@dataclass
class SettingsTab:
    """What the page connects."""

    fill: Any
    fill_outputs: list[Any]


def build(context: Context) -> SettingsTab:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Row(elem_classes=["work"], equal_height=False):
        with gr.Column(scale=5, min_width=300):
            language, theme = _choices()
            with gr.Column(elem_classes=["card"]):
                gr.Markdown(label("set.section_tokens"), elem_classes=["section"])
                tokens = TokenBox(context)
            with gr.Column(elem_classes=["card"]):
                gr.Markdown(label("set.section_start"), elem_classes=["section"])
                start = gr.HTML(elem_id="settings-start")
        with gr.Column(scale=7, min_width=320):
            with gr.Column(elem_classes=["card"]):
                gr.Markdown(label("set.section_folders"), elem_classes=["section"])
                folders = gr.HTML(elem_id="settings-folders")
            with gr.Column(elem_classes=["card"]):
                gr.Markdown(label("set.section_machine"), elem_classes=["section"])
                device = gr.HTML(elem_id="settings-device")
                check = gr.Button(label("set.check"), elem_id="settings-check", size="md")
                found = gr.HTML(elem_id="settings-found")
    language.input(None, language, None, js="(code) => { window.atelier.setLanguage(code); }", **quiet)
    theme.input(None, theme, None, js="(name) => { window.atelier.setTheme(name); }", **quiet)

    def fill(request: gr.Request) -> list[str]:
        words = context.language(request)
        chosen = [request.cookies.get(COOKIE) or "auto", request.cookies.get(THEME_COOKIE) or "auto"]
        shown = [start_html(words), folders_html(context.workspace, words), device_html(context.device(), words)]
        return [*chosen, *shown, *tokens.fill(request)]

    def look(request: gr.Request) -> list[str]:
        """What is found, and the device as it is known by then."""
        words = context.language(request)
        return [check_html(context.workspace, words), device_html(context.device(), words)]

    def say_so(request: gr.Request) -> str:
        return text("p", t("text.set.checking", context.language(request)), class_="hint", role="status")

    check.click(say_so, None, found, queue=False, **quiet).then(look, None, [found, device], concurrency_limit=1, **quiet)
    return SettingsTab(fill, [language, theme, start, folders, device, *tokens.fill_outputs])


def _choices() -> tuple[gr.Radio, gr.Radio]:
    """Language and colours; kept in cookies by `assets/shortcuts.js`."""
    with gr.Column(elem_classes=["card"]):
        gr.Markdown(label("set.section_page"), elem_classes=["section"])
        names = [(label("set.language_auto"), "auto"), *((t("text.language_name", code), code) for code in LANGUAGES)]
        language = gr.Radio(names, label=label("set.language"), elem_id="settings-language")
        themes = [(label(f"set.theme_{name}"), name) for name in ("auto", "light", "dark")]
        theme = gr.Radio(themes, label=label("set.theme"), elem_id="settings-theme")
    return language, theme


def start_html(language: str) -> str:
    """The command lines for other ways to start."""
    rows = "".join(tag("li", text("span", t(f"text.set.{name}", language)) + text("code", line)) for name, line in COMMANDS)
    return tag("ul", rows, class_="commands")


def folders_html(workspace: Workspace, language: str) -> str:
    """Where things lie, and the versions of what matters."""
    rows: list[tuple[str, str]] = [
        ("data", str(workspace.root)),
        ("loras", "\n".join(map(str, workspace.lora_folders))),
        ("models", "\n".join(map(str, workspace.checkpoint_folders))),
        ("outputs", str(workspace.outputs)),
        (
            "versions",
            ", ".join([f"LoRA Atelier {__version__}", *(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)]),
        ),
    ]
    cells = "".join(text("dt", t(f"text.set.{name}", language)) + text("dd", words, class_="path") for name, words in rows)
    return tag("dl", cells, class_="facts plain-facts")


def check_html(workspace: Workspace, language: str) -> str:
    """The doctor's findings, from a process of its own: it imports PyTorch, which the page does not."""
    command = [sys.executable, "-c", CHECKER, str(workspace.root)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, cwd=ROOT, check=True)
        checks = json.loads(told.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return plain_problem(t("text.set.check_failed", language, reason=type(error).__name__))
    rows = "".join(_check(each) for each in checks)
    return tag("ul", rows, class_="checks")


def _check(check: dict) -> str:
    words = text("strong", check["name"]) + text("span", check["found"])
    todo = text("em", check["todo"]) if check["todo"] else ""
    return tag("li", words + todo, class_="good" if check["ok"] else "bad")
