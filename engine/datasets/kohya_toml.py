"""A dataset as the dataset TOML of Kohya's trainer (`--dataset_config`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from engine.config.dataset_file import DatasetFile
from engine.config.train import TrainConfig
from engine.datasets.captions import CAPTION_EXTENSIONS, has_word
from engine.datasets.dataset import Concept, Picture
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.kohya_keys import ATTRIBUTES
from engine.datasets.scan import scan
from engine.errors import DatasetError
from engine.formats.toml import dump_toml

STEP = 64
"""Kohya's own `bucket_reso_steps`, px."""


def to_kohya_toml(folder: Path, options: TrainConfig | None = None) -> str:
    """The dataset in `folder` for Kohya's trainer, with the settings of a run where there are some.

    What that trainer would do otherwise with the same files is said in comments at the top. A resolution of 0 is left to its
    command line.

    Raises:
        DatasetError: those of `scan`; `dataset.toml` for a folder whose name is no Unicode.
    """
    options = options or TrainConfig()
    trigger = options.dataset.trigger.strip()
    dataset = scan(folder, options.dataset.repeats, trigger)
    own = read_dataset_file(dataset.folder) or DatasetFile()
    general = _shown(options)
    if described := _described(own.kind, trigger or own.trigger.strip(), DatasetFile().kind):
        general["custom_attributes"] = {ATTRIBUTES: described}
    remarks: list[str] = []
    subsets = []
    for concept in dataset.concepts:
        word = _word(concept, trigger or own.trigger.strip()) if options.dataset.add_trigger else ""
        subsets.append(_subset(concept, own, word, remarks))
    try:
        text = dump_toml({"general": general, "datasets": [{**_sizes(options), "subsets": subsets}]})
    except ValueError as error:
        raise DatasetError(
            "dataset.toml", f"The dataset cannot be written as TOML: {error}.", todo="Rename the folder.", reason=error
        ) from None
    return "".join(f"# {remark}\n" for remark in remarks) + text


def _shown(options: TrainConfig) -> dict[str, Any]:
    settings = options.dataset
    return {
        "shuffle_caption": settings.shuffle_tags, "keep_tokens": settings.keep_tags,
        "caption_dropout_rate": settings.caption_dropout, "flip_aug": settings.flip,
    }  # fmt: skip


def _sizes(options: TrainConfig) -> dict[str, Any]:
    """Numbers that are computed here when they are left at 0 are written out, since Kohya's trainer computes others."""
    settings = options.dataset
    side, step = settings.resolution, settings.bucket_step or STEP
    sizes: dict[str, Any] = {"resolution": side} if side else {}
    sizes |= {"batch_size": options.training.batch_size, "enable_bucket": settings.enable_buckets}
    if settings.enable_buckets:
        shortest, longest = settings.bucket_min or max(step, side // 2) * bool(side), settings.bucket_max or side * 2
        given = {"min_bucket_reso": shortest, "max_bucket_reso": longest, "bucket_reso_steps": settings.bucket_step}
        sizes |= {name: value for name, value in given.items() if value} | {"bucket_no_upscale": settings.no_upscale}
    return sizes


def _described(kind: str, trigger: str, usual: str) -> dict[str, str]:
    return ({"kind": kind} if kind != usual else {}) | ({"trigger": trigger} if trigger else {})


def _word(concept: Concept, run: str) -> str:
    return "" if concept.regularisation else concept.trigger or run


def _subset(concept: Concept, own: DatasetFile, word: str, remarks: list[str]) -> dict[str, Any]:
    pictures = concept.pictures
    endings = Counter(picture.caption_path.suffix for picture in pictures if picture.caption_path)
    ending = endings.most_common(1)[0][0] if endings else CAPTION_EXTENSIONS[0]
    bare = any(picture.caption_source == "trigger" for picture in pictures)
    lacking = [picture for picture in pictures if word and not has_word(picture.caption, word)]
    unread = [picture for picture in pictures if _stands_elsewhere(picture, ending)]
    subset: dict[str, Any] = {"image_dir": str(pictures[0].path.parent), "num_repeats": concept.repeats}
    if tokens := concept.class_tokens or (word if bare else ""):
        subset["class_tokens"] = tokens
    if concept.regularisation:
        subset["is_reg"] = True
    subset["caption_extension"] = ending
    if lacking and len(lacking) == len(pictures):
        subset["caption_prefix"] = f"{word},"
    elif lacking:
        remarks.append(f"{concept.name!r}: {len(lacking)} captions lack {word!r}, and nothing will add it to them.")
    if unread:
        remarks.append(f"{concept.name!r}: {len(unread)} captions are not in files ending in {ending} and will not be read.")
    if described := _described(concept.kind or own.kind, concept.trigger, own.kind):
        subset["custom_attributes"] = {ATTRIBUTES: described}
    return subset


def _stands_elsewhere(picture: Picture, ending: str) -> bool:
    path = picture.caption_path
    return picture.caption_source == "metadata" or (path is not None and path.suffix != ending)
