"""What lies beside an adapter file: read as AUTOMATIC1111 reads it, written so that nothing of others is lost, hostile or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import AdapterError, DatasetError
from engine.formats.infotext import png_bytes, read_infotext_from_image
from engine.sidecars import MAX_BYTES, MAX_TEXT, find_preview, read_sidecar, set_preview, write_sidecar

A1111 = {
    "description": "A girl.", "sd version": "SD1", "activation text": "hana, red eyes", "preferred weight": 0.65,
    "negative text": "blurry", "notes": "メモ",
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
KEYS = (*A1111, "atelier")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    file = tmp_path / "my.lora-v1.safetensors"
    file.write_bytes(b"")
    return file


def test_what_automatic1111_wrote_is_read(lora: Path) -> None:
    (lora.parent / "my.lora-v1.json").write_text(json.dumps(A1111), encoding="utf-8")
    beside = read_sidecar(lora)
    assert (beside.activation, beside.negative, beside.weight, beside.start) == ("hana, red eyes", "blurry", 0.65, 0.65)
    assert (beside.description, beside.base, beside.notes, beside.problem) == ("A girl.", "SD1", "メモ", None)


def test_what_is_written_is_read_and_the_rest_stays(lora: Path) -> None:
    place = lora.with_suffix(".json")
    place.write_text(
        '\ufeff{"civitai": {"id": 7}, "half": "\\ud800", "notes": "old", "preferred weight": "0.5"}', encoding="utf-8"
    )
    assert read_sidecar(lora).weight == 0.5
    assert (
        write_sidecar(lora, {"notes": "新しい", "atelier": {"suggested weight": 0.8, "suggested epoch": 6, "why": "clear"}})
        == place
    )
    assert json.loads(place.read_text(encoding="utf-8"))["civitai"] == {"id": 7} and "新しい" in place.read_text(encoding="utf-8")
    assert json.loads(place.read_text(encoding="utf-8"))["half"] == "\ud800"
    beside = read_sidecar(lora)
    assert (beside.notes, beside.weight, beside.suggested_weight, beside.suggested_epoch) == ("新しい", 0.5, 0.8, "6")
    write_sidecar(lora, {"preferred weight": 0})
    assert read_sidecar(lora).start == 0.8  # what the grid says, where the owner says nothing


def test_the_description_may_lie_in_a_text_file(lora: Path) -> None:
    lora.with_suffix(".description.txt").write_text("older", encoding="utf-8")
    assert read_sidecar(lora).description == "older"
    lora.with_suffix(".txt").write_text("newer", encoding="utf-8")
    assert read_sidecar(lora).description == "newer"
    write_sidecar(lora, {"description": "newest"})
    assert read_sidecar(lora).description == "newest"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe\x00", b'"text"', b"[" * 100_000, b" " * (MAX_BYTES + 1)])
def test_what_cannot_be_read_is_told_and_never_written_over(lora: Path, content: bytes) -> None:
    lora.with_suffix(".json").write_bytes(content)
    beside = read_sidecar(lora)
    assert beside.problem and beside.problem.code == "sidecar.unreadable" and beside.activation == ""
    with pytest.raises(AdapterError, match=r"my\.lora-v1\.json"):
        write_sidecar(lora, {"notes": "x"})
    assert lora.with_suffix(".json").read_bytes() == content


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(["suggested weight", "why"]), JSON)))
def test_nothing_in_it_raises_and_all_of_it_can_be_sent(lora: Path, entries: dict) -> None:
    write_sidecar(lora, entries)
    beside = read_sidecar(lora)
    assert abs(beside.weight) <= 10 and abs(beside.suggested_weight) <= 10
    for words in (beside.description, beside.activation, beside.negative, beside.notes, beside.why, beside.suggested_epoch):
        assert len(words.encode()) <= 4 * MAX_TEXT


def test_the_preview_is_the_one_that_automatic1111_shows(lora: Path) -> None:
    assert find_preview(lora) is None
    for name in ("my.lora-v1.gif", "my.lora-v1.preview.webp", "my.lora-v1.jpeg", "my.lora-v1.preview.png", "my.lora-v1.png"):
        (lora.parent / name).write_bytes(b"x")
        assert find_preview(lora) == lora.parent / name


def test_a_chosen_picture_becomes_the_preview_with_its_recipe(lora: Path, tmp_path: Path) -> None:
    picture = tmp_path / "made.png"
    picture.write_bytes(png_bytes(Image.new("RGB", (16, 8), "red"), "a cat\nSteps: 20"))
    place = set_preview(lora, picture)
    assert place == lora.parent / "my.lora-v1.preview.png" == find_preview(lora)
    assert place.read_bytes() == picture.read_bytes() and read_infotext_from_image(place) == "a cat\nSteps: 20"
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "made.webp")
    lora.with_suffix(".png").write_bytes(b"an older one, which would be shown instead")
    assert set_preview(lora, tmp_path / "made.webp") == lora.with_suffix(".png") == find_preview(lora)
    assert Image.open(lora.with_suffix(".png")).size == (4, 4)
    (tmp_path / "no.png").write_bytes(b"\x89PNG no picture")
    with pytest.raises(DatasetError):
        set_preview(lora, tmp_path / "no.png")
    assert Image.open(lora.with_suffix(".png")).size == (4, 4)
