"""How long a grid will take, from how long recent pictures took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.errors import EngineError
from engine.grid.plan import GridPlan
from engine.jobs.job import Job
from engine.jobs.store import open_store
from engine.library import choose
from engine.model_facts import ModelFacts
from engine.workspace import Workspace

LOOKED_AT = 200
"""Newest jobs that are searched for pictures of the same model."""
MEANT = 5
"""The median of so many counts."""


def seconds(plan: GridPlan, workspace: Workspace) -> float | None:
    """Seconds for all pictures of a grid; None when no picture was made with one of its models yet."""
    done = open_store(workspace.database).list(LOOKED_AT, states=("done",), kinds=("generate", "grid"))
    models = {cell.config.choice: cell.config.choice for cell in plan.cells}
    facts = {choice: choose(choice, workspace) for choice in models}
    paces = {choice: pace(done, choice.model, facts[choice]) for choice in models}
    total = 0.0
    for cell in plan.cells:
        known = paces[cell.config.choice]
        if known is None:
            return None
        total += known * work(cell.config, facts[cell.config.choice], cell.pictures)
    return total


def pace(jobs: Sequence[Job], model: str, facts: ModelFacts) -> float | None:
    """Seconds for a step of one megapixel with a model, from finished jobs, the newest first; None when there are none."""
    found: list[float] = []
    for job in jobs:
        request = job.config.get("picture", job.config)  # a grid's is about that of each cell
        if request.get("model") != model or not job.started or not job.finished:
            continue
        try:
            done = work(validate(GenerateConfig, request), facts, len((job.result or {}).get("pictures", [])))
        except EngineError:  # settings of another version
            continue
        found += [(job.finished - job.started) / done] if done else []
    return median(found[:MEANT]) if found else None


def work(config: GenerateConfig, facts: ModelFacts, pictures: int) -> float:
    """Steps times megapixels of a request, both passes."""
    steps = config.steps or facts.habits.steps
    pixels = (config.width or facts.resolution) * (config.height or facts.resolution) / 1e6
    walked = steps * config.source.denoising if config.source.picture else steps
    hires = config.hires
    again = (hires.steps or steps) * hires.denoising * hires.scale**2 if hires.scale > 1 else 0.0
    return pictures * pixels * (walked + again)
