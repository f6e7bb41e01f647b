"""From the text in a picture to settings.

The text is a stranger's. Only the fields in the table are read, each within its own bounds; a file is chosen among those at hand
and never by a path. Whatever does not become a setting is reported with its reason. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.config.load import nested
from engine.formats.infotext import parse_infotext
from engine.recall.adapters import find_tags, read_adapters, read_embeddings
from engine.recall.fields import READERS, has_hires, read_unknown
from engine.recall.reading import DECLARED, Reading
from engine.recall.report import Line, Recalled
from engine.workspace import Workspace

MAX_CHARACTERS = 200_000
"""A longer text is not looked into."""
MAX_LINES = 200
LINE_END, CONTROL = re.compile(r"\r\n?"), re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
DEFAULT_WHEN_ABSENT = frozenset({
    "styles", "wildcards", "schedule", "distilled_guidance", "variation_strength", "eta_noise_seed_delta", "clip_skip", "emphasis",
})  # fmt: skip
"""Paths of settings that a picture means to be the default when it leaves them out. Its prompt has styles and choices in it."""
LATE = {"Lora hashes": read_adapters, "TI hashes": read_embeddings}
"""What changes the prompts, which must have been read before."""


def recall(text: str, workspace: Workspace) -> Recalled:
    """Settings and a report of every field in the text. Nothing raises, whatever the text is."""
    if len(text) > MAX_CHARACTERS:
        return Recalled(report=[Line("", f"{len(text):,}", "unknown", "too_long")])
    lines = LINE_END.sub("\n", text)
    clean = CONTROL.sub("", lines)
    if not clean.strip():
        return Recalled(report=[Line("", "", "unknown", "no_text")])
    prompt, negative, given = parse_infotext(clean)
    reading = Reading(given, workspace)
    if clean != lines:
        reading.tell("", str(len(lines) - len(clean)), "translated", "control")
    for name, path, words in (("Prompt", "prompt", prompt), ("Negative prompt", "negative_prompt", negative)):
        reading.settings[path] = words
        if words:
            reading.tell(name, words, "taken")
    if given:
        _read_parameters(reading)
    find_tags(reading)
    return Recalled(nested(reading.settings), _bounded(reading.report))


def _read_parameters(reading: Reading) -> None:
    given = reading.given
    reading.settings |= _absent(given)
    for name, value in given.items():
        if name not in LATE:
            READERS.get(name, read_unknown)(reading, name, value)
    for name, read in LATE.items():
        if name in given:
            read(reading, name, given[name])
    if "RNG" not in given:
        reading.put("RNG", "", {"noise_source": "NV"}, "translated", "gpu_noise")
    if "model" in reading.settings:  # its parts are its own unless the picture says something else
        reading.settings = {"vae": "", "text_encoders": []} | reading.settings


def _absent(given: Mapping[str, str]) -> dict[str, Any]:
    """The settings that stand where a picture says nothing. One that was made from another picture leaves what is there in place."""
    from_picture = "Source picture" in given or ("Denoising strength" in given and not has_hires(given))
    kept = {"source.picture", "source.mask"} if from_picture else set()
    return {
        path: declared.default
        for path, declared in DECLARED.items()
        if path in DEFAULT_WHEN_ABSENT or (path.startswith(("hires.", "source.")) and path not in kept)
    }


def _bounded(report: list[Line]) -> list[Line]:
    if len(report) <= MAX_LINES:
        return report
    return [*report[:MAX_LINES], Line("", str(len(report) - MAX_LINES), "ignored", "more")]
