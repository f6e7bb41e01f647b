"""What each module of an adapter file is, and how the ranks lie over the blocks of the model.

Read from the header alone, without torch and without the model; blocks are named by what all writers' names have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.formats.adapter_layout import lay_out, rank_of
from engine.formats.safetensors_header import read_header
from engine.formats.suffixes import algorithm_of

_BLOCKS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?:_te|text_encoder_?)(\d?)_.*?(?:layers|block)_(\d+)_"), lambda found: f"text{found[1]} {found[2]}"),
    (re.compile(r"(down|up)_blocks_(\d+)_(?:attentions|resnets)_(\d+)"), lambda found: f"{found[1]} {found[2]}.{found[3]}"),
    (re.compile(r"(down|up)_blocks_(\d+)_(?:down|up)samplers"), lambda found: f"{found[1]} {found[2]} sampler"),
    (re.compile(r"(in|out)put_blocks_(\d+)_"), lambda found: f"{found[1]} {found[2]}"),
    (re.compile(r"mid_block_|middle_block_"), lambda found: "mid"),
    (re.compile(r"(double|single|joint)_(?:transformer_)?blocks_(\d+)"), lambda found: f"{found[1]} {found[2]}"),
    (re.compile(r"(?:blocks|layers)_(\d+)"), lambda found: f"block {found[1]}"),
)
_ORDER = ("text", "in", "down", "mid", "out", "up", "joint", "double", "single", "block", "other")


@dataclass(frozen=True)
class ModuleFacts:
    """One module.

    Attributes:
        rank: None for algorithms without one, or where all factors are whole.
        block: where it lies: "text 3", "down 1.0" (level, then layer), "down 1 sampler", "mid", "in 4", "double 7", "other".
    """

    algorithm: str
    rank: int | None
    block: str


@dataclass(frozen=True)
class BlockRanks:
    """The ranks in one block: of how many modules, the lowest, the mean and the highest."""

    modules: int
    lowest: int
    mean: float
    highest: int


def module_facts(path: Path | str) -> dict[str, ModuleFacts]:
    """Module name as the file spells it -> what it is, in file order.

    Raises:
        ModelError, AdapterError: as `engine.formats.summary.describe`.
    """
    header = read_header(path)
    facts = {}
    for name, parts in lay_out(Path(path), header.tensors).modules.items():
        shapes = {suffix: header.tensors[key].shape for suffix, key in parts.items()}
        facts[name] = ModuleFacts(algorithm_of(shapes) or "", rank_of(shapes), block_of(name))
    return facts


def ranks_by_block(facts: Mapping[str, ModuleFacts]) -> dict[str, BlockRanks]:
    """The ranks of each block that has any, in the order in which the model runs through them."""
    found: dict[str, list[int]] = {}
    for module in facts.values():
        if module.rank is not None:
            found.setdefault(module.block, []).append(module.rank)
    return {
        block: BlockRanks(len(ranks), min(ranks), sum(ranks) / len(ranks), max(ranks))
        for block, ranks in sorted(found.items(), key=lambda item: place(item[0]))
    }


def block_of(module: str) -> str:
    """The block in which a module lies, by its name."""
    flat = module.replace(".", "_")
    return next((label(found) for pattern, label in _BLOCKS if (found := pattern.search(flat))), "other")


def place(block: str) -> tuple[int, ...]:
    """A sort key of blocks, in the order in which the model runs through them. Samplers come after the layers of their level."""
    kind, _, inside = block.partition(" ")
    numbers = [int(number) for number in re.findall(r"\d+", inside)]
    encoder = int(kind.removeprefix("text") or 1) if kind.startswith("text") else 1
    return _ORDER.index(kind.rstrip("0123456789")), encoder, *numbers, *([10_000] if block.endswith("sampler") else [])
