"""Stable Diffusion 1.x: a U-Net that denoises latents, a CLIP text encoder, a VAE (Rombach et al. 2022).

The starter is one too. VAE factor, prediction type, noise schedule and sizes are read from the model, never assumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.config.targets import Layer
from engine.errors import ModelError
from engine.families.base import Family
from engine.families.sd_layers import text_layers, unet_layers
from engine.formats.single_file import load_components
from engine.generation.conditioning import Conditioning, encode_tokens
from engine.library import ModelFacts


class StableDiffusion(Family):
    """Args: the parts as diffusers and transformers build them, already in `dtype`."""

    base_version = "sd_v1"

    def __init__(
        self, facts: ModelFacts, tokenizer: CLIPTokenizer, text_encoder: Any, unet: Any, vae: Any,
        scheduler_config: dict[str, Any], device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.facts, self.device, self.dtype = facts, device, dtype
        self.tokenizer, self.scheduler_config = tokenizer, dict(scheduler_config)
        for part in (text_encoder, unet, vae):
            part.eval().requires_grad_(False).to(device)
        self.text_encoder, self.unet, self.vae = text_encoder, unet, vae

    @classmethod
    def load(cls, facts: ModelFacts, device: torch.device, dtype: torch.dtype) -> Self:
        location = Path(facts.location)
        if not location.is_dir():
            parts = load_components(location, dtype=dtype)
            return cls(
                facts,
                parts["tokenizer"],
                parts["text_encoder"],
                parts["unet"],
                parts["vae"],
                parts["scheduler"].config,
                device,
                dtype,
            )
        try:
            tokenizer = CLIPTokenizer.from_pretrained(location / "tokenizer", local_files_only=True)
            text_encoder = _load_part(CLIPTextModel, location / "text_encoder", dtype)
            unet = _load_part(UNet2DConditionModel, location / "unet", dtype)
            vae = _load_part(AutoencoderKL, location / "vae", dtype)
            scheduler = json.loads((location / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                "model.broken_folder", f"The model folder {location.name} cannot be loaded: {reason}", "A complete diffusers folder.",
                "Download it again or choose another model.", path=location.name, reason=reason,
            ) from error  # fmt: skip
        return cls(facts, tokenizer, text_encoder, unet, vae, scheduler, device, dtype)

    @property
    def components(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def layers(self) -> dict[str, list[Layer]]:
        return {"text_encoder": text_layers(self.text_encoder), "unet": unet_layers(self.unet)}

    @property
    def prediction_type(self) -> str:
        return self.scheduler_config.get("prediction_type", "epsilon")

    @property
    def size_step(self) -> int:
        return self.facts.factor

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return self.vae.config.latent_channels, height // self.size_step, width // self.size_step

    def conditioning(self, clip_skip: int) -> Conditioning:
        return Conditioning(self.tokenizer, self.text_encoder, clip_skip=clip_skip)

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Tensor:
        # Plain words cut at one chunk: a caption is no prompt, brackets in it are brackets.
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return encode_tokens(tokens.input_ids.to(self.device), self.text_encoder, clip_skip)

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        latents = self.vae.encode(pictures.to(self.device, self.dtype)).latent_dist.mean.float()
        return (latents - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor

    def decode_latents(self, latents: Tensor) -> Tensor:
        latents = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return (self.vae.decode(latents.to(self.dtype)).sample.float() / 2 + 0.5).clamp(0, 1)

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return self.unet(latents.to(self.dtype), timesteps, text.to(self.dtype)).sample

    @property
    def weights_key(self) -> dict[str, str]:
        scale = f"{self.vae.config.scaling_factor}/{self.vae.config.shift_factor}"
        return {"vae": f"{_fingerprint(self.vae)}/{scale}", "text_encoder": _fingerprint(self.text_encoder)}


def _load_part(kind: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """A part of a diffusers folder, copied out of its file.

    Raises:
        ValueError: the file lacks tensors, which would otherwise stay random.
    """
    part, report = kind.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{folder.name} lacks {len(missing)} tensors, the first is {missing[0]}.")
    for tensor in (*part.parameters(), *part.buffers()):
        # Both libraries map the file into memory: without a copy the model would change when the file is written over.
        tensor.data = tensor.data.clone()
    return part


def _fingerprint(part: nn.Module) -> str:
    """SHA-256 over the weights, their names and number format."""
    digest = hashlib.sha256(type(part).__name__.encode())
    for name, tensor in part.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
