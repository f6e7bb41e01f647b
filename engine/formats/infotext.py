"""The text about a picture's making that travels inside it, in AUTOMATIC1111's form.

    prompt, may span lines
    Negative prompt: may span lines
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: name

What is read came from a stranger's picture: it is plain text, and nothing here acts on it. The scanner is linear in the
length of the text. Pillow is imported only for pictures.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from engine.config.choices import PictureFormat
from engine.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

NEGATIVE = "Negative prompt:"
MINIMUM_PAIRS = 3
"""A last line with fewer pairs is part of the prompt."""
ENDINGS: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
QUALITY = 95
"""Of JPEG and WebP, percent."""
JPEG_EXIF_BYTES = 65_533
FOREIGN = {"invokeai_metadata": "InvokeAI", "sd-metadata": "InvokeAI", "workflow": "ComfyUI", "prompt": "ComfyUI"}
"""Key of a text chunk in a PNG -> the program that writes it."""
EXIF_IFD, USER_COMMENT, UNICODE = 0x8769, 0x9286, b"UNICODE\0"

_KEY_RUN = re.compile(r"[\w \-/]*")
# Possessive, so that an unclosed quote costs one pass and not one per character.
_QUOTED = re.compile(r'"(?:\\.|[^\\"])++"(?=,|$)')


def write_infotext(prompt: str, negative: str, params: Mapping[str, object]) -> str:
    """Infotext; parameters keep their order, None is left out, and a key equal to its value stands alone."""
    shown = {key: str(value) for key, value in params.items() if value is not None}
    line = ", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in shown.items())
    return "\n".join(part for part in (prompt, f"{NEGATIVE} {negative}" if negative else "", line) if part)


def quote(value: str) -> str:
    """A value as it stands in the line: bare, or a JSON string where bare it would not read back the same."""
    if re.search(r"[,:\n]", value) or value.startswith('"') or value != value.strip():
        return json.dumps(value, ensure_ascii=False)
    return value


def unquote(text: str) -> str:
    """The value of a piece of the line; what only looks like a JSON string is returned as it stands."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def parse_infotext(text: str) -> tuple[str, str, dict[str, str]]:
    """(prompt, negative prompt, parameters). A size `WxH` under `Key` becomes `Key-1` and `Key-2`."""
    lines = text.strip().split("\n")
    pairs = list(_pairs(lines[-1].strip()))
    if len(pairs) >= MINIMUM_PAIRS:
        lines.pop()
    else:
        pairs = []
    start = next((index for index, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = [line.strip().removeprefix(NEGATIVE).strip() for line in lines[start:]]
    prompt = [line.strip() for line in lines[:start]]
    return "\n".join(prompt).strip(), "\n".join(negative).strip(), _parameters(pairs)


def _parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    parameters = {}
    for key, raw in pairs:
        value = unquote(raw)
        if size := re.fullmatch(r"(\d+)x(\d+)", value):
            parameters[f"{key}-1"], parameters[f"{key}-2"] = size.groups()
        else:
            parameters[key] = value
    return parameters


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """`Key: value` pairs of one line.

    A key has two or more of: word characters, spaces, `-` and `/`; it begins with a word character.
    """
    position = 0
    while position < len(line):
        run = _KEY_RUN.match(line, position)
        end = run.end() if run else position
        key = re.sub(r"^\W+", "", line[position:end])
        if len(key) < 2 or line[end : end + 1] != ":":
            position = end + 1
            continue
        value, position = _value(line, end + 1)
        yield key, value


def _value(line: str, position: int) -> tuple[str, int]:
    """The value that begins at `position`, still quoted, and where the next pair begins."""
    while position < len(line) and line[position].isspace():
        position += 1
    quoted = _QUOTED.match(line, position)
    end = quoted.end() if quoted else line.find(",", position)
    end = len(line) if end < 0 else end
    return line[position:end], end + 1


def encode_picture(image: Image, infotext: str, format: PictureFormat = "png") -> tuple[bytes, str]:
    """(a picture file with its infotext, the ending of its name).

    A PNG has the text under the key `parameters`, JPEG and WebP have it as EXIF UserComment. A text that does not fit into a
    JPEG makes the picture a PNG, because it is worth more than the format.
    """
    if format != "png":
        exif = _exif(infotext)
        if format == "webp" or len(exif) <= JPEG_EXIF_BYTES:
            stream = io.BytesIO()
            image.save(stream, format=format.upper(), quality=QUALITY, exif=exif)
            return stream.getvalue(), ENDINGS[format]
    return png_bytes(image, infotext), ENDINGS["png"]


def png_bytes(image: Image, infotext: str) -> bytes:
    """A PNG file with the infotext under the key `parameters`."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("parameters", _storable(infotext))
    stream = io.BytesIO()
    image.save(stream, format="PNG", pnginfo=texts)
    return stream.getvalue()


def _storable(text: str) -> str:
    """Text without what no file can hold: NUL and half characters."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _exif(text: str) -> bytes:
    from PIL.Image import Exif

    exif = Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + _storable(text).encode("utf-16-be")
    return exif.tobytes()


def read_infotext_from_image(path: Path | str | IO[bytes]) -> str | None:
    """The infotext inside a PNG, JPEG, WebP, AVIF or GIF, or None. Pixels are not decoded.

    Raises:
        DatasetError: `image.unreadable`.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            text = image.info.get("parameters") or _user_comment(image) or image.info.get("comment")
    except Exception as error:  # Pillow raises many kinds on damaged files
        name = Path(path).name if isinstance(path, Path | str) else "The file"
        raise DatasetError(
            "image.unreadable", f"{name} cannot be read as a picture.", "A PNG, JPEG or WebP was expected.", path=path
        ) from error
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def made_with(path: Path | str) -> str:
    """The program, other than those that write an infotext, whose settings a picture carries; "" for none that is known."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return next((program for key, program in FOREIGN.items() if key in image.info), "")
    except Exception:  # Pillow raises many kinds on damaged files
        return ""


def _user_comment(image: Image) -> str | None:
    """EXIF UserComment: an 8-byte name of the encoding, then the text; `UNICODE` is UTF-16, big-endian by custom."""
    comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
    if not isinstance(comment, bytes):
        return comment or None
    marker, body = comment[:8], comment[8:]
    if marker == UNICODE:
        # Some programs write little-endian; mostly Latin text shows which half of each unit is zero.
        return body.decode("utf-16-be" if body[::2].count(0) >= body[1::2].count(0) else "utf-16-le", "replace")
    return (body if marker in (b"ASCII\0\0\0", b"\0" * 8) else comment).decode("utf-8", "replace")
