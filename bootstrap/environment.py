"""The environment the project runs in: made on the first start, checked on every later one.

The project runs in place from its folder, so only its dependencies are installed. A stamp in the environment holds a hash
of each installed group of requirements. It is written last: without it, or with an old one, pip runs again and goes on
from what is already there.

Standard library only. Python 3.8 can read this file, so that an old Python gets a sentence instead of a traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from bootstrap import pip_run, torch_source
from bootstrap.pip_run import SetupError

OLDEST_PYTHON = (3, 11)
DISK_GB = 6
DISK_GB_NVIDIA = 12  # the CUDA libraries come as packages of their own
STAMP = "lora-atelier.json"
ASK_PYTHON = "import sys; print(sys.prefix); print('%d.%d' % sys.version_info[:2])"


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Raises: SetupError: this Python is too old."""
    if version < OLDEST_PYTHON:
        raise SetupError(
            "This is Python {}, and LoRA Atelier needs Python 3.11 or newer.\n"
            "Install one from https://www.python.org/downloads/ and start with it, for example: python3.11 launch.py".format(
                ".".join(str(number) for number in version)
            )
        )


class Environment:
    """The `.venv` beside the project, or the environment that is active.

    Args:
        root: the project's folder.
        own: True for `<root>/.venv`, False for the environment of the running Python (`--no-venv`).
    """

    def __init__(self, root: Path, own: bool) -> None:
        self.root, self.own = root, own
        self.folder = root / ".venv" if own else Path(sys.prefix)
        self.active = not own or _same(self.folder, sys.prefix)
        python = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        self.python = sys.executable if self.active else str(self.folder / python)
        self.stamp = self.folder / STAMP if own else Path(sysconfig.get_path("purelib")) / STAMP

    def python_version(self) -> str | None:
        """`"3.11"`; None when the environment is missing or broken, for example because its Python was replaced."""
        if self.active:
            return "%d.%d" % sys.version_info[:2]
        command = [self.python, "-I", "-c", ASK_PYTHON]
        try:
            told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            return None
        prefix, _, version = told.stdout.strip().partition("\n")
        library = self.folder / ("Lib" if os.name == "nt" else "lib/python" + version)
        return version if told.returncode == 0 and _same(prefix, self.folder) and library.is_dir() else None

    def read_stamp(self) -> dict:
        try:
            found = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_stamp(self, groups: dict[str, list[str]], torch_index: str | None) -> None:
        stamp = {"python": self.python_version(), "torch_index": torch_index, "groups": self.read_stamp().get("groups", {})}
        stamp["groups"].update((name, digest(requirements)) for name, requirements in groups.items())
        unfinished = self.stamp.with_suffix(".tmp")
        # another's environment may be read-only to this user; then pip has a look at each start
        with contextlib.suppress(PermissionError):
            unfinished.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
            os.replace(unfinished, self.stamp)

    def ready(self, groups: dict[str, list[str]], torch_index: str | None = None) -> bool:
        """Whether these groups are installed as they stand now, for the Python that is there now."""
        stamp, version = self.read_stamp(), self.python_version()
        stamped = stamp.get("groups", {})
        return (
            version is not None
            and stamp.get("python") == version
            and all(stamped.get(name) == digest(requirements) for name, requirements in groups.items())
            and torch_index in (None, stamp.get("torch_index"))
        )


def digest(requirements: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()


def read_groups(root: Path, extras: list[str]) -> dict[str, list[str]]:
    """The requirements in pyproject.toml by group: `core` and the named extras."""
    import tomllib  # Python 3.11

    with open(root / "pyproject.toml", "rb") as stream:
        project = tomllib.load(stream)["project"]
    return {"core": project["dependencies"], **{name: project["optional-dependencies"][name] for name in extras}}


def prepare(environment: Environment, groups: dict[str, list[str]], torch_index: str | None = None) -> None:
    """Make the environment where it is missing, and install the groups of requirements.

    Args:
        torch_index: address of the package index torch is taken from; None lets `torch_source.choose` decide.

    Raises:
        SetupError: no connection, no disk space, no permission, or pip failed.
    """
    from engine.jobs.lock import FileLock

    try:
        if not environment.read_stamp():
            check_disk(environment.folder)
        if not environment.own:
            return _install(environment, groups, torch_index)
        check_writable(environment.root)
        lock = FileLock(environment.stamp.with_suffix(".lock"))
        if not lock.acquire({"pid": os.getpid()}):
            raise SetupError(
                f"{environment.folder} is being set up in another window.\nWait until that is done, then start again."
            )
        try:
            if environment.python_version() is None:
                _make(environment, keep=lock.path.name)
            _install(environment, groups, torch_index)
        finally:
            lock.release()
    except OSError as error:
        raise SetupError(pip_run.explain(str(error), environment.folder)) from error


def _make(environment: Environment, keep: str) -> None:
    """Make `.venv` anew: what lies there cannot run."""
    print(f"Making the environment {environment.folder}", flush=True)
    for leftover in environment.folder.iterdir():
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        elif leftover.name != keep:
            leftover.unlink()
    pip_run.call([sys.executable, "-m", "venv", "--without-pip", str(environment.folder)], environment.folder)


def _install(environment: Environment, groups: dict[str, list[str]], torch_index: str | None) -> None:
    """Install torch first, from where it suits this machine, then the rest, then write the stamp."""
    python, stamp = environment.python, environment.read_stamp()
    pip_run.ensure_pip(python, environment.folder)
    requirements = [requirement for group in groups.values() for requirement in group]
    torch = [requirement for requirement in requirements if requirement.startswith("torch==")]
    if torch:
        another = bool(stamp) and torch_index not in (None, stamp.get("torch_index"))
        torch_source.install(python, torch[0], environment.folder, torch_index, another)
    print("Installing the packages", flush=True)
    pip_run.install(python, requirements, environment.folder)
    environment.write_stamp(groups, torch_index or stamp.get("torch_index"))


def check_writable(folder: Path) -> None:
    """Raises: SetupError: nothing can be written here."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"The folder {folder} cannot be written to ({error.strerror}).\nMove LoRA Atelier to a folder of your own, "
            "for example below your home folder, or start it in an environment you made, with --no-venv."
        ) from error


def check_disk(folder: Path) -> None:
    """Raises: SetupError: less space than an installation takes."""
    while not folder.exists():
        folder = folder.parent
    wanted, free = DISK_GB_NVIDIA if torch_source.has_nvidia() else DISK_GB, shutil.disk_usage(folder).free / 1e9
    if free < wanted:
        what = f"The disk of {folder} has {free:.1f} GB free; the installation takes {wanted} GB."
        raise SetupError(f"{what}\nFree some space and start again.")


def _same(first: Path | str, second: Path | str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)
