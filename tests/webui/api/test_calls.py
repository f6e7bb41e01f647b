from __future__ import annotations

import base64

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.config.generate import GenerateConfig
from engine.formats.infotext import encode_picture
from engine.jobs.job import Job
from engine.workspace import Workspace
from tests.webui.api.test_sent import RED, sent
from webui.api.service import Service

IDLE = {
    "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0, "job_timestamp": "0", "job_no": 0,
    "sampling_step": 0, "sampling_steps": 0,
}  # fmt: skip


def queued(service: Service, **given: object) -> Job:
    return service.context.jobs.add("generate", GenerateConfig.model_validate(given).model_dump(mode="json"), "p")


def test_nothing_under_way(client: TestClient) -> None:
    assert client.get("progress").json() == {
        "progress": 0, "eta_relative": 0, "state": IDLE, "current_image": None, "textinfo": None,
    }  # fmt: skip
    assert client.post("interrupt").json() == {}
    assert client.post("skip").json() is None


def test_how_far_it_is(client: TestClient, service: Service, workspace: Workspace) -> None:
    job = queued(service, batch_count=4)
    assert client.get("progress").json()["state"]["job_count"] == 4, "what waits counts as well"
    service.context.jobs.claim("nobody", ("generate",))
    (workspace.cache / "previews").mkdir(parents=True)
    (workspace.cache / "previews" / "live.png").write_bytes(b"picture")
    service.context.jobs.progress(
        job.id, {"phase": "generating", "done": 25, "total": 40, "seconds_left": 3.5, "preview": "cache/previews/live.png"}
    )
    told = client.get("progress").json()
    assert (told["progress"], told["eta_relative"]) == (0.625, 3.5)
    assert base64.b64decode(told["current_image"]) == b"picture"
    state = told["state"]
    assert (state["job"], state["job_count"], state["job_no"]) == ("Batch 3 out of 4", 4, 2)
    assert (state["sampling_step"], state["sampling_steps"]) == (5, 10)
    assert client.get("progress", params={"skip_current_image": True}).json()["current_image"] is None
    (workspace.cache / "previews" / "live.png").unlink()
    assert client.get("progress").json()["current_image"] is None


def test_a_run_that_is_waited_for_is_named(client: TestClient, service: Service) -> None:
    service.context.jobs.progress(queued(service).id, {"phase": "waiting", "waiting": "id", "run": "mascot"})
    assert client.get("progress").json()["textinfo"] == "Waits until the run mascot has ended."


def test_interrupt_and_skip_reach_the_pictures_that_are_made(client: TestClient, service: Service) -> None:
    jobs = service.context.jobs
    training = jobs.add("train", {}, "run")
    first, second = queued(service), queued(service)
    jobs.claim("nobody", ("generate",))
    client.post("skip")
    assert jobs.get(first.id).request == "skip" and client.get("progress").json()["state"]["skipped"] is True
    client.post("interrupt")
    assert jobs.get(first.id).request == "cancel"
    jobs.finish(first.id, "cancelled")
    client.post("interrupt")
    assert jobs.get(second.id).state == "cancelled" and jobs.get(training.id).state == "queued"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_recipe_inside_a_picture(client: TestClient, format: str) -> None:
    text = 'a 猫\nNegative prompt: b\nSteps: 20, Sampler: Euler a, Size: 64x96, Version: "x, y"'
    data, _ = encode_picture(RED, text, format)  # type: ignore[arg-type]
    told = client.post("png-info", json={"image": "data:image/png;base64," + base64.b64encode(data).decode()}).json()
    assert told["info"] == text
    assert told["parameters"] == {
        "Prompt": "a 猫", "Negative prompt": "b", "Steps": "20", "Sampler": "Euler a", "Size-1": "64", "Size-2": "96", "Version": "x, y",
    }  # fmt: skip
    assert "parameters" not in told["items"]


def test_pictures_without_one_and_what_is_no_picture(client: TestClient) -> None:
    assert client.post("png-info", json={"image": sent(Image.new("L", (2, 2)))}).json() == {
        "info": "",
        "items": {},
        "parameters": {},
    }
    for bad in ("", "QUJD", "http://127.0.0.1/x.png"):
        refused = client.post("png-info", json={"image": bad})
        assert refused.status_code == 422 and refused.json()["detail"][0]["loc"] == ["body", "image"]


def test_refreshing_and_memory(client: TestClient) -> None:
    for name in ("checkpoints", "loras", "vae", "embeddings"):
        assert client.post(f"refresh-{name}").json() is None
    ram = client.get("memory").json()["ram"]
    assert 0 < ram["used"] < ram["total"] == ram["used"] + ram["free"]
