"""The command line: exit codes and their reasons, and the whole road with the starter model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save_file

from engine.__main__ import COMMANDS, main
from engine.cli.foreground import describe
from engine.config.field import fields
from engine.config.load import load
from engine.config.train import TrainConfig
from engine.datasets.scan import scan
from engine.jobs import run_folder
from engine.jobs.events import EventLog, fold
from engine.jobs.lock import FileLock
from engine.jobs.process import this_process
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor, device_lock
from engine.workspace import Workspace

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "presets" / "starter" / "character.yaml"
COUNTING_CLI = """
import sys
import engine.jobs.desk
from tests.support.counting import COUNTING
engine.jobs.desk.RUNNERS = COUNTING
from engine.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class CountingSupervisor(Supervisor):
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.counting", *super().command()[4:]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture
def call(workspace: Workspace, capsys: pytest.CaptureFixture) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command in this process: (exit code, stdout, stderr)."""
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def call(*words: object) -> tuple[int, str, str]:
        try:
            code = main([*map(str, words), "--data-dir", str(workspace.root)])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield call
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept, strict=True):
        signal.signal(number, handler)


def start(workspace: Workspace, *words: str) -> subprocess.Popen[str]:
    """A command line of its own that counts instead of training."""
    command = [sys.executable, "-c", COUNTING_CLI, *words, "--data-dir", str(workspace.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def train_slowly(workspace: Workspace, steps: int = 200) -> tuple[subprocess.Popen[str], EventLog]:
    """A command line that has done two steps, and its log."""
    settings = [f"training.max_steps={steps}", "output.comment=slow"]
    process = start(workspace, "train", str(PRESET), *(word for setting in settings for word in ("--set", setting)))
    store = open_store(workspace.database)
    wait_for(lambda: store.list(states=("running",)))
    log = EventLog(run_folder.locate(workspace, store.list()[0]))
    wait_for(lambda: fold(log.read()).step >= 2)
    return process, log


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- help and bad arguments ----


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_torch(words: list[str]) -> None:
    code = f"""
import sys
from engine.__main__ import main
try:
    code = main({words!r})
except SystemExit as left:
    code = left.code
print(code, [name for name in ('torch', 'diffusers', 'transformers', 'gradio') if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout.splitlines()[-1] == "0 []"


def test_help_of_train_lists_every_field_with_bounds_default_and_help(call: Callable) -> None:
    code, out, _ = call("train", "--help")
    assert code == 0
    for field in fields(TrainConfig):
        assert f"  {field.path}  (" in out and field.help in out
    assert "training.learning_rate  (0 to 10; default 0.0003)" in out
    assert out.count("  adapter.tucker  (") == 1 and "adapter.tucker  (true | false; default false; with lora, loha, lokr)" in out
    assert "adapter.train_unet  (true | false; default true)" in out
    assert "training.max_steps  (1 to 1000000 steps; default computed)" in out
    assert "dataset.add_trigger  (true | false; default true)" in out


def test_without_a_command_or_with_a_strange_one(call: Callable, capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 2 and "a command is missing" in capsys.readouterr().err
    code, _, err = call("trian")
    assert code == 2 and "no command 'trian'" in err and "train" in err
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("LoRA Atelier 0.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "training.max_steps=0"], "training.max_steps"),
        (["--set", "training.max_stepz=1"], "training.max_stepz: there is no such setting"),
        (["--set", "training.max_steps=5", "--set", "training.epochs=2"], "training: set max_steps or epochs"),
        (["--set", "output.name=a/b"], "output.name"),
        (["--set", "dataset.folder=nix"], "dataset.folder"),
        (["--set", "model.path=nix.safetensors"], "model.path"),
        (["--set", "training.seed"], "training.seed"),
        (["--resume", "x"], "--resume"),
    ],
)
def test_bad_settings_end_with_2_and_name_the_field_in_one_line(call: Callable, words: list[str], told: str) -> None:
    code, _, err = call("train", PRESET, *words)
    assert code == 2 and told in err and len(err.splitlines()) == 1


def test_bad_arguments_end_with_2(call: Callable, tmp_path: Path) -> None:
    for words in (
        ["train"], ["train", tmp_path / "gone.yaml"], ["train", "--resume", "nix"], ["train", PRESET, "--nix"], ["generate"],
        ["generate", "--prompt", "x", "--size", "big"], ["generate", "--prompt", "x", "--steps", "-1"],
        ["generate", "--prompt", "x", "--out", "x.jpg"], ["generate", "--prompt", "x", "--sampler", "Euler z"],
        ["generate", "--prompt", "x", "--model", "nix.ckpt"], ["grid", "--set", "x.kind=steps", "--set", "x.values=much"],
        ["adapter", "polish", "x"],
        ["train", PRESET, "--lora-dir", tmp_path / "gone"],
    ):  # fmt: skip
        code, _, err = call(*words)
        assert code == 2 and err, words


def test_what_fails_ends_with_1_and_one_line(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    for words in (
        ["adapter", "inspect", tmp_path / "gone.safetensors"], ["adapter", "inspect", tmp_path / "x.safetensors"],
        ["dataset", "check", tmp_path / "gone"], ["jobs", "show", "nix"], ["jobs", "cancel"],
    ):  # fmt: skip
        code, _, err = call(*words)
        assert code == 1 and len(err.splitlines()) == 1 and err.startswith("Error: "), (words, err)


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert main(["jobs", "list", "--data-dir", str(tmp_path / "file" / "x")]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


# ---- the road ----


def test_train_generate_inspect_with_the_starter(call: Callable, workspace: Workspace, tmp_path: Path) -> None:
    short = ["training.max_steps=2", "training.batch_size=1", "samples.count=0", "adapter.rank=2", "output.name=tiny mascot"]
    code, out, err = call("train", PRESET, *(word for setting in short for word in ("--set", setting)))
    assert code == 0, err
    assert f"The LoRA is {workspace.loras / 'tiny mascot.safetensors'}" in out and "16 pictures, 2 steps of 1, 64 px" in out

    file = tmp_path / "my picture.png"
    words = ["--model", "starter", "--prompt", "mofumo <lora:tiny mascot:0.8>", "--seed", 7, "--steps", 2, "--out", file]
    code, out, err = call("generate", *words)
    assert code == 0, err
    assert out.splitlines()[-1] == str(file) and "tiny mascot: picture 0.8" in out
    with Image.open(file) as image:
        assert image.size == (64, 64) and "Seed: 7" in image.info["parameters"]

    code, out, err = call("generate", "--prompt", "<lora:nix:1> a cat", "--steps", 1, "--out", file)
    assert code == 0 and "nix" in err, "the picture is made, and what is missing is said"

    code, out, _ = call("adapter", "inspect", workspace.loras / "tiny mascot.safetensors", "--json")
    assert code == 0 and json.loads(out)["trigger"] == "mofumo" and json.loads(out)["ranks"][0] == 2
    _, out, _ = call("adapter", "inspect", workspace.loras / "tiny mascot.safetensors")
    assert "mofumo" in out and "automatic1111" in out
    code, _, _ = call("adapter", "inspect", workspace.loras / "tiny mascot.safetensors", "--map", workspace.root / "map.svg")
    assert code == 0 and (workspace.root / "map.svg").read_text().startswith("<svg")

    code, _, err = call("train", PRESET, "--set", "output.name=Tiny Mascot")
    assert code == 2 and "output.name" in err and "Tiny Mascot-v2" in err

    code, out, _ = call("jobs", "list", "--json")
    jobs = json.loads(out)
    assert [(job["kind"], job["state"]) for job in jobs] == [("generate", "done")] * 2 + [("train", "done")]
    assert jobs[-1]["id"] in call("jobs", "list")[1]
    assert json.loads(call("jobs", "show", jobs[-1]["id"])[1])["name"] == "tiny mascot"


def test_tools_for_adapter_files(call: Callable, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {
        f"{module}.lora_down.weight": np.eye(2, 128, dtype="float32"),
        f"{module}.lora_up.weight": np.eye(128, 2, dtype="float32"),
    }
    for name in ("a", "b"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    code, out, err = call(
        "adapter", "merge", "a.safetensors:0.5", "b.safetensors:-0.25", "--out", "both", "--precision", "bfloat16"
    )
    assert code == 0 and "both.safetensors" in out and "error max" in out, err
    code, out, err = call("adapter", "resize", "both", "--rank", "3", "--reduction", "sv_fro", "--target", "0.9", "--json")
    assert (
        code == 0
        and json.loads(out.splitlines()[-1] if out.startswith("{") else out[out.index("{\n") :])["file"]
        == "both-resize.safetensors"
    ), err
    assert call("adapter", "edit", "both", "--title", "12", "--trigger", "mofumo")[0] == 0
    code, out, _ = call("adapter", "inspect", "both")
    assert code == 0 and "mofumo" in out
    code, out, _ = call("adapter", "inspect", "both", "--tensors", "--model", "starter")
    assert code == 0 and "matched" in out and "mid" in out
    assert "unchanged" in call("adapter", "verify", "both")[1]
    assert call("adapter", "bake", "both", "--model", "starter", "--out", "baked")[0] == 0
    assert (workspace.root / "models" / "checkpoints" / "baked" / "model_index.json").is_file()
    code, out, err = call("adapter", "extract", "starter", "baked", "--rank", "4", "--convolutions", "false")
    assert code == 0 and "baked-extract.safetensors" in out, err
    assert [job.state for job in open_store(workspace.database).list()] == ["done"] * 6
    for words, field in (
        (["resize", "both", "--svd-rank", "3"], "tool.svd_rank"), (["resize", "both", "--rank", "many"], "tool.rank"),
        (["resize", "nix"], "tool.file"), (["merge", "both:x:"], "tool.files"), (["resize", "both", "a"], "FILE"),
        (["difference", "both"], "FILE"), (["resize", "both", "--out", "both"], "output.name"),
    ):  # fmt: skip
        code, _, err = call("adapter", *words)
        assert code == 2 and err.startswith("Error: ") and field in err, (words, err)


def test_dataset_check(call: Callable, tmp_path: Path) -> None:
    code, out, _ = call("dataset", "check", "practice/mascot", "--json")
    assert code == 0 and json.loads(out) == []
    code, out, _ = call("dataset", "check", "practice/mascot")
    assert code == 0 and out.startswith("Ready to train. ") and "16 pictures" in out
    for name in ("a", "b"):
        Image.linear_gradient("L").resize((300, 300)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, out, err = call("dataset", "check", tmp_path, "--json", "--resolution", 512, "--batch-size", 4)
    found = {each["code"]: each for each in json.loads(out)}
    assert code == 0 and {"file", "code", "severity", "message"} <= set(found["picture.unreadable"]), err
    assert found["picture.unreadable"]["file"] == "broken.png" and found["picture.unreadable"]["severity"] == "error"
    assert found["picture.duplicate"]["also"] == ["b.png"] and found["bucket.small"]["values"]["batch_size"] == "4"
    code, out, _ = call("dataset", "check", tmp_path)
    assert code == 0 and out.startswith("Fix these first. ") and out.index("broken.png") < out.index("picture.duplicate")
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").unlink()
    code, out, _ = call("dataset", "check", tmp_path)
    assert code == 1 and out.startswith("Not ready to train. ") and "broken.png" in out
    code, _, err = call("dataset", "check", "practice/mascot", "--model", "nix.safetensors")
    assert code == 2 and "nix.safetensors" in err


def test_a_dataset_goes_to_kohyas_trainer_and_comes_back(call: Callable, tmp_path: Path) -> None:
    folder, toml, settings = tmp_path / "set", tmp_path / "set.toml", tmp_path / "settings.yaml"
    for name in ("20_robot", "extra"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / name / "a.png")
    (folder / "dataset.yaml").write_text("concepts: [{folder: extra, repeats: 3}]", encoding="utf-8")
    (tmp_path / "run.yaml").write_text("training: {batch_size: 4}", encoding="utf-8")
    code, out, _ = call("dataset", "export", folder)
    assert code == 0 and "num_repeats = 20" in out
    assert call("dataset", "export", folder, "--config", tmp_path / "run.yaml", "--out", toml)[0] == 0
    code, _, err = call("dataset", "import", toml)
    assert code == 1 and "describes the dataset already" in err
    (folder / "dataset.yaml").unlink()
    code, _, err = call("dataset", "import", toml, "--out", settings)
    assert code == 0 and "2 folders" in err
    read = load(TrainConfig, settings)
    assert (read.dataset.folder, read.training.batch_size) == (str(folder), 4)
    assert call("dataset", "import", toml)[1].startswith("dataset:")
    assert [concept.repeats for concept in scan(folder).concepts] == [3, 20]
    code, _, err = call("dataset", "import", tmp_path / "nowhere.toml")
    assert code == 1 and "nowhere.toml" in err


def test_doctor(call: Callable) -> None:
    code, out, _ = call("doctor")
    assert code in (0, 1) and "PyTorch" in out and "Starter model" in out


# ---- in a process of its own ----


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_saves_and_resume_goes_on(workspace: Workspace, call: Callable) -> None:
    process, log = train_slowly(workspace)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    step = fold(log.read()).step
    (job,) = open_store(workspace.database).list()
    assert job.state == "paused" and err == f"Saved after step {step}. Go on with: python -m engine train --resume {job.id}\n"
    again = start(workspace, "train", "--resume", job.name)
    wait_for(lambda: fold(log.read()).step > step)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=30)
    assert again.returncode == 130 and open_store(workspace.database).get(job.id).attempt == 2
    steps = [number for number, _ in fold(log.read()).losses]
    assert steps == list(range(1, len(steps) + 1))


def test_a_killed_command_line_can_be_resumed(workspace: Workspace) -> None:
    process, log = train_slowly(workspace, steps=40)
    process.kill()
    process.communicate()
    (job,) = open_store(workspace.database).list()
    again = start(workspace, "train", "--resume", job.id)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "The LoRA is" in out
    assert [number for number, _ in fold(log.read()).losses] == list(range(1, 41))


def test_while_a_worker_has_the_device_the_run_is_followed_there(workspace: Workspace) -> None:
    supervisor = CountingSupervisor(workspace)
    supervisor.ensure_worker()
    wait_for(supervisor.holder)
    pid = supervisor.holder()["pid"]
    try:
        process = start(workspace, "train", str(PRESET))
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert f"Process {pid} has the device." in out and "The LoRA is" in out
        (job,) = open_store(workspace.database).list()
        assert job.state == "done" and str(job.worker).startswith(f"{pid}:")
    finally:
        supervisor.stop_workers()


def test_a_follower_takes_over_when_the_device_becomes_free(workspace: Workspace) -> None:
    lock = FileLock(device_lock(workspace))
    assert lock.acquire({**this_process(), "role": "command line"})
    process = start(workspace, "train", str(PRESET))
    assert process.stdout
    while "has the device" not in process.stdout.readline():
        assert process.poll() is None
    lock.release()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "The LoRA is" in out, err
    assert str(open_store(workspace.database).list()[0].worker).startswith(f"{process.pid}:")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_while_waiting_takes_the_run_out_of_the_queue(workspace: Workspace) -> None:
    lock = FileLock(device_lock(workspace))
    assert lock.acquire({**this_process(), "role": "command line"})
    process = start(workspace, "train", str(PRESET))
    assert process.stdout
    while "has the device" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    lock.release()
    assert process.returncode == 130 and open_store(workspace.database).list()[0].state == "paused"


def test_a_failed_run_ends_with_1_and_its_reason(workspace: Workspace) -> None:
    process = start(workspace, "train", str(PRESET), "--set", "output.comment=refuse")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err == "Error: A picture has gone. Put it back.\n"
    assert not [child for child in psutil.Process().children() if child.pid == process.pid]


def test_progress_in_words() -> None:
    progress = {"phase": "training", "done": 0, "total": 0, "step": 3, "steps": 9, "loss": 0.12345, "seconds_left": 75.4}
    assert describe(progress) == "training  step 3/9  loss 0.1235  time left 1:15"
    assert describe({"phase": "latents", "done": 2, "total": 16, "step": 0, "steps": 0}) == "latents  2/16"
    assert describe({"phase": "waiting", "waiting": "1", "run": "x"}) == "waiting  for the end of the run x"
    assert describe({**progress, "seconds_left": 3700.0}).endswith("time left 1:01:40")
