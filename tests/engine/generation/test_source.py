"""Pictures that others start from: their size, their mask, and their way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from engine.config.generate import SourceOptions
from engine.errors import ConfigError, DatasetError
from engine.families import load_model
from engine.families.base import Family
from engine.generation.pixels import to_image, to_tensor
from engine.generation.source import filled, load_source, source_size
from tests.support.tiny import tiny_sd1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_model(tiny_sd1(tmp_path_factory.mktemp("models") / "sd1"), torch.device("cpu"), torch.float32)


def noisy(size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def options(folder: Path, picture: Image.Image, box: tuple[int, int, int, int] | None = None, **more: Any) -> SourceOptions:
    """A saved picture, and a mask that is white in `box` (its right and bottom included)."""
    picture.save(folder / "picture.png")
    if box:
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).rectangle(box, 255)
        mask.save(folder / "mask.png")
        more["mask"] = str(folder / "mask.png")
    return SourceOptions(picture=str(folder / "picture.png"), **more)


def test_no_picture_is_no_source() -> None:
    assert load_source(SourceOptions(), (64, 64)) is None


def test_a_picture_of_the_right_size_is_itself(tmp_path: Path) -> None:
    for resize in ("crop", "fill", "stretch"):
        source = load_source(options(tmp_path, noisy(), resize=resize), (64, 48))
        assert source and torch.equal(source.picture, to_tensor(noisy())) and source.mask is None


def test_crop_cuts_fill_draws_out_and_stretch_bends(tmp_path: Path) -> None:
    picture = Image.new("RGB", (60, 30), "red")  # red, and its middle third green
    picture.paste("lime", (20, 0, 40, 30))
    crop, fill, stretch = (
        to_image(load_source(options(tmp_path, picture, resize=each), (40, 40)).picture) for each in ("crop", "fill", "stretch")
    )
    assert [crop.getpixel((x, 20)) for x in (1, 20, 38)] == [(255, 0, 0), (0, 255, 0), (255, 0, 0)]
    greens = [sum(image.getpixel((x, 20))[1] > 128 for x in range(40)) for image in (crop, fill, stretch)]
    assert 26 <= greens[0] <= 27 and 13 <= greens[1] <= 14 and 13 <= greens[2] <= 14
    # 40 x 20 of it lies in the middle, rows above and below are its edges again
    assert np.array_equal(np.asarray(fill)[0], np.asarray(fill)[10]) and np.array_equal(
        np.asarray(fill)[39], np.asarray(fill)[29]
    )


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)), st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["crop", "fill", "stretch"]),
)  # fmt: skip
def test_any_picture_comes_to_any_size(tmp_path_factory, own, size, resize: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    source = load_source(options(folder, Image.new("RGB", own, (9, 90, 200)), resize=resize), size)
    assert source and source.picture.shape == (3, size[1], size[0])
    assert (source.picture * 255).round().flatten(1).unique(dim=1).flatten().tolist() == [9, 90, 200]


def test_a_mask_is_white_where_the_picture_changes(tmp_path: Path) -> None:
    source = load_source(options(tmp_path, noisy(), (8, 16, 23, 31), mask_blur=0), (64, 48))
    assert source and source.mask
    expected = torch.zeros(1, 48, 64)
    expected[:, 16:32, 8:24] = 1
    assert torch.equal(source.mask.change, expected) and torch.equal(source.mask.share, expected)
    inverted = load_source(options(tmp_path, noisy(), (8, 16, 23, 31), mask_blur=0, invert_mask=True), (64, 48))
    assert inverted and inverted.mask and torch.equal(inverted.mask.change, 1 - expected)
    soft = load_source(options(tmp_path, noisy(), (8, 16, 23, 31), mask_blur=4), (64, 48))
    assert soft and soft.mask and torch.equal(soft.mask.change, expected)
    assert 0 < soft.mask.share[0, 20, 5] < soft.mask.share[0, 20, 10] < 1 and soft.mask.share[0, 0, 63] == 0


def test_what_is_transparent_in_a_mask_stays(tmp_path: Path) -> None:
    given_options = options(tmp_path, noisy(), (0, 0, 9, 9))
    mask = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    ImageDraw.Draw(mask).rectangle((8, 16, 23, 31), "white")
    mask.save(tmp_path / "mask.png")
    source = load_source(given_options, (64, 48))
    assert source and source.mask and source.mask.change.sum() == 16 * 16 and source.mask.change[0, 16, 8] == 1


@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("blur", [0, 4])
def test_what_goes_back_leaves_the_rest_as_it_was(tmp_path: Path, only_masked: bool, blur: int) -> None:
    own, size = ((200, 150), (64, 48)) if only_masked else ((64, 48), (64, 48))
    picture = noisy(own)
    source = load_source(options(tmp_path, picture, (20, 16, 31, 27), mask_blur=blur, only_masked=only_masked, padding=8), size)
    assert source and source.mask and source.picture.shape == (3, 48, 64)
    drawn = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    back = source.mask.put_back(drawn)
    assert back.shape == (2, 3, own[1], own[0])
    far = torch.ones(own[1], own[0], dtype=torch.bool)
    far[16 - 4 * blur : 28 + 4 * blur, 20 - 4 * blur : 32 + 4 * blur] = False
    assert far.any() and torch.equal(back[0][:, far], to_tensor(picture)[:, far])
    pixels, original = np.asarray(to_image(back[1])), np.asarray(picture)
    assert np.array_equal(pixels[far.numpy()], original[far.numpy()])
    assert (pixels[20:24, 24:28] != original[20:24, 24:28]).any()
    if not only_masked and not blur:
        assert torch.equal(back[..., 16:28, 20:32], drawn[..., 16:28, 20:32])


def test_only_the_surroundings_of_the_mask_are_drawn(tmp_path: Path) -> None:
    picture = noisy((200, 150))
    source = load_source(options(tmp_path, picture, (100, 60, 109, 69), only_masked=True, padding=10, mask_blur=0), (64, 48))
    assert source and source.mask
    left, top, right, bottom = source.mask.box
    assert (left, top, right, bottom) == (85, 50, 125, 80)  # 30 x 30 with its padding, wider as 64 x 48 is
    expected = to_tensor(picture.crop(source.mask.box).resize((64, 48), Image.Resampling.LANCZOS))
    assert torch.equal(source.picture, expected)
    assert source.mask.change[0, 24, 32] == 1 and source.mask.change[0, :14].sum() == 0 and source.mask.change.sum() >= 16 * 16


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_surroundings_lie_in_the_picture_and_hold_the_mask(tmp_path_factory, data: st.DataObject) -> None:
    width, height = data.draw(st.tuples(st.integers(8, 60), st.integers(8, 60)))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left, width - 1)), data.draw(st.integers(top, height - 1))
    size, padding = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60))), data.draw(st.integers(0, 40))
    picture = options(
        tmp_path_factory.mktemp("any"), noisy((width, height)), (left, top, right, bottom), only_masked=True, padding=padding
    )
    source = load_source(picture, size)
    assert source and source.mask
    x, y, x2, y2 = source.mask.box
    assert 0 <= x <= max(0, left - padding) and min(width, right + 1 + padding) <= x2 <= width
    assert 0 <= y <= max(0, top - padding) and min(height, bottom + 1 + padding) <= y2 <= height
    assert source.picture.shape == (3, size[1], size[0]) and source.mask.change.any()
    assert source.mask.put_back(source.picture[None]).shape == (1, 3, height, width)


def test_a_filled_part_is_made_of_its_surroundings() -> None:
    picture = torch.zeros(3, 37, 50)
    picture[0, :, :25], picture[2, :, 25:] = 1, 1  # red beside blue
    known = torch.ones(1, 37, 50)
    known[:, 10:20, 5:12], known[:, 10:20, 35:48] = 0, 0
    hidden = torch.where(known.bool(), picture, torch.rand(3, 37, 50))
    torch.testing.assert_close(filled(hidden, known), picture, atol=0.02, rtol=0)
    assert torch.equal(filled(hidden, torch.ones_like(known)), hidden)
    assert filled(hidden, torch.zeros_like(known)).unique().tolist() == [0.5]


def test_filled_content_forgets_what_was_there(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 48), "teal")
    picture.paste("white", (10, 10, 20, 20))
    source = load_source(options(tmp_path, picture, (8, 8, 23, 23), masked_content="fill"), (64, 48))
    assert source and source.mask
    torch.testing.assert_close(source.picture, to_tensor(Image.new("RGB", (64, 48), "teal")), atol=1e-5, rtol=0)
    assert torch.equal(source.mask.canvas, to_tensor(picture))


def test_the_size_follows_the_source(tmp_path: Path, model: Family) -> None:  # which was made for 64 x 64
    def size(own: tuple[int, int], width: int = 0, height: int = 0) -> tuple[int, int]:
        return source_size(options(tmp_path, Image.new("RGB", own)), width, height, model)

    assert size((48, 32)) == (48, 32) and size((50, 30)) == (48, 32) and size((3, 2)) == (8, 8)
    assert size((640, 640)) == (64, 64) and size((256, 64)) == (128, 32)
    assert (
        size((300, 200), width=96) == (96, 64)
        and size((300, 200), height=32) == (48, 32)
        and size((300, 200), 24, 96) == (24, 96)
    )


def test_what_is_wrong_is_said(tmp_path: Path, model: Family) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = options(tmp_path, noisy(), (0, 0, 9, 9))
    for path in (broken, tmp_path / "missing.png"):
        for ask in (
            lambda path=path: load_source(SourceOptions(picture=str(path)), (64, 64)),
            lambda path=path: source_size(SourceOptions(picture=str(path)), 0, 0, model),
        ):
            with pytest.raises(DatasetError) as caught:
                ask()
            assert caught.value.code == "picture.unreadable" and caught.value.values["field"] == "source.picture"
        with pytest.raises(DatasetError) as caught:
            load_source(good.model_copy(update={"mask": str(path)}), (64, 64))
        assert caught.value.values["field"] == "source.mask"
    Image.new("L", (64, 47), 255).save(tmp_path / "mask.png")
    with pytest.raises(ConfigError, match="64 x 47") as wrong:
        load_source(good, (64, 48))
    assert wrong.value.code == "source.mask_shape"
    for shade, inverted in ((0, False), (127, False), (255, True)):
        Image.new("L", (64, 48), shade).save(tmp_path / "mask.png")
        with pytest.raises(ConfigError) as wrong:
            load_source(good.model_copy(update={"invert_mask": inverted}), (64, 48))
        assert wrong.value.code == "source.mask_empty"
