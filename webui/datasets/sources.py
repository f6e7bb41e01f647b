"""Where datasets come from: an empty one, a copy of another, a folder of this machine. And the folders one may choose from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from engine.datasets.incoming.copying import Copied, copy_dataset, create_dataset, import_folder
from engine.datasets.incoming.folders import browse
from webui.datasets.opened import Asked, Here, open_dataset
from webui.datasets.replies import Json
from webui.datasets.reports import told_report

router = APIRouter(default_response_class=Json)


class New(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class Copy(Asked):
    name: str


class Import(New):
    folder: str


@router.post("/create")
def create(asked: New, context: Here) -> dict[str, Any]:
    return {"dataset": create_dataset(asked.name, context.workspace)}


@router.post("/copy")
def copy(asked: Copy, request: Request, context: Here) -> dict[str, Any]:
    folder = open_dataset(asked.dataset, context).folder
    return _copied(copy_dataset(folder, asked.name, context.workspace), context.language(request))


@router.post("/import")
def import_(asked: Import, request: Request, context: Here) -> dict[str, Any]:
    return _copied(import_folder(asked.folder, asked.name, context.workspace), context.language(request))


@router.get("/folders")
def folders(context: Here, at: str = "") -> dict[str, Any]:
    """The folders in `at`; the places to begin at where it is empty."""
    return asdict(browse(at, context.workspace))


def _copied(copied: Copied, language: str) -> dict[str, Any]:
    return {"dataset": copied.dataset, "report": told_report(copied.report, language)}
