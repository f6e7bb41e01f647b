"""Words that a picture's recipe has for settings, by AUTOMATIC1111's names. Imports no torch: what reads them back has none."""

from __future__ import annotations

from engine.config.choices import MaskedContent, Resize

RESIZE: dict[Resize, str] = {"crop": "Crop and resize", "fill": "Resize and fill", "stretch": "Just resize"}
MASKED_CONTENT: dict[MaskedContent, str] = {
    "original": "original", "fill": "fill", "noise": "latent noise", "nothing": "latent nothing",
}  # fmt: skip
