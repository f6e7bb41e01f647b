"""Pictures that come with a request, in base64: judged, decoded, and kept in files for as long as the request lasts."""

from __future__ import annotations

import base64
import io
import secrets
from pathlib import Path

from PIL import Image

from engine.datasets.decode import decode_picture
from engine.errors import DatasetError
from engine.workspace import Workspace, atomic_write
from webui.api.refusals import invalid

OPAQUE = 255
CHANGES_FROM = 128
"""Alpha above which a painted mask changes the picture."""


def folder(workspace: Workspace) -> Path:
    """Where the pictures of all requests are kept, each request in a folder of its own."""
    return workspace.cache / "api"


def keep(init: str, mask: str, workspace: Workspace) -> tuple[Path, Path | None]:
    """Write down the picture that a request starts from and its mask, if it has one, in the picture's size. Returns their files.

    Raises:
        RequestValidationError: naming `init_images` or `mask`.
    """
    picture = opened(init, "init_images")
    painted = painted_mask(mask).resize(picture.size, Image.Resampling.NEAREST) if mask else None
    own = folder(workspace) / secrets.token_hex(8)
    return _write(picture, own / "init_image.png"), _write(painted, own / "mask.png") if painted else None


def opened(sent: str, field: str) -> Image.Image:
    """A picture sent in base64: upright, RGB, on white.

    Raises:
        RequestValidationError: it is none, or too large.
    """
    return _decoded(data_of(sent, field), field)


def painted_mask(sent: str) -> Image.Image:
    """A mask as grey; one with transparency says with its alpha what changes, as AUTOMATIC1111's canvas paints it.

    Raises:
        RequestValidationError: it is no picture, or too large.
    """
    data = data_of(sent, "mask")
    flat = _decoded(data, "mask")  # whatever is opened again below has been judged
    with Image.open(io.BytesIO(data)) as image:
        if image.has_transparency_data:
            alpha = image.convert("RGBA").getchannel("A")
            if alpha.getextrema() != (OPAQUE, OPAQUE):
                return alpha.point(lambda value: OPAQUE if value > CHANGES_FROM else 0)
    return flat.convert("L")


def data_of(sent: str, field: str) -> bytes:
    """The bytes of base64, with or without `data:image/png;base64,` before it.

    Raises:
        RequestValidationError: it is something else, an address for example: nothing is fetched.
    """
    encoded = sent.partition(",")[2] if sent.startswith("data:") else sent
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        raise invalid(field, "expected a picture in base64") from None


def _decoded(data: bytes, field: str) -> Image.Image:
    try:
        return decode_picture(data, field)
    except DatasetError as error:
        raise invalid(field, str(error)) from error


def _write(image: Image.Image, file: Path) -> Path:
    with atomic_write(file) as stream:
        image.save(stream, format="PNG")
    return file
