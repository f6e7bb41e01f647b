"""Runs pip: one line per package while it works, one sentence when it fails. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

CLOCK_SECONDS = 2
KEPT_LINES = 400
UNREACHABLE = (
    "connection broken|NewConnectionError|NameResolutionError|ConnectTimeout|Read timed out|ProxyError|SSLError|"
    "Max retries exceeded|Network is unreachable|getaddrinfo failed|Temporary failure in name resolution|IncompleteRead"
)


class SetupError(Exception):
    """The environment cannot be made; the text says what happened and what to do.

    Attributes:
        reason: `unreachable` when a connection was missing, else empty.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason


def install(python: str, requirements: list[str], folder: Path, options: Sequence[str] = ()) -> None:
    """Install requirements with the Python of an environment, saying each package on a line of its own.

    Raises:
        SetupError: pip failed.
    """
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    progress = Progress()
    with subprocess.Popen(
        [*command, *options, *requirements], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment, encoding="utf-8", errors="replace",
    ) as pip, Clock() as clock:  # fmt: skip
        try:
            for line in pip.stdout or ():
                lines.append(line)
                shown = progress.line(line)
                if shown:
                    clock.say(shown)
        except BaseException:
            pip.terminate()
            raise
    if pip.returncode:
        text = "".join(lines)
        raise SetupError(explain(text, folder), "unreachable" if unreachable(text) else "")


class Progress:
    """Turns pip's talk into a counted line per package."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def line(self, line: str) -> str | None:
        """What to show for a line of pip's, if anything."""
        found = re.match(r"\s*(Downloading|Using cached|Processing) (.+?)(?: \((.*)\))?$", line)
        if found and not found[2].endswith(".metadata"):
            name, version = name_and_version(found[2])
            note = "on this machine" if found[1] == "Processing" else found[3] or ""
            if name not in self.seen:
                self.seen.add(name)
                return "{:5}  {:<40} {}".format(len(self.seen), f"{name} {version}", note).rstrip()
        if line.startswith("Installing collected packages:"):
            return "       unpacking {} packages".format(line.count(",") + 1)
        return None


def name_and_version(file: str) -> tuple[str, str]:
    """`("torch", "2.13.0+cpu")` of a wheel or source archive, by its file name or address."""
    stem = unquote(re.split(r"[\\/]", file.rstrip("\\/"))[-1])
    if stem.endswith(".whl"):
        name, version = stem.split("-")[:2]
        return name, version
    name, _, version = re.sub(r"\.(tar\.gz|tar\.bz2|zip)$", "", stem).rpartition("-")
    return name or version, version if name else ""


class Clock:
    """On a terminal, shows the seconds since the last line, so that a long download does not look dead."""

    def __enter__(self) -> Clock:
        self._last, self._done, self._turn = time.monotonic(), threading.Event(), threading.Lock()
        if sys.stdout.isatty():
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.say("")

    def say(self, text: str) -> None:
        with self._turn:
            erase = "\r" + " " * 20 + "\r" if sys.stdout.isatty() else ""
            print(erase + text, end="\n" if text else "", flush=True)
            self._last = time.monotonic()

    def _tick(self) -> None:
        while not self._done.wait(CLOCK_SECONDS):
            with self._turn:
                print("\r       ... {:.0f} s".format(time.monotonic() - self._last), end="", flush=True)


def ensure_pip(python: str, folder: Path) -> None:
    """Put pip into an environment that has none, new or left by an interrupted start.

    Raises:
        SetupError: this Python has no `ensurepip`.
    """
    has_pip = subprocess.run([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if has_pip.returncode:
        call([python, "-m", "ensurepip", "--upgrade", "--default-pip"], folder)


def call(command: list[str], folder: Path) -> None:
    """Raises: SetupError: the command failed."""
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        raise SetupError(explain(made.stdout, folder))


def explain(text: str, folder: Path) -> str:
    """What went wrong and what to do, from the last lines of pip, venv or the system.

    Args:
        folder: the environment.
    """
    package = re.findall(r"satisfies the requirement (\S+)|No matching distribution found for (\S+)|Collecting (\S+)", text)
    name = "".join(package[-1]) if package else "a package"
    if re.search(r"No space left on device|Errno 28\b|WinError 112\b", text):
        temporary = tempfile.gettempdir()
        places = {place: shutil.disk_usage(place).free / 1e9 for place in (str(folder), temporary)}
        free = ", ".join("{} has {:.1f} GB free".format(*item) for item in places.items())
        return f"The disk is full: {free}.\nFree some space, or name a roomier temporary folder in TMPDIR, and start again."
    if "externally-managed-environment" in text:
        return f"The Python in {folder} belongs to the system, which lets nothing be installed into it.\nStart without --no-venv."
    if re.search(r"Permission denied|Errno 13\b|Read-only file system|Access is denied|WinError 5\b", text):
        return f"The folder {folder} cannot be written to.\nMove LoRA Atelier to a folder of your own.\n{_tail(text, 3)}"
    if "No module named ensurepip" in text or "ensurepip is not available" in text:
        return "This Python comes without pip.\nOn Debian and Ubuntu: apt install python3-venv. Then start again."
    if unreachable(text):
        return (
            f"{name} could not be downloaded: there is no connection to the package index.\n"
            "Check the network (behind a proxy, set HTTPS_PROXY) and start again; what is already installed stays."
        )
    if "No matching distribution found" in text:
        what = "There is no {} for Python {}.{} on this system.".format(name, *sys.version_info[:2])
        return f"{what}\nTry another Python: 3.11 and 3.12, 64-bit, suit every package.\n{_tail(text, 3)}"
    return f"The installation failed.\n{_tail(text, 15)}\nStart again to go on from here."


def unreachable(text: str) -> bool:
    """Whether pip's last words are of a missing connection; earlier ones may be of a hiccup it got over."""
    return re.search(UNREACHABLE, _tail(text, 15)) is not None


def _tail(text: str, lines: int) -> str:
    return "\n".join("  " + line[:400] for line in text.strip().splitlines()[-lines:])
