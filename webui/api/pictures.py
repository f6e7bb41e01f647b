"""`txt2img` and `img2img`: a job is queued as the page queues it, and its end is waited for.

The caller may go away meanwhile; nothing ends because of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from engine.config.generate import GenerateConfig
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from webui.api.bodies import Body, ImageBody, TextBody
from webui.api.options import Options, changed, keep_options, kept_options
from webui.api.orders import image_order, text_order
from webui.api.refusals import invalid
from webui.api.replies import reply
from webui.api.sent import keep
from webui.api.service import Asked, Service

router = APIRouter()
SECONDS = 0.05
"""Between two looks at a job."""
SECONDS_TO_WORKER = 2.0
"""Between two looks whether somebody works."""


@router.post("/txt2img")
async def txt2img(body: TextBody, service: Asked, request: Request) -> dict[str, Any]:
    options = await run_in_threadpool(_options, body, service, request)
    return await _made(body, text_order(body, options), service)


@router.post("/img2img")
async def img2img(body: ImageBody, service: Asked, request: Request) -> dict[str, Any]:
    if not body.init_images:
        raise HTTPException(404, "Init image not found")
    if len(body.init_images) > 1:
        raise invalid("init_images", "expected one picture: each request starts from one")
    options = await run_in_threadpool(_options, body, service, request)
    picture, mask = await run_in_threadpool(keep, body.init_images[0], body.mask, service.workspace)
    try:
        return await _made(body, image_order(body, options, picture, mask), service)
    finally:
        await run_in_threadpool(shutil.rmtree, picture.parent, True)


def _options(body: Body, service: Service, request: Request) -> Options:
    """What holds for a request; kept for the next ones where it asks for that."""
    options = changed(kept_options(service.workspace), body.override_settings, service.workspace, "override_settings")
    if body.override_settings and not body.override_settings_restore_afterwards:
        keep_options(options, service, request)
    return options


async def _made(body: Body, config: GenerateConfig, service: Service) -> dict[str, Any]:
    job = await run_in_threadpool(actions.start_generation, config, service.workspace)
    job = await _ended(job, service)
    return await run_in_threadpool(_told, body, job, service)


async def _ended(job: Job, service: Service) -> Job:
    """The job when it has ended.

    Raises:
        JobError: `worker.cannot_start`.
        HTTPException: 503, the program ends; the job with it, since nobody would get its pictures.
    """
    looked = 0.0
    while job.state in ("queued", *WORKING):
        if service.ended.is_set():
            await run_in_threadpool(actions.cancel, job, service.workspace)
            raise HTTPException(503, "The program ends.")
        if time.monotonic() - looked > SECONDS_TO_WORKER:
            looked = time.monotonic()
            await run_in_threadpool(service.context.ensure_worker)
        await asyncio.sleep(SECONDS)
        job = await run_in_threadpool(service.context.jobs.get, job.id)
    return job


def _told(body: Body, job: Job, service: Service) -> dict[str, Any]:
    """The reply. Pictures that shall not be saved are gone afterwards.

    Raises:
        EngineError: the job has failed.
    """
    if job.state == "failed":
        raise EngineError.from_dict(job.error or {"code": "unexpected", "what": "The pictures were not made."})
    pictures = actions.pictures(job, service.workspace)
    told = reply(body, job, pictures)
    if not body.save_images:
        for picture in pictures:
            with contextlib.suppress(OSError):
                picture.file.unlink()
    return told
