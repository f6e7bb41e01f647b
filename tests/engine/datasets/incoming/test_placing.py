"""Nothing is overwritten, and what belongs together stays together."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets.incoming.placing import Arrival, Room, settle


@pytest.fixture
def place(tmp_path: Path):
    """Puts arrivals into a dataset that holds files, and tells name -> bytes of what would be there then, and the notes."""
    counter = itertools.count()

    def run(there: dict[str, bytes], sent: list[tuple], clash: str = "keep_both"):
        root = tmp_path / str(next(counter))
        dataset = root / "dataset"
        dataset.mkdir(parents=True)
        for name, data in there.items():
            (dataset / name).parent.mkdir(exist_ok=True)
            (dataset / name).write_bytes(data)
        arrivals = []
        for number, (name, data, *batch) in enumerate(sent):
            file = root / str(number)
            file.write_bytes(data)
            arrivals.append(Arrival(name, name, file, *batch))
        placed, notes = settle(arrivals, Room.of(dataset), clash)
        return {name: arrival.file.read_bytes() for name, arrival in placed.items()}, [
            (note.name, note.reason.code.removeprefix("incoming.")) for note in notes
        ]

    return run


def test_a_taken_picture_gets_a_number_and_its_caption_with_it(place) -> None:
    placed, notes = place({"a.png": b"old", "a.txt": b"old"}, [("a.png", b"new"), ("a.txt", b"new")])
    assert placed == {"a (2).png": b"new", "a (2).txt": b"new"} and notes == []
    placed, _ = place({"a.png": b"old"}, [("a.txt", b"new"), ("b.png", b"1"), ("a.png", b"new")])
    assert placed == {"a (2).txt": b"new", "a (2).png": b"new", "b.png": b"1"}


def test_a_caption_alone_goes_to_the_picture_that_is_there(place) -> None:
    assert place({"a.png": b"1"}, [("a.txt", b"words")]) == ({"a.txt": b"words"}, [])


def test_a_number_that_is_taken_is_passed_over(place) -> None:
    there = {"a.png": b"1", "a (2).txt": b"2", "a (3).jpg": b"3"}
    assert place(there, [("a.png", b"4")])[0] == {"a (4).png": b"4"}


def test_another_picture_of_the_same_stem_would_share_the_caption(place) -> None:
    assert place({"a.png": b"1", "a.txt": b"1"}, [("a.jpg", b"2")])[0] == {"a (2).jpg": b"2"}


def test_pictures_that_were_sent_under_one_stem_stay_under_one(place) -> None:
    assert place({}, [("a.png", b"1"), ("a.jpg", b"2"), ("a.txt", b"3")])[0] == {"a.png": b"1", "a.jpg": b"2", "a.txt": b"3"}


def test_twins_are_there_already(place) -> None:
    there = {"a.png": b"1", "a.txt": b"1", "a (2).png": b"2", "a (2).txt": b"2"}
    assert place(there, [("a.png", b"1"), ("a.txt", b"1")]) == ({}, [("a.png", "there"), ("a.txt", "there")])
    assert place(there, [("a.png", b"2"), ("a.txt", b"2")]) == ({}, [("a.png", "there"), ("a.txt", "there")])


@pytest.mark.parametrize(
    ("there", "sent", "expected"),
    [
        ({"a.png": b"1"}, [("a.png", b"2"), ("a.txt", b"2")], [("a.png", "taken"), ("a.txt", "taken")]),
        ({"a.png": b"1", "a.txt": b"1"}, [("a.png", b"1"), ("a.txt", b"2")], [("a.png", "there"), ("a.txt", "taken")]),
        ({"a.png": b"1"}, [("A.PNG", b"2")], [("A.PNG", "taken")]),
    ],
)
def test_what_is_taken_can_be_left_out(place, there, sent, expected) -> None:
    assert place(there, sent, "skip") == ({}, expected)


def test_look_alikes_are_kept_apart(place) -> None:
    assert place({"Ä.png": b"1"}, [("ä.png", b"2")])[0] == {"ä (2).png": b"2"}
    assert place({}, [("A.png", b"1"), ("a.png", b"2"), ("A.txt", b"A"), ("a.txt", b"a")])[0] == {
        "A.png": b"1", "a (2).png": b"2", "A.txt": b"A", "a (2).txt": b"a",
    }  # fmt: skip


def test_a_folder_is_the_one_that_looks_like_it(place) -> None:
    assert place({"Robot/a.png": b"1"}, [("robot/b.png", b"2")])[0] == {"Robot/b.png": b"2"}


def test_a_file_and_a_folder_of_one_name(place) -> None:
    assert place({"a.png": b"1"}, [("a.png/b.png", b"2")]) == ({}, [("a.png/b.png", "taken")])
    assert place({"a.png/b.png": b"1"}, [("a.png", b"2")])[0] == {"a (2).png": b"2"}


def test_the_description_of_the_dataset_is_never_numbered(place) -> None:
    assert place({"dataset.yaml": b"1"}, [("dataset.yaml", b"2"), ("dataset.png", b"3")]) == (
        {"dataset.png": b"3"},
        [("dataset.yaml", "taken")],
    )


def test_two_batches_do_not_mix(place) -> None:
    sent = [("a.png", b"1", 1), ("a.txt", b"one", 1), ("a.png", b"2", 2), ("a.txt", b"two", 2)]
    assert place({}, sent)[0] == {"a.png": b"1", "a.txt": b"one", "a (2).png": b"2", "a (2).txt": b"two"}


_FILES = st.tuples(st.sampled_from(["a", "A", "b", "a (2)", "f/a", "F/b"]), st.sampled_from([".png", ".jpg", ".txt"]))


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(_FILES, st.sampled_from([b"1", b"2"]), max_size=5),
    st.lists(st.tuples(_FILES, st.sampled_from([b"1", b"2"])), max_size=8),
    st.sampled_from(["keep_both", "skip"]),
)
def test_every_file_is_placed_on_free_ground_or_named(tmp_path_factory, there, sent, clash) -> None:
    root = tmp_path_factory.mktemp("room")
    for (stem, suffix), data in there.items():
        (root / "dataset" / f"{stem}{suffix}").parent.mkdir(parents=True, exist_ok=True)
        (root / "dataset" / f"{stem}{suffix}").write_bytes(data)
    (root / "dataset").mkdir(exist_ok=True)
    arrivals = []
    for number, ((stem, suffix), data) in enumerate(sent):
        (root / str(number)).write_bytes(data)
        arrivals.append(Arrival(f"{stem}{suffix}", f"{stem}{suffix}", root / str(number)))
    room = Room.of(root / "dataset")
    taken = set(room.files)
    placed, notes = settle(arrivals, room, clash)
    assert len(placed) + len(notes) == len(arrivals)
    folded = [name.casefold() for name in placed]
    assert len(set(folded)) == len(folded) and not set(folded) & taken
    if clash == "keep_both":  # then only what is there to the byte stays outside
        assert {note.reason.code for note in notes} <= {"incoming.there"}
