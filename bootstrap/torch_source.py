"""Where PyTorch comes from on this machine.

The default index has the CUDA build for Linux, the MPS build for macOS and a CPU build for Windows. So PyTorch's own CUDA
index serves Windows with an NVIDIA driver, and its CPU index Linux without one; unless pip is already set up to find the
wanted version in a local folder, or all packages in an index of the user's. Standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

from bootstrap import pip_run
from bootstrap.pip_run import SetupError

PYTORCH = "https://download.pytorch.org/whl/"


def install(python: str, requirement: str, folder: Path, index: str | None, replace: bool) -> None:
    """Install torch with the Python of an environment.

    Args:
        requirement: `torch==<version>`.
        folder: the environment, named in errors.
        index: address of the index to take it from; None lets `choose` decide.
        replace: take it anew although that version is there, as another build.

    Raises:
        SetupError: it could not be had.
    """
    chosen = index or choose(requirement, pip_config(python), has_nvidia())
    print(f"Installing PyTorch from {chosen}" if chosen else "Installing PyTorch", flush=True)
    options = [*(["--index-url", chosen] if chosen else []), *(["--force-reinstall"] if replace else [])]
    try:
        pip_run.install(python, [requirement], folder, options)
    except SetupError as error:
        # the default index has the same version for Linux with CUDA inside: larger, but it runs
        if index or not chosen or sys.platform != "linux" or error.reason != "unreachable":
            raise
        print(f"{chosen} cannot be reached; taking the larger build from the default index.", flush=True)
        pip_run.install(python, [requirement], folder)


def choose(requirement: str, config: dict[str, str], nvidia: bool, system: str = sys.platform) -> str | None:
    """The index to take torch from; None leaves it to pip's own settings.

    Args:
        requirement: `torch==<version>`.
        config: pip's settings, from `pip_config`.
        nvidia: whether there is an NVIDIA driver.
        system: as `sys.platform`.
    """
    build = {("win32", True): "cu130", ("linux", False): "cpu"}.get((system, nvidia))
    own_index = {"index-url", "no-index"} & {name.rpartition(".")[2] for name in config}
    if build is None or own_index or has_local_wheel(requirement.partition("==")[2], config, cuda=nvidia):
        return None
    return PYTORCH + build


def has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or os.path.exists("/proc/driver/nvidia/version")


def pip_config(python: str) -> dict[str, str]:
    """pip's settings from its files and the environment, by the names `pip config list` gives (`global.find-links`)."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        with contextlib.suppress(ValueError, SyntaxError):
            settings[name] = str(ast.literal_eval(value))
    return settings


def has_local_wheel(version: str, config: dict[str, str], cuda: bool) -> bool:
    """Whether a local folder pip looks in has this torch version for the running Python, with CUDA if wanted."""
    from urllib.request import url2pathname  # brings http and ssl along: too slow for every start

    words = " ".join(value for name, value in config.items() if name.endswith((".find-links", ".extra-index-url"))).split()
    folders = [Path(url2pathname(urlparse(word).path) if word.startswith("file:") else word).expanduser() for word in words]
    start, tag = f"torch-{version}", "-cp%d%d-" % sys.version_info[:2]
    names = [wheel.name for folder in folders for place in (folder, folder / "torch") for wheel in place.glob(start + "*.whl")]
    return any(name[len(start)] in "+-" and tag in name and ("+cu" in name or not cuda) for name in names)
