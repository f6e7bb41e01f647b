"""The bucket preview is what training would do, told as the page needs it."""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image
from starlette.testclient import TestClient

ROBOTS = {"dataset": "robots"}
RULE = {"dataset": "robots", "resolution": 64, "minimum": 32, "maximum": 128, "step": 16, "batch_size": 2}


def until_read(client: TestClient) -> None:
    deadline = time.monotonic() + 10
    client.post("open", json=ROBOTS)
    while not client.post("open", json=ROBOTS).json()["whole"]:
        assert time.monotonic() < deadline


def test_which_buckets_and_how_many_batches(client: TestClient, robots: Path) -> None:
    Image.new("RGB", (64, 64)).save(robots / "square.png")
    until_read(client)
    plan = client.post("buckets", json=RULE).json()
    assert [(each["width"], each["height"], each["pictures"], each["batches"], each["small"]) for each in plan["buckets"]] == [
        (64, 64, 1, 1, True), (80, 48, 3, 2, False),
    ]  # fmt: skip
    assert (plan["small"], plan["batches"], plan["pictures"], plan["whole"]) == (1, 3, 4, True)
    found = client.post("names", json={"dataset": "robots", "query": {"bucket": "64x64", "rule": plan["rule"]}}).json()["names"]
    assert found == ["square.png"]


def test_repeats_count_and_folders_that_are_not_trained_on_do_not(client: TestClient, robots: Path) -> None:
    for folder, name in (("3_robot", "x.png"), ("later", "y.png")):
        (robots / folder).mkdir()
        (robots / name.replace("x", "a").replace("y", "b")).rename(robots / folder / name)
    (robots / "c.png").unlink()
    until_read(client)
    plan = client.post("buckets", json=RULE).json()
    assert (plan["pictures"], plan["batches"]) == (1, 2)


def test_the_models_own_sides_are_used_where_nothing_is_wished(client: TestClient, robots: Path) -> None:
    plan = client.post("buckets", json={"dataset": "robots"}).json()
    assert plan["rule"]["resolution"] > 0 and plan["rule"]["step"] > 0
    assert "starter" in client.get("models").json()["models"]


def test_what_is_cut_off(client: TestClient, robots: Path) -> None:
    crops = client.post("crops", json={**RULE, "names": ["a.png", "gone.png"]}).json()
    assert list(crops) == ["a.png"]
    assert (crops["a.png"]["bucket"], crops["a.png"]["resized"]) == ([80, 48], [80, 53])
    left, top, right, bottom = crops["a.png"]["crop"]
    assert (left, right) == (0, 96) and 0 < top < bottom < 64


def test_sides_that_contradict_each_other_are_told(client: TestClient, robots: Path) -> None:
    reply = client.post("buckets", json={**RULE, "minimum": 128})
    assert (reply.status_code, reply.json()["code"]) == (400, "bucket.below_minimum")
