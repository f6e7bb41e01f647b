"""A DyLoRA at lower rank: the leading ranks as they stand in the file.

Valipour et al. 2022, "DyLoRA: Parameter-Efficient Tuning of Pretrained Models using Dynamic Search-Free Low Rank Adaptation":
trained with truncation at every rank, the first ranks work by themselves. The factor alpha / rank stays what it was, so alpha
becomes alpha * new / old; no number of the factors changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.config.tools import CutOptions
from engine.errors import AdapterError
from engine.formats.kohya_tensors import kohya_names
from engine.formats.summary import family_of
from engine.tools.bench import Bench, Builder, Report, shared_metadata, weights_of
from engine.tools.placed import layer_by_layer

FACTORS = {"lora_down.weight", "lora_up.weight", "alpha"}


def cut(options: CutOptions, bench: Bench) -> Report:
    """Raises:
    AdapterError: `tool.not_lora`, `tool.rank_too_high`.
    """
    file = layer_by_layer(bench.adapters()[0])
    names = kohya_names(file.modules, family_of(file))
    builder, before = Builder(weights_of(file)[0].dtype, names), []
    for written in bench.watch(list(file.modules)):
        parts = file.modules[written]
        if set(parts) != FACTORS:
            raise AdapterError(
                "tool.not_lora", f"{file.path.name}: the module {written} is no plain LoRA.", "A DyLoRA.", "Use resize for other files.",
                path=file.path.name, module=written, field="tool.file",
            )  # fmt: skip
        before.append(len(parts["lora_down.weight"]))
        builder.modules[written] = leading_ranks(parts, options.rank)
        builder.ranks[written] = options.rank
    if options.rank > min(before):
        raise AdapterError(
            "tool.rank_too_high", f"{file.path.name} has rank {min(before)}; it cannot be cut to {options.rank}.",
            "A lower rank.", "Lower it.", path=file.path.name, rank=min(before), wanted=options.rank, field="tool.rank",
        )  # fmt: skip
    builder.keep_embeddings([file])
    builder.save(bench.out, shared_metadata([file.metadata]))
    return {**builder.report(), "rank_lowest_before": min(before), "rank_highest_before": max(before)}


def leading_ranks(parts: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The first `rank` rows of down and columns of up, with the same factor alpha / rank."""
    down, up = parts["lora_down.weight"], parts["lora_up.weight"]
    alpha = torch.tensor(float(parts["alpha"]) * rank / len(down), dtype=torch.float32)
    return {"lora_down.weight": down[:rank].clone(), "lora_up.weight": up[:, :rank].clone(), "alpha": alpha}
