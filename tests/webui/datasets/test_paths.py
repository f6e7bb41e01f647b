"""Nothing outside a dataset is read or written, whatever is typed as its name or as the name of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from webui.datasets.app import ROUTERS

SECRET = "0123456789 secret"
DATASETS = [
    "../../etc", "..", ".", "/", "/etc", "/etc/passwd", "file:///etc", "\\\\host\\share", "C:windows", "nul\0", "%2e%2e/%2e%2e", "~root",
    "practice/..", "practice/../../..", "ROBOTS/../../..", "link", "", " ", "nothing", "x" * 300,
]  # fmt: skip
NAMES = [
    "../outside.png", "..\\outside.png", "link/outside.png", "link.png", "%2e%2e/outside.png", "a.png\0", "", ".", "/", "a.txt", "dataset.yaml",
    ".hidden.png", "_history/a.png", "_originals/a.png", "_masks/a.png", "_excluded/_history/a.png", "deep/er/a.png", "./a.png", "nothing.png",
    "a.png/../../outside.png", "C:a.png", "file:///a.png", "x" * 300 + ".png",
]  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "caption": {"caption": "x", "token": ""}, "edit": {"edit": {"kind": "set", "caption": "x"}, "preview": False},
    "concepts": {"kind": "style", "trigger": "x", "concepts": []}, "move": {"folder": "x"}, "crop": {"box": [0, 0, 20, 20]},
    "rotate": {"degrees": 90}, "remedy": {"at": 0, "findings": []}, "convert": {"extension": "jpg"}, "copy": {"name": "copy"},
}  # fmt: skip
"""What a route needs besides the dataset and the names, so that it is refused for these alone."""
NEW_NAMES = ("copy", "create", "import", "uploads")
"""Routes whose name is no picture's."""
ONLY_KNOWN = ("crops",)
"""Routes that pass over names they do not know."""
ROUTES = [route for part in ROUTERS for route in part.router.routes if isinstance(route, APIRoute)]


def fields(route: APIRoute) -> set[str]:
    declared = {param.name for param in route.dependant.query_params}
    for body in route.dependant.body_params:
        declared |= set(getattr(body.field_info.annotation, "model_fields", {}))
    return declared


def word(route: APIRoute) -> str:
    return route.path.split("/")[1]


def ask(client: TestClient, route: APIRoute, **values: Any) -> Any:
    method = next(iter(route.methods))
    if method == "POST":
        return client.post(word(route), json={**BODIES.get(word(route), {}), **values})
    return client.request(method, word(route), params=values, content=b"x" if method == "PUT" else None)


@pytest.fixture()
def outside(robots: Path, tmp_path: Path) -> Path:
    """A folder beside the workspace, and links in the dataset and beside it that lead there."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "outside.png").write_text(SECRET)
    (robots.parent / "outside.png").write_text(SECRET)
    for kept in ("_history", "_originals", "_masks", "deep/er"):
        (robots / kept).mkdir(parents=True)
        (robots / kept / "a.png").write_text(SECRET)
    (robots / ".hidden.png").write_text(SECRET)
    (robots / "link").symlink_to(place)
    (robots / "link.png").symlink_to(place / "outside.png")
    (robots.parent / "link").symlink_to(place)
    return place


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and "cache" not in path.parts}


@pytest.mark.parametrize("route", [route for route in ROUTES if "dataset" in fields(route)], ids=word)
def test_datasets_lie_below_the_allowed_folders(client: TestClient, outside: Path, tmp_path: Path, route: APIRoute) -> None:
    before = files(tmp_path)
    more: dict[str, Any] = {"name": "outside.png"} if "name" in fields(route) else {}
    if "names" in fields(route):
        more["names"] = ["outside.png"]
    told = set()
    for dataset in DATASETS:
        reply = ask(client, route, dataset=dataset, **more)
        assert reply.status_code == 400, (dataset, reply.text[:300])
        assert SECRET not in reply.text
        told.add(reply.json()["code"])
    assert told == {"path.not_allowed"}  # the same whether or not there is something
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if fields(route) & {"name", "names"} and word(route) not in NEW_NAMES + ONLY_KNOWN],
    ids=word,
)
def test_pictures_lie_in_the_dataset(client: TestClient, outside: Path, tmp_path: Path, route: APIRoute) -> None:
    before = files(tmp_path)
    for name in NAMES:
        given = {"name": name} if "name" in fields(route) else {"names": [name]}
        reply = ask(client, route, dataset="robots", **given)
        assert reply.status_code == 400, (name, reply.text[:300])
        assert SECRET not in reply.text
        assert reply.json()["code"] in ("path.outside", "picture.missing"), name
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "file", ["../style.css", "..%2fstyle.css", "%2e%2e/style.css", "nothing.js", "room.css.map", ".", "/etc/passwd"]
)
def test_only_scripts_and_styles_are_handed_out(client: TestClient, file: str) -> None:
    assert client.get(f"assets/{file}").status_code in (400, 404)


@pytest.mark.parametrize("folder", ["..", "../x", "a/b", "a\\b", "_excluded", ".git", "/tmp/x", "nul\0", "CON"])
def test_pictures_are_moved_inside_the_dataset_alone(client: TestClient, robots: Path, folder: str) -> None:
    reply = client.post("move", json={"dataset": "robots", "names": ["a.png"], "folder": folder})
    assert (reply.status_code, reply.json()["code"]) == (400, "path.bad_name")
    assert (robots / "a.png").is_file()
