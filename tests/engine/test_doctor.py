"""The machine check on this machine, and on what is broken on purpose."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine import doctor
from engine.doctor import Check
from engine.fitting import read_profile
from engine.workspace import Workspace

ROOT = Path(__file__).parents[2]


def test_every_check_answers_here(tmp_path: Path) -> None:
    found = {check.name: check for check in doctor.checks(Workspace(tmp_path))}
    assert set(found) >= {
        "Python",
        "PyTorch",
        "Device",
        "Packages",
        "Memory",
        "Disk",
        "Write access",
        "Starter model",
        "Port 7860",
    }
    for name in ("Python", "PyTorch", "Packages", "Write access"):
        assert found[name].ok, found[name]
    assert all(check.found for check in found.values())
    assert all(check.todo for check in found.values() if not check.ok)


def test_main_prints_the_table_and_tells_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Check("Thing", True, "there"), Check("Another thing", False, "missing", "Get one.")
    monkeypatch.setattr(doctor, "checks", lambda workspace: [good])
    assert doctor.main(Workspace(tmp_path)) == 0
    monkeypatch.setattr(doctor, "checks", lambda workspace: [good, bad])
    capsys.readouterr()
    assert doctor.main(Workspace(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok  Thing          there",
        "NO  Another thing  missing",
        "                   -> Get one.",
    ]


def test_missing_and_outdated_packages_are_named(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["numpy>=1", "no-such-thing>=2", "pillow<1"]\n')
    check = doctor.check_packages(project)
    assert not check.ok
    assert "no-such-thing missing (needs >=2)" in check.found and "pillow" in check.found and "numpy" not in check.found


def test_a_port_in_use_is_no_failure() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        check = doctor.check_port(port)
        assert check.ok and check.found == "in use" and "--port" in check.todo
    assert doctor.check_port(port) == Check(f"Port {port}", True, "free")


def test_starter_without_weights_is_missing(tmp_path: Path) -> None:
    assert not doctor.check_starter(tmp_path).ok
    (tmp_path / "model_index.json").write_text("{}")
    assert not doctor.check_starter(tmp_path).ok
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"x" * 1_500_000)
    assert doctor.check_starter(tmp_path) == Check("Starter model", True, "1.5 MB")


def test_data_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    missing = tmp_path / "a" / "b"
    assert doctor.check_write_access(missing) == Check("Write access", True, str(tmp_path))
    assert doctor.check_disk(missing).found.endswith(f"GB free for {missing}")
    assert not missing.parent.exists(), "a check leaves nothing behind"


def test_the_device_is_noted_where_the_page_looks(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).prepare()
    checks = {check.name: check for check in doctor.checks(workspace)}
    profile = read_profile(workspace.root / "config")
    assert profile and profile.name in checks["Device"].found and f"{profile.memory_mib:,} MiB" in checks["Device"].found


def test_folder_that_refuses_files_is_named() -> None:
    check = doctor.check_write_access(Path("/proc/self"))
    assert not check.ok and check.found.startswith("/proc/self: ") and "--data-dir" in check.todo


def test_broken_torch_is_one_line_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    code = "from engine.doctor import *; print(table([check_torch(), check_device(Path())]))"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n{code}"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "NO  PyTorch  libgomp.so.1" in told.stdout and "NO  Device " in told.stdout
