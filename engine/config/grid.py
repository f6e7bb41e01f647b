"""A grid of pictures: one request, varied along up to three axes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as PydanticField

from engine.config.field import Section, Ui
from engine.config.generate import GenerateConfig

AxisKind = Literal[
    "none", "adapter", "epoch", "strength", "text_encoder_strength", "unet_strength", "seed", "prompt", "guidance_scale", "steps",
    "sampler", "schedule", "model", "clip_skip", "denoising",
]  # fmt: skip
"""What an axis varies; the table that says how is `engine.grid.axes.AXES`."""


class Axis(Section):
    """One axis."""

    kind: Annotated[AxisKind, Ui(level="basic")] = "none"
    """What varies along this axis."""
    values: Annotated[str, Ui(level="basic", widget="lines")] = ""
    """A list (0.5, 0.8, 1), a range 0-1 [5] of five values or 1-9 (+2) in steps of two. Texts with commas stand in quotes."""


class GridOptions(Section):
    """What varies in a grid: every combination of the values of its axes."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    adapter: Annotated[str, Ui(level="basic", widget="adapter")] = ""
    """The LoRA that the axes of strength and file vary. Empty: the first one in the prompt."""
    run: Annotated[str, Ui(level="basic", widget="run")] = ""
    """The run whose saved epochs the axis of epochs goes through."""
    x: Axis = PydanticField(default_factory=lambda: Axis(kind="strength", values="0-1 [5]"))
    y: Axis = PydanticField(default_factory=Axis)
    z: Axis = PydanticField(default_factory=Axis)
    prompts: Annotated[list[str], Ui(level="basic", widget="lines")] = PydanticField(default_factory=list)
    """Prompts, one a line; each has a grid of its own. Empty: the prompt above."""
    base_column: Annotated[bool, Ui(level="basic")] = True
    """A column without any LoRA, for comparison."""
    score: Annotated[bool, Ui(level="advanced")] = True
    """Compare the pictures with the training pictures and with each other, and suggest an epoch and a strength."""


class GridConfig(GridOptions):
    """A grid of pictures, made from one request."""

    picture: GenerateConfig = PydanticField(default_factory=GenerateConfig)
