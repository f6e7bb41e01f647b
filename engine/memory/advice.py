"""What to change where a run needs more memory than the device has: the mildest changes that help, and how far they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config.train import AdamW8bit, TrainConfig
from engine.errors import EngineError
from engine.memory.forecast import MemoryForecast

WAYS = {
    "optimizer": "AdamW in 8 bits",
    "batch": "batches of one, added up",
    "checkpointing": "gradient checkpointing",
    "quantization": "a base in 4 bits",
    "streaming": "all blocks streamed",
    "resolution": "a smaller resolution",
}
"""What makes a run need less memory, the mildest first."""
ALL_BLOCKS = 1000
WORTH = 0.99
"""A change is named that leaves less than this share of the peak."""


def too_little(
    config: TrainConfig, memory: MemoryForecast | None, forecast: Callable[[TrainConfig], MemoryForecast]
) -> list[EngineError]:
    """A notice where the device has less memory than the run needs.

    Args:
        forecast: what a run with other settings would need.
    """
    if memory is None or memory.fits:
        return []
    ways, reached = [], memory
    for name in WAYS:
        changed = milder(config, name)
        if changed and (found := forecast(changed)).peak < WORTH * reached.peak:
            config, reached = changed, found
            ways.append((name, _gib(found.peak)))
        if reached.fits:
            break
    else:
        ways.append(("resolution", ""))
    return [EngineError(
        "memory.too_little", f"The run needs about {_gib(memory.peak)} GiB, and the device has {_gib(memory.available)} GiB.",
        "A run that fits.", f"One after the other: {'; '.join(WAYS[name] + (f' ({size} GiB)' if size else '') for name, size in ways)}.",
        needed=_gib(memory.peak), available=_gib(memory.available), ways=ways,
    )]  # fmt: skip


def milder(config: TrainConfig, way: str) -> TrainConfig | None:
    """The run with a setting that needs less; None where it has it already, or none can be named."""
    training, model = config.training, config.model
    changes: dict[str, dict[str, Any] | None] = {
        "optimizer": {"optimizer": AdamW8bit(weight_decay=training.optimizer.weight_decay)}
        if training.optimizer.kind == "adamw"
        else None,
        "batch": {"batch_size": 1} if training.batch_size > 1 else None,
        "checkpointing": {"gradient_checkpointing": True, "checkpointed_blocks": 0}
        if not training.gradient_checkpointing
        else None,
    }
    if changed := changes.get(way):
        return config.model_copy(update={"training": training.model_copy(update=changed)})
    if way == "quantization" and model.quantization == "none":
        return config.model_copy(update={"model": model.model_copy(update={"quantization": "nf4"})})
    if way == "streaming" and not model.streamed_blocks:
        return config.model_copy(update={"model": model.model_copy(update={"streamed_blocks": ALL_BLOCKS})})
    return None


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
