"""Tiny random models with the real classes, for tests of everything that a multi-gigabyte checkpoint goes through."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.formats.single_file import write_single_file
from engine.starter.architecture import make_tokenizer

TEXTS = ["a photo of a red cat on a blue chair", "a drawing of a green house", "1girl, solo, looking at viewer"]


def tiny_parts(seed: int = 0, prediction_type: str = "epsilon") -> dict:
    """The parts of a Stable Diffusion 1.x pipeline: four U-Net levels with two layers each, a VAE that shrinks by 8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = make_tokenizer(TEXTS)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(32, 32, 64, 64), layers_per_block=2, cross_attention_dim=32, attention_head_dim=8
        )
        vae = AutoencoderKL(
            block_out_channels=(32, 32, 64, 64),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            sample_size=64,
            scaling_factor=0.18215,
        )
        return {
            "tokenizer": tokenizer,
            "text_encoder": _text_encoder(tokenizer),
            "unet": unet.eval(),
            "vae": vae.eval(),
            "scheduler": _scheduler(prediction_type),
        }


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=1,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def _scheduler(prediction_type: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_sd1(folder: Path | str, seed: int = 0, prediction_type: str = "epsilon") -> Path:
    """Save a tiny random Stable Diffusion 1.x pipeline as a diffusers folder."""
    parts = tiny_parts(seed, prediction_type)
    StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(
        folder
    )
    return Path(folder)


def tiny_sd1_single_file(path: Path | str, seed: int = 0, prediction_type: str = "epsilon") -> Path:
    """Save the same pipeline as one `.safetensors` file with a `tokenizer` folder beside it."""
    parts = tiny_parts(seed, prediction_type)
    write_single_file(path, parts["unet"], parts["vae"], parts["text_encoder"], prediction_type)
    parts["tokenizer"].save_pretrained(Path(path).parent / "tokenizer")
    return Path(path)
