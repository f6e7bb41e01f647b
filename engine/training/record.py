"""What a finished adapter says about itself: the run's facts as Kohya's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.train import TrainConfig, TrainingOptions
from engine.datasets.content import Content
from engine.datasets.dataset import Concept
from engine.families.base import Family
from engine.formats.hashes import model_hashes
from engine.formats.metadata import kohya_metadata, last_part, modelspec_metadata, tag_frequency
from engine.formats.run_facts import RunFacts
from engine.preflight import Preflight
from engine.training.network_facts import network_facts

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS_KEY = "lora_atelier.settings"
"""Metadata key of the run's own settings, JSON."""
DATASET_KEY = "lora_atelier.dataset"
"""Metadata key of the fingerprint of the data it learnt from, see `engine.datasets.content.Content.fingerprint`."""
OPTIMIZER_CLASSES = {"adamw": "torch.optim.adamw.AdamW", "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit"}
PREDICTION_NAMES = {"epsilon": "epsilon", "v_prediction": "v", "flow": None}


def metadata(
    config: TrainConfig, ahead: Preflight, content: Content, model: Family, step: int, epoch: int, started: float, finished: float, session: int,
    precision: str, name: str, tensors: Mapping[str, Tensor], head_ranks: Mapping[str, Sequence[float]],
) -> dict[str, str]:  # fmt: skip
    """`ss_*`, `modelspec.*` and the run's own settings, of a version saved after `step` steps.

    Args:
        content: of the dataset, as it was when the run began.
        started, finished: seconds since 1970.
        name: of the file, without ending.
        tensors: those of the file, by full name.
        head_ranks: module -> rank of each attention head, where they have their own.
    """
    training, dataset, adapter = config.training, config.dataset, config.adapter
    plan, location, vae = ahead.plan, ahead.model.location, model.facts.other_vae
    hashes, vae_hashes = model_hashes(model.facts.location), model_hashes(vae) if vae else None
    network = network_facts(adapter, tensors)
    folders = {_folder_name(concept): concept for concept in ahead.dataset.concepts}
    facts = RunFacts(
        name=name,
        base_name=location.name if isinstance(location, Path) and location.is_file() else ahead.model.name,
        base_version=model.variant.base_version,
        architecture=f"{model.variant.architecture}/lora",
        v2=model.facts.family == "sd2",
        base_hash=hashes.old,
        base_sha256=hashes.sha256,
        vae_name=vae.name if vae else None,
        vae_hash=vae_hashes.old if vae_hashes else None,
        vae_sha256=vae_hashes.sha256 if vae_hashes else None,
        prediction_type=PREDICTION_NAMES[model.prediction],
        **network | {"network_args": network["network_args"] | _lora_plus(training)},
        session_id=session,
        started_at=started,
        finished_at=finished,
        seed=training.seed,
        epoch=epoch,
        num_epochs=-(-plan.steps // plan.steps_per_epoch),
        steps=step,
        max_train_steps=plan.steps,
        num_train_images=plan.views_per_epoch,
        num_reg_images=sum(c.repeats * len(c.pictures) for c in folders.values() if c.regularisation),
        num_batches_per_epoch=plan.steps_per_epoch * training.gradient_accumulation,
        batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        gradient_checkpointing=training.gradient_checkpointing,
        mixed_precision=precision,
        learning_rate=training.learning_rate,
        unet_lr=training.learning_rate if adapter.train_unet else None,
        text_encoder_lr=training.text_encoder_learning_rate if adapter.train_text_encoder else None,
        optimizer=f"{OPTIMIZER_CLASSES[training.optimizer.kind]}(weight_decay={training.optimizer.weight_decay})",
        lr_scheduler=training.schedule if training.schedule == "cosine" else "constant_with_warmup",
        lr_warmup_steps=round(training.warmup * plan.steps),
        max_grad_norm=training.max_grad_norm,
        cache_latents=training.cache_latents,
        clip_skip=training.clip_skip if training.clip_skip > 1 else None,
        resolution=(plan.resolution, plan.resolution),
        enable_bucket=dataset.enable_buckets,
        bucket_no_upscale=dataset.no_upscale,
        min_bucket=dataset.bucket_min or max(ahead.model.step, plan.resolution // 2),
        max_bucket=dataset.bucket_max or plan.resolution * 2,
        bucket_info=_bucket_info(ahead),
        flip_aug=dataset.flip,
        shuffle_caption=dataset.shuffle_tags,
        keep_tokens=dataset.keep_tags,
        caption_dropout_rate=dataset.caption_dropout,
        dataset_dirs=_dirs(folders, regularisation=False),
        reg_dataset_dirs=_dirs(folders, regularisation=True),
        tag_frequency=tag_frequency({folder: [p.caption for p in c.pictures] for folder, c in folders.items()}),
        trigger=", ".join(ahead.dataset.triggers(dataset.trigger.strip())),
        comment=config.output.comment or None,
        extra={"head_ranks": json.dumps(head_ranks)} if head_ranks else {},
    )
    own = {SETTINGS_KEY: json.dumps(settings(config), ensure_ascii=False), DATASET_KEY: content.fingerprint}
    return {**kohya_metadata(facts), **modelspec_metadata(facts), **own}


def settings(config: TrainConfig) -> dict[str, Any]:
    """The run's settings as they may be shown to everyone: of paths the last part only, and no sample prompts.

    The file's name is its own affair: the same run under another name says the same.
    """
    told = config.model_dump(mode="json", exclude={"samples": True, "output": {"name"}})
    for section, field in (("model", "path"), ("dataset", "folder"), ("adapter", "start_from")):
        told[section][field] = last_part(told[section][field])
    told["model"]["vae"] = last_part(told["model"]["vae"])
    told["model"]["text_encoders"] = [last_part(name) for name in told["model"]["text_encoders"]]
    return told


def _folder_name(concept: Concept) -> str:
    """Kohya's `repeats_name`, made up for a plain folder."""
    return concept.name if concept.name.partition("_")[0].isdigit() else f"{concept.repeats}_{concept.name}"


def _dirs(folders: Mapping[str, Concept], regularisation: bool) -> dict[str, dict[str, int]]:
    return {
        name: {"n_repeats": concept.repeats, "img_count": len(concept.pictures)}
        for name, concept in folders.items()
        if concept.regularisation == regularisation
    }


def _lora_plus(training: TrainingOptions) -> dict[str, str]:
    rates = {"loraplus_unet_lr_ratio": training.lora_plus, "loraplus_text_encoder_lr_ratio": training.text_encoder_lora_plus}
    return {name: str(rate) for name, rate in rates.items() if rate != 1}


def _bucket_info(ahead: Preflight) -> dict[str, object] | None:
    counts: dict[tuple[int, int], int] = {}
    for fit, repeats in zip(ahead.fits, ahead.dataset.repeats, strict=True):
        counts[fit.bucket] = counts.get(fit.bucket, 0) + repeats
    error = sum(abs(fit.aspect_error) for fit in ahead.fits) / max(1, len(ahead.fits))
    counts = {size: count for size, count in counts.items() if count}
    buckets = {str(i): {"resolution": list(size), "count": count} for i, (size, count) in enumerate(sorted(counts.items()))}
    return {"buckets": buckets, "mean_img_ar_error": error}
