"""Tiny random models with the real classes, for tests of everything that a multi-gigabyte checkpoint goes through."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from engine.formats.single_file_writer import write_single_file
from engine.tiny.pipeline import tiny_pipeline
from engine.tiny.write import save_pipeline, save_tokenizers

PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")


def tiny_parts(seed: int = 0, prediction_type: str = "epsilon") -> dict[str, Any]:
    """The parts of a Stable Diffusion 1.x pipeline: four U-Net levels with two layers each, a VAE that shrinks by 8."""
    pipeline = tiny_pipeline("sd1", "sd1", seed, {"prediction_type": prediction_type})
    return {name: pipeline.components[name] for name in PARTS}


def tiny_sd1(folder: Path | str, seed: int = 0, prediction_type: str = "epsilon") -> Path:
    """Save a tiny random Stable Diffusion 1.x pipeline as a diffusers folder, in the place of one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    return save_pipeline(tiny_pipeline("sd1", "sd1", seed, {"prediction_type": prediction_type}), Path(folder))


def tiny_sd1_single_file(path: Path | str, seed: int = 0, prediction_type: str = "epsilon") -> Path:
    """Save the same pipeline as one `.safetensors` file with its tokenizer beside it."""
    pipeline = tiny_pipeline("sd1", "sd1", seed, {"prediction_type": prediction_type})
    networks = {name: pipeline.components[name] for name in ("text_encoder", "unet", "vae")}
    write_single_file(path, "sd1", networks, "base", prediction_type, 64)
    save_tokenizers(pipeline, "sd1", Path(path).parent / "tokenizers")
    return Path(path)


def tiny_vae(path: Path | str, seed: int = 0) -> Path:
    """Save the VAE of such a pipeline as a file of its own."""
    with tempfile.TemporaryDirectory() as place:
        whole = load_file(tiny_sd1_single_file(Path(place) / "whole.safetensors", seed))
    prefix = "first_stage_model."
    save_file({key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}, path)
    return Path(path)
