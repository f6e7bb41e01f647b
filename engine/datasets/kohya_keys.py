"""The options of Kohya's dataset TOML, and what each is called here."""

from __future__ import annotations

RUN_KEYS = {
    "resolution": "dataset.resolution",
    "batch_size": "training.batch_size",
    "enable_bucket": "dataset.enable_buckets",
    "min_bucket_reso": "dataset.bucket_min",
    "max_bucket_reso": "dataset.bucket_max",
    "bucket_reso_steps": "dataset.bucket_step",
    "bucket_no_upscale": "dataset.no_upscale",
    "shuffle_caption": "dataset.shuffle_tags",
    "keep_tokens": "dataset.keep_tags",
    "caption_dropout_rate": "dataset.caption_dropout",
    "flip_aug": "dataset.flip",
}
"""Option -> the setting of a run (`engine.config.train.TrainConfig`) that means the same."""
CONCEPT_KEYS = ("image_dir", "num_repeats", "class_tokens", "is_reg", "caption_prefix", "custom_attributes")
"""Options that a concept of `dataset.yaml` is made of."""
ATTRIBUTES = "lora_atelier"
"""In `custom_attributes`, which Kohya's trainer leaves alone: what only `dataset.yaml` has a word for."""
NO_WAY = "There is no such setting here."
LEFT_OUT = {
    "caption_extension": "Captions are read from .txt and .caption files.",
    "metadata_file": "Captions are read from a file meta*.json or metadata.jsonl beside the pictures: put it there under such a name.",
    "conditioning_data_dir": "Masks belong into the folder _masks of the dataset; training does not read them yet.",
    "alpha_mask": "Masks belong into the folder _masks of the dataset; training does not read them yet.",
    "validation_split": "No pictures are kept aside for validation.",
    "validation_seed": "No pictures are kept aside for validation.",
    "caption_separator": "Tags are separated by commas.",
    "resize_interpolation": "Pictures are always resized in the same way.",
    "cache_info": "What was read of pictures is kept by itself.",
    **dict.fromkeys(
        (
            "network_multiplier", "skip_image_resolution", "keep_tokens_separator", "secondary_separator", "enable_wildcard",
            "caption_suffix", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "token_warmup_min", "token_warmup_step",
            "color_aug", "face_crop_aug_range", "random_crop",
        ),
        NO_WAY,
    ),
}  # fmt: skip
"""Option that has no counterpart -> why, or what to do instead."""
