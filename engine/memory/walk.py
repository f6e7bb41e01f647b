"""A part of a base model walked through: pictures or texts of a given size, what learns, what is recomputed."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from engine.memory.networks import DENOISERS, TEXT_ENCODERS, TEXT_WIDTH
from engine.memory.networks.vae import decoder, encoder
from engine.memory.sketch import Sketch
from engine.memory.values import CUDA, HALF, Formats

Config = Mapping[str, Any]


def denoise(
    kind: str, config: Config, width: int, height: int, tokens: int, *, batch: int = 1, formats: Formats = CUDA,
    ranks: Mapping[str, int] | None = None, again: Container[str] = (), text_learns: bool = False,
) -> Sketch:  # fmt: skip
    """One prediction.

    Args:
        kind: key of DENOISERS.
        width, height: of the latents.
        tokens: of the encoded text.
        ranks: path of a layer -> rank of its adapter, as in `Sketch`.
        again: names of the blocks that are recomputed.
        text_learns: whether a gradient goes back to the text encoder.
    """
    sketch = Sketch(batch, formats, ranks, again)
    text = sketch.given(batch * tokens, config[TEXT_WIDTH[kind]], text_learns)
    DENOISERS[kind](sketch, config, width, height, text)
    return sketch


def encode_text(
    kind: str, config: Config, tokens: int, *, batch: int = 1, formats: Formats = CUDA,
    ranks: Mapping[str, int] | None = None, again: Container[str] = (),
) -> Sketch:  # fmt: skip
    """Texts of so many tokens through a text encoder."""
    sketch = Sketch(batch, formats, ranks, again)
    TEXT_ENCODERS[kind](sketch, config, tokens)
    return sketch


def encode_picture(config: Config, width: int, height: int, formats: Formats = HALF, batch: int = 1) -> Sketch:
    """Pictures of this size in px to latents."""
    sketch = Sketch(batch, formats)
    encoder(sketch, config, width, height)
    return sketch


def decode_picture(config: Config, width: int, height: int, formats: Formats = HALF, batch: int = 1) -> Sketch:
    """Latents to pictures of this size in px."""
    sketch = Sketch(batch, formats)
    decoder(sketch, config, width, height)
    return sketch


def block_names(kind: str, config: Config) -> list[str]:
    """The blocks of a denoiser or a text encoder, in the order of the forward pass."""
    sketch = encode_text(kind, config, 1) if kind in TEXT_ENCODERS else denoise(kind, config, 64, 64, 1)
    return [block.name for block in sketch.blocks[1:]]
