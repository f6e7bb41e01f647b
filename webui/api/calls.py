"""Calls about the work under way, and the small ones."""

from __future__ import annotations

import base64
import io
import time
from contextlib import suppress
from typing import Any

import psutil
from fastapi import APIRouter
from PIL import Image
from pydantic import BaseModel

from engine.errors import DatasetError
from engine.formats.infotext import parse_infotext, read_infotext_from_image
from engine.jobs import actions
from engine.jobs.job import Job
from engine.workspace import Workspace, safe_join
from webui.api.refusals import invalid
from webui.api.sent import data_of, opened
from webui.api.service import Asked

router = APIRouter()


class PictureBody(BaseModel):
    """Of `png-info`."""

    image: str


@router.get("/progress")
def progress(service: Asked, skip_current_image: bool = False) -> dict[str, Any]:
    job = service.at_work()
    if job is None:
        return {"progress": 0.0, "eta_relative": 0.0, "state": _state(None, 0, 0), "current_image": None, "textinfo": None}
    told = job.progress or {}
    done, total = told.get("done", 0), told.get("total", 0)
    waits = f"Waits until the run {told['run']} has ended." if told.get("phase") == "waiting" else None
    return {
        "progress": done / total if total else 0.0,
        "eta_relative": told.get("seconds_left") or 0.0,
        "state": _state(job, done, total),
        "current_image": None if skip_current_image else _preview(told.get("preview"), service.workspace),
        "textinfo": waits,
    }


def _state(job: Job | None, done: int, total: int) -> dict[str, Any]:
    """The state of a job that has made `done` of `total` steps in all its batches."""
    count = job.config.get("batch_count", 1) if job else 0
    each = total // count if count else 0
    number = min(done // each, count - 1) if each else 0
    return {
        "skipped": bool(job and job.request == "skip"),
        "interrupted": bool(job and job.request in ("stop", "cancel")),
        "stopping_generation": False,
        "job": f"Batch {number + 1} out of {count}" if job else "",
        "job_count": count,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(job.created)) if job else "0",
        "job_no": number,
        "sampling_step": done - number * each,
        "sampling_steps": each,
    }


def _preview(path: str | None, workspace: Workspace) -> str | None:
    """The picture on its way in base64; it may have gone since."""
    with suppress(OSError):
        return base64.b64encode(safe_join(workspace.root, path).read_bytes()).decode() if path else None
    return None


@router.post("/interrupt")
def interrupt(service: Asked) -> dict[str, Any]:
    if job := service.at_work():
        actions.cancel(job, service.workspace)
    return {}


@router.post("/skip")
def skip(service: Asked) -> None:
    if job := service.at_work():
        actions.skip(job, service.workspace)


@router.post("/refresh-checkpoints")
@router.post("/refresh-loras")
@router.post("/refresh-vae")
@router.post("/refresh-embeddings")
def refresh() -> None:
    """Folders are read anew for every list and every picture."""


@router.post("/png-info")
def png_info(body: PictureBody) -> dict[str, Any]:
    opened(body.image, "image")
    data = data_of(body.image, "image")
    try:
        text = read_infotext_from_image(io.BytesIO(data)) or ""
    except DatasetError as error:
        raise invalid("image", str(error)) from error
    prompt, negative, parameters = parse_infotext(text)
    with Image.open(io.BytesIO(data)) as image:
        items = {key: value for key, value in image.info.items() if isinstance(value, str) and key != "parameters"}
    return {
        "info": text,
        "items": items,
        "parameters": {"Prompt": prompt, "Negative prompt": negative, **parameters} if text else {},
    }


@router.get("/memory")
def memory() -> dict[str, Any]:
    """Bytes. Of a graphics card only the process that computes knows."""
    ram = psutil.virtual_memory()
    return {
        "ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total},
        "cuda": {"error": "not measured by the process that serves the API"},
    }
