"""Masks as the page paints them and training reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.datasets.journal import Journal
from engine.datasets.masks import mask_file, read_mask, save_mask
from engine.errors import DatasetError, PathError
from tests.support.pictures import png_header, save_turned, signpost


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "20_robot").mkdir()
    signpost().save(tmp_path / "20_robot" / "a.jpg")
    return tmp_path


NAME = "20_robot/a.jpg"


@pytest.fixture
def painted() -> Image.Image:
    return Image.fromarray(np.linspace(0, 255, 120 * 80).astype(np.uint8).reshape(80, 120))


def test_without_a_mask_everything_is_learnt(dataset: Path) -> None:
    mask = read_mask(dataset, NAME, (120, 80))
    assert (mask.mode, mask.size, mask.getextrema()) == ("L", (120, 80), (255, 255))


def test_what_was_painted_is_read_to_the_value(dataset: Path, painted: Image.Image) -> None:
    save_mask(Journal(dataset), NAME, png(painted))
    assert mask_file(dataset, NAME) == dataset / "_masks" / "20_robot" / "a.png"
    assert Image.open(mask_file(dataset, NAME)).mode == "L"
    assert np.array_equal(read_mask(dataset, NAME, (120, 80)), painted)


def test_a_painters_colours_become_grey_and_its_holes_are_learnt(dataset: Path, painted: Image.Image) -> None:
    canvas = painted.convert("RGBA")
    canvas.paste((0, 0, 0, 0), (0, 0, 60, 80))
    save_mask(Journal(dataset), NAME, png(canvas))
    mask = np.asarray(read_mask(dataset, NAME, (120, 80)))
    assert (mask[:, :60] == 255).all() and np.array_equal(mask[:, 60:], np.asarray(painted)[:, 60:])


def test_a_deep_mask_is_scaled_not_cut_off(dataset: Path, painted: Image.Image) -> None:
    save_mask(Journal(dataset), NAME, png(Image.fromarray(np.asarray(painted).astype(np.uint16) * 257)))
    assert np.array_equal(read_mask(dataset, NAME, (120, 80)), painted)


def test_white_everywhere_needs_no_file_and_all_of_it_can_be_undone(dataset: Path, painted: Image.Image) -> None:
    journal = Journal(dataset)
    white = png(Image.new("L", (120, 80), 255))
    assert save_mask(journal, NAME, white) is None and save_mask(journal, NAME, None) is None
    assert journal.state()["position"] == 0
    for gone in (white, None):
        save_mask(journal, NAME, png(painted))
        kept = mask_file(dataset, NAME).read_bytes()
        assert save_mask(journal, NAME, png(painted)) is None
        save_mask(journal, NAME, gone)
        assert not mask_file(dataset, NAME).exists()
        journal.undo()
        assert mask_file(dataset, NAME).read_bytes() == kept
        journal.undo()
        assert not (dataset / "_masks").exists()


def test_the_size_is_that_of_the_upright_picture(dataset: Path, painted: Image.Image) -> None:
    save_turned(signpost(), dataset / "turned.jpg", 6)
    save_mask(Journal(dataset), "turned.jpg", png(painted))
    with pytest.raises(DatasetError) as caught:
        save_mask(Journal(dataset), "turned.jpg", png(painted.transpose(Image.Transpose.ROTATE_90)))
    assert caught.value.code == "mask.size"
    assert (caught.value.values["mask"], caught.value.values["picture"]) == ("80x120", "120x80")


def test_a_mask_of_another_size_is_refused_with_both(dataset: Path, painted: Image.Image) -> None:
    save_mask(Journal(dataset), NAME, png(painted))
    with pytest.raises(DatasetError, match=r"120x80.*64x64"):
        read_mask(dataset, NAME, (64, 64))


def test_a_camera_mark_cannot_turn_a_mask(dataset: Path, painted: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    painted.save(stream, "PNG", exif=exif)
    with pytest.raises(DatasetError) as caught:
        save_mask(Journal(dataset), NAME, stream.getvalue())
    assert caught.value.code == "mask.size"


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(50), b"<svg onload=alert(1)>", png_header(120, 80)[:40], b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_png_is_refused(dataset: Path, data: bytes) -> None:
    with pytest.raises(DatasetError) as caught:
        save_mask(Journal(dataset), NAME, data)
    assert caught.value.code == "mask.unreadable"
    assert not (dataset / "_masks").exists()


def test_a_bomb_is_refused_by_its_size(dataset: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        save_mask(Journal(dataset), NAME, png_header(100_000, 100_000))
    assert caught.value.code == "mask.size"


def test_nothing_is_written_outside(dataset: Path, painted: Image.Image) -> None:
    for name in ("../a.jpg", "/etc/a.jpg", "20_robot/../../a.jpg"):
        with pytest.raises(PathError):
            save_mask(Journal(dataset), name, png(painted))
        with pytest.raises(PathError):
            mask_file(dataset, name)
