"""Every tensor of an adapter file looked at: broken numbers, the size of each module's change, and what fits a base model."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from safetensors import safe_open

from engine.adapters.network import layer_paths
from engine.config.tools import InspectOptions
from engine.errors import AdapterError
from engine.formats.adapter_file import AdapterFile
from engine.formats.module_facts import block_of
from engine.formats.names import NameIndex
from engine.tools.bench import Bench, Report
from engine.tools.checkpoint import Checkpoint
from engine.tools.placed import read_changes

SHOWN = 200


def inspect(options: InspectOptions, bench: Bench) -> Report:
    """The report has

    * `not_finite`: the tensors with NaN or infinity; the sizes are not measured then
    * `matched`, `total`, `unmatched` (the first names): modules that exist in the base model, if one is given
    * `norms`: module -> Frobenius norm of its change at strength 1; `blocks`: the same by block
    * `needs_base`: why norms could not be measured without a base model, or ""

    Raises:
        AdapterError, ModelError: the file cannot be read.
    """
    ((path, _),) = bench.plan.files
    broken = not_finite(path)
    if broken:
        return {"not_finite": broken[:SHOWN], "broken": len(broken)}
    (file,), checkpoint = bench.adapters(), bench.checkpoint()
    report: Report = {"not_finite": [], "broken": 0, "modules": len(file.modules)}
    if checkpoint:
        found, unmatched = index_of(checkpoint).match(file.modules)
        report |= {"matched": len(found), "total": len(file.modules), "unmatched": unmatched[:SHOWN]}
        if not found:
            return report
    return report | _sizes(file, checkpoint, bench)


def _sizes(file: AdapterFile, checkpoint: Checkpoint | None, bench: Bench) -> Report:
    try:
        changes = read_changes(file, checkpoint)
    except AdapterError as error:
        if error.code != "tool.needs_base":
            raise
        return {"norms": {}, "blocks": {}, "needs_base": str(error)}
    norms, blocks = {}, defaultdict(float)
    for name in bench.watch(list(changes)):
        norms[name] = changes[name].norm()
        blocks[block_of(name)] += norms[name] ** 2
    return {"norms": norms, "blocks": {block: square**0.5 for block, square in blocks.items()}, "needs_base": ""}


def not_finite(path: Path) -> list[str]:
    """Names of the tensors that hold NaN or infinity, one tensor in memory at a time."""
    found = []
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
                found.append(name)
    return found


def index_of(checkpoint: Checkpoint) -> NameIndex:
    """Finds the layers of a base model by any writer's names."""
    return NameIndex(checkpoint.facts.family, {component: layer_paths(part) for component, part in checkpoint.components.items()})
