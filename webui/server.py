"""Serves the page: where Gradio listens, what it may hand out, who is let in, and how everything ends."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.jobs.job import LANES, WORKING
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor
from engine.workspace import Workspace

if TYPE_CHECKING:
    from webui.context import Context

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("shortcuts.js", "adapters.js")
MAX_UPLOAD = "200mb"
SECONDS_TO_SAVE = 7.5
"""For running work to be saved when the program is asked to end."""
SECONDS_OF_A_TURN = 0.001
"""Between two threads of the page: with Python's 5 ms a click waits for its dozens of turns beside a handler that edits 10,000 captions."""
SECONDS_BETWEEN_LOOKS = 20
"""Between two looks whether the worker still lives."""


def serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Takes the options of `launch.py`; the caller holds the data folder's lock.

    Returns:
        130: interrupted, running work saved.
    """
    sys.setswitchinterval(SECONDS_OF_A_TURN)
    ended = threading.Event()
    restore = _on_signals(ended)
    workspace = Workspace(
        options.data_dir, options.ckpt_dir, options.lora_dir, options.embeddings_dir, remote=options.listen or options.share
    ).prepare()
    # Gradio reads this when it is imported
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.cache / "gradio")
    supervisor, lanes = Supervisor(workspace), {lane: Supervisor(workspace, device=lane) for lane in LANES}
    supervisor.reap()
    page = None
    try:
        page, address = _launch(workspace, supervisor, lanes, options, ended)
        if options.api:
            print(f"HTTP API: {address}/sdapi/v1", flush=True)
        print(f"LoRA Atelier is ready: {address}", flush=True)
        _keep_workers(workspace, supervisor, lanes)  # only now: its imports would slow down the start of the page
        if not options.no_browser:
            webbrowser.open(address)
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            _keep_workers(workspace, supervisor, lanes)
    finally:
        print("Saving and stopping …", flush=True)
        stopping = [threading.Thread(target=each.stop_workers, args=(SECONDS_TO_SAVE,)) for each in (supervisor, *lanes.values())]
        for each in stopping:
            each.start()
        if page is not None:
            page.close(verbose=False)
        for each in stopping:
            each.join(SECONDS_TO_SAVE + 1)
        restore()
    return 130


def _on_signals(ended: threading.Event) -> Any:
    """The first Ctrl-C or SIGTERM asks for the end, the second does not wait for it. Returns what undoes this."""

    def handle(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            os._exit(130)
        ended.set()

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    return lambda: [signal.signal(number, old) for number, old in before.items()]


def _keep_workers(workspace: Workspace, supervisor: Supervisor, lanes: Mapping[str, Supervisor]) -> None:
    """See to the worker that computes, and to those of the lanes while there is something to do for them."""
    from engine.errors import EngineError

    store = open_store(workspace.database)
    busy = [each for lane, each in lanes.items() if store.list(limit=1, states=("queued", *WORKING), kinds=LANES[lane])]
    for each in (supervisor, *busy):
        with contextlib.suppress(EngineError):  # the page says it when somebody wants something done
            each.ensure_worker()


def _launch(
    workspace: Workspace,
    supervisor: Supervisor,
    lanes: Mapping[str, Supervisor],
    options: argparse.Namespace,
    ended: threading.Event,
) -> tuple[Any, str]:
    """(the running page, its address)."""
    from starlette.middleware import Middleware

    from webui.api import app as api
    from webui.api.gate import Gate
    from webui.api.service import Service
    from webui.app import build
    from webui.context import Context
    from webui.datasets.gate import Door
    from webui.early import EarlyScript
    from webui.guard import Guard, Hosts

    guest = options.guest_auth[0] if options.guest_auth else None
    context = Context(workspace, open_store(workspace.database), supervisor, options.lang, guest, lanes)
    hosts = Hosts([*options.allow_host, *(_own_names() if options.listen else [])], any_address=options.listen)
    page = build(context)
    page.queue(api_open=False, default_concurrency_limit=8, max_size=64)
    outer = [Middleware(Guard, hosts=hosts), Middleware(EarlyScript, script=script(options.lang))]
    outer.insert(1, Middleware(Door, build=_datasets, context=context, users=users(options)))
    if options.api:
        outer.insert(1, Middleware(Gate, api=api.build(Service(context, ended)), users=users(options)))
    _, address, public = page.launch(
        **settings(workspace, options), app_kwargs={"middleware": outer, "docs_url": None, "redoc_url": None, "openapi_url": None}
    )
    if public:
        hosts.allow(urlsplit(public).hostname or "")
        print(f"Public link: {public}", flush=True)
    return page, address.rstrip("/")


def _datasets(context: Context) -> Any:
    from webui.datasets.app import build

    return build(context)


def settings(workspace: Workspace, options: argparse.Namespace) -> dict[str, Any]:
    """What `Blocks.launch` is told, besides the middleware."""
    import gradio as gr

    from webui.i18n import LANGUAGES, browser_table
    from webui.theme import theme
    from webui.widgets import previews

    served = [workspace.outputs, previews.folder(workspace)]
    for folder in served:
        folder.mkdir(parents=True, exist_ok=True)
    inner = ("models", "loras", "runs", "datasets", "config", "jobs.sqlite3")
    return {
        "server_name": options.host, "server_port": options.port, "share": options.share, "inbrowser": False, "quiet": True,
        "prevent_thread_lock": True, "show_error": False, "strict_cors": True, "ssr_mode": False, "run_history": False,
        "enable_monitoring": False, "pwa": False, "mcp_server": False, "footer_links": [],
        "auth": users(options) or None,
        "allowed_paths": [str(folder.resolve()) for folder in served],
        "blocked_paths": [str((workspace.root / name).resolve()) for name in inner],
        "max_file_size": MAX_UPLOAD,
        "theme": theme(), "css_paths": ASSETS / "style.css",
        "favicon_path": ASSETS / "favicon.svg",
        "i18n": gr.I18n(**{code: browser_table(code) for code in LANGUAGES}),
    }  # fmt: skip


def users(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(name, password) of everybody who may sign in."""
    return [each for each in (options.auth, options.guest_auth) if each]


def script(language: str | None) -> str:
    """What runs in the browser before Gradio: the choice of language and colours, then the shortcuts and adapter cards.

    Args:
        language: `--lang`, or None for the browser's.
    """
    forced = f'"{language}"' if language else "null"
    return f"window.atelierForced = {forced};\n" + "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)


def _own_names() -> list[str]:
    name = socket.gethostname()
    return [name, f"{name}.local"]
