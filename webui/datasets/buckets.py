"""The bucket preview: which picture would train in which size, in how many batches, and what is cut off it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Request

from engine.config.choices import ModelChoice
from engine.datasets.bucket_plan import Bucket, BucketOptions, Placed, plan_buckets
from engine.datasets.buckets import Size
from engine.library import STARTER, choose, model_names
from engine.workspace import Workspace
from webui.datasets.listing import concepts
from webui.datasets.opened import Asked, Here, Opened, open_dataset
from webui.datasets.replies import Json
from webui.i18n import explain

router = APIRouter(default_response_class=Json)


class Wished(Asked):
    """What shall be trained with; sides in px, 0 is the model's own."""

    model: str = STARTER
    resolution: Annotated[int, Ge(0), Le(4096)] = 0
    minimum: Annotated[int, Ge(0), Le(4096)] = 0
    maximum: Annotated[int, Ge(0), Le(8192)] = 0
    step: Annotated[int, Ge(0), Le(512)] = 0
    no_upscale: bool = False
    batch_size: Annotated[int, Ge(1), Le(256)] = 1

    def options(self, workspace: Workspace) -> BucketOptions:
        """With what follows from the model filled in. Raises as `engine.library.choose` does."""
        model = choose(ModelChoice(self.model), workspace)
        return BucketOptions(
            self.resolution or model.resolution, self.step or model.step, self.minimum, self.maximum, self.no_upscale,
            batch_size=self.batch_size,
        )  # fmt: skip


class Cut(Wished):
    names: list[str]


@router.get("/models")
def models(context: Here) -> dict[str, Any]:
    """Base models to choose from."""
    return {"models": [STARTER, *model_names(context.workspace)]}


@router.post("/rule")
def rule(asked: Wished, context: Here) -> dict[str, Any]:
    """What `POST /page` takes to find pictures by their bucket."""
    open_dataset(asked.dataset, context)
    return _rule(asked.options(context.workspace))


@router.post("/buckets")
def buckets(asked: Wished, request: Request, context: Here) -> dict[str, Any]:
    """Of the pictures that are trained on and have been read so far; `rule` is what was reckoned with."""
    opened = open_dataset(asked.dataset, context)
    options, (sizes, repeats) = asked.options(context.workspace), _trained(opened)
    plan = plan_buckets(sizes, options, repeats)
    language = context.language(request)
    return {
        "buckets": [_told(bucket) for bucket in plan.buckets],
        "small": sum(bucket.small for bucket in plan.buckets), "batches": plan.batches, "pictures": len(plan.pictures),
        "refused": [{"name": name, "reason": explain(error, language).text} for name, error in plan.refused.items()],
        "whole": opened.album.whole, "rule": _rule(options),
    }  # fmt: skip


@router.post("/crops")
def crops(asked: Cut, context: Here) -> dict[str, Any]:
    """By name: bucket, size after resizing, and the part of the upright picture that stays; nothing of a picture that fits none."""
    opened = open_dataset(asked.dataset, context)
    if unread := [name for name in asked.names if name not in opened.album.entries]:
        opened.album.refresh(unread)
    known = opened.album.sizes
    sizes = {name: known[name] for name in asked.names if name in known}
    placed = plan_buckets(sizes, asked.options(context.workspace), {}).pictures
    return {name: _placed(sizes[name], picture) for name, picture in placed.items()}


def _trained(opened: Opened) -> tuple[dict[str, Size], dict[str, int]]:
    """Sizes and repeats of the pictures in folders that are trained on."""
    entries = opened.album.entries
    repeats = {each["folder"]: each["repeats"] for each in concepts(opened) if each["trained"]}
    sizes = {name: size for name, size in opened.album.sizes.items() if entries[name].concept in repeats}
    return sizes, {name: repeats[entries[name].concept] for name in sizes}


def _told(bucket: Bucket) -> dict[str, Any]:
    width, height = bucket.size
    return {"width": width, "height": height, "pictures": bucket.pictures, "batches": bucket.batches, "small": bucket.small}


def _placed(size: Size, picture: Placed) -> dict[str, Any]:
    return {**asdict(picture), "size": size}


def _rule(options: BucketOptions) -> dict[str, Any]:
    names = ("resolution", "minimum", "maximum", "step", "no_upscale")
    return {name: getattr(options, name) for name in names}
