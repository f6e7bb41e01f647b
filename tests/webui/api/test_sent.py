"""Pictures from strangers, in base64."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from PIL import Image

from engine.workspace import Workspace
from webui.api.sent import data_of, folder, keep, opened, painted_mask


def sent(image: Image.Image, format: str = "PNG", **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return base64.b64encode(stream.getvalue()).decode()


RED = Image.new("RGB", (6, 4), "red")


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "data:;base64,"])
def test_base64_with_and_without_its_head(start: str) -> None:
    assert opened(start + sent(RED), "image").tobytes() == RED.tobytes()
    assert data_of(start + "QUJD\nREVG\r\n", "image") == b"ABCDEF"


def test_transparency_lies_on_white_and_photographs_stand_upright() -> None:
    assert opened(sent(Image.new("RGBA", (2, 2), (255, 0, 0, 0))), "image").getpixel((0, 0)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert opened(sent(RED, "JPEG", exif=turned), "image").size == (4, 6)


def bomb() -> str:
    """A PNG of 2 KB that says it is 50,000 x 50,000 px."""
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b"")]
    written = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + written).decode()


@pytest.mark.parametrize(
    "bad",
    ["", "*", "http://127.0.0.1/a.png", "file:///etc/passwd", "QUJD", bomb(), sent(RED)[:60], "é"],
    ids=lambda bad: bad[:12],
)
def test_what_is_no_picture_names_its_field(bad: str, workspace: Workspace) -> None:
    for ask in (lambda: opened(bad, "init_images"), lambda: keep(bad, "", workspace)):
        with pytest.raises(RequestValidationError) as refused:
            ask()
        assert refused.value.errors()[0]["loc"] == ("body", "init_images")
    with pytest.raises(RequestValidationError) as refused:
        keep(sent(RED), bad or "QUJD", workspace)
    assert refused.value.errors()[0]["loc"] == ("body", "mask")
    assert not folder(workspace).exists()


def test_masks_are_grey_or_painted_with_alpha() -> None:
    grey = Image.new("L", (3, 1))
    grey.putdata([0, 100, 255])
    assert list(painted_mask(sent(grey)).tobytes()) == [0, 100, 255]
    painted = Image.new("RGBA", (3, 1))
    painted.putdata([(255, 255, 255, 0), (0, 0, 0, 128), (0, 0, 0, 129)])
    assert list(painted_mask(sent(painted)).tobytes()) == [0, 0, 255]
    opaque = Image.new("RGBA", (2, 1))
    opaque.putdata([(255, 255, 255, 255), (0, 0, 0, 255)])
    assert list(painted_mask(sent(opaque)).tobytes()) == [255, 0]


def test_both_are_kept_in_one_folder_in_one_size(workspace: Workspace) -> None:
    picture, mask = keep(sent(RED), sent(Image.new("L", (3, 2), 255)), workspace)
    assert mask and picture.parent == mask.parent and picture.parent.parent == folder(workspace)
    assert picture.is_relative_to(workspace.cache) and workspace.allowed_path(str(picture)) == picture.resolve()
    assert Image.open(picture).size == Image.open(mask).size == RED.size
    assert keep(sent(RED), "", workspace)[1] is None
