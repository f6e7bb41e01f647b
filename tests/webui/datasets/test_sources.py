"""New datasets, copies and the folders one may choose from: never anything outside the allowed roots."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.workspace import Workspace

OUTSIDE = ("/etc", "/nowhere-at-all", "../../etc", "file:///etc", "\\\\host\\share", "C:windows", "robots/../../../..", "x\0y")


def test_a_new_dataset_is_empty_and_its_name_is_its_own(client: TestClient, workspace: Workspace) -> None:
    assert client.post("create", json={"name": "猫"}).json() == {"dataset": "猫"}
    assert list((workspace.root / "datasets" / "猫").iterdir()) == []
    reply = client.post("create", json={"name": "猫"})
    assert (reply.status_code, reply.json()["values"]["suggestion"]) == (400, "猫-2")
    assert client.post("create", json={"name": "../out"}).json()["code"] == "path.bad_name"


def test_a_copy_of_the_practice_dataset_can_be_changed(client: TestClient, workspace: Workspace) -> None:
    told = client.post("copy", json={"dataset": "practice/mascot", "name": "mine"}).json()
    assert told["dataset"] == "mine" and told["report"]["added"]
    assert client.post("open", json={"dataset": "mine"}).json()["read_only"] is False


def test_folders_are_shown_below_the_roots_and_imported(client: TestClient, workspace: Workspace, robots: Path) -> None:
    start = client.get("folders").json()
    assert (start["at"], start["parent"]) == ("", None)
    inside = client.get("folders", params={"at": str(workspace.root / "datasets")}).json()
    assert [(each["name"], each["pictures"]) for each in inside["folders"]] == [("robots", 3)]
    told = client.post("import", json={"folder": inside["folders"][0]["path"], "name": "again"}).json()
    assert sorted(told["report"]["added"]) == ["a.png", "a.txt", "b.png", "c.png"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_lies_outside_is_refused_alike_whether_it_exists_or_not(client: TestClient, robots: Path, path: str) -> None:
    """The practice page is open to other machines here, so that the home folder is outside too."""
    for reply in (
        client.get("folders", params={"at": path}),
        client.post("import", json={"folder": path, "name": "stolen"}),
        client.post("uploads", json={"dataset": path}),
        client.post("buckets", json={"dataset": path}),
    ):
        assert (reply.status_code, reply.json()["code"]) == (400, "path.not_allowed"), reply.request.url
        assert reply.json()["message"].replace(repr(path), "") == "The path  cannot be used here. It must lie in the data folder."


def test_a_link_out_of_the_roots_is_not_entered(client: TestClient, workspace: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "inner").mkdir(parents=True)
    (workspace.root / "datasets" / "link").symlink_to(secret)
    at = workspace.root / "datasets"
    assert client.get("folders", params={"at": str(at)}).json()["folders"] == []
    assert client.get("folders", params={"at": str(at / "link")}).json()["code"] == "path.not_allowed"
