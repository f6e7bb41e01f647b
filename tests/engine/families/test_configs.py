"""The configs that ship describe the published models: built without weights they have exactly their parameters."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import pytest
import torch
import transformers

from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS
from engine.formats.tokenizer_files import TOKENIZERS, find_tokenizer

SD_VAE, DIT_VAE = 83.65, 83.82
CLIP_L, CLIP_L_PROJECTED, CLIP_H, CLIP_G, T5, QWEN3 = 123.06, 123.65, 340.39, 694.66, 4762.31, 4022.47
SD3_TEXT = {"text_encoder": CLIP_L_PROJECTED, "text_encoder_2": CLIP_G, "text_encoder_3": T5, "vae": DIT_VAE}
MILLIONS: dict[str, dict[str, float]] = {
    "sd1": {"text_encoder": CLIP_L, "unet": 859.52, "vae": SD_VAE},
    "sd1_inpainting": {"text_encoder": CLIP_L, "unet": 859.54, "vae": SD_VAE},
    "sd2": {"text_encoder": CLIP_H, "unet": 865.91, "vae": SD_VAE},
    "sd2_v": {"text_encoder": CLIP_H, "unet": 865.91, "vae": SD_VAE},
    "sd2_inpainting": {"text_encoder": CLIP_H, "unet": 865.93, "vae": SD_VAE},
    "sdxl": {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "unet": 2567.46, "vae": SD_VAE},
    "sdxl_inpainting": {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "unet": 2567.48, "vae": SD_VAE},
    "sd3_medium": SD3_TEXT | {"transformer": 2028.33},
    "sd35_medium": SD3_TEXT | {"transformer": 2243.17},
    "sd35_large": SD3_TEXT | {"transformer": 8056.63},
    "flux_dev": {"text_encoder": CLIP_L, "text_encoder_2": T5, "transformer": 11901.41, "vae": DIT_VAE},
    "flux_schnell": {"text_encoder": CLIP_L, "text_encoder_2": T5, "transformer": 11891.18, "vae": DIT_VAE},
    "z_image": {"text_encoder": QWEN3, "transformer": 6154.91, "vae": DIT_VAE},
    "z_image_base": {"text_encoder": QWEN3, "transformer": 6154.91, "vae": DIT_VAE},
}
"""Published model -> part -> parameters, millions."""


def read(name: str, file: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name / file).read_text(encoding="utf-8"))


def build(library: str, kind: str, config: dict[str, Any]) -> torch.nn.Module:
    network = getattr(diffusers if library == "diffusers" else transformers, kind)
    with torch.device("meta"):
        return network.from_config(config) if library == "diffusers" else network(network.config_class(**config))


def test_all_of_them_are_counted() -> None:
    assert {folder.name for folder in CONFIGS.iterdir()} == set(MILLIONS)
    assert {variant.configs for model in MODELS.values() for variant in model.variants.values()} <= set(MILLIONS)


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in MILLIONS.items() for part in parts])
def test_parameters(name: str, part: str) -> None:
    config = read(name, f"{part}/config.json")
    network = build(*read(name, "model_index.json")[part], config)
    assert round(sum(tensor.numel() for tensor in network.parameters()) / 1e6, 2) == MILLIONS[name][part]
    if isinstance(network, transformers.PreTrainedModel):
        return
    known = {name for name in network.config if not name.startswith("_")}
    assert {name for name in config if not name.startswith("_")} <= known, "a setting that the class does not have"


@pytest.mark.parametrize("name", MILLIONS)
def test_schedules_are_read_by_diffusers(name: str) -> None:
    config = read(name, "scheduler/scheduler_config.json")
    made = getattr(diffusers, config["_class_name"]).from_config(config)
    assert {key for key in config if key != "_class_name"} <= set(made.config)
    assert made.config.num_train_timesteps == 1000


@pytest.mark.parametrize("name", [name for name in MILLIONS if "text_encoder" in MILLIONS[name] and name != "z_image"])
def test_tokenizers_of_clip_are_the_published_ones(name: str, tmp_path: Any) -> None:
    index = read(name, "model_index.json")
    for tokenizer in [key for key in index if key.startswith("tokenizer")]:
        if index[tokenizer][1] != "CLIPTokenizer":
            continue
        config = read(name, f"{tokenizer.replace('tokenizer', 'text_encoder')}/config.json")
        made = find_tokenizer(tmp_path / "a.safetensors", "clip", CONFIGS / name / tokenizer, config["vocab_size"], offline=True)
        assert made("a cat").input_ids == [49406, 320, 2368, 49407]
        assert made("a cat", padding="max_length").input_ids[4:] == [config["pad_token_id"]] * 73


def test_the_large_vocabulary_ships_once() -> None:
    assert [file.relative_to(CONFIGS.parent).as_posix() for file in CONFIGS.parent.rglob("tokenizer.json")].count(
        "tokenizers/clip/tokenizer.json"
    ) == 1
    assert not list(CONFIGS.rglob("tokenizer.json")) and (TOKENIZERS / "clip").is_dir()
