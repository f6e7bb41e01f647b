"""Puts the routes of the datasets together."""

from __future__ import annotations

from fastapi import FastAPI

from webui.context import Context
from webui.datasets import assets, editing, listing, pictures, replies
from webui.datasets.replies import ROOT

ROUTERS = (assets, listing, pictures, editing)


def build(context: Context) -> FastAPI:
    """The datasets as an app, which asks nobody who they are; `webui.datasets.gate` does."""
    app = FastAPI(title="LoRA Atelier: datasets", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    for part in ROUTERS:
        app.include_router(part.router, prefix=ROOT)
    replies.install(app)
    return app
