"""Thumbnails are upright, small, made once, and made for all that can be read, whatever lies between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.datasets import thumbnails
from engine.datasets.thumbnails import GROUND, SIDE, make_thumbnails, thumbnail
from engine.errors import DatasetError, Interrupted
from engine.workspace import Workspace
from tests.support.pictures import READABLE, REFUSED_BY_HEADER, make_nasty, photo, png_header, save_turned, signpost

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data")


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"), np.float32)


def test_all_eight_orientations_look_the_same(tmp_path: Path, workspace: Workspace) -> None:
    large = signpost().resize((1200, 800), Image.Resampling.NEAREST)
    for ending in ("jpg", "png", "webp"):
        shown = [pixels(thumbnail(save_turned(large, tmp_path / f"{turn}.{ending}", turn), workspace)) for turn in range(1, 9)]
        assert {each.shape for each in shown} == {(171, 256, 3)}
        assert max(np.abs(each - shown[0]).mean() for each in shown) < 2
        assert [tuple(np.rint(shown[0][y, x] / 50)) for x, y in ((60, 40), (200, 40), (60, 130), (200, 130))] == [
            (5, 1, 1), (1, 4, 1), (1, 1, 5), (4, 4, 1),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 768), (256, 192)), ((300, 3000), (26, 256)), ((100, 50), (100, 50)), ((1, 1), (1, 1)), ((5000, 20), (256, 1))],
)
def test_size(tmp_path: Path, workspace: Workspace, size: tuple[int, int], expected: tuple[int, int]) -> None:
    for ending in ("jpg", "png"):
        Image.new("RGB", size, (9, 200, 9)).save(tmp_path / f"a.{ending}")
        shown = Image.open(thumbnail(tmp_path / f"a.{ending}", workspace))
        assert shown.size == expected and shown.format == "WEBP" and SIDE == 256


def test_a_jpeg_decoded_in_part_looks_like_one_decoded_in_full(tmp_path: Path, workspace: Workspace) -> None:
    image = photo((1500, 1100), random.Random(2))
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    assert (
        np.abs(pixels(thumbnail(tmp_path / "a.jpg", workspace)) - pixels(thumbnail(tmp_path / "a.png", workspace))).mean() < 2.5
    )


def test_transparency_lies_on_neutral_ground(tmp_path: Path, workspace: Workspace) -> None:
    Image.new("RGBA", (20, 20), (255, 255, 255, 0)).save(tmp_path / "a.png")
    assert np.abs(pixels(thumbnail(tmp_path / "a.png", workspace)) - GROUND).max() <= 2


def test_it_is_made_once_for_each_content(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 20), (250, 0, 0)).save(path)
    first = thumbnail(path, workspace)
    first.write_bytes(b"the same file")
    (tmp_path / "link").symlink_to(tmp_path)
    assert thumbnail(tmp_path / "link" / "a.png", workspace) == first and first.read_bytes() == b"the same file"
    Image.new("RGB", (20, 20), (0, 0, 250)).save(path)
    os.utime(path, ns=(1, 1))
    second = thumbnail(path, workspace)
    assert second != first and pixels(second)[5, 5, 2] > 200
    assert [file for file in workspace.cache.rglob("*") if file.is_file()] == [second]


def test_a_picture_that_cannot_be_read_raises_its_error(tmp_path: Path, workspace: Workspace) -> None:
    paths = make_nasty(tmp_path / "set")
    for name in sorted(REFUSED_BY_HEADER | {"truncated"}):
        with pytest.raises(DatasetError) as caught:
            thumbnail(paths[name], workspace)
        assert caught.value.code == ("picture.too_large" if name == "bomb" else "picture.unreadable"), name
    with pytest.raises(DatasetError):
        thumbnail(tmp_path / "gone.png", workspace)
    assert not [file for file in workspace.cache.rglob("*") if file.is_file()]


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.new("L", (4000, 4000), number).save(paths[-1], compress_level=1)
    now, most = [], []
    decode = thumbnails.decode_picture

    def watched(*given, **named) -> Image.Image:
        now.append(1)
        most.append(len(now))
        try:
            return decode(*given, **named)
        finally:
            now.pop()

    monkeypatch.setattr(thumbnails, "decode_picture", watched)
    threads = [threading.Thread(target=thumbnail, args=(path, workspace)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_all_are_made_and_those_that_cannot_be_are_named(tmp_path: Path, workspace: Workspace) -> None:
    paths = make_nasty(tmp_path / "set")
    paths |= {name: tmp_path / "set" / f"{name}.png" for name in ("日本語 絵文字🎨", "-dash", "100%20%s", 'it\'s "quoted"')}
    for path in list(paths.values())[-4:]:
        Image.new("RGB", (300, 300)).save(path)
    thumbnail(paths["-dash"], workspace)
    seen: list[tuple[int, int]] = []
    problems = make_thumbnails(list(paths.values()), workspace, lambda done, total: seen.append((done, total)))
    assert set(problems) == {paths[name] for name in REFUSED_BY_HEADER | {"truncated"}}
    assert problems[paths["bomb"]].code == "picture.too_large" and "empty" in problems[paths["empty"]].what
    made = {file.name for file in (workspace.cache / "thumbnails").rglob("*") if file.is_file()}
    assert made == {thumbnail(paths[name], workspace).name for name in paths if paths[name] not in problems}
    assert len(made) == len(READABLE) + 4
    assert seen[0] == (1, len(paths)) and seen[-1] == (len(paths), len(paths)) and seen == sorted(seen)
    assert make_thumbnails([], workspace, lambda done, total: seen.append((done, total))) == {} and seen[-1] == (0, 0)


def test_it_stops_at_once_and_leaves_no_half_files(tmp_path: Path, workspace: Workspace) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(200)]
    photo((1024, 768), random.Random(1)).save(paths[0])
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    asked = 0.0

    def stop(done: int, total: int) -> None:
        nonlocal asked
        if done >= 5:
            asked = time.monotonic()
            raise Interrupted("job.interrupted", "Enough.")

    with pytest.raises(Interrupted):
        make_thumbnails(paths, workspace, stop)
    assert time.monotonic() - asked < 1.5
    made = [file for file in workspace.cache.rglob("*") if file.is_file()]
    assert 5 <= len(made) < 20 and all(pixels(file).shape == (192, 256, 3) for file in made)


KILLED = """
import os, sys
from pathlib import Path
from engine.datasets import thumbnails
from engine.workspace import Workspace

def crash(path, cache):
    if path.name == "b.png":
        os.abort()
    return place(path, cache)

place, thumbnails._thumbnail = thumbnails._thumbnail, crash
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    problems = thumbnails.make_thumbnails([folder / name for name in ("a.png", "b.png", "c.png")], Workspace(folder), lambda *_: None)
    print([(path.name, problem.code) for path, problem in problems.items()], len(list(folder.rglob("*.webp"))))
"""


def test_a_decoder_that_crashes_costs_its_own_picture_only(tmp_path: Path) -> None:
    for name in "abc":
        Image.new("RGB", (20, 20)).save(tmp_path / f"{name}.png")
    (tmp_path / "work.py").write_text(KILLED, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, tmp_path / "work.py", tmp_path], env=environment, capture_output=True, text=True, timeout=60
    )
    assert told.stdout.strip() == "[('b.png', 'picture.unreadable')] 2", told.stderr


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "a.png").write_bytes(png_header(60_000, 60_000))
    began = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        thumbnail(tmp_path / "a.png", workspace)
    assert caught.value.code == "picture.too_large" and time.monotonic() - began < 1
