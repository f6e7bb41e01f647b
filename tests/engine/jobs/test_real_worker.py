"""The real thing: a worker process with PyTorch, the starter model, pictures, a run, and a kill in the middle of it."""

from __future__ import annotations

from collections.abc import Callable

import psutil
from PIL import Image

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.jobs import actions, run_folder
from engine.jobs.events import EventLog, fold
from engine.jobs.job import Job
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor
from engine.workspace import Workspace

PATIENCE = 300
SHORT = {"training.max_steps": 6, "training.batch_size": 1, "samples.count": 0, "output.save_count": 1, "adapter.rank": 2}


def test_pictures_a_run_with_a_live_picture_and_a_kill(
    workspace: Workspace, settings: Callable[..., TrainConfig], until: Callable[..., object]
) -> None:
    store, supervisor = open_store(workspace.database), Supervisor(workspace)

    def is_(state: str, job: Job) -> bool:
        found = store.get(job.id)
        assert found.state == state or found.state not in ("failed", "cancelled"), found.error
        return found.state == state

    try:
        supervisor.ensure_worker()
        drawn = actions.start_generation(GenerateConfig(prompt="a red cat", steps=2, seed=7), workspace)
        until(lambda: is_("done", drawn), PATIENCE)
        (picture,) = actions.pictures(store.get(drawn.id), workspace)
        with Image.open(picture.file) as image:
            assert "a red cat" in image.info["parameters"] and "Seed: 7" in image.info["parameters"]

        run = actions.start_training(settings(**{**SHORT, "training.max_steps": 500}), workspace)
        until(lambda: is_("running", run), PATIENCE)
        live = actions.start_generation(GenerateConfig(prompt="mofumo", steps=2, seed=7, live_run=run.id), workspace)
        until(lambda: is_("done", live), PATIENCE)
        assert is_("running", run), "it was made between two steps"
        log = EventLog(run_folder.locate(workspace, run))
        until(lambda: fold(log.read()).step >= 2, PATIENCE)
        psutil.Process(supervisor.holder()["pid"]).kill()
        until(lambda: not supervisor.holder())
        until(lambda: supervisor.ensure_worker() or is_("lost", run))  # the page asks again and again, too

        actions.cancel(run, workspace)
        short = actions.start_training(settings(**SHORT), workspace)
        until(lambda: is_("done", short), PATIENCE)
        assert (workspace.loras / "my-mascot.safetensors").is_file()
        view = fold(EventLog(run_folder.locate(workspace, short)).read())
        assert [step for step, _ in view.losses] == [1, 2, 3, 4, 5, 6] and view.done
        assert store.get(short.id).result == {"file": "my-mascot.safetensors", "step": 6, "seconds": view.done["seconds"]}
    finally:
        supervisor.stop_workers(timeout=30)
