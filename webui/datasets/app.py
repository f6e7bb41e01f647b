"""Puts the routes of the datasets together."""

from __future__ import annotations

from fastapi import FastAPI

from webui.context import Context
from webui.datasets import (
    altering,
    assets,
    browsing,
    buckets,
    checking,
    concepts,
    edit_kinds,
    editing,
    listing,
    masks,
    pictures,
    replies,
    sources,
    tags,
    uploads,
)
from webui.datasets.replies import ROOT

ROUTERS = (
    assets,
    listing,
    browsing,
    pictures,
    editing,
    edit_kinds,
    tags,
    concepts,
    altering,
    buckets,
    checking,
    masks,
    sources,
    uploads,
)


def build(context: Context) -> FastAPI:
    """The datasets as an app, which asks nobody who they are; `webui.datasets.gate` does."""
    app = FastAPI(title="LoRA Atelier: datasets", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.state.uploads = uploads.Uploads()
    for part in ROUTERS:
        app.include_router(part.router, prefix=ROOT)
    replies.install(app)
    return app
