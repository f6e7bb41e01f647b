"""What follows from the base model that is chosen in a form: its facts, its samplers, how it likes to be used."""

from __future__ import annotations

from typing import Any

from engine.config.choices import SAMPLERS_FOR, SCHEDULES_FOR, ModelChoice
from engine.errors import EngineError
from engine.library import choose, part_names
from engine.model_facts import ModelFacts
from engine.workspace import Workspace

AUTOMATIC = "Automatic"


def chosen_model(name: str, workspace: Workspace) -> ModelFacts | None:
    """Facts of a model as named in a form; None while it is none that could be loaded, or not downloaded yet."""
    try:
        facts = choose(ModelChoice(name or ""), workspace)
    except EngineError:
        return None
    return facts if facts.family else None


def vae_choices(workspace: Workspace) -> list[str]:
    """VAEs that may take the place of a model's own; first of all none does."""
    return ["", *part_names(workspace.vae_folders)]


def samplers(facts: ModelFacts | None) -> list[str]:
    """The samplers that can walk what the model predicts; only the model's own while it is unknown."""
    return list(SAMPLERS_FOR[facts.prediction]) if facts else [AUTOMATIC]


def schedules(facts: ModelFacts | None) -> list[str]:
    """The schedules that what the model predicts can be walked by; only the one that suits the sampler while it is unknown."""
    return list(SCHEDULES_FOR[facts.prediction]) if facts else [AUTOMATIC]


def own_settings(facts: ModelFacts | None) -> dict[str, Any]:
    """Sampler, steps and guidance of a model by the names of their fields; what means "the model's own" while it is unknown."""
    if facts is None:
        return {"sampler": AUTOMATIC, "steps": 0, "guidance_scale": 0.0, "distilled_guidance": 0.0}
    habits = facts.habits
    return {
        "sampler": habits.sampler, "steps": habits.steps, "guidance_scale": habits.guidance_scale,
        "distilled_guidance": habits.distilled_guidance,
    }  # fmt: skip
