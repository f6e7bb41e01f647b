"""Infotext by AUTOMATIC1111's rules, both ways, and inside pictures."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.config.choices import PictureFormat
from engine.errors import DatasetError
from engine.formats.infotext import (
    encode_picture,
    parse_infotext,
    png_bytes,
    quote,
    read_infotext_from_image,
    unquote,
    write_infotext,
)

EXAMPLE = """a photo of sks dog, (sharp:1.2) <lora:mydog-v2:0.8>
Negative prompt: blurry
Steps: 24, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 1024x1024, Model hash: 31e35c80fc, \
Model: sd_xl_base_1.0, Lora hashes: "mydog-v2: 0a1b2c3d4e5f", Version: ours-0.1"""


def test_the_example_both_ways() -> None:
    prompt, negative, parameters = parse_infotext(EXAMPLE)
    assert (prompt, negative) == ("a photo of sks dog, (sharp:1.2) <lora:mydog-v2:0.8>", "blurry")
    assert parameters == {
        "Steps": "24",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "6.5",
        "Seed": "42",
        "Size-1": "1024",
        "Size-2": "1024",
        "Model hash": "31e35c80fc",
        "Model": "sd_xl_base_1.0",
        "Lora hashes": "mydog-v2: 0a1b2c3d4e5f",
        "Version": "ours-0.1",
    }
    written = dict(parameters)
    del written["Size-1"], written["Size-2"], written["Model hash"]
    order = ["Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "Lora hashes", "Version"]
    values = {**written, "Size": "1024x1024", "Model hash": "31e35c80fc"}
    assert write_infotext(prompt, negative, {key: values[key] for key in order}) == EXAMPLE


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b",
            {
                "Steps": "20",
                "Sampler": "Euler a",
                "CFG scale": "7",
                "Seed": "965400086",
                "Size-1": "512",
                "Size-2": "512",
                "Model hash": "45dee52b",
            },
        ),
        (
            'Steps: 20, Clip skip: 2, Lora hashes: "foo: 0123456789ab, bar: ba9876543210", '
            'TI hashes: "EasyNegative: c74b4e810b03", Version: v1.10.1',
            {
                "Steps": "20",
                "Clip skip": "2",
                "Lora hashes": "foo: 0123456789ab, bar: ba9876543210",
                "TI hashes": "EasyNegative: c74b4e810b03",
                "Version": "v1.10.1",
            },
        ),
        (r'Steps: 1, Seed: 2, Hires prompt: "a, \"b\": c\nd"', {"Steps": "1", "Seed": "2", "Hires prompt": 'a, "b": c\nd'}),
        ("Sampler: , Steps: 3, Seed: 4", {"Sampler": "", "Steps": "3", "Seed": "4"}),
        ("Steps: 3, a: b, Seed: 4, Eta: 0", {"Steps": "3", "Seed": "4", "Eta": "0"}),
        ('Steps: 3, Note: "open, Seed: 4', {"Steps": "3", "Note": '"open', "Seed": "4"}),
        ('Steps: 3, Note: "", Seed: 4', {"Steps": "3", "Note": "", "Seed": "4"}),
        ("Steps: 3, (odd) Key/one-two: x, Seed: 4", {"Steps": "3", "Key/one-two": "x", "Seed": "4"}),
    ],
)
def test_lines(line: str, expected: dict[str, str]) -> None:
    assert parse_infotext(f"a cat\n{line}") == ("a cat", "", expected)


def test_fewer_than_three_pairs_are_prompt() -> None:
    assert parse_infotext("a cat\nSteps: 20, Seed: 3") == ("a cat\nSteps: 20, Seed: 3", "", {})
    assert parse_infotext("") == ("", "", {})


def test_prompts_may_span_lines() -> None:
    text = "one\ntwo\nNegative prompt: bad\nworse\nSteps: 1, Seed: 2, Size: 8x9"
    assert parse_infotext(text) == ("one\ntwo", "bad\nworse", {"Steps": "1", "Seed": "2", "Size-1": "8", "Size-2": "9"})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", "a"),
        ("a, b", '"a, b"'),
        ('a "q" b', 'a "q" b'),
        ('a "q", b', r'"a \"q\", b"'),
        ("C:\\x", r'"C:\\x"'),
        ("é:", '"é:"'),
    ],
)
def test_quoting(value: str, written: str) -> None:
    assert quote(value) == written
    assert unquote(written) == value


def test_none_is_left_out_and_a_key_may_stand_alone() -> None:
    assert write_infotext("p", "", {"Steps": 3, "ENSD": None, "Tiling": "Tiling", "Seed": 5}) == "p\nSteps: 3, Tiling, Seed: 5"


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=20)
lines = st.lists(words.filter(lambda line: not line.startswith("Negative prompt:")), min_size=1, max_size=3).map("\n".join)
keys = st.from_regex(r"[A-Za-z][A-Za-z0-9/ -]*[A-Za-z0-9]", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: not text.strip().replace("x", "").isdigit()
)


@settings(max_examples=60, deadline=None)
@given(lines, lines, st.dictionaries(keys, values, min_size=3))
def test_what_is_written_reads_back(prompt: str, negative: str, params: dict[str, str]) -> None:
    params = {key: value for key, value in params.items() if key != value} | {"Steps": "20", "Sampler": "DDIM", "Seed": "7"}
    text = write_infotext(prompt, negative, params)
    assert parse_infotext(text) == (prompt.strip(), negative.strip(), params)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    prompt, negative, parameters = parse_infotext(text)
    assert all(isinstance(value, str) for value in (prompt, negative, *parameters, *parameters.values()))


@pytest.mark.parametrize("piece", ['ab: "', "ab: ", 'ab: "\\', "a ", "- ", '"', "a:", '\\"', "(", 'ab: "c",'])
def test_hostile_lines_take_linear_time(piece: str) -> None:
    started = time.perf_counter()
    parse_infotext(piece * 100_000)
    assert time.perf_counter() - started < 3


def test_png_carries_the_text(tmp_path: Path) -> None:
    for index, text in enumerate((EXAMPLE, "青い家\nSteps: 1, Seed: 2, Eta: 0", 'x <script>"\0\ud800')):
        path = tmp_path / f"{index}.png"
        path.write_bytes(png_bytes(Image.new("RGB", (4, 3), "red"), text))
        assert read_infotext_from_image(path) == text.replace("\0", "").replace("\ud800", "?")
        with Image.open(path) as image:
            assert image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("text", [EXAMPLE, "青い家, “引用”\nSteps: 1, Seed: 2, Eta: 0", 'x <script>"\0\ud800', "🐈" * 300])
def test_every_format_carries_the_text(tmp_path: Path, format: PictureFormat, text: str) -> None:
    data, ending = encode_picture(Image.new("RGB", (4, 3), "red"), text, format)
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    assert read_infotext_from_image(path) == text.replace("\0", "").replace("\ud800", "?")
    with Image.open(path) as image:
        assert image.format == format.upper() and (image.getpixel((0, 0)) == (255, 0, 0) or format != "png")


def test_a_comment_in_exif_is_as_others_read_it(tmp_path: Path) -> None:
    data, _ = encode_picture(Image.new("RGB", (4, 3)), "é猫", "jpeg")
    assert b"UNICODE\0" + "é猫".encode("utf-16-be") in data


def test_a_text_that_no_jpeg_holds_makes_a_png(tmp_path: Path) -> None:
    data, ending = encode_picture(Image.new("RGB", (4, 3)), "long " * 20_000, "jpeg")
    assert ending == ".png" and data.startswith(b"\x89PNG")
    assert encode_picture(Image.new("RGB", (4, 3)), "long " * 20_000, "webp")[1] == ".webp"


@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + EXAMPLE.encode("utf-16-be"),
        b"UNICODE\0" + EXAMPLE.encode("utf-16-le"),
        b"ASCII\0\0\0" + EXAMPLE.encode(),
    ],
)
def test_exif_carries_the_text(tmp_path: Path, ending: str, comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    path = tmp_path / f"x.{ending}"
    Image.new("RGB", (4, 3)).save(path, exif=exif)
    assert read_infotext_from_image(path) == EXAMPLE


def test_pictures_without_text_and_files_that_are_no_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.png")
    assert read_infotext_from_image(tmp_path / "plain.png") is None
    (tmp_path / "not.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DatasetError) as caught:
        read_infotext_from_image(tmp_path / "not.png")
    assert caught.value.code == "image.unreadable"
