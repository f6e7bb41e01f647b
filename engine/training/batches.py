"""What a training step sees: pictures as cached latents, captions as encoded text, noise and timesteps from (seed, step).

Nothing here holds random state. A step asks for its own draws, so that a resumed run meets exactly what the uninterrupted
one would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from engine.config.train import TrainConfig
from engine.datasets.cache import LatentCache, LatentItem, TextCache
from engine.datasets.captions import compose, with_trigger
from engine.datasets.dataset import Picture
from engine.datasets.sampler import epoch_batches
from engine.errors import DatasetError
from engine.families.base import Family
from engine.preflight import Preflight
from engine.training.events import Event, Phase, Warned


@dataclass(frozen=True)
class Batch:
    """One forward pass: latents (B, C, h, w) and captions."""

    latents: Tensor
    captions: list[str]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random stream of one optimizer step (from 1)."""
    return torch.Generator().manual_seed((seed << 24) + step)


class TrainingData:
    """The pictures and captions of a run, encoded once where the settings allow it."""

    def __init__(self, config: TrainConfig, ahead: Preflight, model: Family, cache: Path) -> None:
        self.config, self.ahead, self.model = config, ahead, model
        keys = model.weights_key
        self._latents = LatentCache(cache / "latents", keys["vae"])
        self._texts = TextCache(cache / "text", f"{keys['text_encoder']}/{config.training.clip_skip}")
        self._ready: dict[LatentItem, Tensor] = {}
        self._encoded: dict[str, Tensor] = {}
        self._epoch = lru_cache(maxsize=2)(self._plan_epoch)
        self.items = ahead.items

    def _item(self, index: int, flip: bool) -> LatentItem:
        fit = self.ahead.fits[index]
        return LatentItem(self.ahead.dataset.pictures[index].path, fit.bucket, fit.resized, flip)

    def prepare(self) -> Iterator[Event]:
        """Encode pictures, and captions if they are fixed; tells how far it is. Pictures that cannot be decoded are left out.

        Raises:
            DatasetError: `dataset.nothing_left`.
        """
        total = len(self.items) * (2 if self.config.dataset.flip else 1)
        broken: set[int] = set()
        yield Phase("latents", 0, total)
        for done, (item, flip) in enumerate(((i, f) for i in self.items for f in ((False, True) if self.config.dataset.flip else (False,))), 1):
            wanted = self._item(item.index, flip)
            try:
                self._ready |= self._latents.latents([wanted], self.model.encode_pictures, lambda *_: None)
            except DatasetError as error:
                if item.index not in broken:
                    yield Warned(error.code, str(error))
                broken.add(item.index)
            yield Phase("latents", done, total)
        self.items = [item for item in self.items if item.index not in broken]
        if not self.items:
            raise DatasetError(
                "dataset.nothing_left", "None of the pictures could be decoded.", "At least one whole picture.",
                "Replace the broken files named in the log.", field="dataset.folder",
            )  # fmt: skip
        if not self.config.adapter.train_text_encoder and not self.config.dataset.shuffle_tags:
            captions = sorted({self.caption(picture, None) for picture in self.ahead.dataset.pictures} | {""})
            for done, caption in enumerate(captions, 1):
                yield Phase("text", done, len(captions))
                self._encoded[caption] = self._encode_fixed(caption)

    def _encode_fixed(self, caption: str) -> Tensor:
        def encode(text: str) -> dict[str, Tensor]:
            return {"text": self.model.encode_tokens([text], self.config.training.clip_skip)}

        return self._texts.embeddings([caption], encode, lambda *_: None)[caption]["text"].to(self.model.device)

    def caption(self, picture: Picture, rng: random.Random | None) -> str:
        """A picture's caption as it is shown once; with no `rng`, what does not change from showing to showing."""
        options = self.config.dataset
        trigger = options.trigger.strip() if options.add_trigger else ""
        if rng is None:
            return with_trigger(picture.caption, trigger)
        return compose(
            picture.caption, rng, trigger=trigger, keep_tokens=options.keep_tags, shuffle=options.shuffle_tags,
            caption_dropout=options.caption_dropout,
        )  # fmt: skip

    @property
    def steps_per_epoch(self) -> int:
        return len(self._epoch(0))

    def _plan_epoch(self, epoch: int) -> list[list[list[int]]]:
        """The optimizer steps of an epoch, each a list of batches of picture indices."""
        training = self.config.training
        batches = epoch_batches(self.items, training.batch_size, training.seed, epoch)
        size = training.gradient_accumulation
        return [batches[start : start + size] for start in range(0, len(batches), size)]

    def step_batches(self, step: int) -> list[Batch]:
        """The batches of optimizer step `step` (from 1)."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        rng = random.Random((self.config.training.seed << 24) + step)
        return [self._batch(indices, rng) for indices in self._epoch(epoch)[place]]

    def _batch(self, indices: list[int], rng: random.Random) -> Batch:
        pictures = self.ahead.dataset.pictures
        flips = [self.config.dataset.flip and rng.random() < 0.5 for _ in indices]
        latents = [self._ready[self._item(index, flip)] for index, flip in zip(indices, flips, strict=True)]
        return Batch(torch.stack(latents).to(self.model.device), [self.caption(pictures[index], rng) for index in indices])

    def encode(self, captions: list[str]) -> Tensor:
        """Captions as (B, T, D); from the cache when the text encoder is not trained."""
        if self.config.adapter.train_text_encoder:
            return self.model.encode_tokens(captions, self.config.training.clip_skip)
        for caption in captions:
            if caption not in self._encoded:
                with torch.no_grad():
                    self._encoded[caption] = self.model.encode_tokens([caption], self.config.training.clip_skip)
        return torch.cat([self._encoded[caption] for caption in captions])
