"""Puts the calls together."""

from __future__ import annotations

import shutil

from fastapi import FastAPI

from webui.api import calls, lists, options, pictures, refusals
from webui.api.gate import ROOT
from webui.api.sent import folder
from webui.api.service import Service


def build(service: Service) -> FastAPI:
    """The API as an app, which asks nobody who they are; `webui.api.gate` does."""
    shutil.rmtree(folder(service.workspace), ignore_errors=True)  # of callers that an earlier program left waiting
    app = FastAPI(title="LoRA Atelier", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    for part in (pictures, calls, options, lists):
        app.include_router(part.router, prefix=f"{ROOT}/v1")
    refusals.install(app)
    return app
