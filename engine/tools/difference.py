"""What one adapter does more than another: a - b, exact, with the size of the difference in every block of the model."""

from __future__ import annotations

from collections import defaultdict

from engine.config.tools import DifferenceOptions
from engine.formats.module_facts import block_of
from engine.tools.bench import Bench, Builder, Report, chosen_dtype, shared_metadata, weights_of
from engine.tools.merge import check_layouts, names_of, summed
from engine.tools.placed import all_matched, read_changes

NOTHING = 1e-7
"""A difference of this relative size is the rounding of its own calculation."""


def difference(options: DifferenceOptions, bench: Bench) -> Report:
    """The report has `blocks`: block -> {"size": of a - b, "relative": to a}, Frobenius norms; `same`: modules without any.

    Raises:
        AdapterError: as `merge`.
    """
    files, checkpoint = bench.adapters(), bench.checkpoint()
    sources = [all_matched(file, read_changes(file, checkpoint)) for file in files]
    check_layouts(sources)
    builder = Builder(
        chosen_dtype(options.precision, (tensor for file in files for tensor in weights_of(file))), names_of(sources)
    )
    squares: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    same = 0
    for name in bench.watch(list(dict.fromkeys(name for source in sources for name in source))):
        exact = summed(name, sources, (1.0, -1.0))
        size, first = exact.norm(), sources[0][name].norm() if name in sources[0] else 0.0
        if size <= first * NOTHING:
            size, same = 0.0, same + 1
        else:
            builder.add(name, exact, exact)
        block = squares[block_of(name)]
        block[0], block[1] = block[0] + size**2, block[1] + first**2
    if builder.modules:
        metadata = shared_metadata([file.metadata for file in files])
        builder.save(bench.out, {**metadata, "modelspec.title": bench.out.stem})
    blocks = {
        name: {"size": size**0.5, "relative": (size / first) ** 0.5 if first else None} for name, (size, first) in squares.items()
    }
    return {**builder.report(), "blocks": blocks, "same": same}
