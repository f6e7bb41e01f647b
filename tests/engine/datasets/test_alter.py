"""Altering pictures: nothing is lost, everything can be undone, and masks and captions stay with their pictures."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.datasets.alter import convert, crop, exclude, include, rotate
from engine.datasets.decode import load_picture, picture_size
from engine.datasets.journal import Journal
from engine.datasets.masks import mask_file, read_mask, save_mask
from engine.errors import DatasetError, EngineError, PathError
from tests.support.pictures import save_turned, signpost

ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from engine.datasets import steps
from engine.datasets.alter import rotate
from engine.datasets.journal import Journal

perform = steps.Tree.perform
done = []

def die(tree, step):
    perform(tree, step)
    done.append(step)
    if len(done) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

steps.Tree.perform = die
rotate(Journal(sys.argv[1]), "a.png", 90)
"""


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_history" not in path.parts
    }


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three pictures with captions, one of them in a folder and with a mask."""
    (tmp_path / "20_robot").mkdir()
    for name in ("a.png", "b.jpg", "20_robot/c.webp"):
        signpost().save(tmp_path / name, quality=95)
        (tmp_path / name).with_suffix(".txt").write_text(f"caption of {name}")
    mask = Image.new("L", (120, 80), 0)
    mask.paste(255, (0, 0, 60, 40))
    save_mask(Journal(tmp_path), "20_robot/c.webp", png(mask))
    return tmp_path


def code(call, *arguments) -> str:
    with pytest.raises(EngineError) as caught:
        call(*arguments)
    return caught.value.code


# ---- out and back ----


def test_a_picture_goes_with_all_that_belongs_to_it_and_comes_back(dataset: Path) -> None:
    journal, before = Journal(dataset), tree(dataset)
    (dataset / "a.caption").write_text("a second caption")
    before["a.caption"] = b"a second caption"
    exclude(journal, ["a.png", "20_robot/c.webp"])
    moved = {
        "_excluded/a.png": "a.png", "_excluded/a.txt": "a.txt", "_excluded/a.caption": "a.caption",
        "_excluded/20_robot/c.webp": "20_robot/c.webp", "_excluded/20_robot/c.txt": "20_robot/c.txt",
        "_masks/_excluded/20_robot/c.png": "_masks/20_robot/c.png",
    }  # fmt: skip
    assert tree(dataset) == {"b.jpg": before["b.jpg"], "b.txt": before["b.txt"]} | {
        new: before[old] for new, old in moved.items()
    }
    include(journal, ["_excluded/a.png", "_excluded/20_robot/c.webp"])
    assert tree(dataset) == before


def test_a_name_that_is_taken_by_now_gets_a_number_with_all_of_its_kind(dataset: Path) -> None:
    journal, first = Journal(dataset), (dataset / "a.png").read_bytes()
    exclude(journal, ["a.png"])
    Image.new("RGB", (64, 64)).save(dataset / "a.png")
    (dataset / "a.txt").write_text("second")
    save_mask(journal, "a.png", png(Image.new("L", (64, 64), 0)))
    second = tree(dataset)
    exclude(journal, ["a.png"])
    assert tree(dataset)["_excluded/a (2).png"] == second["a.png"]
    assert tree(dataset)["_excluded/a (2).txt"] == b"second"
    assert tree(dataset)["_masks/_excluded/a (2).png"] == second["_masks/a.png"]
    include(journal, ["_excluded/a (2).png", "_excluded/a.png"])
    assert tree(dataset)["a.png"] == first and tree(dataset)["a (2).txt"] == b"second"
    exclude(journal, ["a.png"])
    (dataset / "a.txt").write_text("a lone caption")
    include(journal, ["_excluded/a.png"])  # its own caption must not be mixed up with the lone one
    assert tree(dataset)["a (3).txt"] == b"caption of a.png" and tree(dataset)["a.txt"] == b"a lone caption"


def test_a_caption_is_not_given_to_another_picture_that_was_taken_out(dataset: Path) -> None:
    journal = Journal(dataset)
    (dataset / "_excluded").mkdir()
    signpost().save(dataset / "_excluded" / "a.jpg")
    exclude(journal, ["a.png"])
    assert {"_excluded/a (2).png", "_excluded/a (2).txt"} <= set(tree(dataset))


def test_a_caption_that_two_pictures_share_stays_with_the_one_that_stays(dataset: Path) -> None:
    signpost().save(dataset / "a.jpg")
    journal, before = Journal(dataset), tree(dataset)
    exclude(journal, ["a.jpg"])
    assert (dataset / "a.txt").exists() and not (dataset / "_excluded" / "a.txt").exists()
    include(journal, ["_excluded/a.jpg"])
    assert tree(dataset) == before
    exclude(journal, ["a.jpg", "a.png"])
    assert {"_excluded/a.jpg", "_excluded/a.png", "_excluded/a.txt"} <= set(tree(dataset))


def test_an_original_stays_with_its_picture(dataset: Path) -> None:
    journal, original = Journal(dataset), (dataset / "a.png").read_bytes()
    rotate(journal, "a.png", 90)
    exclude(journal, ["a.png"])
    Image.new("RGB", (64, 64)).save(dataset / "a.png")
    another = (dataset / "a.png").read_bytes()
    rotate(journal, "a.png", 90)
    assert tree(dataset)["_originals/_excluded/a.png"] == original
    assert tree(dataset)["_originals/a.png"] == another


def test_pictures_that_are_not_there_are_named_and_nothing_moves(dataset: Path) -> None:
    journal, before = Journal(dataset), tree(dataset)
    for name in (
        "gone.png",
        "a.txt",
        "_masks/20_robot/c.png",
        "_history/journal.jsonl",
        ".hidden.png",
        "20_robot/../a.png",
        "./a.png",
    ):
        assert code(exclude, journal, ["b.jpg", name]) == "picture.missing"
        assert code(rotate, journal, name, 90) == "picture.missing"
    assert code(include, journal, ["a.png"]) == "picture.missing"
    for name in ("../a.png", "/etc/a.png"):
        with pytest.raises((PathError, DatasetError)):
            exclude(journal, [name])
    assert exclude(journal, []) is None
    assert tree(dataset) == before


# ---- cut, turned, converted ----


@pytest.mark.parametrize(
    ("degrees", "corner"), [(90, "bottom left"), (180, "bottom right"), (270, "top right")]
)  # what comes to the top left
def test_a_turn_is_clockwise(dataset: Path, degrees: int, corner: str) -> None:
    colours = {"bottom left": (30, 30, 230), "bottom right": (220, 200, 30), "top right": (30, 200, 30)}
    rotate(Journal(dataset), "a.png", degrees)
    assert load_picture(dataset / "a.png").getpixel((10, 10)) == colours[corner]


def test_the_first_original_is_kept_whatever_comes_after(dataset: Path) -> None:
    journal, before = Journal(dataset), tree(dataset)
    crop(journal, "a.png", (0, 0, 60, 60))
    rotate(journal, "a.png", 90)
    assert convert(journal, "a.png", "jpg").name == "a.jpg"
    crop(journal, "a.jpg", (0, 0, 50, 50))
    convert(journal, "a.jpg", "webp")
    assert tree(dataset)["_originals/a.png"] == before["a.png"]
    assert [name for name in tree(dataset) if name.startswith("_originals")] == ["_originals/a.png"]
    assert tree(dataset)["a.txt"] == before["a.txt"] and "a.png" not in tree(dataset)
    for _ in range(5):
        journal.undo()
    assert tree(dataset) == before


def test_the_original_of_another_picture_of_the_stem_does_not_count(dataset: Path) -> None:
    signpost().save(dataset / "b.png")
    journal, before = Journal(dataset), tree(dataset)
    rotate(journal, "b.png", 180)
    rotate(journal, "b.jpg", 180)
    assert {name: data for name, data in tree(dataset).items() if name.startswith("_originals")} == {
        "_originals/b.png": before["b.png"],
        "_originals/b.jpg": before["b.jpg"],
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_meant_in_the_upright_picture(dataset: Path, orientation: int) -> None:
    for name in ("turned.jpg", "turned.png"):
        save_turned(signpost(), dataset / name, orientation)
        crop(Journal(dataset), name, (0, 40, 60, 80))
        image = load_picture(dataset / name)
        assert image.size == (60, 40) and abs(image.getpixel((30, 20))[2] - 230) < 12
        assert Image.open(dataset / name).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 121, 80), "outside"), ((-1, 0, 50, 50), "outside"), ((50, 0, 50, 50), "outside"), ((60, 0, 20, 50), "outside"),
        ((0, 0, 15, 80), "too_small"), ((0, 0, 120, 80), "whole"),
    ],
)  # fmt: skip
def test_boxes_that_make_no_picture(dataset: Path, box: tuple, expected: str) -> None:
    before = tree(dataset)
    assert code(crop, Journal(dataset), "a.png", box) == f"crop.{expected}"
    assert tree(dataset) == before


def test_what_cannot_be_done_is_told(dataset: Path) -> None:
    journal, before = Journal(dataset), tree(dataset)
    assert code(rotate, journal, "a.png", 45) == "rotate.degrees"
    assert code(convert, journal, "a.png", "svg") == "convert.format"
    assert code(convert, journal, "a.png", ".PNG") == "convert.same"
    assert code(convert, journal, "b.jpg", "jpg") == "convert.same"
    assert tree(dataset) == before
    signpost().save(dataset / "b.png")
    assert code(convert, journal, "b.jpg", "png") == "convert.taken"
    (dataset / "broken.png").write_bytes(b"no picture")
    assert code(rotate, journal, "broken.png", 90) == "picture.unreadable"


def test_a_picture_of_the_wrong_ending_gets_the_format_it_claims(dataset: Path) -> None:
    signpost().save(dataset / "really.jpg", format="PNG")
    assert convert(Journal(dataset), "really.jpg", "jpg").name == "really.jpg"
    assert Image.open(dataset / "really.jpg").format == "JPEG"


def test_an_animation_keeps_its_first_frame_and_says_so(dataset: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        frames[0].save(dataset / name, save_all=True, append_images=frames[1:], lossless=True)
        altered = crop(Journal(dataset), name, (0, 0, 20, 20))
        assert altered.first_frame and not crop(Journal(dataset), name, (0, 0, 16, 16)).first_frame
        assert load_picture(dataset / name).getpixel((5, 5)) == (255, 0, 0)
        assert not getattr(Image.open(dataset / name), "is_animated", False)


def test_masks_stay_on_their_pictures(dataset: Path) -> None:
    """A marker that is painted in the picture and in the mask is found at the same place in both, whatever is done."""
    rng = random.Random(3)
    for round in range(6):
        name = f"marked{round}.{('png', 'webp')[round % 2]}"
        picture, mask = Image.new("RGB", (160, 120), "white"), Image.new("L", (160, 120), 255)
        x, y = rng.randrange(50, 100), rng.randrange(40, 70)
        for image in (picture, mask):
            ImageDraw.Draw(image).polygon([(x, y), (x + 14, y + 3), (x + 6, y + 11)], fill=0)
        picture.save(dataset / name, lossless=True)
        journal = Journal(dataset)
        save_mask(journal, name, png(mask))
        states = [tree(dataset)]
        for _ in range(rng.randrange(3, 7)):
            width, height = picture_size(dataset / name)
            box = (rng.randrange(9), rng.randrange(9), width - rng.randrange(1, 9), height - rng.randrange(1, 9))
            _ = crop(journal, name, box) if rng.random() < 0.5 else rotate(journal, name, rng.choice([90, 180, 270]))
            states.append(tree(dataset))
            shown = load_picture(dataset / name).convert("L")
            assert np.array_equal(shown, read_mask(dataset, name, shown.size))
        for state in reversed(states[:-1]):
            journal.undo()
            assert tree(dataset) == state
        while journal.redo():
            pass
        assert tree(dataset) == states[-1]


def test_a_piece_that_is_learnt_everywhere_needs_no_mask(dataset: Path) -> None:
    crop(Journal(dataset), "20_robot/c.webp", (0, 0, 60, 40))
    assert not mask_file(dataset, "20_robot/c.webp").exists()


def test_a_mask_of_the_wrong_size_stops_the_cut(dataset: Path) -> None:
    (dataset / "_masks" / "a.png").write_bytes(png(Image.new("L", (7, 9))))
    before = tree(dataset)
    assert code(crop, Journal(dataset), "a.png", (0, 0, 60, 60)) == "mask.size"
    assert tree(dataset) == before


def test_any_sequence_of_operations_can_be_undone_to_the_byte_and_done_again(dataset: Path) -> None:
    journal, rng = Journal(dataset), random.Random(5)
    states = [tree(dataset)]
    while len(states) < 25:
        names = [name for name in tree(dataset) if not name.startswith(("_masks", "_originals")) and not name.endswith(".txt")]
        name = rng.choice(names)
        try:
            match rng.randrange(5):
                case 0:
                    exclude(journal, rng.sample([name for name in names if not name.startswith("_")], 1))
                case 1:
                    include(journal, rng.sample([name for name in names if name.startswith("_")], 1))
                case 2:
                    crop(journal, name, (2, 1, picture_size(dataset / name)[0] - 1, picture_size(dataset / name)[1]))
                case 3:
                    rotate(journal, name, rng.choice([90, 180, 270]))
                case 4:
                    convert(journal, name, rng.choice(["png", "jpg", "webp"]))
        except (DatasetError, ValueError):  # nothing is left to take out or bring back, or it has that format
            continue
        assert len([name for name in tree(dataset) if name.endswith(".txt")]) == 3
        states.append(tree(dataset))
    position = journal.state()["position"]
    for state in reversed(states[:-1]):
        journal.undo()
        assert tree(dataset) == state
    for state in states[1:]:
        journal.redo()
        assert tree(dataset) == state
    assert journal.state()["position"] == position


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.parametrize("after", [1, 2, 3])
def test_killed_in_the_middle_it_is_done_at_the_next_opening(dataset: Path, after: int) -> None:
    save_mask(Journal(dataset), "a.png", png(Image.linear_gradient("L").resize((120, 80))))
    before = tree(dataset)
    subprocess.run([sys.executable, "-c", KILLED, str(dataset), str(after)], cwd=ROOT)
    journal = Journal(dataset)
    assert picture_size(dataset / "a.png") == (80, 120)
    assert read_mask(dataset, "a.png", (80, 120)).getextrema() != (255, 255)
    assert tree(dataset)["_originals/a.png"] == before["a.png"]
    journal.undo()
    assert tree(dataset) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_protected_folder_is_not_altered(dataset: Path) -> None:
    dataset.chmod(0o500)
    try:
        assert code(rotate, Journal(dataset), "a.png", 90) == "dataset.read_only"
    finally:
        dataset.chmod(0o700)
