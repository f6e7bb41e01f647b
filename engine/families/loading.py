"""Loading the parts of a base model from wherever they lie: folders of a diffusers model, one single file, several files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from engine.errors import ModelError
from engine.families.parts import build_empty, part_class
from engine.fitting import vae_precision
from engine.formats.checkpoint_shapes import zero_terminal_snr
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS, ModelFormat, Part, PartSource
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import SCHEDULE, bad_shape, part_config, read_state, said
from engine.formats.tokenizer_files import find_tokenizer
from engine.formats.weight_names import best_variant
from engine.model_facts import ModelFacts


def load_parts(facts: ModelFacts, dtype: torch.dtype) -> Iterator[tuple[str, nn.Module]]:
    """Every part of a model by name, on the CPU, copied out of its files; each is loaded when it is asked for.

    The denoiser, which is the largest, comes first: nothing else is in memory beside it then.

    Args:
        dtype: of all parts, but a VAE that overflows float16 is float32 then.

    Raises:
        ModelError: codes `file.*`, `model.broken_folder`, `model.missing_tensors`, `model.bad_shape`.
    """
    model = MODELS[facts.family]
    configs = model.variants[facts.variant].configs
    for name in sorted(facts.sources, key=lambda name: name != model.denoiser):
        wide = name == "vae" and dtype == torch.float16
        part = load_part(name, model.parts[name], configs, facts.sources[name], torch.float32 if wide else dtype)
        if wide:
            part.to(getattr(torch, vae_precision("float16", bool(part.config.force_upcast))))
        yield name, part


def load_part(name: str, part: Part, configs: str, source: PartSource, dtype: torch.dtype) -> nn.Module:
    """One part.

    Args:
        configs: folder below CONFIGS whose config holds for a single file.
    """
    if source.path.is_dir():
        return _from_folder(part, source.path, dtype)
    part = source.form(part)
    config = part_config(source.path, name, part, configs, read_header(source.path), source.prefix)
    try:
        network = build_empty(part.kind, config)
    except ValueError as error:
        raise bad_shape(source.path, str(error)) from error
    twins = tied_tensors(network)
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if key not in twins}
    state = read_state(source.path, part, source.prefix, config, wanted, partial(own_format, network, dtype))
    network.load_state_dict(state | {twin: state[key] for twin, key in twins.items()}, assign=True)
    if twins:
        network.tie_weights()
    return network


def tied_tensors(network: nn.Module) -> dict[str, str]:
    """Second name of a tensor that has two -> the first: T5's embedding."""
    return dict(getattr(network, "_tied_weights_keys", None) or {})


def own_format(network: nn.Module, dtype: torch.dtype, key: str) -> torch.dtype:
    """The number format of a tensor in a network of `dtype`: transformers knows layers that overflow float16, as T5's `wo`."""
    wide = getattr(network, "_keep_in_fp32_modules", None) or ()
    return torch.float32 if dtype == torch.float16 and not set(wide).isdisjoint(key.split(".")) else dtype


def _from_folder(part: Part, folder: Path, dtype: torch.dtype) -> nn.Module:
    variant = best_variant(file.name for file in folder.glob("*")) or None
    try:
        network, report = part_class(part.kind).from_pretrained(
            folder, dtype=dtype, variant=variant, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):  # they would stay random
            raise ValueError(f"{folder.name} lacks {len(missing)} tensors, the first is {missing[0]}.")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise broken_folder(folder.parent, error) from error
    for tensor in (*network.parameters(), *network.buffers()):
        # Both libraries map the file into memory: without a copy the model would change when the file is written over.
        tensor.data = tensor.data.clone()
    return network


def load_tokenizers(facts: ModelFacts, parts: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Text encoder -> its tokenizer.

    Raises:
        ModelError: `model.broken_folder`, `model.no_tokenizer`.
    """
    model = MODELS[facts.family]
    return {
        encoder: _tokenizer(facts, model, encoder, folder, parts[encoder])
        for encoder, folder in model.tokenizers.items()
        if encoder in parts
    }


def _tokenizer(facts: ModelFacts, model: ModelFormat, encoder: str, folder: str, network: Any) -> Any:
    from transformers import AutoTokenizer, CLIPTokenizer

    location = Path(facts.location)
    if location.is_dir():
        made = CLIPTokenizer if model.parts[encoder].kind.startswith("clip") else AutoTokenizer
        try:
            tokenizer = made.from_pretrained(location / folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise broken_folder(location, error) from error
    else:
        settings = CONFIGS / model.variants[facts.variant].configs / folder
        tokenizer = find_tokenizer(location, model.parts[encoder].kind, settings, network.config.vocab_size)
    if facts.sources[encoder].path.is_dir():
        return tokenizer
    for owner in (network.config, *network.modules()):
        # CLIP looks for the end of the text to pool there; the shipped config has the published tokenizer's.
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if hasattr(owner, name):
                setattr(owner, name, getattr(tokenizer, name))
    return tokenizer


def load_schedule(facts: ModelFacts) -> dict[str, Any]:
    """The noise schedule, as diffusers writes it.

    Raises:
        ModelError: `model.broken_folder`.
    """
    location = Path(facts.location)
    home = location if location.is_dir() else CONFIGS / MODELS[facts.family].variants[facts.variant].configs
    try:
        config = json.loads((home / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise broken_folder(home, error) from error
    denoiser = facts.sources[MODELS[facts.family].denoiser].path
    if denoiser.is_file():
        header = read_header(denoiser)
        config |= said(header, SCHEDULE, {"timestep_spacing": None, **config})
        if zero_terminal_snr(header):
            config |= {
                "rescale_betas_zero_snr": True,
                "timestep_spacing": "trailing",
            }  # the last step is the one that must be met
    return config if facts.prediction == "flow" else config | {"prediction_type": facts.prediction}


def broken_folder(folder: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        "model.broken_folder", f"The model folder {folder.name} cannot be loaded: {reason}", "A complete diffusers folder.",
        "Download it again or choose another model.", path=folder.name, reason=reason,
    )  # fmt: skip
