"""Adapters and embeddings in a picture's prompts: by their hashes, they are called by the names they have here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from engine.generation.tags import AdapterTag, parse_tags
from engine.recall.at_hand import Found, embedding_called
from engine.recall.reading import Reading, with_hash

MAX_FILES = 50
"""Files that are looked for."""
PROMPTS = ("prompt", "negative_prompt", "hires.prompt", "hires.negative_prompt")


def read_adapters(reading: Reading, name: str, value: str) -> None:
    """`Lora hashes: "name: hash, ..."`."""
    tags, renamed = _tags(reading), dict[str, str]()
    for called, digest in _hashes(reading, name, value):
        mine = [tag for tag in tags if called.casefold() in (_plain(tag.name), _plain(tag.name.rpartition("/")[2]))]
        if not mine:
            reading.tell(name, with_hash(called, digest), "ignored", "no_tag")
            continue
        found = reading.adapters.called(mine[0].name, digest)
        _tell(reading, name, called, digest, mine[0].name, found)
        if found and found.name != mine[0].name:
            renamed |= {tag.source: _renamed(tag, found.name) for tag in mine}
    _replace(reading, renamed, "({})", str)


def read_embeddings(reading: Reading, name: str, value: str) -> None:
    """`TI hashes: "word: hash, ..."`."""
    renamed = dict[str, str]()
    for word, digest in _hashes(reading, name, value):
        found = embedding_called(word, digest, reading.workspace)
        _tell(reading, name, word, digest, word, found)
        if found and found.name.casefold() != word.casefold():
            renamed[word.casefold()] = found.name
    _replace(reading, renamed, r"(?i)(?<!\w)({})(?!\w)", str.casefold)


def find_tags(reading: Reading) -> None:
    """Tell of adapters that the prompts call, that nobody has, and whose hash the picture does not state."""
    stated = reading.given.get("Lora hashes", "").casefold()
    names = dict.fromkeys(tag.name for tag in _tags(reading))
    for name in list(names)[:MAX_FILES]:
        if _plain(name.rpartition("/")[2]) not in stated and not reading.adapters.called(name, ""):
            reading.tell("LoRA", name, "unknown", "absent_file")


def _tags(reading: Reading) -> list[AdapterTag]:
    return [tag for path in PROMPTS for tag in parse_tags(reading.settings.get(path, ""))[1] if not tag.problem]


def _replace(reading: Reading, renamed: Mapping[str, str], form: str, key: Callable[[str], str]) -> None:
    """Put new names for old ones into the prompts, all in one go, so that two files may exchange their names."""
    if renamed:
        old = re.compile(form.format("|".join(map(re.escape, sorted(renamed, key=len, reverse=True)))))
        for path in PROMPTS:
            if path in reading.settings:
                reading.settings[path] = old.sub(lambda match: renamed.get(key(match[0]), match[0]), reading.settings[path])


def _tell(reading: Reading, name: str, title: str, digest: str, called: str, found: Found | None) -> None:
    value = with_hash(title, digest)
    if found is None:
        reading.tell(name, value, "unknown", "absent_file")
    elif found.by == "other":
        reading.tell(name, value, "translated", "other_content", found.name)
    elif found.name.casefold() != called.casefold():
        reading.tell(name, value, "translated", "renamed", found.name)
    else:
        reading.tell(name, value, "taken")


def _hashes(reading: Reading, name: str, value: str) -> Iterator[tuple[str, str]]:
    """Names and hashes, of which the first are looked at."""
    entries = [entry.strip() for entry in value.split(",") if entry.strip()]
    if len(entries) > MAX_FILES:
        reading.tell(name, str(len(entries) - MAX_FILES), "ignored", "more")
    for entry in entries[:MAX_FILES]:
        called, colon, digest = entry.rpartition(":")
        yield (called.strip(), digest.strip()) if colon else (digest, "")


def _plain(name: str) -> str:
    """A name as it stands in a list of hashes, in small letters."""
    return re.sub("[:,]", "", name).casefold()


def _renamed(tag: AdapterTag, name: str) -> str:
    start = f"<{tag.kind}:"
    _, colon, rest = tag.source[len(start) : -1].partition(":")
    return f"{start}{name}{colon}{rest}>"
