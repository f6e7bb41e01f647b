"""One picture of a grid: every cell at its place, labels that fit, and whatever is missing left white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.formats.infotext import parse_infotext, png_bytes, read_infotext_from_image
from engine.grid.plan import Line, Place
from engine.grid.record import GridRecord, MadeCell, read_record, save_record
from engine.grid.sheet import MOST_LINES, SMALLEST, draw_sheet, grid_infotext, wrap
from engine.jobs.generating import ResultPicture

NONE = Line("none", "", ("",))


def picture(folder: Path, colour: tuple[int, int, int], size: tuple[int, int] = (64, 64), prompt: str = "a cat") -> ResultPicture:
    file = folder / f"{'-'.join(map(str, (*colour, *size)))}.png"
    infotext = f"{prompt}\nSteps: 3, Seed: 1, CFG scale: 7"
    file.write_bytes(png_bytes(Image.new("RGB", size, colour), infotext))
    return ResultPicture(file, 1, infotext, False, [], [])


def record(folder: Path, x: Line = NONE, y: Line = NONE, z: Line = NONE, prompts: tuple[str, ...] = ("a cat",)) -> GridRecord:
    return GridRecord(folder, prompts, {"x": x, "y": y, "z": z}, 1)


def drawn(grid: GridRecord) -> np.ndarray:
    sheet = draw_sheet(grid)
    assert sheet == grid.sheet and sheet
    with Image.open(sheet) as image:
        return np.asarray(image)


def boxes(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a colour."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_cells_stand_in_rows_columns_and_blocks(tmp_path: Path) -> None:
    grid = record(
        tmp_path, Line("strength", "0, 1", ("without LoRA", "0", "1"), base=True), Line("seed", "1, 2", ("1", "2")),
        Line("sampler", "DDIM", ("DDIM", "Euler")),
    )  # fmt: skip
    colours = {Place(0, z, y, x): (200 - 90 * z, 40 + 80 * y, 20 + 60 * x) for z in (0, 1) for y in (0, 1) for x in (0, 1, 2)}
    grid.cells = [MadeCell((place,), (picture(tmp_path, colour),)) for place, colour in colours.items()]
    pixels = drawn(grid)
    found = {place: boxes(pixels, colour) for place, colour in colours.items()}
    for place, (left, top, right, bottom) in found.items():
        assert right - left == bottom - top == SMALLEST, "64 px are enlarged threefold"
        for other, (its_left, its_top, _, its_bottom) in found.items():
            assert (place.x < other.x) <= (right <= its_left)
            assert ((place.z, place.y) < (other.z, other.y)) <= (bottom <= its_top)
            assert (place.x == other.x) == (left == its_left)
            assert ((place.z, place.y) == (other.z, other.y)) == ((top, bottom) == (its_top, its_bottom))


def test_what_is_missing_is_white_and_an_empty_block_is_left_out(tmp_path: Path) -> None:
    grid = record(tmp_path, Line("seed", "1-2", ("1", "2")), z=Line("steps", "1-2", ("1", "2")))
    assert draw_sheet(grid) is None and grid.sheet is None
    grid.cells = [MadeCell((Place(0, 0, 0, 1),), (picture(tmp_path, (9, 9, 200)),)), MadeCell((Place(0, 0, 0, 0),), (), {})]
    pixels = drawn(grid)
    left, _, _, bottom = boxes(pixels, (9, 9, 200))
    assert left > SMALLEST and bottom > pixels.shape[0] - SMALLEST // 2, "one row of one block"
    gone = picture(tmp_path, (1, 1, 1))
    gone.file.unlink()
    grid.cells.append(MadeCell((Place(0, 1, 0, 0),), (gone,)))
    assert drawn(grid).shape == pixels.shape


def test_several_pictures_and_sizes_share_their_cells(tmp_path: Path) -> None:
    grid = record(tmp_path, Line("model", "a, b", ("a", "b")))
    three = tuple(picture(tmp_path, (50 * i, 9, 9), (256, 128)) for i in (1, 2, 3))
    grid.cells = [
        MadeCell((Place(0, 0, 0, 0),), three),
        MadeCell((Place(0, 0, 0, 1),), (picture(tmp_path, (7, 7, 99), (64, 64)),)),
    ]
    pixels = drawn(grid)
    (left, top, right, bottom), second, third = (boxes(pixels, (50 * i, 9, 9)) for i in (1, 2, 3))
    assert (right - left, bottom - top) == (256, 128) and second[0] == right and third[:2] == (left, bottom)
    assert np.subtract(boxes(pixels, (7, 7, 99))[2:], boxes(pixels, (7, 7, 99))[:2]).tolist() == [256, 256]


def test_a_large_grid_is_made_of_smaller_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.grid.sheet.MOST_PIXELS", 200_000)
    grid = record(tmp_path, Line("seed", "1-4", tuple("1234")))
    grid.cells = [MadeCell((Place(0, 0, 0, x),), (picture(tmp_path, (9, 9, 50 * x), (512, 512)),)) for x in range(4)]
    pixels = drawn(grid)
    assert pixels.shape[0] * pixels.shape[1] < 400_000 and boxes(pixels, (9, 9, 150))


@pytest.mark.parametrize(
    "label",
    [
        "0.5",
        "a very long prompt, " * 20,
        "word" * 40,
        "赤い猫が座っている、" * 12,
        "LoRA epoch: epoch 12 / step 1200",
        "two\nlines",
        "",
        "💡",
    ],
)
def test_labels_are_wrapped_to_their_room(label: str) -> None:
    text = wrap(label, 16, 150)
    assert len(text.lines) <= MOST_LINES and all(text.font.getlength(line) <= 165 for line in text.lines)
    if len(text.lines) < MOST_LINES:
        assert "".join(text.lines).replace(" ", "") == label.replace(" ", "").replace("\n", "")


def test_the_recipe_is_that_of_a_picture_with_the_axes(tmp_path: Path) -> None:
    lines = Line("strength", "", ("without LoRA", "0", "0.5"), base=True), Line("prompt", 'cat, "big, dog"', ("cat", "big, dog"))
    grid = record(tmp_path, *lines)
    grid.cells = [
        MadeCell((Place(0, 0, 0, 0),), (picture(tmp_path, (1, 1, 1), prompt="a base"),)),
        MadeCell((Place(0, 0, 0, 1),), (picture(tmp_path, (2, 2, 2), prompt="a cat"),)),
    ]
    prompt, _, told = parse_infotext(grid_infotext(grid))
    assert prompt == "a cat" and told["CFG scale"] == "7" and told["Script"] == "X/Y/Z plot"
    assert (told["X Type"], told["X Values"]) == ("LoRA strength", "0, 0.5")
    assert (told["Y Type"], told["Y Values"]) == ("Prompt S/R", 'cat, "big, dog"') and "Z Type" not in told
    drawn(grid)
    assert read_infotext_from_image(tmp_path / "sheet.png") == grid_infotext(grid)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    grid = record(tmp_path, Line("seed", "1-2", ("1", "2")), prompts=('猫 \\ "x"', "b"))
    grid.cells = [
        MadeCell((Place(0, 0, 0, 0), Place(1, 0, 0, 0)), (picture(tmp_path, (1, 1, 1)),)), MadeCell((Place(0, 0, 0, 1),), (), {"code": "x"})
    ]  # fmt: skip
    save_record(grid)
    assert read_record(tmp_path) == grid
