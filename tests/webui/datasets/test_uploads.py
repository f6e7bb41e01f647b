"""Files coming in through the routes: streamed, all or nothing, nothing outside the dataset, each refusal with its reason."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from engine.workspace import Workspace
from webui.context import Context
from webui.datasets.app import build
from webui.datasets.gate import Door
from webui.datasets.uploads import IDLE_SECONDS, Uploads


def png(colour: str = "green") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(stream, "PNG")
    return stream.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def begin(client: TestClient) -> str:
    reply = client.post("uploads", json={"dataset": "robots"})
    assert reply.status_code == 200
    return reply.json()["upload"]


def below(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones too, but for the history's lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_history" not in path.parts
    }


def pieces(data: bytes, size: int = 7) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def test_files_come_in_as_streams_with_their_names(client: TestClient, robots: Path) -> None:
    before, id = below(robots), begin(client)
    for name, content in (("ロボット 🤖.png", png()), ("10_dog/é.png", png("red"))):
        assert client.put(f"uploads/{id}", params={"name": name}, content=pieces(content)).status_code == 200
    assert {name for name in below(robots) if not name.startswith(".")} == before.keys()  # nothing has its place before the end
    report = client.post(f"uploads/{id}", json={}).json()
    assert sorted(report["added"]) == ["10_dog/é.png", "ロボット 🤖.png"]
    assert (robots / "ロボット 🤖.png").read_bytes() == png()
    page = client.post("page", json={"dataset": "robots"}).json()
    assert {"ロボット 🤖.png", "10_dog/é.png"} < {entry["name"] for entry in page["entries"]}


def test_nothing_is_overwritten(client: TestClient, robots: Path) -> None:
    before, id = (robots / "a.png").read_bytes(), begin(client)
    client.put(f"uploads/{id}", params={"name": "a.png"}, content=png())
    report = client.post(f"uploads/{id}", json={"clash": "keep_both"}).json()
    assert report["kept_both"] == [{"sent": "a.png", "name": "a (2).png"}]
    assert (robots / "a.png").read_bytes() == before


def test_cancelled_uploads_leave_nothing(client: TestClient, robots: Path) -> None:
    before, id = below(robots), begin(client)
    client.put(f"uploads/{id}", params={"name": "new.png"}, content=png())
    assert client.delete(f"uploads/{id}").status_code == 200
    assert below(robots) == before
    again = client.put(f"uploads/{id}", params={"name": "new.png"}, content=png())
    assert (again.status_code, again.json()["code"]) == (400, "incoming.ended")


def test_who_breaks_off_in_the_middle_of_a_file_leaves_nothing_of_it(client: TestClient, robots: Path) -> None:
    id = begin(client)
    sent = iter([{"type": "http.request", "body": png()[:20], "more_body": True}, {"type": "http.disconnect"}])
    told: list[dict] = []

    async def receive() -> dict:
        return next(sent)

    async def send(message: dict) -> None:
        told.append(message)

    scope = {
        "type": "http", "method": "PUT", "path": f"/atelier/datasets/uploads/{id}", "query_string": b"name=half.png", "headers": [],
        "scheme": "http", "server": ("127.0.0.1", 7860), "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    with ThreadPoolExecutor(1) as pool:  # a loop of its own, also where another runs in this thread
        pool.submit(lambda: asyncio.run(client.app(scope, receive, send))).result()  # type: ignore[arg-type]
    assert told[0]["status"] == 400
    report = client.post(f"uploads/{id}", json={}).json()
    assert (report["added"], below(robots).keys() & {"half.png"}) == ([], set())


def test_what_is_no_picture_stays_outside_and_says_why(client: TestClient, robots: Path) -> None:
    id = begin(client)
    for name in ("../../evil.png", "run.exe", "/etc/cron.d/x.png", "C:\\x.png", "CON.png", ".DS_Store", "_masks/a.png"):
        assert client.put(f"uploads/{id}", params={"name": name}, content=png()).status_code == 200
    report = client.post(f"uploads/{id}", json={}).json()
    assert report["added"] == []
    assert [each["code"] for each in report["skipped"]] == [
        "incoming.unsafe_name", "incoming.not_wanted", "incoming.unsafe_name", "incoming.unsafe_name", "incoming.bad_name",
        "incoming.hidden", "incoming.own_folder",
    ]  # fmt: skip
    assert all(each["reason"] for each in report["skipped"])


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"good.png": png(), "../../evil.png": png()}, "incoming.unsafe_name"),
        ({"good.png": png(), "bomb.png": bytes(40 * 2**20)}, "archive.ratio"),
    ],
)
def test_archives_made_to_do_harm_are_refused_as_a_whole(
    client: TestClient, robots: Path, files: dict[str, bytes], code: str
) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    id = begin(client)
    reply = client.put(f"uploads/{id}/archive", params={"name": "x.zip"}, content=stream.getvalue())
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert reply.json()["message"]
    client.put(f"uploads/{id}", params={"name": "beside.png"}, content=png())
    assert client.post(f"uploads/{id}", json={}).json()["added"] == ["beside.png"]
    assert not (robots.parent / "evil.png").exists() and not (robots.parent.parent / "evil.png").exists()


def test_an_archive_comes_in_without_the_folder_around_it(client: TestClient, robots: Path) -> None:
    id = begin(client)
    archive = packed({"mine/x.png": png(), "mine/x.txt": b"a robot"})
    assert client.put(f"uploads/{id}/archive", params={"name": "mine.zip"}, content=archive).status_code == 200
    assert sorted(client.post(f"uploads/{id}", json={}).json()["added"]) == ["x.png", "x.txt"]


def test_more_than_an_upload_may_hold_is_413(client: TestClient, robots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.datasets.incoming.staging.MAX_BYTES", 100)
    id = begin(client)
    reply = client.put(f"uploads/{id}", params={"name": "big.png"}, content=png() * 4)
    assert (reply.status_code, reply.json()["code"]) == (413, "incoming.too_much")


def test_the_practice_dataset_takes_nothing(client: TestClient) -> None:
    reply = client.post("uploads", json={"dataset": "practice/mascot"})
    assert (reply.status_code, reply.json()["code"]) == (400, "dataset.read_only")


def test_an_upload_that_nobody_goes_on_with_is_cleared_away(client: TestClient, robots: Path) -> None:
    before, id = below(robots), begin(client)
    client.put(f"uploads/{id}", params={"name": "new.png"}, content=png())
    uploads: Uploads = client.app.state.uploads  # type: ignore[attr-defined]
    uploads.get(id).seen -= IDLE_SECONDS + 1
    client.delete(f"uploads/{begin(client)}")
    assert below(robots) == before


@pytest.mark.parametrize(("cookie", "status"), [("owners", 200), ("guests", 403), ("", 401)])
def test_only_the_owner_may_upload(context: Context, workspace: Workspace, robots: Path, cookie: str, status: int) -> None:
    """The door asks Gradio's app who has signed in."""
    page = SimpleNamespace(cookie_id="x", tokens={"owners": "owner", "guests": "guest"})
    datasets = build(context)
    door = Door(datasets, lambda _: datasets, datasets.state.context, [("owner", "secret"), ("guest", "other")])

    async def signed(scope: dict, receive: Any, send: Any) -> None:
        await door({**scope, "app": page}, receive, send)

    with TestClient(signed, cookies={"access-token-x": cookie} if cookie else None) as client:  # type: ignore[arg-type]
        assert client.post("/atelier/datasets/uploads", json={"dataset": "robots"}).status_code == status
        assert client.put("/atelier/datasets/uploads/0?name=a.png", content=b"x").status_code == (
            400 if status == 200 else status
        )
