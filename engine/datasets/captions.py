"""Captions: reading them from the file beside a picture, and composing what the model is shown this time.

Knows text only: no pictures, no tokens, no torch. As in Kohya's trainer the first line of the file is the caption.
"""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.encodings import decode_text
from engine.errors import DatasetError

CAPTION_EXTENSIONS = (".txt", ".caption")
"""In order of precedence where a picture has both."""
MAX_CAPTION_BYTES = 2**20


@dataclass(frozen=True)
class CaptionFile:
    """A caption as read.

    Attributes:
        text: the first line, stripped, Unicode NFC; may be "".
        encoding: Python codec name.
        further_lines: lines with text below the first, which are not trained on.
    """

    text: str
    encoding: str
    further_lines: int


def read_caption(path: Path, encoding: str | None = None) -> CaptionFile:
    """Read a caption file in any of the encodings of `engine.datasets.encodings`.

    Args:
        encoding: a Python codec name when it is known; None finds out.

    Raises:
        DatasetError: `caption.undecodable` with the reason.
    """
    return parse_caption(caption_bytes(path), encoding)


def caption_bytes(path: Path) -> bytes:
    """The whole caption file.

    Raises:
        DatasetError: `caption.undecodable`, also above `MAX_CAPTION_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CAPTION_BYTES + 1)
        if len(data) > MAX_CAPTION_BYTES:
            raise OSError(f"it is larger than {MAX_CAPTION_BYTES} bytes")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError("caption.undecodable", f"The caption cannot be read: {reason}.", reason=reason) from error
    return data


def parse_caption(data: bytes, encoding: str | None = None) -> CaptionFile:
    """`read_caption` on bytes already read."""
    text, encoding = decode_text(data, encoding)
    first, *rest = re.split(r"\r\n|\r|\n", unicodedata.normalize("NFC", text))
    return CaptionFile(first.strip(), encoding, sum(bool(line.strip()) for line in rest))


def compose(
    caption: str,
    rng: random.Random,
    *,
    trigger: str = "",
    keep_tokens: int = 0,
    shuffle: bool = False,
    tag_dropout: float = 0.0,
    caption_dropout: float = 0.0,
) -> str:
    """The caption as shown to the model this time; a pure function of its arguments and the state of `rng`.

    In Kohya's order: caption dropout, then tags split at commas, the first `keep_tokens` kept in place, the others
    shuffled, then dropped one by one. A caption is left as it is written where no tag work is asked for.

    Args:
        trigger: put in front when the caption lacks it as a word; as a tag it is never dropped, in front it never moves.
        keep_tokens: tags at the front, the trigger included, that neither move nor drop.
        tag_dropout, caption_dropout: fraction 0-1.
    """
    if caption_dropout and rng.random() < caption_dropout:
        return ""
    caption = with_trigger(caption, trigger)
    if not shuffle and not tag_dropout:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    keep = max(keep_tokens, int(bool(trigger) and tags[0].casefold() == trigger.casefold()))
    kept, moved = tags[:keep], tags[keep:]
    if shuffle:
        rng.shuffle(moved)
    if tag_dropout:
        moved = [tag for tag in moved if rng.random() >= tag_dropout or (trigger and tag.casefold() == trigger.casefold())]
    return ", ".join(kept + moved)


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger word in front, unless it already stands in it as a word of its own."""
    trigger = trigger.strip()
    if not trigger or has_word(caption, trigger):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def has_word(caption: str, word: str) -> bool:
    """Whether `word` stands in the caption, in any case and not inside a longer Western word.

    Japanese and Chinese are written without spaces, so their letters may touch it.
    """
    return _as_word(word).search(caption) is not None


def replace_word(caption: str, word: str, other: str) -> str:
    """The caption with `other` wherever `word` stands in it; tags that "" leaves empty go with their comma."""
    tags = [" ".join(_as_word(word).sub(lambda _: other, tag).split()) for tag in caption.split(",")]
    return ", ".join(tag for tag in tags if tag)


def _as_word(word: str) -> re.Pattern[str]:
    western = "[0-9a-z_\u00c0-\u024f]"
    return re.compile(f"(?<!{western}){re.escape(word)}(?!{western})", re.IGNORECASE)
