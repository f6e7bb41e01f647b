"""Files that are taken for base models: each is called what it is, with what to do about it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.model_facts import model_facts

FLUX = {
    "img_in.weight": (64, 64), "txt_in.weight": (64, 96), "vector_in.in_layer.weight": (64, 32),
    "double_blocks.0.img_attn.norm.query_norm.scale": (32,), "double_blocks.0.img_attn.qkv.weight": (192, 64),
    "single_blocks.0.linear1.weight": (8, 8), "final_layer.linear.weight": (64, 64),
}  # fmt: skip
"""As far as the variant is told from it."""
CASES: dict[str, tuple[dict[str, tuple[int, ...]], str, str]] = {
    "LoRA": ({"lora_unet_x.lora_down.weight": (2, 4), "lora_unet_x.lora_up.weight": (4, 2)}, "model.is_adapter", "<lora:"),
    "VAE": ({"decoder.conv_in.weight": (8, 4, 3, 3), "encoder.conv_in.weight": (8, 3, 3, 3)}, "model.is_vae", "models/vae"),
    "VAE of a checkpoint": ({"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}, "model.is_vae", "models/vae"),
    "CLIP": ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 4)}, "model.is_text_encoder", "models/text_encoders"),
    "OpenCLIP": ({"ln_final.weight": (8,), "transformer.resblocks.0.mlp.c_fc.weight": (8, 2)}, "model.is_text_encoder", "CLIP"),
    "T5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}, "model.is_text_encoder", "T5"),
    "Qwen3": ({"model.layers.0.self_attn.q_norm.weight": (8,)}, "model.is_text_encoder", "Qwen3"),
    "embedding": ({"emb_params": (2, 768)}, "model.is_embedding", "models/embeddings"),
    "embedding of SDXL": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "model.is_embedding", "models/embeddings"),
    "U-Net of a folder": ({"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3), "conv_in.weight": (8, 4, 3, 3)}, "model.is_folder_part", "model_index.json"),
    "FLUX of a folder": ({"transformer_blocks.0.attn.to_q.weight": (8, 8), "x_embedder.weight": (8, 8)}, "model.is_folder_part", "folder"),
    "nothing": ({"something": (1,)}, "model.not_a_checkpoint", "unknown"),
    "FLUX.1 Fill": (FLUX | {"img_in.weight": (64, 384)}, "model.unknown_family", "384"),
    "Chroma": ({**FLUX, "distilled_guidance_layer.in_proj.weight": (8, 8)}, "model.unknown_family", "family"),
    "FLUX.2": ({key: shape for key, shape in FLUX.items() if not key.startswith("vector_in")}, "model.unknown_family", "vector_in"),
    "Lumina 2": ({"layers.0.adaLN_modulation.1.weight": (8, 8), "x_embedder.weight": (8, 8)}, "model.unknown_family", "family"),
    "SDXL's refiner": (
        {"model.diffusion_model.label_emb.0.0.weight": (8, 8), "conditioner.embedders.0.model.ln_final.weight": (8,)},
        "model.unknown_family", "family",
    ),
    "Hunyuan Video": (
        {**FLUX, "txt_in.individual_token_refiner.blocks.0.norm1.weight": (8,)}, "model.unknown_family", "family",
    ),
}  # fmt: skip


def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    header, position = {}, 0
    for key, shape in shapes.items():
        end = position + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(position))
    return path


@pytest.mark.parametrize("case", CASES)
def test_it_is_called_what_it_is(case: str, tmp_path: Path) -> None:
    shapes, code, said = CASES[case]
    with pytest.raises(ModelError) as caught:
        model_facts(write(tmp_path / "x.safetensors", shapes))
    assert caught.value.code == code and said in str(caught.value) and "x.safetensors" in caught.value.what
    assert caught.value.values["field"] == "model.path" and caught.value.todo
