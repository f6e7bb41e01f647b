"""What a picture keeps when it is cut, turned or converted."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from engine.datasets.alter import convert, rotate
from engine.datasets.decode import load_picture
from engine.datasets.journal import Journal
from tests.support.pictures import photo, signpost

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 120 * 80).astype(np.uint16).reshape(80, 120))


def see_through() -> Image.Image:
    image = signpost().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((120, 80)))
    return image


def palette() -> Image.Image:
    return signpost().quantize(8)


KEPT = {
    "deep.png": deep(), "deep.tiff": deep(), "alpha.png": see_through(), "alpha.webp": see_through(), "alpha.tiff": see_through(),
    "grey.png": signpost().convert("L"), "bilevel.png": signpost().convert("1"), "palette.png": palette(), "palette.gif": palette(),
    "cmyk.tiff": signpost().convert("CMYK"), "grey alpha.png": see_through().convert("LA"), "plain.bmp": signpost(),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_what_is_stored_without_loss_is_turned_without_loss(tmp_path: Path, name: str) -> None:
    KEPT[name].save(tmp_path / name, **({"lossless": True, "exact": True} if name.endswith("webp") else {}))
    before = Image.open(tmp_path / name)
    before.load()
    for _ in range(4):
        rotate(Journal(tmp_path), name, 90)
    after = Image.open(tmp_path / name)
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert np.array_equal(np.asarray(after.convert(None)), np.asarray(before.convert(None)))


@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "RGB"), ("a.webp", "RGB"), ("a.avif", "RGB"), ("cmyk.jpg", "CMYK"), ("grey.jpg", "L")]
)
def test_what_is_stored_with_loss_stays_near(tmp_path: Path, name: str, mode: str) -> None:
    picture = photo((160, 120), random.Random(0))
    picture.convert(mode).save(tmp_path / name, quality=90)
    before = load_picture(tmp_path / name)
    rotate(Journal(tmp_path), name, 180)
    after = Image.open(tmp_path / name)
    assert after.mode == mode and after.format == Image.open(tmp_path / "_originals" / name).format
    turned = load_picture(tmp_path / name).transpose(Image.Transpose.ROTATE_180)
    assert np.abs(np.asarray(turned, np.float32) - np.asarray(before, np.float32)).mean() < 2


def test_webp_keeps_its_kind(tmp_path: Path) -> None:
    picture = photo((160, 120), random.Random(0)).convert("RGBA")
    picture.putpixel((0, 0), (1, 2, 3, 128))
    for name, options in {"exact.webp": {"lossless": True}, "lossy.webp": {"quality": 80}}.items():
        picture.save(tmp_path / name, **options)
        rotate(Journal(tmp_path), name, 90)
        assert (b"VP8L" in (tmp_path / name).read_bytes()) == (name == "exact.webp")
        assert Image.open(tmp_path / name).mode == "RGBA"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_the_colour_profile_is_kept(tmp_path: Path, name: str) -> None:
    signpost().save(tmp_path / name, icc_profile=PROFILE)
    rotate(Journal(tmp_path), name, 90)
    assert Image.open(tmp_path / name).info["icc_profile"] == PROFILE


def test_what_the_camera_wrote_is_kept_but_for_the_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    for name in ("a.jpg", "a.png", "a.webp"):
        signpost().save(tmp_path / name, exif=exif)
        rotate(Journal(tmp_path), name, 90)
        after = Image.open(tmp_path / name)
        assert dict(after.getexif()) == {0x010F: "Maker"} and after.size == (120, 80)


@pytest.mark.parametrize(
    "source", ["deep.png", "alpha.png", "palette.gif", "cmyk.tiff", "grey.png", "bilevel.png", "grey alpha.png"]
)
@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_a_converted_picture_looks_the_same(tmp_path: Path, source: str, extension: str) -> None:
    KEPT[source].save(tmp_path / source)
    before = load_picture(tmp_path / source)
    if source.endswith(extension):
        return
    name = convert(Journal(tmp_path), source, extension).name
    assert Image.open(tmp_path / name).format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[extension]
    difference = np.abs(np.asarray(load_picture(tmp_path / name), np.int16) - np.asarray(before, np.int16))
    assert difference.mean() < 2 if extension == "jpg" else difference.max() <= 1
    if extension != "jpg" and "alpha" in source:
        assert Image.open(tmp_path / name).has_transparency_data


def test_depth_is_kept_where_the_format_has_it(tmp_path: Path) -> None:
    deep().save(tmp_path / "deep.tiff")
    convert(Journal(tmp_path), "deep.tiff", "png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "deep.png")), np.asarray(deep()))
