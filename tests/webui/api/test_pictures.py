"""`txt2img` and `img2img` up to the worker, whose place these tests take with the store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from engine.errors import JobError, PromptError
from engine.formats.infotext import encode_picture
from engine.jobs.generating import ResultPicture, record
from engine.jobs.job import Job
from engine.workspace import Workspace
from tests.webui.api.test_sent import RED, sent
from webui.api.sent import folder
from webui.api.service import Service

INFOTEXT = "a red circle <lora:x:1>\nNegative prompt: blue\nSteps: 7, Sampler: Euler, Schedule type: Simple, CFG scale: 4.5, Seed: 5, Size: 64x96, Model hash: 0123456789, Model: starter, Clip skip: 2"


class Asked:
    """A request on its way in a thread of its own."""

    def __init__(self, client: TestClient, service: Service, path: str, body: dict[str, Any]) -> None:
        self.replies: list[Response] = []
        self.thread = threading.Thread(target=lambda: self.replies.append(client.post(path, json=body)))
        self.thread.start()
        self.store = service.context.jobs
        self.job = self._job()

    def _job(self) -> Job:
        for _ in range(500):
            if found := self.store.list(limit=1, kinds=("generate",)):
                return found[0]
            assert self.thread.is_alive(), self.replies[0].text
            time.sleep(0.01)
        raise AssertionError("no job was queued")

    def reply(self) -> Response:
        self.thread.join(10)
        return self.replies[0]


@pytest.fixture()
def ask(client: TestClient, service: Service) -> Callable[..., Asked]:
    return lambda path, **body: Asked(client, service, path, body)


def made(workspace: Workspace, *seeds: int) -> dict[str, Any]:
    """The result of a job, and its files."""
    records = []
    for seed in seeds:
        file = workspace.outputs / f"{seed}.png"
        file.write_bytes(encode_picture(Image.new("RGB", (64, 96)), INFOTEXT)[0])
        problem = PromptError("prompt.adapter_unknown", "There is no LoRA 'x'.", todo="Choose another.").to_dict()
        records.append(record(ResultPicture(file, seed, INFOTEXT, False, [problem], []), workspace))
    return {"pictures": records}


def finish(asked: Asked, state: Any, error: dict | None = None, result: dict | None = None) -> None:
    asked.store.claim("nobody", ("generate",))
    asked.store.finish(asked.job.id, state, error, result)


def test_the_reply_has_the_files_and_all_that_is_known_of_them(ask: Callable[..., Asked], workspace: Workspace) -> None:
    asked = ask("txt2img", prompt="a red circle <lora:x:1>", batch_size=2, restore_faces=True, save_images=True, styles=["s"])
    finish(asked, "done", result=made(workspace, 5, 6))
    told = asked.reply().json()
    assert set(told) == {"images", "parameters", "info"}
    assert len(told["images"]) == 2
    assert told["parameters"]["batch_size"] == 2 and told["parameters"]["restore_faces"] is True
    info = json.loads(told["info"])
    assert info["all_seeds"] == [5, 6] and info["seed"] == 5 and info["infotexts"] == [INFOTEXT] * 2
    assert info["all_prompts"] == ["a red circle <lora:x:1>"] * 2 and info["negative_prompt"] == "blue"
    assert (info["width"], info["height"], info["steps"], info["cfg_scale"]) == (64, 96, 7, 4.5)
    assert (info["sampler_name"], info["sd_model_name"], info["sd_model_hash"]) == ("Euler", "starter", "0123456789")
    assert info["extra_generation_params"] == {"Schedule type": "Simple", "Clip skip": "2"} and info["styles"] == ["s"]
    assert info["problems"] == ["restore_faces is not done here and was ignored.", "There is no LoRA 'x'. Choose another."]
    assert len(list(workspace.outputs.iterdir())) == 2


def test_pictures_are_saved_and_sent_only_where_that_is_asked_for(ask: Callable[..., Asked], workspace: Workspace) -> None:
    asked = ask("txt2img", send_images=False)
    finish(asked, "done", result=made(workspace, 5))
    assert asked.reply().json()["images"] == []
    assert list(workspace.outputs.iterdir()) == []


def test_what_is_done_is_sent_after_an_interruption(ask: Callable[..., Asked], client: TestClient, workspace: Workspace) -> None:
    asked = ask("txt2img", n_iter=9)
    asked.store.claim("nobody", ("generate",))
    assert client.post("interrupt").json() == {}
    assert client.get("progress").json()["state"]["interrupted"] is True
    asked.store.finish(asked.job.id, "cancelled", None, made(workspace, 5))
    assert len(asked.reply().json()["images"]) == 1


def test_nothing_is_sent_when_nothing_was_begun(ask: Callable[..., Asked], client: TestClient) -> None:
    asked = ask("txt2img", prompt="p", seed=3)
    client.post("interrupt")
    told = asked.reply().json()
    info = json.loads(told["info"])
    assert told["images"] == info["all_seeds"] == info["infotexts"] == [] and (info["prompt"], info["seed"]) == ("p", 3)


@pytest.mark.parametrize(
    ("error", "status"),
    [(PromptError("prompt.unreadable", "No.", "Yes.", "Do."), 400), (JobError("worker.died", "No.", "Yes.", "Do."), 500)],
)
def test_a_failure_is_told_in_their_shape(ask: Callable[..., Asked], error: JobError, status: int) -> None:
    asked = ask("txt2img")
    finish(asked, "failed", error.to_dict())
    reply = asked.reply()
    assert reply.status_code == status
    assert reply.json() == {"error": error.code, "detail": "No.", "body": "", "errors": "Yes. Do."}


def test_the_end_of_the_program_ends_the_job(ask: Callable[..., Asked], service: Service) -> None:
    asked = ask("txt2img")
    service.ended.set()
    assert asked.reply().status_code == 503
    assert asked.store.get(asked.job.id).state == "cancelled"


def test_pictures_that_were_sent_lie_in_files_until_the_reply(ask: Callable[..., Asked], workspace: Workspace) -> None:
    asked = ask("img2img", init_images=["data:image/png;base64," + sent(RED)], mask=sent(RED.convert("L")), inpainting_fill=1)
    source = asked.job.config["source"]
    assert Image.open(source["picture"]).size == Image.open(source["mask"]).size == RED.size
    assert source["masked_content"] == "original" and Path(source["picture"]).is_relative_to(workspace.cache)
    finish(asked, "done", result=made(workspace, 5))
    assert asked.reply().json()["parameters"]["init_images"] is None
    assert list(folder(workspace).iterdir()) == []


def test_bad_requests_queue_nothing_and_leave_nothing(client: TestClient, service: Service, workspace: Workspace) -> None:
    assert client.post("txt2img", json={"sampler_name": "x"}).json() == {"detail": "Sampler not found"}
    for body, field in (({"steps": 1000}, "steps"), ({"steps": "many"}, "steps"), ({"styles": "x"}, "styles")):
        refused = client.post("txt2img", json=body)
        assert refused.status_code == 422
        (problem,) = refused.json()["detail"]
        assert problem["loc"][:2] == ["body", field] and set(problem) == {"type", "loc", "msg"}
    assert client.post("txt2img", content=b'{"cfg_scale": NaN}', headers={"Content-Type": "application/json"}).status_code == 422
    assert client.post("txt2img", content=b"{", headers={"Content-Type": "application/json"}).status_code == 422
    assert client.post("img2img", json={}).status_code == 404
    assert client.post("img2img", json={"init_images": ["x", "y"]}).json()["detail"][0]["loc"] == ["body", "init_images"]
    assert client.post("img2img", json={"init_images": [sent(RED)], "sampler_name": "x"}).status_code == 400
    assert client.post("img2img", json={"init_images": [sent(RED)], "resize_mode": 9}).status_code == 422
    assert service.context.jobs.list() == [] and list(folder(workspace).iterdir()) == []
