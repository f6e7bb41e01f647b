"""Summaries come from the header alone and survive any metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import AdapterError
from engine.formats.metadata import kohya_metadata, modelspec_metadata
from engine.formats.run_facts import RunFacts
from engine.formats.safetensors_header import read_header
from engine.formats.summary import describe, is_adapter

UNET, TEXT = "lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1"


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def lora(*modules: str, rank: int = 2, width: int = 6) -> dict[str, torch.Tensor]:
    sides = {"lora_down.weight": (rank, width), "lora_up.weight": (5, rank)}
    return {f"{module}.{suffix}": torch.ones(shape) for module in modules for suffix, shape in sides.items()}


def test_a_file_of_ours(tmp_path: Path) -> None:
    facts = RunFacts(
        name="mofu",
        base_name="starter",
        trigger="mofumo",
        dataset_dirs={"10_mofumo": {"n_repeats": 10, "img_count": 16}},
        tag_frequency={"10_mofumo": {"mofumo": 16, "forest": 4}},
        resolution=(64, 96),
        finished_at=1_700_000_100.0,
        description="a mascot",
    )
    metadata = kohya_metadata(facts) | modelspec_metadata(facts) | {"sshs_model_hash": "ab" * 32}
    tensors = lora(UNET, rank=4) | lora(TEXT, rank=2)
    summary = describe(write(tmp_path / "mofu-000002.safetensors", tensors, metadata))
    assert (summary.name, summary.output_name, summary.format, summary.algorithm) == ("mofu-000002", "mofu", "kohya", "lora")
    assert summary.ranks == (2, 4) and summary.modules == {"unet": 1, "text_encoder": 1} and not summary.dora
    assert (summary.base, summary.base_name, summary.trigger) == ("sd1", "starter", "mofumo")
    assert summary.tags == (("mofumo", 16), ("forest", 4)) and summary.pictures == 16
    assert (summary.resolution, summary.created, summary.model_hash) == ("64x96", "2023-11-14T22:15:00+00:00", "ab" * 32)
    assert summary.description == "a mascot" and summary.size == summary.path.stat().st_size


@pytest.mark.parametrize(
    ("tensors", "metadata", "base"),
    [
        (lora(UNET), {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (lora(UNET), {"ss_base_model_version": "sd_v1"}, "sd1"),
        (lora(UNET), {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
        (lora(UNET), {"modelspec.architecture": "flux-1-dev/lora"}, "flux"),
        (lora(UNET), {"ss_v2": "True"}, "sd2"),
        (lora("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", width=768), None, "sd1"),
        (lora("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", width=2048), None, "sdxl"),
        (lora("lora_unet_double_blocks_0_img_attn_qkv"), None, "flux"),
        (lora("lora_te2_text_model_encoder_layers_0_mlp_fc1"), None, "sdxl"),
        (lora(UNET), None, ""),
        (lora(UNET), {"ss_base_model_version": "hunyuan-image-2.1"}, "hunyuan-image-2.1"),
        (lora(UNET), {"ss_base_model_version": "5-medium"}, "sd3"),
        (lora(UNET), {"modelspec.architecture": "stable-diffusion-3-5-large/lora"}, "sd3"),
        (lora(UNET), {"ss_base_model_version": "sd_v2_v"}, "sd2"),
        (lora("lora_unet_layers_0_attention_qkv"), {"ss_base_model_version": "lumina2"}, "lumina2"),
        (lora("diffusion_model.layers.0.attention.to_q"), None, "z_image"),
        (lora("lora_unet_joint_blocks_0_x_block_attn_qkv"), None, "sd3"),
        (lora("transformer.transformer_blocks.0.attn.to_q", width=3072), None, "flux"),
        (lora("transformer.transformer_blocks.0.attn.to_q", width=1536), None, "sd3"),
        (
            lora("lora_transformer_transformer_blocks_0_attn_to_q", "lora_te2_text_model_encoder_layers_0_mlp_fc1", width=1536),
            None,
            "sd3",
        ),
        (lora("double_blocks.0.processor.qkv_lora1"), None, "flux"),
    ],
)
def test_the_base_it_belongs_to(tmp_path: Path, tensors: dict, metadata: dict | None, base: str) -> None:
    assert describe(write(tmp_path / "x.safetensors", tensors, metadata)).base == base


@pytest.mark.parametrize(
    ("suffixes", "algorithm", "ranks"),
    [
        ({"hada_w1_a": (6, 4), "hada_w1_b": (4, 6), "hada_w2_a": (6, 4), "hada_w2_b": (4, 6)}, "loha", (4,)),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 3)}, "lokr", (2,)),
        ({"weight": (6,), "on_input": ()}, "ia3", ()),
        ({"oft_blocks": (3, 2, 2)}, "oft", ()),
        ({"oft_blocks": (2, 3, 2, 2)}, "boft", ()),
        ({"diff": (6, 6)}, "full", ()),
        ({"w_norm": (6,), "b_norm": (6,)}, "norm", ()),
        ({"a1.weight": (2, 6), "a2.weight": (2, 2), "b1.weight": (2, 2), "b2.weight": (2, 6)}, "glora", (2,)),
    ],
)
def test_the_algorithm(tmp_path: Path, suffixes: dict[str, tuple], algorithm: str, ranks: tuple) -> None:
    tensors = {f"{UNET}.{suffix}": torch.ones(shape) for suffix, shape in suffixes.items()}
    summary = describe(write(tmp_path / "x.safetensors", {**tensors, f"{UNET}.alpha": torch.tensor(1.0)}))
    assert (summary.algorithm, summary.ranks) == (algorithm, ranks)


def test_dora_and_mixed(tmp_path: Path) -> None:
    tensors = {**lora(UNET), f"{UNET}.dora_scale": torch.ones(5, 1), f"{TEXT}.diff": torch.ones(2)}
    summary = describe(write(tmp_path / "x.safetensors", tensors))
    assert summary.dora and summary.algorithm == "mixed"


def test_what_else_is_told(tmp_path: Path) -> None:
    """What decides which programs can read it, and what a card shows."""
    core = {"lora_down.weight": (2, 6, 1, 1), "lora_up.weight": (5, 2, 1, 1), "lora_mid.weight": (2, 2, 3, 3)}
    tensors = {
        **{f"{UNET}.{suffix}": torch.ones(shape) for suffix, shape in core.items()}, f"{TEXT}.hada_w1_b": torch.ones(3, 6),
        "bundle_emb.cat.clip_l": torch.ones(1, 4), **lora("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "lora_transformer_x"),
    }  # fmt: skip
    metadata = {"modelspec.merged_from": "a, b", "modelspec.thumbnail": "data:image/png;base64,AAAA"}
    summary = describe(write(tmp_path / "x.safetensors", tensors, metadata))
    assert summary.algorithms == ("loha", "lora") and summary.tucker and summary.ranks == (2, 3)
    assert summary.modules == {"unet": 2, "text_encoder": 1, "text_encoder_3": 1} and summary.embeddings == ("cat",)
    assert summary.merged_from == "a, b" and summary.cover
    hostile = describe(write(tmp_path / "y.safetensors", lora(UNET), {"modelspec.thumbnail": "javascript:alert(1)"}))
    assert not hostile.cover


@pytest.mark.parametrize(
    "value",
    ["", "None", "null", "[1]", '{"a": 3}', '{"a": {"b": "c"}}', "{" * 5000, "9" * 5000, "[" * 190_000, "x" * (2**20 + 1)],
)
def test_hostile_metadata_is_only_not_shown(tmp_path: Path, value: str) -> None:
    names = ["ss_tag_frequency", "ss_dataset_dirs", "ss_training_finished_at", "ss_resolution", "modelspec.trigger_phrase"]
    summary = describe(write(tmp_path / "x.safetensors", lora(UNET), dict.fromkeys(names, value)))
    assert summary.tags == () and summary.pictures is None and len(summary.trigger) <= 2000


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"model.diffusion_model.out.2.weight": torch.ones(2)})
    assert not is_adapter(read_header(path))
    with pytest.raises(AdapterError, match="base model"):
        describe(path)
    assert is_adapter(read_header(write(tmp_path / "y.safetensors", json.loads("{}") | lora(UNET))))
