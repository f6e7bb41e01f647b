"""What a job that draws thumbnails is told."""

from __future__ import annotations

from typing import Annotated

from engine.config.field import Section, Ui


class ThumbnailConfig(Section):
    """One dataset whose pictures shall be ready to be looked at."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of these settings."""
    dataset: Annotated[str, Ui(level="basic")] = ""
    """The folder of the dataset."""
