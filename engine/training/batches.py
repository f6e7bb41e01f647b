"""What a training step sees: pictures as cached latents, captions as encoded text.

Nothing here holds random state: what a step is shown follows from (seed, step), so that a resumed run meets exactly what
the uninterrupted one would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.config.train import TrainConfig
from engine.datasets.cache import LatentCache, LatentItem, TextCache
from engine.datasets.captions import compose, with_trigger
from engine.datasets.dataset import Picture
from engine.datasets.sampler import BucketedItem, epoch_batches, steps_per_epoch
from engine.errors import DatasetError
from engine.families.base import Conditions, Family, Placing
from engine.preflight import Preflight
from engine.training.events import Event, Phase, Warned


@dataclass(frozen=True)
class Batch:
    """One forward pass: pictures as they were encoded (B, C', h, w), how each lies in its frame, and captions."""

    encoded: Tensor
    placings: list[Placing]
    captions: list[str]


class TrainingData:
    """The pictures and captions of a run, encoded once where the settings allow it.

    Attributes:
        items: the pictures shown; those that cannot be decoded are gone after `prepare`.
        keys: `Family.weights_key` of the base model.
    """

    def __init__(self, config: TrainConfig, ahead: Preflight, model: Family, cache: Path) -> None:
        self.config, self.ahead, self.model = config, ahead, model
        self.keys = model.weights_key
        self._latents = LatentCache(cache / "latents" if config.training.cache_latents else None, self.keys["vae"])
        self._texts = TextCache(cache / "text", f"{self.keys['text']}/{config.training.clip_skip}")
        self._ready: dict[LatentItem, Tensor] = {}
        self._encoded: dict[str, Conditions] = {}
        self._planned: tuple[int, list[list[list[int]]]] = (-1, [])
        self.use(ahead.items)

    def use(self, items: list[BucketedItem]) -> None:
        """Show these pictures."""
        training = self.config.training
        self.items = items
        self.steps_per_epoch = steps_per_epoch(items, training.batch_size, training.gradient_accumulation)

    def _item(self, index: int, flip: bool) -> LatentItem:
        fit = self.ahead.fits[index]
        return LatentItem(self.ahead.dataset.pictures[index].path, fit.bucket, fit.resized, flip)

    def prepare(self) -> Iterator[Event]:
        """Encode pictures, and captions if they are fixed; tells how far it is. Pictures that cannot be decoded are left out.

        Raises:
            DatasetError: `dataset.nothing_left`.
        """
        with self.model.on_device("vae"):
            yield from self._prepare_pictures()
        if not self.tells_anew:
            with self.model.on_device(*self.model.encoders):
                yield from self._prepare_captions()

    @property
    def tells_anew(self) -> bool:
        """Whether captions are encoded at every step: the encoders learn, or the captions change."""
        return self._words_learn or self.config.dataset.shuffle_tags

    def _prepare_pictures(self) -> Iterator[Event]:
        total = len(self.items) * (2 if self.config.dataset.flip else 1)
        broken: set[int] = set()
        yield Phase("latents", 0, total)
        for done, (item, flip) in enumerate(
            ((i, f) for i in self.items for f in ((False, True) if self.config.dataset.flip else (False,))), 1
        ):
            wanted = self._item(item.index, flip)
            try:
                self._ready |= self._latents.latents([wanted], self.model.encode_pictures, lambda *_: None)
            except DatasetError as error:
                if item.index not in broken:
                    yield Warned(error.code, str(error))
                broken.add(item.index)
            yield Phase("latents", done, total)
        self.use([item for item in self.items if item.index not in broken])
        if not self.items:
            raise DatasetError(
                "dataset.nothing_left", "None of the pictures could be decoded.", "At least one whole picture.",
                "Replace the broken files named in the log.", field="dataset.folder",
            )  # fmt: skip

    def _prepare_captions(self) -> Iterator[Event]:
        captions = sorted({self.caption(picture, None) for picture in self.ahead.dataset.pictures} | {""})
        for done, caption in enumerate(captions, 1):
            yield Phase("text", done, len(captions))
            fixed = self._texts.embeddings([caption], self._encode, lambda *_: None)
            self._encoded[caption] = {name: each.to(self.model.device) for name, each in fixed[caption].items()}

    @property
    def _words_learn(self) -> bool:
        return self.config.adapter.train_text_encoder or self.config.adapter.train_t5

    def _encode(self, caption: str) -> Conditions:
        """One caption, in the text encoders' own number formats wherever it is called."""
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            return self.model.encode_tokens([caption], self.config.training.clip_skip)

    def caption(self, picture: Picture, rng: random.Random | None) -> str:
        """A picture's caption as it is shown once; with no `rng`, what does not change from showing to showing."""
        options = self.config.dataset
        own = options.trigger.strip() if picture.trigger is None else picture.trigger
        trigger = own if options.add_trigger else ""
        if rng is None:
            return with_trigger(picture.caption, trigger)
        return compose(
            picture.caption, rng, trigger=trigger, keep_tokens=options.keep_tags, shuffle=options.shuffle_tags,
            caption_dropout=options.caption_dropout,
        )  # fmt: skip

    def _epoch(self, epoch: int) -> list[list[list[int]]]:
        """The optimizer steps of an epoch, each a list of batches of picture indices."""
        if self._planned[0] != epoch:
            training = self.config.training
            batches = epoch_batches(self.items, training.batch_size, training.seed, epoch)
            size = training.gradient_accumulation
            self._planned = epoch, [batches[start : start + size] for start in range(0, len(batches), size)]
        return self._planned[1]

    def step_batches(self, step: int) -> list[Batch]:
        """The batches of optimizer step `step` (from 1)."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        rng = random.Random((self.config.training.seed << 24) + step)
        return [self._batch(indices, rng) for indices in self._epoch(epoch)[place]]

    def _batch(self, indices: list[int], rng: random.Random) -> Batch:
        shown = [self._showing(index, rng) for index in indices]
        encoded = torch.stack([picture for picture, _ in shown]).to(self.model.device)
        return Batch(encoded, [self._placing(index) for index in indices], [caption for _, caption in shown])

    def _placing(self, index: int) -> Placing:
        fit = self.ahead.fits[index]
        left, top = ((whole - cut) // 2 for whole, cut in zip(fit.resized, fit.bucket, strict=True))
        return Placing(self.ahead.dataset.pictures[index].size, (left, top), fit.bucket)

    def _showing(self, index: int, rng: random.Random) -> tuple[Tensor, str]:
        """A picture as it is shown once: encoded (C', h, w), and its caption."""
        flip = self.config.dataset.flip and rng.random() < 0.5
        return self._ready[self._item(index, flip)], self.caption(self.ahead.dataset.pictures[index], rng)

    def encode(self, captions: list[str]) -> Conditions:
        """Captions as the model is told them: through the text encoders as they are now if one is trained, else as `prepare` found
        them."""
        if self._words_learn:
            return self.model.encode_tokens(captions, self.config.training.clip_skip)
        # Shuffled captions are not kept: there are more of them than fit into memory.
        found = [self._encoded[text] if text in self._encoded else self._encode(text) for text in captions]
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}
