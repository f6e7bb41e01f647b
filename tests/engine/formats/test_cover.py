"""Covers stay small, and only pictures are taken for covers."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import AdapterError, DatasetError
from engine.formats.cover import MAX_BYTES, SIDE, is_cover, make_cover


def picture_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize(("size", "expected"), [((1024, 256), (512, 128)), ((90, 60), (90, 60))])
def test_a_cover_is_a_small_jpeg(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGBA", size, (200, 30, 30, 128)).save(tmp_path / "a.png")
    url = make_cover(tmp_path / "a.png")
    assert is_cover(url) and url.startswith("data:image/jpeg;base64,")
    assert picture_of(url).size == expected


def test_noise_is_pressed_below_the_bound(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(SIDE * SIDE * 3)
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(tmp_path / "a.png")
    url = make_cover(tmp_path / "a.png")
    assert len(base64.b64decode(url.partition(",")[2])) <= MAX_BYTES


def test_what_cannot_be_pressed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.formats.cover.MAX_BYTES", 100)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    with pytest.raises(AdapterError) as caught:
        make_cover(tmp_path / "a.png")
    assert caught.value.code == "adapter.cover_too_large"


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(DatasetError):
        make_cover(tmp_path / "a.png")


@pytest.mark.parametrize(
    "text",
    [
        "", "https://example.org/a.png", "data:image/svg+xml;base64,AAAA", "data:text/html;base64,AAAA", "data:image/png;base64,AA\" x=",
        "javascript:alert(1)", "data:image/png;base64,AAAA\n", "data:image/png;base64," + "A" * 2**21,
    ],
)  # fmt: skip
def test_what_is_no_cover(text: str) -> None:
    assert not is_cover(text)
