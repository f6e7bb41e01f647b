"""Cutting, turning, converting and masking through the routes, each undone to the byte."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

ROBOTS = {"dataset": "robots"}


def size(client: TestClient, name: str) -> tuple[int, int]:
    entry = client.get("look", params={**ROBOTS, "name": name}).json()["entry"]
    return entry["width"], entry["height"]


def mask(width: int, height: int, black: tuple[int, int, int, int] | None = None) -> bytes:
    stream, image = io.BytesIO(), Image.new("L", (width, height), 255)
    if black:
        image.paste(0, black)
    image.save(stream, "PNG")
    return stream.getvalue()


def test_a_crop_is_seen_at_once_and_taken_back_to_the_byte(client: TestClient, robots: Path) -> None:
    before = (robots / "a.png").read_bytes()
    assert client.get("original", params={**ROBOTS, "name": "a.png"}).status_code == 204
    told = client.post("crop", json={**ROBOTS, "name": "a.png", "box": [0, 0, 48, 64]}).json()
    assert told["names"] == ["a.png"] and told["history"]["undo"]["label"] == "crop"
    assert size(client, "a.png") == (48, 64)
    assert Image.open(robots / "a.png").convert("RGB").getcolors() == [(48 * 64, (255, 0, 0))]
    original = client.get("original", params={**ROBOTS, "name": "a.png"})
    assert Image.open(io.BytesIO(original.content)).size == (96, 64)
    client.post("undo", json=ROBOTS)
    assert (robots / "a.png").read_bytes() == before and size(client, "a.png") == (96, 64)


def test_turning_several_is_clockwise(client: TestClient, robots: Path) -> None:
    told = client.post("rotate", json={**ROBOTS, "names": ["a.png", "b.png"], "degrees": 90}).json()
    assert told["names"] == ["a.png", "b.png"] and size(client, "b.png") == (64, 96)
    assert Image.open(robots / "a.png").convert("RGB").getpixel((5, 5)) == (255, 0, 0)  # what was left is on top
    assert client.post("rotate", json={**ROBOTS, "names": ["a.png"], "degrees": 45}).status_code == 422


def test_a_converted_picture_goes_by_its_new_name(client: TestClient, robots: Path) -> None:
    look = client.get("look", params={**ROBOTS, "name": "a.png"}).json()
    assert (look["original"], look["extensions"]) == (False, ["png", "jpg", "webp"])
    told = client.post("convert", json={**ROBOTS, "names": ["a.png"], "extension": "jpg"}).json()
    assert told["names"] == ["a.jpg"] and told["first_frame"] == []
    assert client.get("look", params={**ROBOTS, "name": "a.jpg"}).json()["entry"]["caption"] == "robo, a robot"
    assert client.get("look", params={**ROBOTS, "name": "a.png"}).json()["code"] == "picture.missing"


def test_excluded_pictures_come_back(client: TestClient, robots: Path) -> None:
    told = client.post("exclude", json={**ROBOTS, "names": ["a.png", "b.png"]}).json()
    assert "_excluded/a.png" in told["names"] and (robots / "_excluded" / "a.txt").is_file()
    assert client.post("open", json=ROBOTS).json()["total"] == 1
    client.post("include", json={**ROBOTS, "names": ["_excluded/a.png"]})
    assert client.post("open", json=ROBOTS).json()["total"] == 2


@pytest.mark.parametrize("name", ["../other.png", "/etc/passwd", "_history/log", "a.txt", "nobody.png", "a.png\0"])
def test_nothing_but_pictures_of_the_dataset_is_touched(client: TestClient, robots: Path, name: str) -> None:
    asked = {**ROBOTS, "name": name}
    for reply in (
        client.post("crop", json={**asked, "box": [0, 0, 20, 20]}),
        client.post("rotate", json={**ROBOTS, "names": [name], "degrees": 90}),
        client.post("exclude", json={**ROBOTS, "names": [name]}),
        client.put("mask", params=asked, content=mask(96, 64), headers={"content-type": "image/png"}),
        client.get("mask", params=asked),
        client.get("original", params=asked),
        client.get("look", params=asked),
    ):
        assert (reply.status_code, reply.json()["code"]) in [(400, "path.outside"), (400, "picture.missing")], reply.request.url


def test_a_mask_is_read_back_as_it_was_painted(client: TestClient, robots: Path) -> None:
    asked, png = {**ROBOTS, "name": "a.png"}, {"content-type": "image/png"}
    assert client.get("mask", params=asked).status_code == 204
    told = client.put("mask", params=asked, content=mask(96, 64, (0, 0, 48, 64)), headers=png).json()
    assert told["history"]["undo"]["label"] == "mask"
    painted = Image.open(io.BytesIO(client.get("mask", params=asked).content))
    assert [painted.getpixel((x, 9)) for x in (47, 48)] == [0, 255]
    client.post("rotate", json={**ROBOTS, "names": ["a.png"], "degrees": 90})
    assert Image.open(io.BytesIO(client.get("mask", params=asked).content)).size == (64, 96)
    client.delete("mask", params=asked)
    assert client.get("mask", params=asked).status_code == 204


@pytest.mark.parametrize(
    "data",
    [mask(95, 64), b"\x89PNG\r\n\x1a\n", b"<svg/>", mask(20_000, 20_000)[:60]],
    ids=("another size", "a head alone", "no PNG", "huge"),
)
def test_a_mask_that_is_none_is_refused_before_it_is_decoded(client: TestClient, robots: Path, data: bytes) -> None:
    asked = {**ROBOTS, "name": "a.png"}
    reply = client.put("mask", params=asked, content=data, headers={"content-type": "image/png"})
    assert reply.status_code == 400 and reply.json()["code"] in ("mask.size", "mask.unreadable")
    assert client.get("mask", params=asked).status_code == 204
