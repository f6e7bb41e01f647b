"""The machine check: what is there, what is missing, what to do. `python -m engine doctor`.

Every check answers, also when something is broken: PyTorch is imported only inside its own check.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import socket
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.fitting import write_profile
from engine.starter import WEIGHTS
from engine.workspace import Workspace

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OLDEST_PYTHON = (3, 11)
MEMORY_GB = 4
DISK_GB = 5
PORT = 7860


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        ok: whether the project can work with it.
        found: what is there.
        todo: what to do when it is not ok; may give a hint when it is.
    """

    name: str
    ok: bool
    found: str
    todo: str = ""


def main(workspace: Workspace) -> int:
    """Print the table. Returns 0 when everything is well, else 1."""
    found = checks(workspace)
    print(table(found))
    return 0 if all(check.ok for check in found) else 1


def table(found: list[Check]) -> str:
    """The checks as text, a line each; what to do stands below its check."""
    width = max(len(check.name) for check in found)
    lines = []
    for check in found:
        lines.append(f"{'ok' if check.ok else 'NO':<3} {check.name:<{width}}  {check.found}")
        if check.todo:
            lines.append(f"    {'':<{width}}  -> {check.todo}")
    return "\n".join(lines)


def checks(workspace: Workspace) -> list[Check]:
    """Look at everything the project needs on this machine."""
    return [
        check_python(), check_torch(), check_device(workspace.root / "config"), check_packages(), check_memory(), check_disk(workspace.root),
        check_write_access(workspace.root), check_starter(WEIGHTS), check_port(PORT),
    ]  # fmt: skip


def check_python() -> Check:
    ok = sys.version_info >= OLDEST_PYTHON
    return Check("Python", ok, sys.version.split()[0], "" if ok else "Install Python 3.11 or newer.")


def check_torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        return Check("PyTorch", False, str(error).strip().splitlines()[0], "Delete the .venv folder and run launch.py again.")
    return Check("PyTorch", True, torch.__version__)


def check_device(folder: Path) -> Check:
    """What computes; it is noted in the folder, where there is one, for those who have no PyTorch."""
    try:
        from engine.device import device_facts, device_profile, pick_device

        device = pick_device()
        facts, profile = device_facts(device), device_profile(device)
    except Exception as error:  # a broken driver fails in many ways, and the other checks still have to be shown
        return Check("Device", False, f"{type(error).__name__}: {error}", "Update the driver of the graphics card.")
    found = "{device}, {name}, {free_mib:,} of {total_mib:,} MiB free, {threads} threads".format(**facts)
    if folder.is_dir():
        with contextlib.suppress(OSError):  # whether it may be written is another check
            write_profile(profile, folder)
    unused_card = facts["device"] == "cpu" and shutil.which("nvidia-smi") is not None
    todo = "There is an NVIDIA driver, but this PyTorch cannot use it: run launch.py with --torch-index." if unused_card else ""
    return Check("Device", not unused_card, found, todo)


def check_packages(project: Path = PROJECT) -> Check:
    """Whether every core requirement is installed in a version that fits."""
    from packaging.requirements import Requirement

    if project.is_file():
        required = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        required = [text for text in importlib.metadata.requires("lora-atelier") or () if "extra ==" not in text]
    wrong = []
    for requirement in map(Requirement, required):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
        if version == "missing" or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} (needs {requirement.specifier})")
    if wrong:
        return Check("Packages", False, ", ".join(wrong), "Run launch.py; if it changes nothing, delete the .venv folder first.")
    return Check("Packages", True, f"all {len(required)} installed")


def check_memory() -> Check:
    memory = psutil.virtual_memory()
    ok = memory.total >= MEMORY_GB * 1e9
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    return Check("Memory", ok, found, "" if ok else f"{MEMORY_GB} GB are needed; the practice model may still run.")


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free / 1e9
    ok = free >= DISK_GB
    return Check(
        "Disk", ok, f"{free:.1f} GB free for {folder}", "" if ok else f"Free {DISK_GB} GB, or choose another --data-dir."
    )


def check_write_access(folder: Path) -> Check:
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("Write access", False, f"{place}: {error.strerror}", "Choose another --data-dir, or change its owner.")
    return Check("Write access", True, str(place))


def check_starter(weights: Path) -> Check:
    files = [file for file in weights.rglob("*.safetensors") if file.is_file()]
    if not (weights / "model_index.json").is_file() or not files:
        return Check("Starter model", False, f"not in {weights}", "Get the project's files again; the folder is part of them.")
    return Check("Starter model", True, f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB")


def check_port(port: int) -> Check:
    with socket.socket() as probe:
        if os.name == "posix":  # a port whose last connection is only just closed is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Check(f"Port {port}", True, "in use", "The page takes the next free one, or the one you name with --port.")
    return Check(f"Port {port}", True, "free")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder
