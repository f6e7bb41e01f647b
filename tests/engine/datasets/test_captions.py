from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.datasets.captions import MAX_CAPTION_BYTES, compose, has_word, read_caption, replace_word, with_trigger
from engine.errors import DatasetError

JAPANESE = "mofumo, 女の子, 笑顔, 青い目, 校庭に立っている"
KANJI_ONLY = "mofumo, 笑顔, 黒髪, 制服, 白背景"
CHINESE = "mofumo, 一个女孩, 微笑, 长发, 蓝色眼睛, 白色背景"
WESTERN = "mofumo, une fille près du café, naïve, l’été"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (JAPANESE, "utf-8"), (JAPANESE, "utf-8-sig"), (JAPANESE, "utf-16"), (JAPANESE, "utf-16-le"), (JAPANESE, "utf-16-be"),
        (JAPANESE, "cp932"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (KANJI_ONLY, "cp932"), (KANJI_ONLY, "euc_jp"),
        ("ロボットが森を歩く", "cp932"), ("ロボットが森を歩く", "euc_jp"), ("一人の少女、花畑", "cp932"),
        (CHINESE, "gbk"), ("一只猫坐在窗户边", "gbk"), ("微笑", "gbk"), ("長髪", "euc_jp"), (CHINESE, "utf-16"),
        (WESTERN.replace("’", "'"), "latin-1"), (WESTERN, "cp1252"),
        ("Mädchen, grüne Wiese, groß", "latin-1"), ("née", "latin-1"),
        ("девочка", "utf-8"),
         ("Цвет и é", "utf-8"), ("Fată în pădure, șal roșu", "utf-8"), ("août, Łódź", "utf-8"), ("a red ball", "ascii"),
        ("a red ball", "utf-16-le"), ("a red ball", "utf-16-be"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["", "\r\n"])
def test_a_caption_is_read_in_the_encoding_it_was_written_in(tmp_path, text, encoding, ending):
    path = tmp_path / "a.txt"
    path.write_bytes((text + ending).encode(encoding))
    assert read_caption(path).text == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("привет, девочка".encode("cp1251"), "Cyrillic"),
        ("소녀가 웃고 있다".encode("euc_kr"), "Korean"),
        ("一個女孩在微笑".encode("big5"), "traditional Chinese"),
        ("女の子".encode("iso2022_jp"), "escape sequences"),
        ("檸檬".encode("euc_jp"), "also UTF-8, of letters nobody writes"),
        ("琉璃, 剑".encode("gbk"), "two readings with everyday characters"),
        ("мальчик".encode("koi8_r"), "Cyrillic that reads as accented letters"),
        ("狗".encode("gbk"), "too short to tell"),
        (b"a ball\0with a hole", "zero byte"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture"),
        (bytes(range(128, 256)), "all high bytes"),
        (b"a" * (MAX_CAPTION_BYTES + 1), "too large"),
        (b"\xff\xfea", "half a UTF-16 letter"),
    ],
)
def test_what_cannot_be_told_is_refused_and_never_trained_as_other_letters(tmp_path, data, why):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        read_caption(path)
    assert caught.value.code == "caption.undecodable", why
    assert caught.value.values["reason"]


def test_a_declared_encoding_is_taken_at_its_word(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("狗".encode("gbk"))
    assert read_caption(path, "gbk").text == "狗"
    for wrong in ("utf-8", "no-such-codec"):
        with pytest.raises(DatasetError, match=wrong):
            read_caption(path, wrong)


def test_only_the_first_line_is_the_caption(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"  one, two \r\n\r\nthree\r\nfour")
    caption = read_caption(path)
    assert (caption.text, caption.further_lines) == ("one, two", 2)
    path.write_bytes(b"old Mac\rline ends")
    assert read_caption(path).text == "old Mac"


def test_decomposed_letters_are_composed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("か\u3099, e\u0301", encoding="utf-8")
    assert read_caption(path).text == "が, é"


def test_a_long_caption_is_read_whole(tmp_path):
    text = ", ".join(f"tag {number}" for number in range(11_000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert len(text) > 100_000
    assert read_caption(tmp_path / "a.txt").text == text


@pytest.mark.parametrize(
    ("caption", "trigger", "expected"),
    [
        ("1girl, smile", "mofumo", "mofumo, 1girl, smile"),
        ("", "mofumo", "mofumo"),
        ("a photo of Mofumo outdoors", "mofumo", "a photo of Mofumo outdoors"),
        ("mofumos, smile", "mofumo", "mofumo, mofumos, smile"),
        ("mofumoが立っている", "mofumo", "mofumoが立っている"),
        ("ロボ太が立っている", "ロボ太", "ロボ太が立っている"),
        ("c++ style", "c++", "c++ style"),
        ("smile", "", "smile"),
    ],
)
def test_the_trigger_is_put_in_front_only_where_it_is_missing(caption, trigger, expected):
    assert with_trigger(caption, trigger) == expected
    assert compose(caption, random.Random(0), trigger=trigger) == expected
    assert not trigger or has_word(expected, trigger)


def test_without_options_a_caption_stays_as_it_is_written():
    assert compose("one ,two,  three.", random.Random(0)) == "one ,two,  three."


TAGS = [f"tag{number}" for number in range(12)]


def test_shuffling_moves_all_but_the_kept_tags():
    shown = {compose(", ".join(TAGS), random.Random(seed), shuffle=True, keep_tokens=3) for seed in range(20)}
    assert len(shown) > 15
    for caption in shown:
        tags = caption.split(", ")
        assert tags[:3] == TAGS[:3]
        assert Counter(tags) == Counter(TAGS)


def test_the_trigger_in_front_neither_moves_nor_drops():
    for seed in range(20):
        caption = compose(", ".join(TAGS), random.Random(seed), trigger="mofumo", shuffle=True, tag_dropout=0.9)
        assert caption.split(", ")[0] == "mofumo"
    assert "mofumo" in compose("smile, mofumo", random.Random(0), trigger="mofumo", tag_dropout=1.0)


def test_dropout_takes_its_share():
    rng = random.Random(5)
    shown = [compose(", ".join(TAGS), rng, tag_dropout=0.25, keep_tokens=2).split(", ") for _ in range(500)]
    assert all(tags[:2] == TAGS[:2] for tags in shown)
    kept = sum(len(tags) - 2 for tags in shown) / (500 * 10)
    assert kept == pytest.approx(0.75, abs=0.03)
    empty = sum(compose("a, b", rng, trigger="mofumo", caption_dropout=0.1) == "" for _ in range(2000)) / 2000
    assert empty == pytest.approx(0.1, abs=0.03)


def test_the_same_stream_composes_the_same_captions():
    options = {"trigger": "mofumo", "shuffle": True, "tag_dropout": 0.3, "caption_dropout": 0.1}
    streams = [random.Random(11), random.Random(11)]
    first, second = ([compose(", ".join(TAGS), rng, **options) for _ in range(30)] for rng in streams)
    assert first == second
    assert streams[0].getstate() == streams[1].getstate()


@pytest.mark.parametrize(
    ("caption", "other", "expected"),
    [
        ("robot, a robot on a hill", "cat", "cat, a cat on a hill"), ("a robot, robots", "", "a, robots"), ("robot, tree, ROBOT", "", "tree"),
        ("ロボットとrobotと", r"\1", r"ロボットと\1と"), ("tree", "cat", "tree"),
    ],
)  # fmt: skip
def test_a_word_is_replaced_where_it_stands_as_a_word(caption, other, expected):
    assert replace_word(caption, "robot", other) == expected
