"""What a weight file is, told from its header: adapter, checkpoint, VAE or embedding, and of which model family.

Key fingerprints decide, not sizes, so that tiny models are told apart like real ones. Standard library only.
"""

from __future__ import annotations

import re
from typing import Literal

from engine.formats.safetensors_header import Header
from engine.formats.suffixes import split_keys

FileKind = Literal["adapter", "checkpoint", "vae", "embedding", "unknown"]
FamilyName = Literal["sd1", "sd2", "sdxl", "sd3", "flux", "z_image"]

_FINGERPRINTS: tuple[tuple[str, FamilyName], ...] = (
    ("conditioner.embedders.", "sdxl"),
    ("double_blocks.", "flux"),
    ("joint_blocks.", "sd3"),
    ("layers.0.adaLN_modulation.0.", "z_image"),  # Lumina 2, of like names, has a SiLU before it
    ("cond_stage_model.transformer.", "sd1"),
    ("cond_stage_model.model.", "sd2"),
)
_NETWORK_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")
_STRANGERS = re.compile(
    r"conditioner\.embedders\.0\.(model|open_clip)\."  # SDXL's refiner; Stable Video Diffusion
    r"|.*(\.time_stack\.|\.temporal_transformer\.|motion_modules|individual_token_refiner|distilled_guidance_layer)"
)
"""Keys of relatives that have a known family's names too: models of videos, Hunyuan Video, Chroma."""
_DENOISER = re.compile(
    r"(model\.|diffusion_model\.|transformer\.)*(final_layer|x_embedder|img_in|patch_embed\w*|t_embedder|time_embed)\..+"
)
"""What transformers and U-Nets that draw begin or end with."""


def recognise(header: Header) -> FamilyName | None:
    """The family of a single-file checkpoint, or None when its keys match no known layout."""
    for fingerprint, family in _FINGERPRINTS:
        starts = tuple(prefix + fingerprint for prefix in _NETWORK_PREFIXES)
        if any(key.startswith(starts) for key in header.tensors):
            return None if _is_strange(header) else family
    return _bare_unet(header)


def _is_strange(header: Header) -> bool:
    return any(_STRANGERS.match(key) for key in header.tensors)


def _bare_unet(header: Header) -> FamilyName | None:
    """The family of a U-Net without text encoders: SDXL's is told sizes, 2.x projects attention by matrices instead of convolutions."""
    for prefix in _NETWORK_PREFIXES:
        projection = header.tensors.get(f"{prefix}middle_block.1.proj_in.weight")
        if projection and f"{prefix}input_blocks.0.0.weight" in header.tensors and not _is_strange(header):
            if f"{prefix}label_emb.0.0.weight" in header.tensors:
                return "sdxl"
            return "sd2" if len(projection.shape) == 2 else "sd1"
    return None


def detect_kind(header: Header) -> FileKind:
    """What the file holds. `unknown` also for parts of a diffusers folder, which are not loaded by themselves."""
    keys = list(header.tensors)
    known, unknown = split_keys(keys)
    adapter = bool(known) and len(known) >= len(unknown)
    if any(key.startswith("model.diffusion_model.") for key in keys) and not adapter:
        return "checkpoint"
    if adapter:
        return "adapter"
    if recognise(header) or any(_DENOISER.match(key) for key in keys):  # a denoiser by itself
        return "checkpoint"
    if any(key.removeprefix("first_stage_model.").removeprefix("vae.") == "decoder.conv_in.weight" for key in keys):
        return "vae"
    if keys and (
        set(keys) <= {"clip_l", "clip_g", "t5xxl"}
        or "emb_params" in keys
        or any(key.startswith("string_to_param") for key in keys)
    ):
        return "embedding"
    return "unknown"
