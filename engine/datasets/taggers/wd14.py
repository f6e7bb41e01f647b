"""Taggers of WD14's form (SmilingWolf's wd-v1-4-… and wd-…-v3): `model.onnx` and `selected_tags.csv`, through onnxruntime.

The graph takes pictures float32 (N, side, side, 3) with the channels blue, green, red and values from 0 to 255, and answers with a
probability for each row of the table (N, rows). What is not of this form is refused before the first picture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engine.config.caption import LEAST_SCORE, Wd14Options
from engine.datasets.taggers.base import Category, Tag, Told
from engine.datasets.taggers.kinds import MODEL, TABLE, unusable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SEEN_BY: tuple[str, ...] = ()
CATEGORIES: dict[str, Category] = {"0": "general", "4": "character", "9": "rating"}
"""Danbooru's number of a category -> its name."""
MOST_SIDE = 4096
WHITE = (255, 255, 255)


@contextmanager
def open_tagger(options: Wd14Options, folder: Path, device: str) -> Iterator[Wd14Tagger]:
    """See `TaggerModule.open_tagger`."""
    tags = read_table(folder)
    session = _session(folder, device)
    yield Wd14Tagger(session, tags, _check_graph(session, folder, len(tags)))


@dataclass(frozen=True)
class Wd14Tagger:
    """Attributes:
    tags: (name, category) of each output.
    side: of the square that is looked at, px.
    """

    session: InferenceSession
    tags: list[tuple[str, Category]]
    side: int

    def look(self, picture: Image.Image) -> Told:
        """Every tag that may be meant, in the order of the table; a rating always."""
        scores = _run(self.session, prepare(picture, self.side))[0]
        pairs = zip(self.tags, scores.tolist(), strict=True)
        return Told(tuple(Tag(*tag, score) for tag, score in pairs if score >= LEAST_SCORE or tag[1] == "rating"))


def prepare(picture: Image.Image, side: int) -> np.ndarray:
    """A picture as these taggers have learnt them: in the middle of a white square, which is resized (bicubic).

    Returns:
        float32 (1, side, side, 3), blue, green, red, 0 to 255.
    """
    if max(picture.size) > MOST_SIDE:  # a strip of 100 Mpx would become a square of Tpx
        scale = MOST_SIDE / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), WHITE)
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    if longest != side:
        square = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.float32)[None, :, :, ::-1].copy()


def read_table(folder: Path) -> list[tuple[str, Category]]:
    """(name, category) of each row of `selected_tags.csv`.

    Raises:
        ModelError: `tagger.unusable`.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        pairs = [(row["name"], row["category"]) for row in rows]
    except FileNotFoundError:
        raise unusable(folder.name, f"it has no {TABLE}") from None
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise unusable(folder.name, f"{TABLE} is no table with name and category ({error})") from None
    for name, category in pairs:
        if category not in CATEGORIES:
            known = ", ".join(CATEGORIES)
            raise unusable(folder.name, f"{TABLE} gives {name!r} the category {category!r}; known are {known}")
    return [(name, CATEGORIES[category]) for name, category in pairs]


def _session(folder: Path, device: str) -> InferenceSession:
    import onnxruntime

    if not (folder / MODEL).is_file():
        raise unusable(folder.name, f"it has no {MODEL}")
    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    present = [name for name in wanted if name in onnxruntime.get_available_providers()]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors alone; they are raised as well
    try:
        return onnxruntime.InferenceSession(folder / MODEL, settings, providers=present)
    except Exception as error:  # the reader of a damaged file raises classes of its own
        raise unusable(folder.name, f"{MODEL} cannot be read ({' '.join(str(error).split())[:200]})") from None


def _check_graph(session: InferenceSession, folder: Path, tags: int) -> int:
    """The side of the pictures it takes, px, after a look at a white one."""
    given = session.get_inputs()
    shape = list(given[0].shape) if len(given) == 1 else []
    right = len(shape) == 4 and shape[3] == 3 and isinstance(shape[1], int) and shape[1] == shape[2]
    if not right or given[0].type != "tensor(float)":
        told = "; ".join(f"{each.type} {each.shape}" for each in given)
        raise unusable(folder.name, f"{MODEL} takes {told}, not float pictures (N, side, side, 3)")
    scores = _run(session, prepare(Image.new("RGB", (1, 1), WHITE), shape[1]))
    if scores.shape != (1, tags):
        raise unusable(folder.name, f"{MODEL} answers with {list(scores.shape)}, and {TABLE} has {tags} rows")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise unusable(folder.name, f"{MODEL} answers with numbers that are no probabilities")
    return shape[1]


def _run(session: InferenceSession, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(None, {session.get_inputs()[0].name: pixels})[0])
