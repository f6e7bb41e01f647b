"""A LoRA at lower rank: of each module's change the leading singular vectors, chosen as Kohya's resize script chooses them.

`fixed` keeps `rank`; `sv_ratio` the values above the largest / target; `sv_fro` the fewest with a share of the Frobenius
norm, `sv_cumulative` with a share of the sum. Rank is the upper bound of the last three. Alpha of the new file is its rank.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from engine.config.tools import ResizeOptions
from engine.errors import AdapterError
from engine.tools.bench import Bench, Builder, Report, chosen_dtype, shared_metadata, weights_of
from engine.tools.change import Change
from engine.tools.placed import layer_by_layer, read_changes
from engine.tools.spectrum import above_ratio, share_of_norm, share_of_sum

REDUCTIONS: dict[str, Callable[[Tensor, float], int]] = {
    "fixed": lambda values, target: len(values),
    "sv_ratio": lambda values, target: above_ratio(values, 1 / target),
    "sv_fro": share_of_norm,
    "sv_cumulative": share_of_sum,
}
"""Mode -> from singular values (descending) and target the number of ranks that it asks for."""


def resize(options: ResizeOptions, bench: Bench) -> Report:
    """The report has `ranks_before`: lowest and highest.

    Raises:
        AdapterError: `tool.not_lora`: a module is no plain LoRA.
    """
    (file,) = bench.adapters()
    for name, parts in file.modules.items():
        if "lora_down.weight" not in parts or "dora_scale" in parts:
            raise AdapterError(
                "tool.not_lora", f"{file.path.name}: the module {name} is no plain LoRA.", "A LoRA or LoCon without weight decomposition.",
                "Merge it alone with a base model first.", path=file.path.name, module=name, field="tool.file",
            )  # fmt: skip
    changes = read_changes(layer_by_layer(file), None)
    builder, before = Builder(chosen_dtype(options.precision, weights_of(file)), changes.names), []
    for name in bench.watch(list(changes)):
        change = changes[name]
        before.append(change.rank)
        builder.add(name, resized(change, options), change)
    builder.keep_embeddings([file])
    builder.save(bench.out, shared_metadata([file.metadata]))
    return {**builder.report(), "rank_lowest_before": min(before), "rank_highest_before": max(before)}


def resized(change: Change, options: ResizeOptions) -> Change:
    """The change at the rank that the options give it; at most its own."""
    spectrum = change.spectrum()
    most = options.conv_rank if change.spatial and options.conv_rank else options.rank
    rank = min(most, change.rank, REDUCTIONS[options.reduction](spectrum.values, options.target))
    return Change(change.size, *spectrum.cut(rank))
