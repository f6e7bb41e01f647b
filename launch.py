"""Starts LoRA Atelier: `python launch.py`.

The first start makes the environment (`bootstrap/`), later ones go straight on; then the page is served by `webui.server`.
Standard library only until that environment stands, so that `--help`, `--version` and every error before it are at hand
at once and on any Python.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.environment import Environment, check_python, prepare, read_groups
from bootstrap.pip_run import SetupError

if TYPE_CHECKING:
    from engine.jobs.lock import FileLock

ROOT = Path(__file__).resolve().parent
DEFAULT_PORT = 7860
PORTS_TRIED = 11
SECONDS_TO_START = 30
TEST_PROCESSES = ("-n", "2", "--dist", "loadfile")  # each test computes in one thread; `--test -n 0` runs them one by one
BEFORE_GRADIO = {"GRADIO_ANALYTICS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}  # both are read on import


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad arguments, 130 interrupted."""
    options = parse(arguments)
    try:
        check_python()
        environment = Environment(ROOT, own=not options.no_venv)
        groups = read_groups(ROOT, extras=[] if options.test is None else ["test"])
        if not environment.ready(groups, options.torch_index):
            prepare(environment, groups, options.torch_index)
        if not environment.active:
            return become([environment.python, str(ROOT / "launch.py"), *arguments])
        if options.test is not None:
            os.chdir(ROOT)
            return become([sys.executable, "-m", "pytest", *TEST_PROCESSES, *options.test])
        return start(options)
    except SetupError as error:
        print(f"\nError: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Start again to go on from here.", file=sys.stderr)
        return 130


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="LoRA Atelier: from a folder of pictures to a LoRA you trust, in one browser tab.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--listen", action="store_true", help="let other machines reach the page (asks for a password)")
    add("--allow-host", metavar="NAME", action="append", default=[], help="a further name the page is called by; may be repeated")
    add("--port", type=port_number, help=f"default {DEFAULT_PORT}, or the next free one")
    add("--share", action="store_true", help="make a public link (asks for a password)")
    add("--auth", metavar="USER:PASSWORD", type=credentials, help="sign-in of the owner; --listen and --share make one up")
    add("--guest-auth", metavar="USER:PASSWORD", type=credentials, help="sign-in of guests, who may not change settings or files")
    add("--data-dir", metavar="DIR", type=Path, default=ROOT / "workspace", help="where everything is kept; default: workspace")
    add("--ckpt-dir", metavar="DIR", type=folder, help="an existing folder of checkpoints to use as well")
    add("--lora-dir", metavar="DIR", type=folder, help="an existing folder of LoRAs to use as well")
    add("--embeddings-dir", metavar="DIR", type=folder, help="an existing folder of embeddings to use as well")
    add("--api", action="store_true", help="also serve the HTTP API, with AUTOMATIC1111's calls below /sdapi/v1")
    add("--lang", choices=["en", "ja"], help="language of the page; default: the browser's")
    add("--no-browser", action="store_true", help="do not open the page")
    add("--no-venv", action="store_true", help="use the active Python environment instead of .venv")
    add("--torch-index", metavar="URL", help="package index to take PyTorch from")
    add("--version", action="version", version=version())
    add("--test", metavar="PYTEST ARGS", nargs=argparse.REMAINDER, help="set up, then run the test suite")
    options = parser.parse_args(arguments)
    if options.auth and options.guest_auth and options.auth[0] == options.guest_auth[0]:
        parser.error("argument --guest-auth: owner and guests need different user names, not both {!r}".format(options.auth[0]))
    return options


def port_number(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected a number from 1 to 65535")
    return int(text)


def credentials(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not (user and password):
        raise argparse.ArgumentTypeError("expected USER:PASSWORD, both not empty")  # the value may be a password: not shown
    return user, password


def folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path.resolve()


def version() -> str:
    """The project's version, read from the text: importing the engine here would need its packages one day."""
    found = re.search(r'__version__ = "(.+)"', (ROOT / "engine" / "__init__.py").read_text(encoding="utf-8"))
    return "LoRA Atelier " + (found[1] if found else "unknown")


def become(command: list[str]) -> int:
    """Go on as another program. Windows cannot replace a process, so there it is waited for."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    program = subprocess.Popen(command)
    while True:
        try:
            return program.wait()
        except KeyboardInterrupt:  # the program got Ctrl-C as well and ends in its own time
            continue


def start(options: argparse.Namespace) -> int:
    """Serve the page, unless another launch.py already serves this data folder: then open that one's page."""
    from engine.jobs.lock import FileLock

    os.environ.update(BEFORE_GRADIO)
    options.data_dir = options.data_dir.expanduser().resolve()
    options.host = "0.0.0.0" if options.listen else "127.0.0.1"
    lock = FileLock(options.data_dir / "server.lock")
    try:
        options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        acquired = lock.acquire({"pid": os.getpid()})
    except OSError as error:
        what = f"The data folder {options.data_dir} cannot be used ({error.strerror})."
        raise SetupError(f"{what}\nName another one with --data-dir.") from error
    if not acquired:
        return open_first(lock, options)
    try:
        options.port = choose_port(options.host, options.port)
        lock.update({"pid": os.getpid(), "url": f"http://127.0.0.1:{options.port}"})
        if options.auth is None and (options.listen or options.share or options.guest_auth):
            options.auth = ("owner", secrets.token_urlsafe(24))
            print("Sign in as {} with the password {}  (shown only now; --auth sets your own)".format(*options.auth), flush=True)
        from webui.server import serve

        return serve(options)
    finally:
        lock.release()


def open_first(lock: FileLock, options: argparse.Namespace) -> int:
    """Show the page of the launch.py that holds the data folder, once it answers."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and not answers(lock.read().get("url", "")):
        time.sleep(0.2)
    url = lock.read().get("url", "")
    print(f"LoRA Atelier is already running with {options.data_dir}: {url or 'it is just starting'}", flush=True)
    if url and not options.no_browser:
        webbrowser.open(url)
    return 0


def answers(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
    except (OSError, ValueError):
        return False
    return True


def choose_port(host: str, wanted: int | None) -> int:
    """The wanted port, or from 7860 on the first free one.

    Raises:
        SetupError: the wanted port, or all of them, are in use.
    """
    if wanted:
        if not is_free(host, wanted):
            raise SetupError(f"Port {wanted} is in use or not allowed.\nName another --port, or leave it out.")
        return wanted
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        if is_free(host, port):
            if port != DEFAULT_PORT:
                print(f"Port {DEFAULT_PORT} is in use; taking {port}.", flush=True)
            return port
    raise SetupError(f"The ports {DEFAULT_PORT} to {port} are all in use.\nName a free one with --port.")


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a port whose last connection is only just closed is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
