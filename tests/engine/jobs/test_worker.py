"""The loop over the queue, in this process: order, failures, what happens between two steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.jobs import actions, run_folder
from engine.jobs.desk import Desk
from engine.jobs.events import EventLog, fold
from engine.jobs.job import Job
from engine.jobs.worker import Worker
from engine.workspace import Workspace
from tests.support.counting import CountingStudio, CountingTrainer

Settings = Callable[..., TrainConfig]


@pytest.fixture
def worker(desk: Desk) -> Worker:
    return Worker(desk)


def work_all(worker: Worker) -> list[Job]:
    """Work until the queue is empty; the jobs in the order they were taken."""
    taken = []
    while job := worker.claim():
        taken.append(job)
        worker.work(job)
    return taken


def view_of(workspace: Workspace, job: Job):
    return fold(EventLog(run_folder.locate(workspace, job)).read())


def picture(workspace: Workspace, prompt: str = "a cat", **changes) -> Job:
    return actions.start_generation(GenerateConfig(prompt=prompt, seed=1, **changes), workspace)


def test_pictures_come_before_runs(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    run = actions.start_training(settings(), workspace)
    drawn = [picture(workspace), picture(workspace, "a dog")]
    assert [job.id for job in work_all(worker)] == [*(job.id for job in drawn), run.id]
    assert all(job.state == "done" for job in worker.desk.store.list())


def test_a_run_to_the_end(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace)
    work_all(worker)
    job = worker.desk.store.get(job.id)
    assert job.state == "done" and job.result and job.result["file"] == "my-mascot.safetensors"
    assert job.progress and job.progress["step"] == job.progress["steps"] == 3
    view = view_of(workspace, job)
    assert [step for step, _ in view.losses] == [1, 2, 3] and view.done
    assert "done after step 3" in (run_folder.locate(workspace, job) / "log.txt").read_text()


def test_progress_is_told_now_and_then(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    told: list[dict] = []
    worker.desk.tell = lambda job, progress: told.append(progress)
    actions.start_training(settings(**{"training.max_steps": 200}), workspace)
    began = time.monotonic()
    work_all(worker)
    phases = 3
    assert len(told) <= phases + 2 * (time.monotonic() - began) + 1
    assert told[0]["phase"] == "loading" and told[-1]["step"] == 200


def test_the_studio_is_kept_and_released_for_a_run(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    picture(workspace)
    work_all(worker)
    studio = worker._studio
    picture(workspace, "a dog")
    work_all(worker)
    assert worker._studio is studio and isinstance(studio, CountingStudio) and studio.released == 0
    actions.start_training(settings(), workspace)
    work_all(worker)
    assert studio.released == 1 and worker._studio is None


def test_an_idle_model_is_let_go(desk: Desk, workspace: Workspace) -> None:
    worker = Worker(desk, idle_seconds=0)
    picture(workspace)
    work_all(worker)
    studio = worker._studio
    waits = []
    desk.mailbox.wait = lambda seconds: waits.append(seconds) or desk.mailbox.stop()  # type: ignore[method-assign]
    worker.run()
    assert isinstance(studio, CountingStudio) and studio.released == 1 and worker._studio is None and len(waits) == 1


@pytest.mark.parametrize(("word", "code"), [("crash", "unexpected"), ("refuse", "dataset.changed")])
def test_a_failing_run_ends_alone(worker: Worker, workspace: Workspace, settings: Settings, word: str, code: str) -> None:
    bad = actions.start_training(settings(**{"output.comment": word}), workspace)
    good = actions.start_training(settings(**{"output.name": "good"}), workspace)
    work_all(worker)
    bad, good = worker.desk.store.get(bad.id), worker.desk.store.get(good.id)
    assert bad.state == "failed" and (bad.error or {})["code"] == code and good.state == "done"
    assert (view_of(workspace, bad).error or {})["code"] == code
    log = (run_folder.locate(workspace, bad) / "log.txt").read_text()
    assert ("no such layer" in log and "Traceback" in log) if word == "crash" else ("A picture has gone" in log)


def test_failing_pictures_end_alone(worker: Worker, workspace: Workspace, capfd: pytest.CaptureFixture) -> None:
    bad, good = picture(workspace, "crash"), picture(workspace)
    work_all(worker)
    bad, good = worker.desk.store.get(bad.id), worker.desk.store.get(good.id)
    assert bad.state == "failed" and "no such colour" in (bad.error or {})["what"] and good.state == "done"
    assert "Traceback" in capfd.readouterr().err


def test_a_full_disk_pauses_and_the_run_goes_on_when_there_is_space(
    worker: Worker, workspace: Workspace, settings: Settings
) -> None:
    job = actions.start_training(settings(**{"output.comment": "full"}), workspace)
    work_all(worker)
    job = worker.desk.store.get(job.id)
    assert job.state == "paused" and (job.error or {})["code"] == "disk.full"
    (run_folder.locate(workspace, job) / "freed").touch()
    actions.resume(job, workspace)
    work_all(worker)
    job = worker.desk.store.get(job.id)
    assert job.state == "done" and job.attempt == 2 and job.error is None
    assert [step for step, _ in view_of(workspace, job).losses] == [1, 2, 3]


def test_a_vanished_folder_or_broken_settings_fail_the_run(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    gone = actions.start_training(settings(), workspace)
    run_folder.discard(workspace, gone.folder or "")
    broken = actions.start_training(settings(**{"output.name": "broken"}), workspace)
    (run_folder.locate(workspace, broken) / "config.yaml").write_text("model: 3")
    work_all(worker)
    assert (worker.desk.store.get(gone.id).error or {})["code"] == "run.no_folder"
    assert (worker.desk.store.get(broken.id).error or {})["code"] == "config.invalid"


class At:
    """Does something once, when the run has reached a step."""

    def __init__(self, desk: Desk, step: int, action: Callable[[], object]) -> None:
        self.step, self.action, self.done = step, action, False
        desk.runners = {**desk.runners, "train": self.trainer}

    def trainer(self, *arguments) -> CountingTrainer:
        at, trainer = self, CountingTrainer(*arguments)
        events = trainer.run()

        def run():
            for event in events:
                if event.to_dict().get("step") == at.step and not at.done:
                    at.done = True
                    at.action()
                yield event

        trainer.run = run  # type: ignore[method-assign]
        return trainer


def test_stop_is_obeyed_between_two_steps_and_resume_goes_on(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(**{"training.max_steps": 6}), workspace)
    At(worker.desk, 2, lambda: actions.stop(job, workspace))
    work_all(worker)
    stopped = worker.desk.store.get(job.id)
    assert stopped.state == "paused" and stopped.result == {"step": 2} and view_of(workspace, job).stopped
    actions.resume(job, workspace)
    work_all(worker)
    assert worker.desk.store.get(job.id).state == "done"
    assert [step for step, _ in view_of(workspace, job).losses] == [1, 2, 3, 4, 5, 6]


def test_cancel_ends_a_run_for_good_and_keeps_its_state(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace)
    At(worker.desk, 2, lambda: actions.cancel(job, workspace))
    work_all(worker)
    assert worker.desk.store.get(job.id).state == "cancelled"
    assert (run_folder.locate(workspace, job) / "state" / "step.json").exists()


def test_pictures_are_made_between_two_steps_with_the_live_adapter(
    worker: Worker, workspace: Workspace, settings: Settings
) -> None:
    run = actions.start_training(settings(**{"training.max_steps": 5}), workspace)
    asked: list[Job] = []
    seen: list[str] = []

    def ask() -> None:
        asked.append(picture(workspace, "live", live_run=run.id))
        asked.append(picture(workspace, "same base"))
        asked.append(picture(workspace, "crash"))

    At(worker.desk, 2, ask)
    worker.desk.tell = lambda job, progress: seen.append(worker.desk.store.get(run.id).state) if job.kind == "generate" else None
    assert [job.id for job in work_all(worker)] == [run.id], "the loop itself took only the run"
    live, same, crashed = (worker.desk.store.get(job.id) for job in asked)
    assert live.state == same.state == "done" and crashed.state == "failed"
    assert [actions.pictures(job, workspace)[0].file.read_text() for job in (live, same)] == [
        "live live at 2",
        "same base live at 3",
    ]
    assert set(seen) == {"running"}
    assert worker.desk.store.get(run.id).state == "done"


def test_pictures_on_another_base_wait_for_the_end_and_say_so(
    worker: Worker, workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = actions.start_training(settings(), workspace)
    asked: list[Job] = []
    notes: list[dict | None] = []
    At(
        worker.desk,
        1,
        lambda: asked.append(worker.desk.store.add("generate", GenerateConfig(model="other/base").model_dump(), "x")),
    )
    worker.desk.tell = lambda job, progress: notes.append(worker.desk.store.get(asked[0].id).progress) if asked else None
    assert [job.id for job in work_all(worker)] == [run.id, asked[0].id]
    assert {"phase": "waiting", "waiting": run.id, "run": "my-mascot"} in notes


def test_pictures_of_a_run_that_has_ended_say_what_to_do(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    run = actions.start_training(settings(), workspace)
    asked: list[Job] = []
    At(worker.desk, 3, lambda: asked.append(picture(workspace, live_run=run.id)) or actions.stop(run, workspace))
    work_all(worker)
    error = worker.desk.store.get(asked[0].id).error or {}
    assert error["code"] == "run.not_live" and "<lora:" in error["todo"]


def test_cancelled_pictures_stop_in_the_middle(worker: Worker, workspace: Workspace) -> None:
    job = picture(workspace, "slow")
    claimed = worker.claim()
    assert claimed
    worker.desk.tell = lambda *_: actions.cancel(job, workspace) and None
    began = time.monotonic()
    worker.work(claimed)
    assert worker.desk.store.get(job.id).state == "cancelled" and time.monotonic() - began < 10


def test_asked_to_end_pictures_go_back_and_a_run_is_saved(worker: Worker, workspace: Workspace, settings: Settings) -> None:
    job = picture(workspace, "slow")
    claimed = worker.claim()
    assert claimed
    worker.desk.mailbox.stop()
    worker.work(claimed)
    assert worker.desk.store.get(job.id) == job, "as if never begun"
    run = actions.start_training(settings(), workspace)
    claimed = worker.desk.store.claim("w", ("train",))
    assert claimed
    worker.work(claimed)
    assert worker.desk.store.get(run.id).state == "paused"
    worker.run()  # ends at once
