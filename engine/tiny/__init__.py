"""Tiny models of random weights for dry runs and tests: the real classes and files of every family, a few MB each.

A tiny model is the published one (`engine/families/configs`) with smaller numbers. Its pictures are coloured noise; everything
else about it is true: names, layout, prediction, schedule, what text conditions it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["make_tiny"]


def make_tiny(family: str, folder: Path | str, seed: int = 0, variant: str | None = None, single_file: bool = False) -> Path:
    """Write a tiny model; the same seed gives the same bytes.

    Args:
        folder: of the new model, which must not exist yet or be empty; with `single_file` the `.safetensors` file, whose
            tokenizers go into `tokenizers/` beside it.
        variant: one of the family; None for its first.

    Raises:
        ModelError: `model.no_tiny`, `model.place_taken`.
    """
    from engine.tiny.write import write_tiny

    return write_tiny(family, Path(folder), seed, variant, single_file)
