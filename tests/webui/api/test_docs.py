"""docs/api.md, in both languages, names every call and every field of a request."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from webui.api import calls, lists, options, pictures
from webui.api.bodies import ImageBody, TextBody
from webui.api.options import Options

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["api.md", "api.ja.md"])
def test_everything_is_named(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    routes = [route for part in (calls, lists, options, pictures) for route in part.router.routes if isinstance(route, APIRoute)]
    named = [f"{method} {route.path.removeprefix('/')}" for route in routes for method in route.methods]
    fields = [*TextBody.model_fields, *ImageBody.model_fields, *Options.model_fields]
    assert len(named) > 25
    assert [each for each in [*named, *fields] if f"`{each}`" not in written] == []
