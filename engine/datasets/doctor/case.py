"""What the checks are given: the dataset, what each picture looks like, and what it is to be trained on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.config.train import Kind
from engine.datasets.bucket_plan import BucketPlan
from engine.datasets.dataset import Dataset, Picture
from engine.datasets.doctor.look import Look
from engine.model_facts import ModelFacts


@dataclass(frozen=True)
class Case:
    """Attributes:
    looks: of every picture of the dataset.
    resolution: side of the training square, px.
    kind, trigger: of the run; "" for no trigger word.
    buckets: None where the settings allow none.
    no_upscale: pictures are never enlarged.
    """

    dataset: Dataset
    looks: dict[Path, Look]
    model: ModelFacts
    resolution: int
    kind: Kind
    trigger: str
    batch_size: int = 1
    no_upscale: bool = False
    buckets: BucketPlan | None = None

    def name(self, path: Path) -> str:
        """A file as it is named in findings: below the dataset's folder, "" for the folder itself."""
        return path.relative_to(self.dataset.folder).as_posix() if path != self.dataset.folder else ""

    @cached_property
    def readable(self) -> dict[str, Picture]:
        """Name -> picture, of those whose pixels can be had."""
        return {self.name(picture.path): picture for picture in self.dataset.pictures if not self.looks[picture.path].problem}

    @property
    def seen(self) -> Iterator[tuple[str, Picture, Look]]:
        """Name, picture and look of those that can be read."""
        return ((name, picture, self.looks[picture.path]) for name, picture in self.readable.items())

    @cached_property
    def learnt(self) -> dict[str, Picture]:
        """The readable pictures without those for regularisation."""
        inside = {picture.path for concept in self.dataset.learnt for picture in concept.pictures}
        return {name: picture for name, picture in self.readable.items() if picture.path in inside}

    def word(self, picture: Picture) -> str:
        """The trigger word that the picture's caption begins with in training, "" for none."""
        return self.trigger if picture.trigger is None else picture.trigger
