"""The measures tell apart what the drawn, labelled set says, no worse than their docstrings state."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from engine.datasets.doctor.bars import inner_box
from engine.datasets.doctor.blur import MAX_BLUR, edge_blur
from engine.datasets.doctor.likeness import BITS, MAX_DISTANCE, groups_alike, likeness_hash
from engine.datasets.doctor.writing import MAX_TEXT, text_share
from engine.workspace import SHIPPED_DATASETS
from tests.support import labelled

SIZES = ((640, 400), (512, 512), (420, 600), (300, 300))
EACH = 4


def drawn(kind: str) -> list[Image.Image]:
    draw = {**labelled.BORDERED, **labelled.NOT_BORDERED}[kind]
    return [draw(SIZES[i % 4], random.Random(f"{kind}{i}")) for i in range(EACH)]


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[Image.Image]]:
    return {kind: drawn(kind) for kind in {**labelled.BORDERED, **labelled.NOT_BORDERED}}


def grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"))


def out_of_focus(picture: Image.Image, sigma: float, noise: float = 0.0) -> Image.Image:
    """Blurred by `sigma` px of a 512 px square."""
    soft = picture.filter(ImageFilter.GaussianBlur(sigma * (picture.width * picture.height) ** 0.5 / 512))
    grain = np.random.default_rng(0).normal(0, noise, (soft.height, soft.width, 1))
    return Image.fromarray((np.asarray(soft, np.float32) + grain).clip(0, 255).astype(np.uint8))


def count(pictures: dict[str, list[Image.Image]], kinds: object, judge: Callable[[Image.Image], bool]) -> int:
    return sum(judge(picture) for kind in kinds for picture in pictures[kind])  # type: ignore[attr-defined]


# ---- blur ----


def is_blurred(picture: Image.Image) -> bool:
    return edge_blur(grey(picture)) > MAX_BLUR


def test_sharp_and_blurred_pictures_are_told_apart(pictures) -> None:
    of = EACH * len(labelled.SHARP)
    assert count(pictures, labelled.SHARP, is_blurred) <= of * 0.05
    assert count(pictures, labelled.SHARP, lambda picture: is_blurred(out_of_focus(picture, 4))) >= of * 0.95
    assert count(pictures, labelled.SHARP, lambda picture: is_blurred(out_of_focus(picture, 4, noise=3))) >= of * 0.95
    assert count(pictures, labelled.NOTHING_TO_FOCUS, is_blurred) == 0


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_the_blur_of_a_step_is_measured_whatever_its_contrast(sigma: float) -> None:
    def step(contrast: int) -> np.ndarray:
        plain = np.where(np.arange(512) < 256, 20, 20 + contrast).astype(np.uint8)[None].repeat(512, 0)
        return grey(Image.fromarray(plain).filter(ImageFilter.GaussianBlur(sigma)))

    assert edge_blur(step(30)) == pytest.approx(edge_blur(step(200)), rel=0.1)
    assert edge_blur(step(200)) == pytest.approx(sigma, rel=0.25)


def test_the_same_blur_is_the_same_at_any_size(pictures) -> None:
    soft = out_of_focus(pictures["shapes"][1], 4)
    assert edge_blur(grey(soft.resize((300, 300), Image.Resampling.LANCZOS))) == pytest.approx(edge_blur(grey(soft)), rel=0.2)


# ---- bars ----


def test_bars_are_found_and_nothing_else_is_taken_for_bars(pictures) -> None:
    assert count(pictures, labelled.BORDERED, lambda picture: inner_box(np.asarray(picture)) is not None) == EACH * len(
        labelled.BORDERED
    )
    wrong = {kind: sum(inner_box(np.asarray(each)) is not None for each in pictures[kind]) for kind in labelled.NOT_BORDERED}
    assert sum(wrong.values()) == 0, wrong


def test_the_box_is_what_lies_between_the_bars() -> None:
    picture = Image.new("RGB", (400, 300))
    picture.paste(labelled.foliage((400, 200), random.Random(1)), (0, 60))
    box = inner_box(np.asarray(picture))
    assert box is not None and [box[0] * 400, box[1] * 300, box[2] * 400, box[3] * 300] == pytest.approx([0, 60, 400, 260], abs=1)


def test_what_is_all_bar_has_none() -> None:
    for size in ((1, 1), (5, 400), (64, 64)):
        assert inner_box(np.asarray(Image.new("RGB", size, (9, 9, 9)))) is None


# ---- text ----


def test_text_heavy_pictures_are_found_and_patterns_are_not(pictures) -> None:
    def heavy(picture: Image.Image) -> bool:
        return text_share(grey(picture)) > MAX_TEXT

    assert count(pictures, labelled.TEXT, heavy) >= EACH * len(labelled.TEXT) * 0.95
    wrong = {kind: sum(map(heavy, pictures[kind])) for kind in labelled.NO_TEXT}
    assert sum(wrong.values()) <= EACH * len(labelled.NO_TEXT) * 0.02, wrong


def test_more_text_covers_more() -> None:
    picture, shares = labelled.page((512, 512), random.Random(2)), []
    for lines in (0, 128, 256, 512):
        part = Image.new("RGB", (512, 512), picture.getpixel((0, 0)))
        part.paste(picture.crop((0, 0, 512, lines)), (0, 0))
        shares.append(text_share(grey(part)))
    assert shares[0] == 0 and shares == sorted(shares) and shares[3] > 3 * shares[1]


# ---- likeness ----


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def same_again(picture: Image.Image) -> list[Image.Image]:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=40)
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    return [Image.open(stream), half, ImageEnhance.Brightness(picture).enhance(1.12), picture.convert("L")]


def test_the_same_picture_is_near_and_another_is_not(pictures) -> None:
    worlds = {kind: pictures[kind] for kind in labelled.SHARP}
    worlds["mascot"] = [Image.open(file).convert("RGB") for file in sorted((SHIPPED_DATASETS / "mascot").rglob("*.png"))]
    for kind, world in worlds.items():
        hashes = [likeness_hash(picture) for picture in world]
        again = [
            distance(code, likeness_hash(same))
            for code, picture in zip(hashes, world, strict=True)
            for same in same_again(picture)
        ]
        apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
        assert max(again) <= MAX_DISTANCE < min(apart), kind


def test_groups_are_those_near_their_first() -> None:
    def code(bits: int) -> str:
        return f"{(1 << bits) - 1:064x}"

    chain = [code(0), code(MAX_DISTANCE), code(2 * MAX_DISTANCE), code(BITS), code(BITS - 3)]
    assert groups_alike(chain) == [[0, 1], [3, 4]]
    assert groups_alike([]) == groups_alike([code(5)]) == []


def test_groups_agree_with_comparing_each_with_each() -> None:
    rng = random.Random(3)
    base = [rng.getrandbits(BITS) for _ in range(30)]
    codes = [rng.choice(base) ^ sum(1 << rng.randrange(BITS) for _ in range(rng.randrange(16))) for _ in range(150)]
    expected, free = [], set(range(150))
    for first in range(150):
        group = (
            [i for i in sorted(free) if i >= first and (codes[i] ^ codes[first]).bit_count() <= MAX_DISTANCE]
            if first in free
            else []
        )
        free -= set(group)
        expected += [group] if len(group) > 1 else []
    assert len(expected) > 20 and groups_alike([f"{code:064x}" for code in codes]) == expected
