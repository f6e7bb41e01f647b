"""The words for what a dataset is: pictures in concepts, and findings.

Plain data; how it is read from a folder is `scan`'s business, and its exact bytes are `content`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.datasets.regularisation import balanced

CaptionSource = Literal["file", "metadata", "folder", "trigger", "none"]


@dataclass(frozen=True)
class Picture:
    """A usable picture file.

    Attributes:
        width, height: upright, px.
        caption: what is trained on; where it came from is `caption_source`.
        caption_path: the caption file beside the picture, even if it could not be used.
        trigger: the word put in front of its caption; None is the run's own, "" is none.
    """

    path: Path
    width: int
    height: int
    caption: str
    caption_source: CaptionSource
    caption_path: Path | None = None
    trigger: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True)
class Concept:
    """A folder of pictures that belong together.

    Attributes:
        repeats: showings of each picture per epoch; those of regularisation pictures are balanced, see `Dataset.repeats`.
        class_tokens: the caption of pictures that have none.
        regularisation: pictures of the class in general, which are not what is learnt.
        kind: what the pictures have in common, a word of `engine.config.train.Kind`; "" where nobody said.
        trigger: the word of its own; "" takes the dataset's or the run's.
    """

    name: str
    repeats: int
    class_tokens: str
    pictures: list[Picture]
    regularisation: bool = False
    kind: str = ""
    trigger: str = ""


@dataclass(frozen=True)
class Finding:
    """Something the user should know: a stable code, the file or folder, the English text and the values in it."""

    code: str
    path: Path
    text: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What `scan` found below `folder`.

    Attributes:
        sources: files beyond pictures and caption files that were read: `dataset.yaml` and metadata with captions.
    """

    folder: Path
    concepts: list[Concept]
    findings: list[Finding]
    sources: tuple[Path, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, concept by concept, each once."""
        return [picture for concept in self.concepts for picture in concept.pictures]

    @property
    def learnt(self) -> list[Concept]:
        """The concepts without those of regularisation pictures."""
        return [concept for concept in self.concepts if not concept.regularisation]

    @property
    def views_per_epoch(self) -> int:
        """Showings per epoch of what is learnt."""
        return sum(concept.repeats * len(concept.pictures) for concept in self.learnt)

    @property
    def repeats(self) -> list[int]:
        """Showings per epoch, in the order of `pictures`; 0 for regularisation pictures that are left over."""
        own = [concept.repeats for concept in self.concepts if concept.regularisation for _ in concept.pictures]
        shown = iter(balanced(own, self.views_per_epoch))
        return [next(shown) if concept.regularisation else concept.repeats for concept in self.concepts for _ in concept.pictures]

    def triggers(self, run: str = "") -> list[str]:
        """The different words that call what is learnt, in order.

        Args:
            run: the run's own word.
        """
        words = (run if picture.trigger is None else picture.trigger for concept in self.learnt for picture in concept.pictures)
        return list(dict.fromkeys(word for word in words if word))
