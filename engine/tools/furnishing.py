"""What belongs to a base model beside its weights: configs, tokenizers, noise schedule, index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from engine.errors import ModelError
from engine.families.loading import load_tokenizers
from engine.families.parts import save_config
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS
from engine.formats.tokenizer_files import TOKENIZER_KINDS, find_tokenizer
from engine.tools.checkpoint import Checkpoint
from engine.workspace import atomic_write

STALE = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb")
"""Other programs' weights in a folder: they would still be the old ones."""


def furnish(folder: Path, checkpoint: Checkpoint, schedule: Mapping[str, Any]) -> None:
    """Put everything but the weights into the folder of a diffusers model: the old one's, or the shipped configs and tokenizers.

    Raises:
        ModelError: `model.no_tokenizer`.
    """
    source = checkpoint.own_place
    if source.is_dir():
        for file in model_files(source):
            if file.relative_to(source).parts[0] not in checkpoint.parts:
                copy_file(file, folder / file.relative_to(source))
    else:
        _furnish_anew(folder, checkpoint, schedule)
    for name, network in checkpoint.parts.items():
        save_config(network, folder / name)


def _furnish_anew(folder: Path, checkpoint: Checkpoint, schedule: Mapping[str, Any]) -> None:
    facts, model = checkpoint.facts, MODELS[checkpoint.facts.family]
    denoiser, levels = checkpoint.parts[model.denoiser], checkpoint.parts["vae"].config.block_out_channels
    if "sample_size" in denoiser.config:  # what a file's card says of its resolution, a folder says here
        denoiser.register_to_config(sample_size=facts.resolution // 2 ** (len(levels) - 1))
    for encoder, tokenizer in load_tokenizers(facts, checkpoint.parts).items():
        tokenizer.save_pretrained(folder / model.tokenizers[encoder])
    configs = CONFIGS / model.variants[facts.variant].configs
    index = json.loads((configs / "model_index.json").read_text(encoding="utf-8")) | {"_diffusers_version": diffusers.__version__}
    for name in model.optional:
        if name not in checkpoint.parts:
            index |= {name: [None, None], model.tokenizers[name]: [None, None]}
    for file, content in ((folder / "scheduler" / "scheduler_config.json", schedule), (folder / "model_index.json", index)):
        with atomic_write(file, "w") as stream:
            stream.write(json.dumps(content, indent=1))


def keep_tokenizers(checkpoint: Checkpoint, file: Path) -> None:
    """See that a new single file, which cannot have them, has its tokenizers: unusual ones are put into `tokenizers/` beside it.

    Raises:
        ModelError: `model.tokenizer_differs`: another one is in that place.
    """
    kinds = {encoder: MODELS[checkpoint.facts.family].parts[encoder].kind for encoder in _encoders(checkpoint)}
    for encoder, tokenizer in _own_tokenizers(checkpoint).items():
        beside = file.parent / "tokenizers" / TOKENIZER_KINDS[kinds[encoder]].name / "tokenizer.json"
        found = _tokenizer_near(file, checkpoint, encoder)
        if found is None and not beside.exists():
            with atomic_write(beside, "w") as stream:
                stream.write(tokenizer.backend_tokenizer.to_str())
        elif found is None or found.get_vocab() != tokenizer.get_vocab():
            raise ModelError(
                "model.tokenizer_differs", f"The words of {file.name} are others than those of {beside}.",
                "Models of unusual words in folders of their own.", "Save it as a diffusers folder, which has its tokenizers in it.",
                path=file.name, tokenizer=beside,
            )  # fmt: skip


def _own_tokenizers(checkpoint: Checkpoint) -> dict[str, Any]:
    """Those that are on this machine: a single file whose tokenizer comes from the hub has it from there again."""
    if checkpoint.location.is_dir():
        return load_tokenizers(checkpoint.facts, checkpoint.parts)
    found = {encoder: _tokenizer_near(checkpoint.location, checkpoint, encoder) for encoder in _encoders(checkpoint)}
    return {encoder: tokenizer for encoder, tokenizer in found.items() if tokenizer}


def _encoders(checkpoint: Checkpoint) -> list[str]:
    return [encoder for encoder in MODELS[checkpoint.facts.family].tokenizers if encoder in checkpoint.parts]


def _tokenizer_near(file: Path, checkpoint: Checkpoint, encoder: str) -> Any | None:
    """The tokenizer that a single file in this place would be read with, if there is one."""
    model = MODELS[checkpoint.facts.family]
    settings = CONFIGS / model.variants[checkpoint.facts.variant].configs / model.tokenizers[encoder]
    try:
        return find_tokenizer(
            file, model.parts[encoder].kind, settings, checkpoint.parts[encoder].config.vocab_size, offline=True
        )
    except ModelError:
        return None


def model_files(folder: Path) -> list[Path]:
    """The files of a diffusers model; a single-file checkpoint beside its folders is none."""

    def belongs(file: Path) -> bool:
        path = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in path.parts)
        return not hidden and file.suffix not in STALE and not (len(path.parts) == 1 and file.suffix == ".safetensors")

    return [file for file in sorted(folder.rglob("*")) if file.is_file() and belongs(file)]


def copy_file(source: Path, target: Path) -> None:
    with atomic_write(target) as out, source.open("rb") as stream:
        shutil.copyfileobj(stream, out)
