from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from webui.context import Context


@pytest.fixture()
def opened(client: TestClient, robots: Path) -> TestClient:
    """Three pictures, one of them in a folder, broken, and one whose caption is no text in any encoding."""
    (robots / "10_red").mkdir()
    (robots / "c.png").rename(robots / "10_red" / "c.png")
    (robots / "10_red" / "c.txt").write_text("robo, blue sky, <img src=x onerror=alert(1)>")
    (robots / "broken.png").write_bytes(b"nothing")
    Image.new("RGB", (64, 96)).save(robots / "10_red" / "tall.png")
    client.post("open", json={"dataset": "robots"})
    return client


def found(client: TestClient, **query: object) -> list[str]:
    reply = client.post("page", json={"dataset": "robots", "query": query})
    assert reply.status_code == 200, reply.text
    names = [entry["name"] for entry in reply.json()["entries"]]
    assert client.post("names", json={"dataset": "robots", "query": query}).json() == {"names": names}
    return names


def test_a_page_holds_what_a_tile_shows(opened: TestClient, robots: Path) -> None:
    page = opened.post("page", json={"dataset": "robots", "start": 3, "count": 1}).json()
    assert {key: page[key] for key in ("total", "indexed", "whole")} == {"total": 5, "indexed": 5, "whole": True}
    (entry,) = page["entries"]
    assert (entry["name"], entry["width"], entry["height"]) == ("10_red/c.png", 96, 64)
    assert (entry["concept"], entry["bucket"]) == ("10_red", "640x384")
    assert entry["caption"] == "robo, blue sky, <img src=x onerror=alert(1)>"
    assert entry["stamp"] == str(
        (robots / "10_red" / "c.png").stat().st_mtime_ns
    )  # whole, though a script's number could not hold it


def test_filters(opened: TestClient) -> None:
    assert found(opened) == ["a.png", "b.png", "broken.png", "10_red/c.png", "10_red/tall.png"]
    assert found(opened, text="ROBO") == ["a.png", "10_red/c.png"]
    assert found(opened, tags=["robo"], without=["blue sky"]) == ["a.png"]
    assert found(opened, concept="") == ["a.png", "b.png", "broken.png"]
    assert found(opened, concept="10_red", uncaptioned=True) == ["10_red/tall.png"]
    assert found(opened, problem=True) == ["broken.png"]
    assert found(opened, masked=True) == []
    assert found(opened, problem=True, masked=True) == []
    assert found(opened, excluded=True) == []
    assert found(opened, sort="caption length", concept="10_red") == ["10_red/tall.png", "10_red/c.png"]


def test_filter_by_bucket_follows_the_rule_that_is_asked_with(opened: TestClient) -> None:
    assert found(opened, bucket="384x640") == ["10_red/tall.png"]
    assert found(opened, bucket="384x640", rule={"resolution": 256}) == []
    assert found(opened, bucket="192x320", rule={"resolution": 256}) == ["10_red/tall.png"]
    assert (
        found(opened, bucket="384x640", rule={"resolution": 256, "minimum": 512}) == []
    )  # contradicts itself: no buckets at all


@pytest.mark.parametrize("query", [{"sort": "random"}, {"unknown": 1}, {"rule": {"resolution": 10**9}}, {"tags": "robo"}])
def test_a_query_that_cannot_be_meant(opened: TestClient, query: dict[str, object]) -> None:
    reply = opened.post("page", json={"dataset": "robots", "query": query})
    assert (reply.status_code, reply.json()["code"]) == (422, "page.bad_request")
    assert opened.post("page", json={"dataset": "robots", "count": 501}).status_code == 422


def test_half_characters_are_refused_in_words(client: TestClient) -> None:
    reply = client.post("open", content=b'{"dataset": "a\\ud800"}', headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) in ((422, "page.bad_request"), (400, "path.not_allowed"))


def test_opening_tells_how_the_dataset_stands(opened: TestClient, robots: Path) -> None:
    info = opened.post("open", json={"dataset": "robots"}).json()
    assert {key: info[key] for key in ("name", "read_only", "total", "indexed", "whole", "excluded", "uncaptioned", "problem", "masked")} == {
        "name": "robots", "read_only": False, "total": 5, "indexed": 5, "whole": True, "excluded": 0, "uncaptioned": 3, "problem": 1, "masked": 0,
    }  # fmt: skip
    assert info["history"] == {"undo": None, "redo": None}
    assert [(each["folder"], each["pictures"], each["trained"], each["repeats"]) for each in info["concepts"]] == [
        ("10_red", 2, True, 10), ("", 3, False, 1)
    ]  # fmt: skip


def test_another_version_tells_that_something_changed_on_disk(opened: TestClient, robots: Path) -> None:
    versions = {opened.post("open", json={"dataset": "robots"}).json()["version"] for _ in range(2)}
    (robots / "a.txt").write_text("another")
    opened.post("open", json={"dataset": "robots"})
    versions.add(opened.post("open", json={"dataset": "robots"}).json()["version"])
    assert len(versions) == 2
    assert found(opened, text="another") == ["a.png"]


def test_the_list_has_own_datasets_and_those_that_ship(client: TestClient, robots: Path) -> None:
    (robots.parent / "empty").mkdir()
    (robots.parent / ".hidden").mkdir()
    listed = client.get("list").json()
    assert [(each["dataset"], each["pictures"], each["read_only"]) for each in listed[:3]] == [
        ("empty", 0, False), ("robots", 3, False), ("practice/mascot", 16, True)
    ]  # fmt: skip
    assert [cover["name"] for cover in listed[1]["covers"]] == ["a.png", "b.png", "c.png"]
    assert client.post("open", json={"dataset": "practice/mascot"}).json()["read_only"]


def test_pictures_are_shown_as_webp_whatever_they_are(client: TestClient, robots: Path) -> None:
    Image.new("RGB", (5000, 50)).save(robots / "wide.tif")
    for route, sizes in (("thumb", ((96, 64), (256, 3))), ("picture", ((96, 64), (2048, 20)))):
        for name, size in zip(("a.png", "wide.tif"), sizes, strict=True):
            reply = client.get(route, params={"dataset": "robots", "name": name, "v": "1"})
            assert (reply.status_code, reply.headers["content-type"]) == (200, "image/webp")
            assert "immutable" in reply.headers["cache-control"]
            (robots.parent / "shown.webp").write_bytes(reply.content)
            with Image.open(robots.parent / "shown.webp") as shown:
                assert abs(shown.width - size[0]) <= 1 and abs(shown.height - size[1]) <= 1


@pytest.mark.parametrize("content", [b"", b"nothing", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"])
def test_what_is_no_picture_is_never_handed_out(client: TestClient, robots: Path, content: bytes) -> None:
    (robots / "d.png").write_bytes(content)
    (robots / "d.svg").write_bytes(content)
    for route in ("thumb", "picture"):
        reply = client.get(route, params={"dataset": "robots", "name": "d.png"})
        assert (reply.status_code, reply.json()["code"]) == (400, "picture.unreadable")
        assert client.get(route, params={"dataset": "robots", "name": "d.svg"}).json()["code"] == "picture.missing"


def test_tags_are_counted_in_what_is_found(opened: TestClient, robots: Path) -> None:
    opened.post("concepts", json={"dataset": "robots", "kind": "character", "trigger": "robo", "concepts": []})
    (robots / "b.txt").write_text("red eyes, robo")
    (robots / "a.txt").write_text("Red Eyes, a wall, robo")
    for _ in range(2):
        opened.post("open", json={"dataset": "robots"})
    table = opened.post("tags", json={"dataset": "robots"}).json()
    assert {row["tag"]: (row["count"], row["with_trigger"]) for row in table["tags"]}["robo"] == (3, 3)
    assert table["captions"] == 3
    assert [each["tag"] for each in table["suggestions"]] == ["Red Eyes"]
    assert "67%" in table["suggestions"][0]["reason"]
    assert (
        "67"
        in opened.post("tags", json={"dataset": "robots"}, headers={"accept-language": "ja"}).json()["suggestions"][0]["reason"]
    )
    assert [row["tag"] for row in opened.post("tags", json={"dataset": "robots", "query": {"text": "wall"}}).json()["tags"]] == [
        "Red Eyes",
        "a wall",
        "robo",
    ]


def test_errors_are_told_in_the_visitor_s_language(client: TestClient) -> None:
    asked = {"dataset": "../x"}
    assert "データフォルダ" in client.post("open", json=asked, headers={"accept-language": "ja"}).json()["todo"]
    assert "data folder" in client.post("open", json=asked).json()["message"]


def test_scripts_are_asked_for_anew_and_not_sent_again(client: TestClient) -> None:
    first = client.get("assets/store.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8" and first.headers["cache-control"] == "no-cache"
    assert client.get("assets/room.css").headers["content-type"] == "text/css; charset=utf-8"
    assert "dataset.undo" in client.get("words").json() and "dataset.repeats.label" in client.get("words").json()
    assert client.get("words", headers={"accept-language": "ja"}).json()["dataset.undo"] == "元に戻す"


def test_scripts_know_all_their_words(client: TestClient) -> None:
    """A key that no locale has would be shown as it is."""
    import re

    words, folder = client.get("words").json(), Path(__file__).parents[3] / "webui" / "assets" / "datasets"
    used = {
        key
        for file in folder.glob("*.js")
        for key in re.findall(r"""t\(\s*['"](dataset\.[\w.]+)['"]""", file.read_text(encoding="utf-8"))
    }
    assert len(used) > 60
    assert sorted(used - set(words)) == []


def test_scripts_put_no_markup_into_the_page() -> None:
    folder = Path(__file__).parents[3] / "webui" / "assets" / "datasets"
    markup = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc", "setHTML")
    assert [
        (file.name, word) for file in folder.glob("*.js") for word in markup if word in file.read_text(encoding="utf-8")
    ] == []


def test_the_small_pictures_of_all_are_made_ahead_once(opened: TestClient, context: Context) -> None:
    jobs = [opened.post("thumbs", json={"dataset": "robots"}).json()["job"] for _ in range(2)]
    assert jobs[0] == jobs[1] and context.jobs.get(jobs[0]).kind == "thumbnails"
