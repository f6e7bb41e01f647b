"""What the doctor of a dataset is told: the pictures, and what they are to be trained on with."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

from engine.config.field import Section, Ui
from engine.config.train import Kind


class CheckConfig(Section):
    """One look through the pictures and captions of a dataset."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of these settings."""
    dataset: Annotated[str, Ui(level="basic", widget="dataset")] = ""
    """The folder of pictures."""
    model: Annotated[str, Ui(level="basic", widget="model")] = "starter"
    """The base model they shall be trained on; resolution, buckets and the length of captions are judged by it."""
    resolution: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="basic", step=8)] = 0
    """Side of the square whose area pictures are resized to in training; 0 takes the model's own."""
    batch_size: Annotated[int, Ge(1), Le(256), Ui(unit="pictures", level="basic", step=1)] = 1
    """Pictures per step. Buckets that hold fewer are pointed out."""
    kind: Annotated[Kind | None, Ui(level="basic")] = None
    """What the pictures have in common. Empty: what the dataset says of itself, otherwise a character."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """The word that captions should contain. Empty: what the dataset says of itself."""
    enable_buckets: Annotated[bool, Ui(level="advanced")] = True
    """Keep each picture's shape by training in several sizes of about the same area (buckets); off crops to a square."""
    bucket_min: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="expert", step=8)] = 0
    """Shortest side of a bucket; 0 is half the resolution."""
    bucket_max: Annotated[int, Ge(0), Le(8192), Ui(unit="px", level="expert", step=8)] = 0
    """Longest side of a bucket; 0 is twice the resolution."""
    bucket_step: Annotated[int, Ge(0), Le(512), Ui(unit="px", level="expert", step=8)] = 0
    """Bucket sides are multiples of this; 0 is what the model needs (64 px for Stable Diffusion 1.x)."""
    no_upscale: Annotated[bool, Ui(level="expert")] = False
    """Do not enlarge small pictures; they train at their own size."""
