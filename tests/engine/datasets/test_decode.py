from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from PIL import Image

from engine.datasets import decode
from engine.datasets.buckets import assign, bucket_list
from engine.datasets.decode import decode_picture, fit, load_picture, picture_header, picture_size, to_array
from engine.errors import DatasetError
from tests.support.pictures import READABLE, REFUSED_BY_HEADER, make_nasty, photo, png_header, save_turned, signpost


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    return make_nasty(tmp_path_factory.mktemp("nasty"))


def difference(image: Image.Image, reference: Image.Image) -> int:
    """Largest difference of any value, of 255."""
    assert image.size == reference.size and image.mode == reference.mode == "RGB"
    return int(np.abs(np.asarray(image, np.int16) - np.asarray(reference, np.int16)).max())


@pytest.mark.parametrize("name", sorted(READABLE))
def test_every_colour_mode_becomes_plain_rgb_of_the_size_in_the_header(nasty, name):
    image = load_picture(nasty[name])
    assert image.mode == "RGB"
    assert image.size == picture_size(nasty[name])


@pytest.mark.parametrize("name", sorted(REFUSED_BY_HEADER | {"truncated"}))
def test_broken_files_are_refused_with_their_name_and_reason(nasty, name):
    with pytest.raises(DatasetError) as caught:
        load_picture(nasty[name])
    assert caught.value.code == ("picture.too_large" if name == "bomb" else "picture.unreadable")
    assert nasty[name].name in caught.value.what
    if name in REFUSED_BY_HEADER:
        with pytest.raises(DatasetError):
            picture_size(nasty[name])


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path, extension, orientation):
    path = save_turned(signpost(), tmp_path / f"turned.{extension}", orientation)
    assert picture_size(path) == (120, 80)
    image = load_picture(path)
    assert image.size == (120, 80)
    for point in ((20, 15), (100, 15), (20, 65), (100, 65)):  # away from the edges, where lossy formats smear
        assert (
            difference(image.crop((*point, point[0] + 1, point[1] + 1)), signpost().crop((*point, point[0] + 1, point[1] + 1)))
            <= 12
        )


def test_the_eight_orientations_give_identical_pixels(tmp_path):
    upright = [load_picture(save_turned(signpost(), tmp_path / f"{i}.png", i)).tobytes() for i in range(1, 9)]
    assert len(set(upright)) == 1


def test_a_png_header_is_read_without_decoding(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(png_header(9000, 9000)[:-24])
    assert picture_size(path) == (9000, 9000)


def test_cmyk_and_16_bit_keep_their_colours(nasty):
    # JPEG itself costs a few levels: the reference is the same file's inks turned into light by hand
    ink = np.asarray(Image.open(nasty["cmyk"]), np.float64) / 255
    light = np.rint(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])).astype(np.uint8)
    assert difference(load_picture(nasty["cmyk"]), Image.fromarray(light)) <= 2
    ramp = np.linspace(0, 255, 120 * 80).reshape(80, 120)
    assert np.abs(np.asarray(load_picture(nasty["deep"]))[..., 0] - ramp).max() <= 2


def test_transparency_is_laid_on_the_background(nasty):
    assert load_picture(nasty["transparent"]).getpixel((5, 5)) == (255, 255, 255)
    assert load_picture(nasty["transparent"], background=(0, 10, 20)).getpixel((5, 5)) == (0, 10, 20)
    palette = load_picture(nasty["palette"], background=(0, 10, 20))
    assert palette.getpixel((5, 5)) == (0, 0, 255)
    assert palette.getpixel((35, 5)) == (0, 10, 20)


@pytest.mark.parametrize("name", ["gif", "animated_webp", "apng"])
def test_an_animation_gives_its_first_frame(nasty, name):
    assert load_picture(nasty[name]).getpixel((5, 5)) == (255, 0, 0)


def test_two_colour_pictures_are_black_and_white(nasty):
    assert set(np.unique(np.asarray(load_picture(nasty["bilevel"])))) == {0, 255}


def test_colours_follow_an_embedded_profile(tmp_path):
    # a grey profile of gamma 1: linear light 0.5 is sRGB 188; the same file without it stays 128
    path = tmp_path / "linear.png"
    Image.new("L", (8, 8), 128).save(path, icc_profile=linear_grey_profile())
    assert np.abs(np.asarray(load_picture(path), np.int16) - 188).max() <= 2
    signpost().save(path, icc_profile=linear_grey_profile())  # of another colour space: passed over
    assert difference(load_picture(path), signpost()) == 0


def linear_grey_profile() -> bytes:
    """The least ICC v2 profile there is: header, a white point and a tone curve of gamma 1."""
    white = struct.pack(">4sI3i", b"XYZ ", 0, *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    tags = {b"wtpt": white, b"kTRC": struct.pack(">4sII", b"curv", 0, 0)}
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s12s4s", offset + len(body), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"", b"acsp")
    return header.ljust(68, b"\0") + white[8:] + bytes(128 - 80) + table + body


def test_deep_pictures_with_unknown_white_are_refused_not_cut_off(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tiff")
    assert load_picture(tmp_path / "float.tiff").getpixel((0, 0)) == (128, 128, 128)
    Image.fromarray(np.full((8, 8), 900.0, np.float32)).save(tmp_path / "bright.tiff")
    with pytest.raises(DatasetError, match="900"):
        load_picture(tmp_path / "bright.tiff")


def test_the_pixel_cap_lies_at_its_limit_and_before_the_decoder(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 120 * 80)
    with pytest.raises(DatasetError) as caught:
        decode_picture(png_header(121, 80), "large.png")
    assert caught.value.code == "picture.too_large"
    with pytest.raises(DatasetError) as caught:  # within the cap: it is the missing pixels that stop it
        decode_picture(png_header(120, 80), "short.png")
    assert caught.value.code == "picture.unreadable"


@pytest.mark.parametrize("size", [(640, 480), (333, 977), (2000, 90), (70, 61)])
def test_fitting_is_resize_then_centre_crop(size):
    image = photo(size, random.Random(1))
    plan = assign(size, bucket_list((64, 64), 32, 128, 16))
    left, top = (plan.resized[0] - plan.bucket[0]) // 2, (plan.resized[1] - plan.bucket[1]) // 2
    reference = image.resize(plan.resized, Image.Resampling.LANCZOS).crop(
        (left, top, left + plan.bucket[0], top + plan.bucket[1])
    )
    result = fit(image, plan.resized, plan.bucket)
    assert result.size == plan.bucket
    assert difference(result, reference) <= 1
    flipped = fit(image, plan.resized, plan.bucket, flip=True)
    assert np.array_equal(np.asarray(flipped), np.asarray(result)[:, ::-1])


def test_a_picture_of_its_training_size_is_only_cropped():
    image = photo((70, 61), random.Random(2))
    assert difference(fit(image, (70, 61), (64, 48)), image.crop((3, 6, 67, 54))) == 0


def test_the_array_spans_minus_one_to_one():
    image = Image.new("RGB", (5, 3), (0, 255, 0))
    array = to_array(image)
    assert (array.shape, array.dtype) == ((3, 3, 5), np.float32)
    assert [float(array[c].min()) for c in range(3)] == [-1.0, 1.0, -1.0]


def test_the_header_tells_what_the_name_does_not(nasty, tmp_path):
    def header(name):
        return picture_header(nasty[name].read_bytes(), name)

    assert (header("wrong_extension").format, header("wrong_extension").size) == ("PNG", (120, 80))
    assert (header("cmyk").mode, header("palette").mode, header("bilevel").mode) == ("CMYK", "P", "1")
    assert {name for name in READABLE if header(name).deep} == {"deep"}
    assert {name for name in READABLE if header(name).animated} == {"gif", "animated_webp", "apng"}
    assert {name for name in READABLE if header(name).transparent} == {"palette", "transparent"}
    turned = picture_header(save_turned(signpost(), tmp_path / "turned.jpg", 6).read_bytes(), "turned.jpg")
    assert (turned.orientation, turned.size) == (6, (120, 80))


def test_a_phone_photo_with_a_preview_behind_it_is_a_jpeg(tmp_path):
    signpost().save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[signpost()])
    header = picture_header((tmp_path / "phone.jpg").read_bytes(), "phone.jpg")
    assert (header.format, header.animated) == ("JPEG", False)
