"""Several adapters as one: the weighted sum of their changes.

Exact: ranks stand side by side, [w1 up1, w2 up2] @ [down1; down2], so that the product is the sum of the products; they add
up. Adding the factors themselves, as the usual merge scripts do after scaling both by the root of the weight, makes another
change (up1 + up2) @ (down1 + down2) with two terms that belong to neither file. A smaller rank is then cut from the exact sum by
its singular values; nothing is clamped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from engine.config.tools import MergeOptions
from engine.errors import AdapterError
from engine.formats.names import DiskName, Rows
from engine.tools.bench import Bench, Builder, Report, chosen_dtype, shared_metadata, weights_of
from engine.tools.change import Change, weighted_sum
from engine.tools.placed import Changes, all_matched, read_changes

LAYOUTS = (
    ("lora_unet_input_blocks_", "lora_unet_middle_block_", "lora_unet_output_blocks_"),
    ("lora_unet_down_blocks_", "lora_unet_mid_block_", "lora_unet_up_blocks_"),
)


def merge(options: MergeOptions, bench: Bench) -> Report:
    """Raises:
    AdapterError: `tool.needs_base`, `tool.unmatched`, `tool.sizes_differ`, `tool.layouts_differ`, `tool.embedding_twice`.
    """
    files, checkpoint = bench.adapters(), bench.checkpoint()
    sources = [all_matched(file, read_changes(file, checkpoint)) for file in files]
    weights = [weight for _, weight in bench.plan.files]
    check_layouts(sources)
    builder = Builder(
        chosen_dtype(options.precision, (tensor for file in files for tensor in weights_of(file))), names_of(sources)
    )
    names = list(dict.fromkeys(name for source in sources for name in source))
    for name in bench.watch(names):
        exact = summed(name, sources, weights)
        builder.add(name, reduced(exact, options.svd_rank) if options.svd_rank else exact, exact)
    builder.keep_embeddings(files)
    metadata = shared_metadata([file.metadata for file in files])
    merged_from = ", ".join(file.path.stem for file in files)
    builder.save(bench.out, {**metadata, "modelspec.title": bench.out.stem, "modelspec.merged_from": merged_from})
    return builder.report()


@torch.no_grad()
def summed(name: str, sources: Sequence[Mapping[str, Change]], weights: Sequence[float]) -> Change:
    """The weighted sum of one module over the files that have it.

    Raises:
        AdapterError: `tool.sizes_differ`.
    """
    try:
        return weighted_sum([(source[name], weight) for source, weight in zip(sources, weights, strict=True) if name in source])
    except ValueError as error:
        raise AdapterError(
            "tool.sizes_differ", f"The module {name} does not fit together: {error}.", "Adapters of one family of models.",
            "Leave out the file that was made for another model.", module=name, reason=str(error), field="tool.files",
        ) from None  # fmt: skip


def reduced(change: Change, rank: int) -> Change:
    """The nearest change of at most this rank. What cannot be plain LoRA, such as a bias, stays whole."""
    if not change.reducible() or (change.factors and change.rank <= rank):
        return change
    return Change(change.size, *change.spectrum().cut(rank))


def check_layouts(sources: Sequence[Changes]) -> None:
    """Raises AdapterError: `tool.layouts_differ`: the same layers would have two names, and only a model could tell which."""
    used = {layout for source in sources for name in source for layout in LAYOUTS if name.startswith(layout)}
    rows: dict[str, set[Rows]] = {}
    for name in names_of(sources).values():
        rows.setdefault(name.name, set()).add(name.rows)
    if len(used) > 1 or any(len(ways) > 1 and any(len(way) != 1 for way in ways) for ways in rows.values()):
        raise AdapterError(
            "tool.layouts_differ", "The files name the layers of the model in two ways, diffusers' and the original one.",
            "With a base model the names are brought together.", "Choose the base model they were trained on.", field="tool.model",
        )  # fmt: skip


def names_of(sources: Sequence[Changes]) -> dict[str, DiskName]:
    """Module -> what it is called on disk, of all files together."""
    return {module: name for source in sources for module, name in source.names.items()}
