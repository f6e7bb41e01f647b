"""From `python launch.py` to a page that can be used, beside a Gradio page with one button in the same run."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.report import Row, ratio, timed

ROOT = Path(__file__).parents[2]
PATIENCE = 180
BARE = """
import sys
import gradio as gr
with gr.Blocks() as page:
    gr.Button("One")
page.launch(server_port=int(sys.argv[1]), quiet=True)
"""


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    rounds = options.rounds
    launch = [sys.executable, str(ROOT / "launch.py")]
    helps = [timed(lambda: subprocess.run([*launch, "--help"], capture_output=True, check=True)) for _ in range(rounds + 2)]
    ours, bare, memory = [], [], []
    for number in range(rounds):
        port = free_port()
        seconds, _ = until_usable([sys.executable, "-c", BARE, str(port)], port)
        bare.append(seconds)
        port = free_port()
        command = [*launch, "--no-venv", "--no-browser", "--data-dir", str(folder / str(number)), "--port", str(port)]
        seconds, mib = until_usable(command, port)
        ours.append(seconds)
        memory.append(mib)
    return [
        Row("launch.py --help", tuple(helps), goal=0.3),
        Row("process start to usable page", tuple(ours), goal=4.0),
        Row("the same, bare page with one button", tuple(bare)),
        ratio("ours / bare", ours, bare, goal=1.4),
        Row("memory of the web process", tuple(memory), "MiB", goal=300),
    ]


def until_usable(command: list[str], port: int) -> tuple[float, float]:
    """Seconds until `/` and `/config` answer, and the process's memory then in MiB."""
    began = time.perf_counter()
    with running(command, port) as process:
        return time.perf_counter() - began, psutil.Process(process.pid).memory_info().rss / 2**20


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen]:
    """A page that can be used: `/` and `/config` answer. It is ended in the end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not all(answers(f"http://127.0.0.1:{port}{path}") for path in ("/", "/config")):
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended: {process.stderr.read().decode()[-2000:] if process.stderr else ''}")
            if time.perf_counter() - began > PATIENCE:
                raise TimeoutError(f"no answer from {command} within {PATIENCE} s")
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
