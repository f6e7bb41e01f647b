"""Latents and text embeddings encoded once and kept on disk, by what they were made from.

An entry's name is the hash of everything its tensors depend on: the bytes of the picture, size, crop and flip, the VAE;
or the caption and the text encoder. A changed picture or model has another name, so a stale entry cannot be met. Entries
appear whole or not at all, and two runs may share a folder. Knows nothing of models: encoding is a function passed in,
and whatever shape it returns is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.datasets.decode import WHITE, Colour, decode_picture, fit, read_bytes, to_array
from engine.errors import DatasetError
from engine.workspace import atomic_write

PREPARATION = 1
"""Raise when decoding or fitting gives other pixels than before: every entry made by the old way is then passed over."""


@dataclass(frozen=True)
class LatentItem:
    """A picture in its training size: `resized` covers `bucket`, which is cut from its centre; sizes (width, height) in px."""

    path: Path
    bucket: tuple[int, int]
    resized: tuple[int, int]
    flip: bool = False


class TensorStore:
    """Named tensors by key: one safetensors file each, with what was read or written kept in memory in front.

    Args:
        folder: None keeps them in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, dict[str, Tensor]] = {}

    def path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.safetensors" if self.folder else None

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The entry, on the CPU; None when there is none or its file is damaged, so that it is made again."""
        path = self.path(key)
        if key not in self._memory and path:
            try:
                self._memory[key] = load(path.read_bytes())
            except (FileNotFoundError, SafetensorError):
                return None
        return self._memory.get(key)

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Write an entry whole and give it back as `get` will."""
        entry = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        if path := self.path(key):
            with atomic_write(path) as stream:
                stream.write(save(entry))
        self._memory[key] = entry
        return entry


class LatentCache:
    """Encoded pictures.

    Args:
        folder: may be shared by runs and models; None keeps nothing on disk.
        vae_key: names the VAE's weights and everything else that `encode` depends on: precision, scaling, posterior.
        background: what transparent pictures are laid on.
    """

    def __init__(self, folder: Path | None, vae_key: str, background: Colour = WHITE) -> None:
        self.store, self.vae_key, self.background = TensorStore(folder), vae_key, background

    def key(self, item: LatentItem, content: bytes) -> str:
        """Name of the entry made from the file content `content`."""
        picture = hashlib.sha256(content).hexdigest()
        return _key("latent", PREPARATION, picture, item.bucket, item.resized, item.flip, self.background, self.vae_key)

    def latents(
        self,
        items: Sequence[LatentItem],
        encode: Callable[[Tensor], Tensor],
        on_progress: Callable[[int, int], None],
        on_skip: Callable[[LatentItem, DatasetError], None] | None = None,
        batch_size: int = 1,
    ) -> dict[LatentItem, Tensor]:
        """The latents of the items, encoding those that are not in the cache.

        Args:
            encode: pictures float32 (B, 3, H, W) in [-1, 1], all of one bucket, on the CPU -> tensor (B, ...).
            on_progress: called with items done and items in all; what it raises ends the work, and what is done stays.
            on_skip: called for a picture that cannot be decoded, which is then missing from the result.
            batch_size: pictures encoded together. Above 1 the last bits of an entry may depend on its neighbours, and
                with them on what an interrupted run had already cached: exact runs keep 1.

        Returns:
            Item -> tensor (...) on the CPU, in the order of `items`.

        Raises:
            DatasetError: `picture.unreadable`, `picture.too_large` when `on_skip` is None.
        """
        items = list(dict.fromkeys(items))
        found: dict[LatentItem, Tensor] = {}
        skipped = 0
        for _, group in groupby(sorted(items, key=_bucket), key=_bucket):
            waiting: dict[LatentItem, tuple[str, Tensor]] = {}
            for item in group:
                try:
                    content = read_bytes(item.path)
                    key = self.key(item, content)
                    entry = self.store.get(key)
                    if entry is None:
                        waiting[item] = key, self._pixels(item, content)
                    else:
                        found[item] = entry["latent"]
                except DatasetError as error:
                    if on_skip is None:
                        raise
                    on_skip(item, error)
                    skipped += 1
                if len(waiting) >= batch_size:
                    found |= self._encode(waiting, encode)
                    waiting = {}
                on_progress(len(found) + skipped, len(items))
            if waiting:
                found |= self._encode(waiting, encode)
                on_progress(len(found) + skipped, len(items))
        return {item: found[item] for item in items if item in found}

    def _pixels(self, item: LatentItem, content: bytes) -> Tensor:
        """(3, H, W) from the very bytes that the key was made from."""
        picture = decode_picture(content, item.path.name, self.background)
        return torch.from_numpy(to_array(fit(picture, item.resized, item.bucket, item.flip)))

    def _encode(
        self, waiting: dict[LatentItem, tuple[str, Tensor]], encode: Callable[[Tensor], Tensor]
    ) -> dict[LatentItem, Tensor]:
        with torch.no_grad():
            latents = encode(torch.stack([pixels for _, pixels in waiting.values()]))
        pairs = zip(waiting.items(), latents, strict=True)
        return {item: self.store.put(key, {"latent": latent})["latent"] for (item, (key, _)), latent in pairs}


class TextCache:
    """Encoded captions.

    Args:
        encoder_key: names the text encoders' weights and everything else that `encode` depends on: precision, clip skip.
    """

    def __init__(self, folder: Path, encoder_key: str) -> None:
        self.store, self.encoder_key = TensorStore(folder), encoder_key

    def embeddings(
        self, captions: Iterable[str], encode: Callable[[str], Mapping[str, Tensor]], on_progress: Callable[[int, int], None]
    ) -> dict[str, dict[str, Tensor]]:
        """What `encode` gives for each distinct caption, on the CPU; one at a time, so that none depends on others."""
        distinct = list(dict.fromkeys(captions))
        found = {}
        for caption in distinct:
            key = _key("text", caption, self.encoder_key)
            entry = self.store.get(key)
            if entry is None:
                with torch.no_grad():
                    entry = self.store.put(key, encode(caption))
            found[caption] = entry
            on_progress(len(found), len(distinct))
        return found


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _bucket(item: LatentItem) -> tuple[int, int]:
    return item.bucket
