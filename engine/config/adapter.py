"""Which adapter is trained: one model per algorithm, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from engine.config.field import Section, Ui


class LoraOptions(Section):
    """Low-rank adaptation. With `conv_rank` 0 this is LoRA-LierLa, otherwise LoRA-C3Lier."""

    kind: Literal["lora"] = "lora"
    """The algorithm of the adapter."""
    rank: Annotated[int, Ge(1), Le(1024), Ui(level="basic", step=1)] = 16
    """How much the adapter can hold (network dim). 4 to 16 is enough for one character; more also learns the backgrounds."""
    alpha: Annotated[float, Ge(0), Le(4096), Ui(level="advanced", step=1)] = 16.0
    """Strength of learning is alpha divided by rank. Keep it equal to the rank unless a recipe says otherwise; 0 means equal to the rank."""
    conv_rank: Annotated[int, Ge(0), Le(1024), Ui(level="advanced", step=1)] = 0
    """Rank for the 3x3 convolutions (conv dim). 0 leaves them alone (LierLa); 4 to 16 helps styles and shapes (C3Lier)."""
    conv_alpha: Annotated[float, Ge(0), Le(4096), Ui(level="expert", step=1)] = 0.0
    """Alpha of the convolutions; 0 means equal to their rank."""
    targets: Annotated[Literal["attention", "attention+mlp"], Ui(level="advanced")] = "attention+mlp"
    """Which layers of the U-Net learn: attention only (smaller file), or attention and feed-forward as Kohya does."""
    train_unet: Annotated[bool, Ui(level="expert")] = True
    """Train the U-Net, which draws."""
    train_text_encoder: Annotated[bool, Ui(level="advanced")] = False
    """Also train the text encoder. Helps a trigger word to stick on SD1.x; costs memory, and text can no longer be cached."""
    dropout: Annotated[float, Ge(0), Le(0.9), Ui(level="expert", step=0.05)] = 0.0
    """Fraction of the adapter's inner activations dropped while training, against overfitting."""


AdapterOptions = LoraOptions
"""A union on `kind` once there is a second algorithm."""
