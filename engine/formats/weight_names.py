"""What diffusers and transformers call the files with the weights of one network: whole or in shards, plain or of a variant.

`model.safetensors`, `model.fp16.safetensors`, `model-00001-of-00002.safetensors` with `model.safetensors.index.json`. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

PREFERRED = ("", "fp16", "bf16", "fp32")
"""Variants that are used, the best first: the plain files are what the model was published as."""
_NAME = re.compile(
    r"(?P<stem>model|diffusion_pytorch_model)(\.(?P<variant>\w+))?(-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.safetensors"
)


def weight_sets(names: Iterable[str]) -> dict[str, list[str]]:
    """The complete sets among the files of one folder: variant, "" for the plain one -> its files.

    Of a set that is there whole and in shards the whole file is meant; shards count when all of them and their index are there.
    """
    names = set(names)
    whole: dict[str, list[str]] = {}
    shards: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for name in sorted(names):
        if not (found := _NAME.fullmatch(name)):
            continue
        variant = found["variant"] or ""
        if found["count"]:
            shards[found["stem"], variant, int(found["count"])].add(name)
        else:
            whole[variant] = [name]
    for (stem, variant, count), files in shards.items():
        index = index_name(stem, variant)
        if len(files) == count and index in names:
            whole.setdefault(variant, [*sorted(files), index])
    return whole


def index_name(stem: str, variant: str) -> str:
    return f"{stem}.safetensors.index.{variant}.json" if variant else f"{stem}.safetensors.index.json"


def best_variant(names: Iterable[str]) -> str | None:
    """The variant to read or to bring; None where no set is complete."""
    sets = weight_sets(names)
    return next((variant for variant in PREFERRED if variant in sets), None)
