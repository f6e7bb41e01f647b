"""A tiny pipeline in memory: the published configs, smaller numbers, random weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS
from engine.formats.tokenizer_files import with_settings
from engine.tiny.sizes import DUAL_ATTENTION, SIZES
from engine.tiny.tokenizers import TOKENIZERS


def tiny_pipeline(family: str, configs: str, seed: int = 0, scheduler: dict[str, Any] | None = None) -> Any:
    """A diffusers pipeline of the published model whose folder of `engine/families/configs` is named.

    Args:
        family: key of `SIZES`.
        scheduler: overrides of the scheduler's config.
    """
    folder = CONFIGS / configs
    index = _read(folder / "model_index.json")
    classes = {name: entry for name, entry in index.items() if isinstance(entry, list) and entry[0]}
    parts: dict[str, Any] = {name: None for name, entry in index.items() if isinstance(entry, list)}
    for name in sorted(classes, key=lambda name: not name.startswith("tokenizer")):
        library, kind = classes[name]
        if name == "scheduler":
            parts[name] = getattr(diffusers, kind).from_config(_read(folder / name / "scheduler_config.json") | (scheduler or {}))
        elif name.startswith("tokenizer"):
            parts[name] = with_settings(TOKENIZERS[kind](), folder / name)
        else:
            config = _read(folder / name / "config.json") | SIZES[family][name]
            if config.get("dual_attention_layers"):
                config["dual_attention_layers"] = DUAL_ATTENTION
            if library == "transformers":
                config |= _words(parts[name.replace("text_encoder", "tokenizer")])
            parts[name] = fill(_build(library, kind, config), f"{seed}/{name}")
            if fixed := MODELS[family].parts[name].identity:
                torch.nn.init.eye_(parts[name].get_parameter(fixed))
    flags = {name: value for name, value in index.items() if not isinstance(value, list) and not name.startswith("_")}
    return getattr(diffusers, index["_class_name"])(**parts, **flags)


def fill(part: nn.Module, seed: str) -> nn.Module:
    """Random weights, drawn for each tensor by its name: matrices keep the size of what they multiply, scales are about 1."""
    for name, tensor in part.named_parameters():
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big"))
        drawn = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() > 1:
            tensor.data = drawn * tensor[0].numel() ** -0.5
        else:
            tensor.data = 0.1 * drawn + (0.0 if name.endswith("bias") else 1.0)
    return part.eval()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _words(tokenizer: Any) -> dict[str, int]:
    """Numbers of words, as a text encoder's config has them. Vocabularies are padded, as T5's and Qwen3's are; CLIP's is not."""
    padded = 0 if isinstance(tokenizer, transformers.CLIPTokenizer) else -len(tokenizer) % 64
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {"vocab_size": len(tokenizer) + padded, **special}


def _build(library: str, kind: str, config: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        if library == "diffusers":
            return getattr(diffusers, kind).from_config(config)
        network = getattr(transformers, kind)
        return network(network.config_class(**config))
