"""launch.py for real, in a copy of the project whose only dependencies are tiny wheels made here."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVER = """
import json, os, sys
import tinydep

def serve(options):
    print("SERVED " + json.dumps({**vars(options), "environ": dict(os.environ), "prefix": sys.prefix}, default=str), flush=True)
    if "HOLD" in os.environ:
        sys.stdin.read()
    return int(os.environ.get("CODE", 0))
"""
READ_BY_OLD_PYTHONS = [ROOT / "launch.py", *sorted((ROOT / "bootstrap").glob("*.py")), ROOT / "engine/jobs/lock.py"]


def make_wheel(folder: Path, name: str, files: dict[str, str], version: str = "1.0") -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))


class Project:
    """A copy of the project that can be started."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root, self.wheels = root, wheels
        self.venv = root / ".venv"
        self.stamp = self.venv / "lora-atelier.json"

    def require(self, *core: str) -> None:
        dependencies = json.dumps(list(core))
        text = f'[project]\nname = "small"\ndependencies = {dependencies}\n[project.optional-dependencies]\ntest = ["pytest"]\n'
        (self.root / "pyproject.toml").write_text(text)

    def environ(self, **changes: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(self.wheels), "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
        return {**kept, **pip, **changes}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.root / "launch.py"), *arguments]

    def start(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environ(**changes),
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def popen(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments), env=self.environ(**changes), stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1
        )


def served(output: str) -> dict:
    """What the page was asked to serve."""
    return json.loads(output.partition("SERVED ")[2].splitlines()[0])


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "tinydep", {"tinydep.py": ""})
    make_wheel(folder, "tinyother", {"tinyother.py": ""})
    make_wheel(folder, "pytest", {"pytest/__init__.py": "", "pytest/__main__.py": "import sys; print('PYTEST', sys.argv[1:])"})
    return folder


def new_project(folder: Path, wheels: Path) -> Project:
    root = folder / "プロジェクト 1"
    for file in ("launch.py", "engine/__init__.py", "engine/jobs/lock.py"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    shutil.copytree(ROOT / "bootstrap", root / "bootstrap")
    (root / "webui").mkdir()
    (root / "webui" / "server.py").write_text(SERVER)
    project = Project(root, wheels)
    project.require("tinydep")
    return project


@pytest.fixture
def fresh(tmp_path: Path, wheels: Path) -> Project:
    """A project that was never started."""
    return new_project(tmp_path, wheels)


@pytest.fixture(scope="module")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished `.venv` and what its first start printed. It finds itself by where it lies, so it can be copied."""
    project = new_project(tmp_path_factory.mktemp("installed"), wheels)
    first = project.start("--no-browser")
    assert first.returncode == 0, first.stderr
    return project.venv, first.stdout


@pytest.fixture
def project(fresh: Project, installed: tuple[Path, str]) -> Project:
    """A project that was started before."""
    shutil.copytree(installed[0], fresh.venv, symlinks=True)
    return fresh


# ---- the environment ----


def test_first_start_installs_and_serves_in_its_own_environment(installed: tuple[Path, str]) -> None:
    venv, output = installed
    assert "Making the environment" in output
    assert re.search(r"^ +1  tinydep 1\.0 ", output, re.M), output
    told = served(output)
    assert Path(told["prefix"]) == venv
    assert told["environ"]["GRADIO_ANALYTICS_ENABLED"] == "0" and told["environ"]["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert Path(told["data_dir"]) == venv.parent / "workspace"
    assert (venv.parent / "workspace").stat().st_mode & 0o777 == 0o700


def test_later_start_goes_straight_on_and_returns_the_exit_code(project: Project) -> None:
    again = project.start("--no-browser", CODE="7", PIP_FIND_LINKS="/nowhere")
    assert again.returncode == 7
    assert again.stdout.startswith("SERVED"), again.stdout


def test_killed_during_installation_then_resumed(project: Project) -> None:
    project.stamp.unlink()
    project.require("tinydep", "tinyother")
    first = project.popen("--no-browser")
    assert first.stdout
    for line in first.stdout:
        if line.startswith("Installing the packages"):
            break
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not project.stamp.exists()
    again = project.start("--no-browser")
    assert again.returncode == 0, again.stderr
    assert project.stamp.exists() and "Making the environment" not in again.stdout


def test_environment_killed_before_it_had_pip_is_completed(project: Project) -> None:
    project.stamp.unlink()
    for pip in project.venv.glob("lib/*/site-packages/pip*"):
        shutil.rmtree(pip)
    assert project.start("--no-browser").returncode == 0
    assert project.stamp.exists()


def test_environment_whose_python_is_gone_is_made_anew(project: Project) -> None:
    for python in (project.venv / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")
    again = project.start("--no-browser")
    assert again.returncode == 0, again.stderr
    assert "Making the environment" in again.stdout


def test_changed_requirements_are_installed(project: Project) -> None:
    project.require("tinydep", "tinyother==1.0")
    again = project.start("--no-browser")
    assert again.returncode == 0, again.stderr
    assert "tinyother 1.0" in again.stdout and "Making the environment" not in again.stdout
    assert project.start("--no-browser").stdout.startswith("SERVED")


def test_test_installs_its_extra_and_hands_all_arguments_on(project: Project) -> None:
    tests = project.start("--test", "tests/test_x.py", "-k", "a and b", "--version")
    assert tests.returncode == 0, tests.stderr
    assert "pytest 1.0" in tests.stdout
    assert "'loadfile', 'tests/test_x.py', '-k', 'a and b', '--version']" in tests.stdout
    assert project.start("--test").stdout == "PYTEST ['-n', '2', '--dist', 'loadfile']\n"
    assert project.start("--no-browser").stdout.startswith("SERVED"), "the extra does not unsettle the rest"


def test_second_window_during_installation_is_told(project: Project) -> None:
    from engine.jobs.lock import FileLock

    project.stamp.unlink()
    lock = FileLock(project.stamp.with_suffix(".lock"))
    assert lock.acquire({})
    second = project.start("--no-browser")
    lock.release()
    assert second.returncode == 1 and "being set up in another window" in second.stderr


def test_no_venv_uses_the_active_environment(project: Project) -> None:
    elsewhere = project.root.parent / "elsewhere"
    project.venv.rename(elsewhere)
    command = [str(elsewhere / "bin" / "python"), *project.command("--no-venv", "--no-browser")[1:]]
    first = subprocess.run(command, env=project.environ(), capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    assert Path(served(first.stdout)["prefix"]) == elsewhere
    assert not project.venv.exists()
    again = subprocess.run(command, env=project.environ(), capture_output=True, text=True, timeout=120)
    assert again.stdout.startswith("SERVED")


# ---- what goes wrong ----


def test_no_connection_names_the_package(project: Project) -> None:
    project.require("tinydep", "tinymissing")
    failed = project.start("--no-browser", PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")
    assert failed.returncode == 1
    assert "tinymissing could not be downloaded" in failed.stderr and "network" in failed.stderr
    assert "Traceback" not in failed.stderr
    project.require("tinydep")
    assert project.start("--no-browser").returncode == 0


def test_package_that_does_not_exist(project: Project) -> None:
    project.require("tinydep", "tinymissing==3")
    failed = project.start("--no-browser")
    assert failed.returncode == 1
    assert "There is no tinymissing==3 for Python 3." in failed.stderr


def test_read_only_folder(fresh: Project) -> None:
    as_owner = []
    if os.geteuid() == 0:  # root may write everywhere, unless that right is taken away
        as_owner = [shutil.which("setpriv") or "setpriv", "--bounding-set", "-dac_override"]
    fresh.root.chmod(0o555)
    try:
        failed = subprocess.run([*as_owner, *fresh.command("--no-browser")], env=fresh.environ(), capture_output=True, text=True)
    finally:
        fresh.root.chmod(0o755)
    assert failed.returncode == 1
    assert f"The folder {fresh.root} cannot be written to" in failed.stderr and "Traceback" not in failed.stderr


def test_data_folder_that_cannot_be_made(project: Project) -> None:
    (project.root / "file").write_text("")
    failed = project.start("--no-browser", "--data-dir", str(project.root / "file" / "data"))
    assert failed.returncode == 1
    assert "cannot be used" in failed.stderr and "--data-dir" in failed.stderr


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bootstrap import environment, pip_run

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(environment.torch_source, "has_nvidia", lambda: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(5.9e9)))
    with pytest.raises(pip_run.SetupError, match=r"has 5\.9 GB free; the installation takes 6 GB"):
        environment.check_disk(tmp_path / "not" / "there")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(6.1e9)))
    environment.check_disk(tmp_path)
    text = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    assert pip_run.explain(text, tmp_path).startswith(f"The disk is full: {tmp_path} has 6.1 GB free")


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 8, 18), (3, 10, 99)])
def test_old_python_is_refused(version: tuple[int, ...]) -> None:
    from bootstrap.environment import check_python
    from bootstrap.pip_run import SetupError

    with pytest.raises(
        SetupError, match="This is Python {}, and LoRA Atelier needs Python 3.11".format(".".join(map(str, version)))
    ):
        check_python(version)
    check_python((3, 11, 0))


@pytest.mark.parametrize("file", READ_BY_OLD_PYTHONS, ids=lambda file: file.name)
def test_old_python_can_read_what_refuses_it(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))


# ---- PyTorch's source ----

CPU, CUDA = "https://download.pytorch.org/whl/cpu", "https://download.pytorch.org/whl/cu130"


@pytest.mark.parametrize(
    ("system", "nvidia", "index"),
    [("linux", False, CPU), ("linux", True, None), ("win32", True, CUDA), ("win32", False, None), ("darwin", False, None)],
)
def test_torch_index_by_machine(system: str, nvidia: bool, index: str | None) -> None:
    from bootstrap.torch_source import choose

    assert choose("torch==2.13.0", {}, nvidia, system) == index
    assert choose("torch==2.13.0", {"global.extra-index-url": "https://more.example/simple"}, nvidia, system) == index
    assert choose("torch==2.13.0", {"global.index-url": "https://mirror.example/simple"}, nvidia, system) is None


@pytest.mark.parametrize(
    ("wheel", "cpu", "cuda"),
    [
        ("torch-2.13.0+cpu-cp{}-cp311-manylinux_2_28_x86_64.whl", True, False),
        ("torch-2.13.0-cp{}-cp311-win_amd64.whl", True, False),
        ("torch-2.13.0+cu130-cp{}-cp311-win_amd64.whl", True, True),
        ("torch-2.13.0.1-cp{}-cp311-win_amd64.whl", False, False),
        ("torch-2.12.0+cpu-cp{}-cp311-manylinux_2_28_x86_64.whl", False, False),
        ("torch-2.13.0+cpu-cp27-cp27-manylinux_2_28_x86_64.whl", False, False),
    ],
)
def test_local_torch_comes_before_an_index(tmp_path: Path, wheel: str, cpu: bool, cuda: bool) -> None:
    from bootstrap.torch_source import choose, has_local_wheel

    folder = tmp_path / "車 輪"
    folder.mkdir()
    (folder / wheel.format("{}{}".format(*sys.version_info))).touch()
    config = {":env:.find-links": f"https://x.example/links\n{folder.as_uri()}"}
    assert has_local_wheel("2.13.0", config, cuda=False) is cpu
    assert has_local_wheel("2.13.0", config, cuda=True) is cuda
    assert choose("torch==2.13.0", config, nvidia=False, system="linux") == (None if cpu else CPU)


def test_pip_settings_are_read_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bootstrap.torch_source import pip_config

    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://mirror.example/it's\nfind-links =\n  /a\n  /b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_FIND_LINKS", "/c")
    config = pip_config(sys.executable)
    assert config["global.index-url"] == "https://mirror.example/it's"
    assert config["global.find-links"].split() == ["/a", "/b"] and config[":env:.find-links"] == "/c"


def test_another_torch_index_replaces_the_build(project: Project, tmp_path: Path) -> None:
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    make_wheel(project.wheels, "torch", {"torch.py": "build = 'first'"})
    make_wheel(index, "torch", {"torch.py": "build = 'second'"}, version="1.0+cu1")
    (index / "index.html").write_text("".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in index.glob("*.whl")))
    project.require("tinydep", "torch==1.0")
    first = project.start("--no-browser")
    assert (
        first.stdout.index("Installing PyTorch\n")
        < first.stdout.index("torch 1.0")
        < first.stdout.index("Installing the packages")
    )
    dead = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    url = index.parent.as_uri()
    second = project.start("--no-browser", "--torch-index", url, **dead)
    assert second.returncode == 0, second.stderr
    assert f"Installing PyTorch from {url}" in second.stdout
    for arguments in (["--torch-index", url], []):
        assert project.start("--no-browser", *arguments, **dead).stdout.startswith("SERVED")
    told = subprocess.run(
        [str(project.venv / "bin/python"), "-c", "import torch; print(torch.build)"], capture_output=True, text=True
    )
    assert told.stdout == "second\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default index has another build")
def test_unreachable_cpu_index_gives_way_to_the_default(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bootstrap import pip_run, torch_source

    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    nowhere = "http://127.0.0.1:9/"
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch_source, "has_nvidia", lambda: False)
    monkeypatch.setattr(torch_source, "PYTORCH", nowhere)
    python = str(project.venv / "bin/python")
    for index, gives_way in ((None, True), (nowhere, False)):
        with pytest.raises(pip_run.SetupError, match=r"torch==1\.0 could not be downloaded"):
            torch_source.install(python, "torch==1.0", project.venv, index, replace=False)
        assert ("cannot be reached; taking the larger build" in capsys.readouterr().out) is gives_way


# ---- what pip says ----


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  Downloading diffusers-0.42.1-py3-none-any.whl (4.9 MB)", "    1  diffusers 0.42.1                         4.9 MB"),
        (
            "  Using cached ImageHash-4.3.2-py2.py3-none-any.whl (296 kB)",
            "    1  ImageHash 4.3.2                          296 kB",
        ),
        (
            "Processing /a (b) c/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
            "    1  torch 2.13.0+cpu                         on this machine",
        ),
        (
            "Processing /a/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl (from x)",
            "    1  torch 2.13.0+cpu                         on this machine",
        ),
        (
            "  Downloading https://x.example/torch-2.13.0%2Bcpu-cp311-cp311-w.whl (190.1 MB)",
            "    1  torch 2.13.0+cpu                         190.1 MB",
        ),
        ("  Downloading some-thing-1.2.tar.gz (9 kB)", "    1  some-thing 1.2                           9 kB"),
        ("  Downloading torch-2.13.0-cp311-cp311-linux.whl.metadata (30 kB)", None),
        ("Installing collected packages: a, b, c", "       unpacking 3 packages"),
        ("Requirement already satisfied: numpy in /x (2.4.6)", None),
    ],
)
def test_a_line_per_package(line: str, shown: str | None) -> None:
    from bootstrap.pip_run import Progress

    assert Progress().line(line + "\n") == shown


def test_packages_are_counted_once() -> None:
    from bootstrap.pip_run import Progress

    progress = Progress()
    lines = [
        "Downloading a-1-py3-none-any.whl (1 kB)",
        "Downloading a-2-py3-none-any.whl (1 kB)",
        "Downloading b-1-py3-none-any.whl (1 kB)",
    ]
    shown = [progress.line(line) for line in lines]
    assert shown[1] is None and shown[2] and shown[2].split() == ["2", "b", "1", "1", "kB"]


# ---- flags ----


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag: str) -> None:
    from engine import __version__

    told = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "launch.py"), flag], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "bootstrap.environment" in imported
    assert not {name.partition(".")[0] for name in imported} & {"torch", "gradio", "webui", "engine", "numpy", "pydantic", "ssl"}
    assert (told.stdout == f"LoRA Atelier {__version__}\n") if flag == "--version" else "--torch-index" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "0"], "'0' is not a port"),
        (["--port", "65536"], "'65536'"),
        (["--port", "x"], "'x'"),
        (["--auth", "secret"], "USER:PASSWORD"),
        (["--auth", ":secret"], "USER:PASSWORD"),
        (["--auth", "a:b", "--guest-auth", "a:c"], "different user names"),
        (["--lora-dir", "/nowhere"], "'/nowhere' is not a folder"),
        (["--lang", "xx"], "'xx'"),
        (["--no-brow"], "--no-brow"),
        (["surplus"], "surplus"),
    ],
)
def test_bad_arguments(arguments: list[str], named: str) -> None:
    bad = subprocess.run([sys.executable, str(ROOT / "launch.py"), *arguments], capture_output=True, text=True)
    assert bad.returncode == 2
    assert named in bad.stderr and "secret" not in bad.stderr


def test_flags_reach_the_page(project: Project, tmp_path: Path) -> None:
    run = project.start(
        "--no-browser", "--port", str(free_port()), "--auth", "me:a:b", "--guest-auth", "you:c",
        "--data-dir", str(tmp_path / "data"), "--lora-dir", str(tmp_path),
        "--allow-host", "one", "--allow-host", "two", "--api", "--lang", "ja", "--share",
    )  # fmt: skip
    told = served(run.stdout)
    assert told["auth"] == ["me", "a:b"] and told["guest_auth"] == ["you", "c"]
    assert told["data_dir"] == str(tmp_path / "data") and told["lora_dir"] == str(tmp_path) and told["ckpt_dir"] is None
    assert told["allow_host"] == ["one", "two"] and told["api"] and told["share"] and told["no_browser"]
    assert told["lang"] == "ja" and told["host"] == "127.0.0.1"
    assert "password" not in run.stdout.partition("SERVED")[0]


@pytest.mark.parametrize("flag", ["--listen", "--share"])
def test_reachable_from_elsewhere_gets_a_strong_password(project: Project, flag: str) -> None:
    runs = [project.start("--no-browser", flag) for _ in range(2)]
    passwords = [served(run.stdout)["auth"][1] for run in runs]
    assert passwords[0] != passwords[1]
    assert all(len(password) * 6 >= 128 for password in passwords), "six bits a letter"
    assert runs[0].stdout.partition("SERVED")[0].count(passwords[0]) == 1
    assert served(runs[0].stdout)["host"] == ("0.0.0.0" if flag == "--listen" else "127.0.0.1")


# ---- ports and the second start ----


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_busy_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import launch

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = other.getsockname()[1]
        monkeypatch.setattr(launch, "DEFAULT_PORT", busy)
        found = launch.choose_port("127.0.0.1", None)
        assert busy < found <= busy + 10
        assert f"Port {busy} is in use; taking {found}." in capsys.readouterr().out
        with pytest.raises(launch.SetupError, match=f"Port {busy} is in use"):
            launch.choose_port("127.0.0.1", busy)
        monkeypatch.setattr(launch, "PORTS_TRIED", 1)
        with pytest.raises(launch.SetupError, match="all in use"):
            launch.choose_port("127.0.0.1", None)
    assert launch.choose_port("127.0.0.1", busy) == busy


def test_second_start_on_the_same_data_opens_the_first_page(project: Project, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    with socket.socket() as page:
        first = project.popen("--no-browser", "--port", str(free_port()), HOLD="1")
        assert first.stdout
        port = served(first.stdout.readline())["port"]
        page.bind(("127.0.0.1", port))
        page.listen()
        second = project.start(BROWSER=str(browser))
    first.communicate()
    url = f"http://127.0.0.1:{port}"
    assert second.returncode == 0, second.stderr
    assert "already running" in second.stdout and url in second.stdout and "SERVED" not in second.stdout
    assert (tmp_path / "opened").read_text().strip() == url
    assert "SERVED" in project.start("--no-browser").stdout, "once the first has ended, the folder is free"


def test_ctrl_c_before_the_page(project: Project) -> None:
    (project.root / "webui" / "server.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    starting = project.popen("--no-browser")
    assert starting.stdout and starting.stdout.readline() == "loading\n"
    starting.send_signal(signal.SIGINT)
    _, errors = starting.communicate(timeout=20)
    assert starting.returncode == 130 and "Traceback" not in errors
