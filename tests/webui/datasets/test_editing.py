from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.config.edits import EDITS
from engine.datasets.dataset_file import read_dataset_file


def entry(client: TestClient, name: str) -> dict:
    return next(each for each in client.post("page", json={"dataset": "robots"}).json()["entries"] if each["name"] == name)


def save(client: TestClient, name: str, caption: str, token: str, **more: str) -> dict:
    return client.post("caption", json={"dataset": "robots", "name": name, "caption": caption, "token": token, **more}).json()


def test_a_caption_is_saved_taken_back_and_saved_again(client: TestClient, robots: Path) -> None:
    client.post("open", json={"dataset": "robots"})
    saved = save(client, "a.png", "robo, red", entry(client, "a.png")["token"])
    assert (robots / "a.txt").read_text() == saved["entry"]["caption"] == "robo, red"
    assert saved["history"] == {"undo": {"label": "caption", "values": {"name": "a.png"}}, "redo": None}
    undone = client.post("undo", json={"dataset": "robots"}).json()
    assert (undone["label"], undone["names"]) == ("caption", ["a.png"])
    assert undone["history"]["undo"] is None and undone["history"]["redo"]["label"] == "caption"
    assert entry(client, "a.png")["caption"] == (robots / "a.txt").read_text() == "robo, a robot"
    assert client.post("redo", json={"dataset": "robots"}).json()["history"]["redo"] is None
    assert entry(client, "a.png")["caption"] == "robo, red"
    nothing = client.post("redo", json={"dataset": "robots"}).json()
    assert (nothing["label"], nothing["names"]) == (None, [])


def test_a_new_caption_file(client: TestClient, robots: Path) -> None:
    assert save(client, "b.png", "新しい", "")["entry"]["caption"] == "新しい"
    assert (robots / "b.txt").read_text(encoding="utf-8") == "新しい"


def test_a_file_that_was_changed_meanwhile_is_a_conflict_with_both_texts(client: TestClient, robots: Path) -> None:
    client.post("open", json={"dataset": "robots"})
    token = entry(client, "a.png")["token"]
    (robots / "a.txt").write_text("theirs")
    reply = client.post("caption", json={"dataset": "robots", "name": "a.png", "caption": "mine", "token": token})
    assert (reply.status_code, reply.json()["code"], reply.json()["values"]["theirs"]) == (409, "caption.changed", "theirs")
    assert (robots / "a.txt").read_text() == "theirs"
    save(client, "a.png", "mine", reply.json()["values"]["token"])
    assert (robots / "a.txt").read_text() == "mine"


def test_an_encoding_is_kept_until_another_is_asked_for(client: TestClient, robots: Path) -> None:
    (robots / "a.txt").write_bytes("ロボット、赤い背景の絵\r\n".encode("cp932"))
    client.post("open", json={"dataset": "robots"})
    token = entry(client, "a.png")["token"]
    assert save(client, "a.png", "ロボット 🤖", token)["code"] == "caption.cannot_encode"
    assert save(client, "a.png", "ロボット 🤖", token, encoding="utf-8")["entry"]["encoding"] == "utf-8"
    assert (robots / "a.txt").read_bytes() == "ロボット 🤖\r\n".encode()


def test_an_edit_is_shown_first_and_then_done(client: TestClient, robots: Path) -> None:
    client.post("open", json={"dataset": "robots"})
    asked = {"dataset": "robots", "names": ["a.png", "b.png"], "edit": {"kind": "add", "tags": "metal, robo"}}
    shown = client.post("edit", json=asked).json()
    assert shown["changed"] == 2 and (robots / "a.txt").read_text() == "robo, a robot" and not (robots / "b.txt").exists()
    assert [(each["before"], each["after"]) for each in shown["examples"]] == [
        ("robo, a robot", "robo, a robot, metal"),
        ("", "metal, robo"),
    ]
    done = client.post("edit", json={**asked, "preview": False}).json()
    assert done["history"]["undo"] == {"label": "edit_add", "values": {"count": 2}}
    assert [(robots / name).read_text() for name in ("a.txt", "b.txt")] == ["robo, a robot, metal", "metal, robo"]
    assert entry(client, "b.png")["caption"] == "metal, robo"
    assert client.post("edit", json=asked).json()["changed"] == 0
    assert sorted(client.post("undo", json={"dataset": "robots"}).json()["names"]) == ["a.png", "b.png"]
    assert not (robots / "b.txt").exists()


def test_an_edit_leaves_captions_alone_that_it_cannot_read(client: TestClient, robots: Path) -> None:
    unreadable = b"\xff\xfe\x00\xd8\x00"
    (robots / "b.txt").write_bytes(unreadable)
    client.post("open", json={"dataset": "robots"})
    names = ["a.png", "b.png", "c.png"]
    done = client.post(
        "edit", json={"dataset": "robots", "names": names, "edit": {"kind": "set", "caption": "x"}, "preview": False}
    ).json()
    assert (done["changed"], done["unreadable"]) == (2, 1)
    assert (robots / "b.txt").read_bytes() == unreadable


def test_an_edit_overwrites_nobody_s_change(client: TestClient, robots: Path) -> None:
    client.post("open", json={"dataset": "robots"})
    (robots / "a.txt").write_text("theirs")
    asked = {"dataset": "robots", "names": ["a.png", "b.png"], "edit": {"kind": "set", "caption": "x"}, "preview": False}
    reply = client.post("edit", json=asked)
    assert (reply.status_code, reply.json()["code"]) == (409, "caption.changed")
    assert (robots / "a.txt").read_text() == "theirs" and not (robots / "b.txt").exists()


@pytest.mark.parametrize(
    "edit", [{"kind": "nothing"}, {"kind": "add"}, {"kind": "replace", "find": "("} | {"regex": True}, {"kind": "set", "more": 1}]
)
def test_an_edit_that_cannot_be_done(client: TestClient, robots: Path, edit: dict) -> None:
    reply = client.post("edit", json={"dataset": "robots", "names": ["a.png"], "edit": edit, "preview": False})
    assert reply.status_code in (400, 422) and reply.json()["message"]
    assert (robots / "a.txt").read_text() == "robo, a robot"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_kinds_of_edits_have_words_for_all_their_fields(client: TestClient, language: str) -> None:
    kinds = client.get("edits", headers={"accept-language": language}).json()
    assert [each["kind"] for each in kinds] == list(EDITS)
    for each in kinds:
        assert each["label"] and each["help"]
        assert {field["name"] for field in each["fields"]} == set(EDITS[each["kind"]].model_fields) - {"kind"}
        assert all(field["label"] and field["help"] for field in each["fields"])
        assert f"dataset.did.edit_{each['kind']}" in client.get("words", headers={"accept-language": language}).json()
    required = {field["name"] for each in kinds for field in each["fields"] if field["required"]}
    assert required == {"tags", "find", "trigger"}


def test_what_a_dataset_says_of_itself_can_be_taken_back(client: TestClient, robots: Path) -> None:
    asked = {
        "dataset": "robots",
        "kind": "style",
        "trigger": "robo",
        "concepts": [{"folder": ".", "repeats": 3, "class_tokens": "a robot"}],
    }
    told = client.post("concepts", json=asked).json()
    assert told["history"]["undo"]["label"] == "concepts"
    file = read_dataset_file(robots)
    assert file and (file.kind, file.trigger, [(each.folder, each.repeats, each.kind) for each in file.concepts]) == (
        "style",
        "robo",
        [(".", 3, "style")],
    )
    info = client.post("open", json={"dataset": "robots"}).json()
    assert (info["kind"], info["trigger"], info["concepts"][0]["repeats"]) == ("style", "robo", 3)
    assert client.post("concepts", json=asked).json()["history"] == told["history"]  # nothing new, no step more
    client.post("undo", json={"dataset": "robots"})
    assert not (robots / "dataset.yaml").exists()


@pytest.mark.parametrize(
    "concept", [{"folder": "../x"}, {"folder": "a", "repeats": 0}, {"folder": "a", "nothing": 1}, {"folder": "_masks"}]
)
def test_concepts_that_cannot_be_meant(client: TestClient, robots: Path, concept: dict) -> None:
    reply = client.post("concepts", json={"dataset": "robots", "kind": "style", "trigger": "", "concepts": [concept]})
    assert (reply.status_code, reply.json()["code"]) == (422, "page.bad_request")
    assert not (robots / "dataset.yaml").exists()


def test_pictures_move_with_their_captions(client: TestClient, robots: Path) -> None:
    client.post("open", json={"dataset": "robots"})
    told = client.post("move", json={"dataset": "robots", "names": ["a.png", "b.png"], "folder": "5_red robots"}).json()
    assert told["history"]["undo"] == {"label": "move", "values": {"count": 2, "name": "a.png"}}
    assert sorted(file.name for file in (robots / "5_red robots").iterdir()) == ["a.png", "a.txt", "b.png"]
    assert entry(client, "5_red robots/a.png")["caption"] == "robo, a robot"
    assert (
        client.post("move", json={"dataset": "robots", "names": ["5_red robots/a.png"], "folder": "5_red robots"}).json()["names"]
        == []
    )
    client.post("move", json={"dataset": "robots", "names": ["5_red robots/a.png"], "folder": ""})
    for _ in range(2):
        client.post("undo", json={"dataset": "robots"})
    assert sorted(file.name for file in robots.iterdir() if file.name[0] != "_") == ["a.png", "a.txt", "b.png", "c.png"]


def test_what_ships_cannot_be_changed(client: TestClient) -> None:
    name = client.post("page", json={"dataset": "practice/mascot"}).json()["entries"][0]
    for route, more in (
        ("caption", {"name": name["name"], "caption": "x", "token": name["token"]}), ("undo", {}), ("redo", {}),
        ("edit", {"names": [name["name"]], "edit": {"kind": "set", "caption": "x"}, "preview": False}),
        ("concepts", {"kind": "style", "trigger": "", "concepts": []}), ("move", {"names": [name["name"]], "folder": "x"}),
    ):  # fmt: skip
        reply = client.post(route, json={"dataset": "practice/mascot", **more})
        assert (reply.status_code, reply.json()["code"]) == (400, "dataset.read_only"), route


def test_export_is_kohya_s_toml(client: TestClient, robots: Path) -> None:
    reply = client.get("export", params={"dataset": "robots"})
    assert reply.headers["content-disposition"] == 'attachment; filename="dataset.toml"'
    assert f'image_dir = "{robots}"' in reply.text
