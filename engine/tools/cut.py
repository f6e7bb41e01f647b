"""A DyLoRA at lower rank: the leading ranks as they stand in the file."""

from __future__ import annotations

from engine.config.tools import CutOptions
from engine.errors import AdapterError
from engine.formats.kohya_tensors import kohya_names
from engine.formats.leading_ranks import FACTORS, leading_ranks
from engine.formats.summary import family_of
from engine.tools.bench import Bench, Builder, Report, shared_metadata, weights_of
from engine.tools.placed import layer_by_layer


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
