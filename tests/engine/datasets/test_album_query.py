"""Every combination of filters finds what plain loops over the captions find."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets.album_entry import Entry
from engine.datasets.album_query import SORTS, Query, find

PLAIN = Entry("", 8, 8, 10, 0, "", "", "", "", "", "", False, False)
words = st.sampled_from(
    ["robot", "Blue Sky", "blue", "ROBOT arm", "女の子", "ガ", unicodedata.normalize("NFD", "ガ é"), "straße", "x", " ", ""]
)
captions = st.lists(words, max_size=4).map(lambda tags: unicodedata.normalize("NFC", ", ".join(tags)))
folders = st.sampled_from(["", "10_robot", "cat"])


@st.composite
def albums(draw: st.DrawFn) -> dict[str, Entry]:
    entries = {}
    for number in range(draw(st.integers(0, 8))):
        folder, excluded = draw(folders), draw(st.booleans())
        name = f"{'_excluded/' if excluded else ''}{folder and folder + '/'}{draw(words)} {number}.png"
        entries[name] = replace(
            PLAIN, name=name, concept=folder, excluded=excluded, caption=draw(captions), stamp=draw(st.integers(0, 3)),
            width=draw(st.sampled_from([0, 8, 16])),
        )  # fmt: skip
    return entries


queries = st.builds(
    Query, text=st.lists(words, max_size=2).map(" ".join), tags=st.lists(words, max_size=2).map(tuple),
    without=st.lists(words, max_size=2).map(tuple), concept=st.none() | folders, bucket=st.sampled_from([None, "64x64", "64x128"]),
    uncaptioned=st.booleans(), excluded=st.booleans(), sort=st.sampled_from(list(SORTS)),
)  # fmt: skip


def fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def naive(entries: dict[str, Entry], query: Query, buckets: dict[str, tuple[int, int]]) -> list[str]:
    found = []
    for name, entry in entries.items():
        own = [fold(tag.strip()) for tag in entry.caption.split(",")]
        found.append(name)
        wanted = [fold(tag).strip() for tag in query.tags if tag.strip()]
        unwanted = [fold(tag).strip() for tag in query.without if tag.strip()]
        if (
            any(word not in fold(entry.caption) and word not in fold(name.split("/")[-1]) for word in fold(query.text).split())
            or any(tag not in own for tag in wanted)
            or any(tag in own for tag in unwanted)
            or (query.concept is not None and entry.concept != query.concept)
            or (query.bucket is not None and (name not in buckets or query.bucket != f"{buckets[name][0]}x{buckets[name][1]}"))
            or (query.uncaptioned and entry.caption != "")
            or entry.excluded is not query.excluded
            or (query.names is not None and name not in query.names)
        ):
            found.remove(name)
    position = list(entries)
    keys = {
        "name": lambda name: position.index(name),
        "newest": lambda name: (-entries[name].stamp, position.index(name)),
        "caption length": lambda name: (len(entries[name].caption), position.index(name)),
        "size": lambda name: (entries[name].width * 8, position.index(name)),
    }
    return sorted(found, key=keys[query.sort])


@settings(max_examples=200, deadline=None)
@given(albums(), queries, st.data())
def test_it_finds_what_plain_loops_find(entries: dict[str, Entry], query: Query, data: st.DataObject) -> None:
    names = sorted(entries) or ["nothing"]
    buckets = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from([(64, 64), (64, 128)])))
    query = replace(query, names=data.draw(st.none() | st.lists(st.sampled_from([*names, "gone"]))))
    assert find(entries, query, buckets) == naive(entries, query, buckets)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), "abc"),
        (Query(text="BLUE a.PNG"), "a"),
        (Query(text="ガ"), "b"),
        (Query(text="女の子　笑顔"), "c"),  # a full-width blank parts words too
        (Query(tags=("blue sky", " ROBOT")), "a"),
        (Query(tags=("blue",)), ""),
        (Query(without=("robot",)), "bc"),
        (Query(names=["c", "b.png", "a.png"], sort="newest"), "ba"),
        (Query(sort="caption length"), "bac"),
        (Query(sort="size"), "cab"),
    ],
)
def test_for_example(query: Query, found: str) -> None:
    entries = {
        "a.png": replace(PLAIN, name="a.png", caption="robot, Blue Sky", stamp=1, width=64),
        "b.png": replace(PLAIN, name="b.png", caption="ガ, ガ", stamp=2, width=128),
        "c.png": replace(PLAIN, name="c.png", caption="女の子は、とても良い笑顔です。そして", stamp=3),
        "_excluded/d.png": replace(PLAIN, name="_excluded/d.png", caption="robot, blue sky", excluded=True),
    }
    assert find(entries, query) == [f"{letter}.png" for letter in found]
