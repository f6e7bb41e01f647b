"""Captioners of the real classes, tiny and with random weights, as whole folders; their vocabulary is a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
)

from engine.tiny.tokenizers import WORDS

SIDE = 32
SIZE = {"height": SIDE, "width": SIDE}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
"""A message as Qwen's models lay it out."""


def words(special: list[str], **named: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, `special` first."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate([*special, *WORDS])}, unk_token=special[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **named)
    tokenizer.add_tokens(special, special_tokens=True)
    return tokenizer


def save(model: type[PreTrainedModel], config: PreTrainedConfig, folder: Path) -> None:
    """Write a model with weights so large that what it says depends on what it sees."""
    torch.manual_seed(0)
    made = model(config)
    for weight in made.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.7)
    made.save_pretrained(folder)


def save_blip(folder: Path) -> Path:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    tokenizer = BertTokenizer({word: number for number, word in enumerate(vocabulary)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    text = {
        **SMALL, "vocab_size": len(vocabulary), "encoder_hidden_size": 16, "projection_dim": 16, "max_position_embeddings": 64,
        "bos_token_id": 5, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3,
    }  # fmt: skip
    config = BlipConfig(text_config=text, vision_config={**SMALL, "image_size": SIDE, "patch_size": 16}, projection_dim=16)
    save(BlipForConditionalGeneration, config, folder)
    BlipProcessor(BlipImageProcessor(size=SIZE), tokenizer).save_pretrained(folder)
    return folder


def save_blip2(folder: Path) -> Path:
    signs = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = words([*signs.values(), "<image>"], **signs)
    config = Blip2Config(
        vision_config={**SMALL, "image_size": SIDE, "patch_size": 16},
        qformer_config={**SMALL, "encoder_hidden_size": 16, "vocab_size": 8},
        text_config={
            "model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
            "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3,
        },
        num_query_tokens=3,
        image_token_index=4,
    )  # fmt: skip
    save(Blip2ForConditionalGeneration, config, folder)
    Blip2Processor(BlipImageProcessor(size=SIZE), tokenizer).save_pretrained(folder)
    return folder


def save_florence2(folder: Path) -> Path:
    signs = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = words([*signs.values(), "<image>"], **signs, extra_special_tokens={"image_token": "<image>"})
    config = Florence2Config(
        vision_config={
            "depths": [1, 1], "patch_size": [7, 3], "patch_stride": [8, 2], "patch_padding": [3, 1], "patch_prenorm": [False, True],
            "embed_dim": [8, 16], "num_heads": [2, 2], "num_groups": [2, 2], "window_size": 2, "projection_dim": 16,
            "max_temporal_embeddings": 4, "max_position_embeddings": 8,
        },
        text_config={
            "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
        },
        image_token_id=4,
    )  # fmt: skip
    save(Florence2ForConditionalGeneration, config, folder)
    pictures = CLIPImageProcessor(size=SIZE, crop_size=SIZE, do_center_crop=False)
    pictures.image_seq_length = 5
    Florence2Processor(pictures, tokenizer).save_pretrained(folder)
    return folder


def save_qwen_vl(folder: Path) -> Path:
    signs = ["<unk>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = words(signs, unk_token="<unk>", pad_token="<unk>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "out_hidden_size": 16, "fullatt_block_indexes": [0], "window_size": 56,
        },
        vision_start_token_id=3, vision_end_token_id=4, image_token_id=5, video_token_id=6,
    )  # fmt: skip
    save(Qwen2_5_VLForConditionalGeneration, config, folder)
    Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=112 * 112).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


SAVERS = {"blip": save_blip, "blip2": save_blip2, "florence2": save_florence2, "qwen_vl": save_qwen_vl}
"""Kind of tagger -> what writes a tiny one."""
