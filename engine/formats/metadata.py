"""The metadata of an adapter file: Kohya's `ss_*` statements about the training and the `modelspec.*` card (version 1.0.1).

All values are strings and None is the string "None". No path of the trainer's machine gets into a file that is meant to be
shared: of a path only the last part stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from engine.formats.run_facts import RunFacts

_SAME_NAME = (
    "session_id",
    "learning_rate",
    "text_encoder_lr",
    "unet_lr",
    "num_train_images",
    "num_validation_images",
    "num_reg_images",
    "num_batches_per_epoch",
    "num_epochs",
    "epoch",
    "steps",
    "gradient_checkpointing",
    "gradient_accumulation_steps",
    "max_train_steps",
    "lr_warmup_steps",
    "lr_scheduler",
    "network_module",
    "network_dim",
    "network_alpha",
    "network_dropout",
    "mixed_precision",
    "full_fp16",
    "v2",
    "clip_skip",
    "max_token_length",
    "cache_latents",
    "seed",
    "lowram",
    "noise_offset",
    "noise_offset_random_strength",
    "multires_noise_iterations",
    "multires_noise_discount",
    "adaptive_noise_scale",
    "zero_terminal_snr",
    "optimizer",
    "max_grad_norm",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "face_crop_aug_range",
    "prior_loss_weight",
    "min_snr_gamma",
    "scale_weight_norms",
    "ip_noise_gamma",
    "ip_noise_gamma_random_strength",
    "debiased_estimation",
    "loss_type",
    "huber_schedule",
    "huber_c",
    "huber_scale",
    "fp8_base",
    "resize_interpolation",
    "color_aug",
    "flip_aug",
    "random_crop",
    "shuffle_caption",
    "enable_bucket",
    "bucket_no_upscale",
    "keep_tokens",
)
"""Facts whose name on disk is their own behind `ss_`."""
IMPLEMENTATIONS = {
    "sdxl": "https://github.com/Stability-AI/generative-models", "flux": "https://github.com/black-forest-labs/flux",
}  # fmt: skip
"""Beginning of Kohya's word for a base model -> whose code its file's names are from; diffusers' for all others."""


def kohya_metadata(facts: RunFacts) -> dict[str, str]:
    """The complete `ss_*` list of a run."""
    same = {name: getattr(facts, name) for name in _SAME_NAME}
    renamed = {
        "training_started_at": facts.started_at,
        "training_finished_at": facts.finished_at,
        "output_name": facts.name,
        "base_model_version": facts.base_version,
        "sd_model_name": last_part(facts.base_name),
        "sd_model_hash": facts.base_hash,
        "new_sd_model_hash": facts.base_sha256,
        "training_comment": facts.comment,
        "sd_scripts_commit_hash": None,
        "network_args": _json(facts.network_args),
        "batch_size_per_device": facts.batch_size,
        "total_batch_size": facts.batch_size * facts.gradient_accumulation_steps,
        "resolution": f"{facts.resolution[0]},{facts.resolution[1]}",
        "min_bucket_reso": facts.min_bucket,
        "max_bucket_reso": facts.max_bucket,
        "dataset_dirs": _json(_bylast_part(facts.dataset_dirs)),
        "reg_dataset_dirs": _json(_bylast_part(facts.reg_dataset_dirs)),
        "tag_frequency": _json(_bylast_part(facts.tag_frequency)),
        "bucket_info": _json(facts.bucket_info) if facts.bucket_info else None,
    }
    vae = (
        {"vae_name": last_part(facts.vae_name), "vae_hash": facts.vae_hash, "new_vae_hash": facts.vae_sha256}
        if facts.vae_name
        else {}
    )
    return {f"ss_{name}": str(value) for name, value in (same | renamed | vae | facts.extra).items()}


def modelspec_metadata(facts: RunFacts) -> dict[str, str]:
    """The `modelspec.*` card. Statements that were not made are absent."""
    card = {
        "sai_model_spec": "1.0.1",
        "architecture": facts.architecture,
        "implementation": next(
            (url for start, url in IMPLEMENTATIONS.items() if facts.base_version.startswith(start)), "diffusers"
        ),
        "title": facts.title or facts.name,
        "resolution": f"{facts.resolution[0]}x{facts.resolution[1]}",
        "date": datetime.fromtimestamp(facts.finished_at, UTC).isoformat(timespec="seconds"),
        "prediction_type": facts.prediction_type,
        "encoder_layer": str(facts.clip_skip) if facts.clip_skip else "",
        "trigger_phrase": facts.trigger,
        "author": facts.author,
        "description": facts.description,
        "license": facts.license,
        "tags": facts.tags,
        "usage_hint": facts.usage_hint,
        "merged_from": facts.merged_from,
        "thumbnail": facts.thumbnail,
    }
    return {f"modelspec.{name}": value for name, value in card.items() if value}


def tag_frequency(captions: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """How many pictures of each folder carry each tag, in order of first appearance.

    The first line of a caption counts, split at commas, stripped, in lower case; a picture's repeats count once.

    Args:
        captions: folder base name -> one caption per picture.
    """
    table = {}
    for folder, texts in captions.items():
        counts: Counter[str] = Counter()
        for text in texts:
            line = text.strip().split("\n")[0]
            counts.update(tag.strip().lower() for tag in line.split(",") if tag.strip())
        table[folder] = dict(counts)
    return table


def last_part(path: str | None) -> str | None:
    """What a path of any system ends in."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if path else path


def _bylast_part(table: dict[str, dict]) -> dict[str, dict]:
    return {last_part(name) or name: value for name, value in table.items()}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
