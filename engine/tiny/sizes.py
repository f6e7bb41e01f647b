"""What a tiny model has smaller than the published one: overrides of its configs, by family and part.

Heads of text encoders, U-Nets and SD3 stay 64 wide or are one; rotary axes keep their proportions: whoever reads a single file
derives both from the widths.
"""

from __future__ import annotations

from typing import Any

Sizes = dict[str, dict[str, Any]]

_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 1, "projection_dim": 32}
_BIG_CLIP = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 1, "projection_dim": 64}
_T5 = {"d_model": 96, "d_ff": 128, "d_kv": 16, "num_heads": 4, "num_layers": 2}
_VAE = {"block_out_channels": [32, 32, 64, 64], "layers_per_block": 1, "sample_size": 64}
_UNET = {"sample_size": 8, "block_out_channels": [32, 32, 64, 64], "cross_attention_dim": 32}
_FLAT_UNET = _UNET | {"attention_head_dim": [1, 1, 1, 1]}

SIZES: dict[str, Sizes] = {
    "sd1": {"text_encoder": _CLIP, "unet": _UNET, "vae": _VAE},
    "sd2": {"text_encoder": _CLIP, "unet": _FLAT_UNET, "vae": _VAE},
    "sdxl": {
        "text_encoder": _CLIP,
        "text_encoder_2": _BIG_CLIP,
        "unet": {
            "sample_size": 8,
            "block_out_channels": [32, 64, 64],
            "attention_head_dim": [1, 1, 1],
            "transformer_layers_per_block": [1, 1, 2],
            "cross_attention_dim": 32 + 64,
            "projection_class_embeddings_input_dim": 64 + 6 * 256,
        },
        "vae": _VAE,
    },
    "sd3": {
        "text_encoder": _CLIP,
        "text_encoder_2": _BIG_CLIP,
        "text_encoder_3": _T5,
        "transformer": {
            "sample_size": 8,
            "num_layers": 2,
            "num_attention_heads": 1,
            "caption_projection_dim": 64,
            "joint_attention_dim": 96,
            "pooled_projection_dim": 32 + 64,
            "pos_embed_max_size": 32,
        },
        "vae": _VAE,
    },
    "flux": {
        "text_encoder": _CLIP,
        "text_encoder_2": _T5,
        "transformer": {
            "attention_head_dim": 32,
            "axes_dims_rope": [4, 14, 14],
            "num_attention_heads": 2,
            "num_layers": 2,
            "num_single_layers": 2,
            "joint_attention_dim": 96,
            "pooled_projection_dim": 32,
        },
        "vae": _VAE,
    },
    "z_image": {
        "text_encoder": {
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_window_layers": 3,
        },
        "transformer": {
            "dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 64,
            "axes_dims": [8, 12, 12], "axes_lens": [576, 64, 64],
        },
        "vae": _VAE,
    },
}  # fmt: skip

DUAL_ATTENTION = [0]
"""Of a tiny transformer whose published one attends twice in some of its blocks (SD3.5 medium)."""
