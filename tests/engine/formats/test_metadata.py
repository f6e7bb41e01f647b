"""The metadata that other programs and sites read."""

from __future__ import annotations

import json
from dataclasses import replace

from engine.formats.metadata import kohya_metadata, modelspec_metadata, tag_frequency
from engine.formats.run_facts import RunFacts

FACTS = RunFacts(
    name="robot",
    base_name="/home/someone/models/v1-5.safetensors",
    network_dim=8,
    network_alpha=4.0,
    network_args={"conv_dim": 4},
    learning_rate=1e-4,
    optimizer="torch.optim.adamw.AdamW(weight_decay=0.01)",
    started_at=1_700_000_000.5,
    finished_at=1_700_000_100.0,
    batch_size=2,
    gradient_accumulation_steps=3,
    dataset_dirs={"C:\\Users\\someone\\10_robot": {"n_repeats": 10, "img_count": 3}},
    tag_frequency={"10_robot": {"robot": 3, "青": 1}},
    bucket_info={"buckets": {"0": {"resolution": [512, 512], "count": 30}}, "mean_img_ar_error": 0.0},
    trigger="robot",
)

KOHYA_NAMES = """
session_id training_started_at training_finished_at output_name learning_rate text_encoder_lr unet_lr
num_train_images num_validation_images num_reg_images num_batches_per_epoch num_epochs epoch steps
gradient_checkpointing gradient_accumulation_steps max_train_steps lr_warmup_steps lr_scheduler network_module
network_dim network_alpha network_args network_dropout mixed_precision full_fp16 v2 base_model_version
clip_skip max_token_length cache_latents seed lowram noise_offset noise_offset_random_strength
multires_noise_iterations multires_noise_discount adaptive_noise_scale zero_terminal_snr training_comment
sd_scripts_commit_hash optimizer max_grad_norm caption_dropout_rate caption_dropout_every_n_epochs
caption_tag_dropout_rate face_crop_aug_range prior_loss_weight min_snr_gamma scale_weight_norms ip_noise_gamma
ip_noise_gamma_random_strength debiased_estimation loss_type huber_schedule huber_c huber_scale fp8_base
resize_interpolation batch_size_per_device total_batch_size resolution color_aug flip_aug random_crop
shuffle_caption enable_bucket bucket_no_upscale min_bucket_reso max_bucket_reso keep_tokens dataset_dirs
reg_dataset_dirs tag_frequency bucket_info sd_model_name sd_model_hash new_sd_model_hash
"""


def test_the_complete_list_as_strings() -> None:
    written = kohya_metadata(FACTS)
    assert set(written) == {f"ss_{name}" for name in KOHYA_NAMES.split()}
    assert all(isinstance(value, str) for value in written.values())


def test_values_as_kohya_writes_them() -> None:
    written = kohya_metadata(FACTS)
    expected = {
        "ss_output_name": "robot",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "4.0",
        "ss_learning_rate": "0.0001",
        "ss_unet_lr": "None",
        "ss_clip_skip": "None",
        "ss_resolution": "512,512",
        "ss_total_batch_size": "6",
        "ss_training_started_at": "1700000000.5",
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.01)",
    }
    assert {name: written[name] for name in expected} == expected
    assert json.loads(written["ss_network_args"]) == {"conv_dim": 4}
    assert json.loads(written["ss_bucket_info"]) == FACTS.bucket_info
    assert json.loads(written["ss_tag_frequency"]) == FACTS.tag_frequency


def test_no_private_path_is_written() -> None:
    facts = replace(FACTS, vae_name="D:\\private\\nice.vae.pt")
    written = kohya_metadata(facts)
    assert written["ss_sd_model_name"] == "v1-5.safetensors"
    assert written["ss_vae_name"] == "nice.vae.pt"
    assert json.loads(written["ss_dataset_dirs"]) == {"10_robot": {"n_repeats": 10, "img_count": 3}}
    assert "someone" not in str(written) + str(modelspec_metadata(facts)) and "private" not in str(written)


def test_the_card() -> None:
    assert modelspec_metadata(FACTS) == {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "robot",
        "modelspec.resolution": "512x512",
        "modelspec.date": "2023-11-14T22:15:00+00:00",
        "modelspec.prediction_type": "epsilon",
        "modelspec.trigger_phrase": "robot",
    }
    assert modelspec_metadata(replace(FACTS, clip_skip=2))["modelspec.encoder_layer"] == "2"
    assert modelspec_metadata(replace(FACTS, base_version="flux1"))["modelspec.implementation"].endswith("/flux")


def test_what_a_merged_file_adds_to_the_card() -> None:
    facts = replace(FACTS, merged_from="a, b", thumbnail="data:image/jpeg;base64,AAAA", network_dim="Dynamic")
    card = modelspec_metadata(facts)
    assert (card["modelspec.merged_from"], card["modelspec.thumbnail"]) == ("a, b", "data:image/jpeg;base64,AAAA")
    assert kohya_metadata(facts)["ss_network_dim"] == "Dynamic"


def test_tag_frequency() -> None:
    captions = {"10_a": ["a, b , A"] * 3, "3_b": ["Robot,, blue sky\nsecond line, ignored", "", "robot"]}
    assert tag_frequency(captions) == {"10_a": {"a": 6, "b": 3}, "3_b": {"robot": 2, "blue sky": 1}}
