"""Files that arrive whole or not at all, from a real server that breaks off, lies, forgets and refuses."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from engine.downloads.fetch import TRIES, Remote, fetch
from engine.downloads.sites import Sites
from engine.downloads.web import Web
from engine.errors import DownloadError, EngineError, ModelError
from tests.support.file_server import FileServer

CHUNK = 2**20
BODY = random.Random(1).randbytes(3 * CHUNK + 17)
HASH = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "x.bytes"


class Stopped(Exception):
    pass


def bring(sites: Sites, remote: Remote, target: Path, stop_at: int | None = None) -> list[tuple[int, str]]:
    """Fetch, and stop as soon as so many bytes are there. Returns what was told on the way."""
    told: list[tuple[int, str]] = []

    def on_bytes(received: int, phase: str) -> None:
        told.append((received, phase))
        if stop_at is not None and received >= stop_at:
            raise Stopped

    with Web(sites, "x", pause=0.0) as web:
        fetch(web, remote, target, on_bytes, lambda seconds: None)
    return told


def of(server: FileServer, sha256: str = HASH, size: int = len(BODY)) -> Remote:
    return Remote(f"{server.origin}/x", size, sha256)


def left(target: Path) -> list[str]:
    return sorted(file.name for file in target.parent.iterdir())


def test_a_file_arrives(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY)
    told = bring(sites, of(server), target)
    assert target.read_bytes() == BODY and left(target) == ["x.bytes"]
    assert told == sorted(told) and told[-1] == (len(BODY), "downloading")


@pytest.mark.parametrize("sha256", [HASH, ""], ids=["hash known", "only a tag"])
def test_a_cut_connection_is_taken_up_by_itself(server: FileServer, sites: Sites, target: Path, sha256: str) -> None:
    server.put("/x", BODY, cut_after=CHUNK + 5, cuts=2)
    bring(sites, of(server, sha256), target)
    assert target.read_bytes() == BODY
    assert [headers.get("range") for _, headers in server.asked] == [None, f"bytes={CHUNK + 5}-", f"bytes={2 * CHUNK + 10}-"]


@pytest.mark.parametrize("sha256", [HASH, ""], ids=["hash known", "only a tag"])
def test_started_again_it_goes_on(server: FileServer, sites: Sites, target: Path, sha256: str) -> None:
    answer = server.put("/x", BODY)
    with pytest.raises(Stopped):
        bring(sites, of(server, sha256), target, stop_at=CHUNK)
    assert left(target) == [".x.bytes.part", ".x.bytes.part.json"]
    came = target.with_name(".x.bytes.part").stat().st_size
    told = bring(sites, of(server, sha256), target)
    assert target.read_bytes() == BODY and left(target) == ["x.bytes"]
    headers = server.asked[-1][1]
    assert headers["range"] == f"bytes={came}-" and headers["if-range"] == answer.headers["ETag"]
    assert told[-1] == (len(BODY), "downloading") and (came, "checking") in told


def test_a_file_that_has_changed_is_begun_anew(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY)
    with pytest.raises(Stopped):
        bring(sites, of(server, ""), target, stop_at=CHUNK)
    other = BODY[::-1]
    server.put("/x", other)
    bring(sites, of(server, ""), target)
    assert target.read_bytes() == other, "the tag is another, so the server sent all of it"


def test_without_tag_and_hash_nothing_is_gone_on_with(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY, headers={"ETag": 'W/"weak"'})
    with pytest.raises(Stopped):
        bring(sites, of(server, ""), target, stop_at=CHUNK)
    bring(sites, of(server, ""), target)
    assert target.read_bytes() == BODY and "range" not in server.asked[-1][1]


def test_a_server_that_knows_no_ranges_sends_all_of_it(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY, ranges=False)
    with pytest.raises(Stopped):
        bring(sites, of(server), target, stop_at=CHUNK)
    bring(sites, of(server), target)
    assert target.read_bytes() == BODY and "range" in server.asked[-1][1]


def test_it_gives_up_when_nothing_comes_and_keeps_what_came(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY, cut_after=CHUNK, cuts=1)
    with pytest.raises(Stopped):
        bring(sites, of(server), target, stop_at=CHUNK)
    came = target.with_name(".x.bytes.part").stat().st_size
    server.put("/x", BODY, cut_after=0, cuts=99)
    server.asked.clear()
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server), target)
    assert told.value.code == "download.cut" and len(server.asked) == TRIES
    server.put("/x", BODY)
    bring(sites, of(server), target)
    assert target.read_bytes() == BODY and server.asked[-1][1]["range"] == f"bytes={came}-"


def test_a_server_in_trouble_is_asked_again(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", b"", status=503)
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server), target)
    assert told.value.code == "download.server" and len(server.asked) == TRIES and not target.exists()


def test_wrong_bytes_never_get_the_name(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY[:-1] + b"!")
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server), target)
    assert told.value.code == "download.wrong_hash" and left(target) == []


def test_damage_in_what_lay_on_the_disk_is_found(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY)
    with pytest.raises(Stopped):
        bring(sites, of(server), target, stop_at=CHUNK)
    part = target.with_name(".x.bytes.part")
    part.write_bytes(b"!" + part.read_bytes()[1:])
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server), target)
    assert told.value.code == "download.wrong_hash" and left(target) == []
    bring(sites, of(server), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1, 1])
def test_a_wrong_size_is_refused_before_anything_is_fetched(server: FileServer, sites: Sites, target: Path, size: int) -> None:
    server.put("/x", BODY)
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server, size=size), target)
    assert told.value.code == "download.wrong_size" and left(target) == []


def test_a_disk_that_is_too_small(server: FileServer, sites: Sites, target: Path) -> None:
    huge = 10**18
    server.put("/x", b"beginning", size=huge)
    with pytest.raises(DownloadError) as told:
        bring(sites, of(server, size=huge), target)
    assert told.value.code == "download.no_room" and told.value.values["needed"] == "1000000000.0" and not target.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_meanwhile(server: FileServer, sites: Sites, target: Path) -> None:
    server.put("/x", BODY)
    target.parent.mkdir(parents=True)
    target.with_name(".x.bytes.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as told:
        bring(sites, of(server), target)
    assert "No space" in os.strerror(told.value.errno or 0) and not target.exists()


def test_what_calls_itself_safetensors_must_be_some(server: FileServer, sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    server.put("/x", BODY)
    with pytest.raises(ModelError) as told:
        bring(sites, of(server), target)
    assert told.value.code == "file.not_safetensors" and left(target) == []


def test_nobody_there(server: FileServer, target: Path) -> None:
    nowhere = Sites(hub="http://127.0.0.1:9")
    with pytest.raises(EngineError) as told, Web(nowhere, "a/b", pause=0.0) as web:
        web.json("http://127.0.0.1:9/api/models/a/b")
    assert told.value.code == "download.offline" and "models/checkpoints" in told.value.todo
