"""Modules that a file has in one: q, k and v of an attention, in a single block of FLUX the way into the feed-forward too.

Reading takes them apart, row by row of what comes out; a LoRA whose `lora_up` is block-diagonal is taken apart by ranks, which
gives back what had been put together. Writing puts them together where that is exact: plain LoRA, with DoRA per output where
all of the modules are there, and whole differences. Modules that do not learn have rows of zeros. AUTOMATIC1111's relatives,
ComfyUI, sd-scripts and (for FLUX) diffusers read that. Whatever cannot be put together is written module by module as
`lycoris_<own path>`: SimpleTuner and ComfyUI read it, and we do; diffusers, Forge and sd-scripts do not.

Pure functions on the tensors of modules, suffix -> tensor, and on their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from engine.config.layers import Size
from engine.formats.names import DiskName, Rows
from engine.formats.suffixes import algorithm_of

if TYPE_CHECKING:
    from torch import Tensor

Parts = Mapping[str, "Tensor"]
Sizes = Mapping[str, Size]
T = TypeVar("T")

CUT: dict[str, tuple[str, ...]] = {
    "lora": ("lora_up.weight", "dora_scale"),
    "loha": ("hada_w1_a", "hada_w2_a", "dora_scale"),
    "lokr": ("lokr_w1", "lokr_w1_a", "dora_scale"),
    "ia3": ("weight",),
    "full": ("diff", "diff_b"),
    "norm": ("w_norm", "b_norm"),
}
"""Algorithm -> the tensors whose rows belong to outputs, first to first and last to last; the others belong to all of them."""
_LORA = {"lora_down.weight", "lora_up.weight", "alpha", "dora_scale"}
_TUCKER = ("lora_mid.weight", "hada_t1", "hada_t2")

T = TypeVar("T")


def assembled(modules: Iterable[tuple[DiskName, T]], fuse: Callable[[list[tuple[Rows, T]]], T | None]) -> dict[str, T]:
    """Name in the file -> what stands there.

    Args:
        modules: what each module has, tensors or sizes.
        fuse: makes one of all that share a name, or says None: then each is written apart.
    """
    groups: dict[str, list[tuple[DiskName, T]]] = {}
    for name, parts in modules:
        groups.setdefault(name.name, []).append((name, parts))
    found = {}
    for written, members in groups.items():
        if not members[0][0].rows:
            found[written] = members[0][1]
            continue
        members.sort(key=lambda member: member[0].rows)  # whatever order the layers are in, a file is the same
        if (whole := fuse([(name.rows, parts) for name, parts in members])) is not None:
            found[written] = whole
        else:
            found |= {name.apart: parts for name, parts in members}
    return found


def fuse_sizes(pieces: Sequence[tuple[Rows, Sizes]]) -> dict[str, Size] | None:
    """Sizes of the module that has all the pieces in it, or None where there is no exact one."""
    rows, first = pieces[0]
    if len({frozenset(sizes) for _, sizes in pieces}) > 1:
        return None
    if first.keys() <= {"diff", "diff_b"}:
        return {suffix: (_whole(size[0], rows), *size[1:]) for suffix, size in first.items()}
    if not {"lora_down.weight", "lora_up.weight"} <= first.keys() <= _LORA or len(first["lora_down.weight"]) != 2:
        return None
    total = _whole(first["lora_up.weight"][0], rows)
    rank = sum(sizes["lora_down.weight"][0] for _, sizes in pieces)
    sizes = {"lora_down.weight": (rank, first["lora_down.weight"][1]), "lora_up.weight": (total, rank), "alpha": ()}
    if "dora_scale" not in first:
        return sizes
    by_output = all(own["dora_scale"] == (own["lora_up.weight"][0], 1) for _, own in pieces)
    return sizes | {"dora_scale": (total, 1)} if by_output and _complete(pieces) else None


def fuse(pieces: Sequence[tuple[Rows, Parts]]) -> dict[str, Tensor] | None:
    """The module that has all the pieces in it, or None where there is no exact one.

    LoRA: down is all downs one upon the other, up their ups as blocks on the diagonal. Where alpha / rank is the same for all it
    stays; otherwise it becomes 1 and each block has its own in it. Pieces that came out of one down go back into it.
    """
    import torch

    sizes = fuse_sizes([(rows, {suffix: tuple(tensor.shape) for suffix, tensor in parts.items()}) for rows, parts in pieces])
    if sizes is None:
        return None
    first = pieces[0][1]
    if "lora_down.weight" not in sizes:
        whole = {suffix: first[suffix].new_zeros(size) for suffix, size in sizes.items()}
        for rows, parts in pieces:
            for suffix, tensor in whole.items():
                _lay(tensor, rows, parts[suffix].detach())
        return whole
    downs, ups = ([parts[suffix].detach() for _, parts in pieces] for suffix in ("lora_down.weight", "lora_up.weight"))
    scales = [float(parts["alpha"]) / len(down) for (_, parts), down in zip(pieces, downs, strict=True)]
    alike = all(math.isclose(scale, scales[0], rel_tol=1e-6) for scale in scales)
    if alike and _complete(pieces) and all(down.shape == downs[0].shape and torch.equal(down, downs[0]) for down in downs[1:]):
        blocks, downs = [(0, up) for up in ups], downs[:1]
    else:
        starts = [sum(map(len, downs[:index])) for index in range(len(downs))]
        blocks = [(start, up if alike else up * scale) for start, up, scale in zip(starts, ups, scales, strict=True)]
    down = torch.cat(downs)
    up = ups[0].new_zeros(sizes["lora_up.weight"][0], len(down))
    for (rows, _), (start, block) in zip(pieces, blocks, strict=True):
        _lay(up[:, start : start + block.shape[1]], rows, block)
    alpha = torch.tensor(scales[0] * len(down) if alike else float(len(down)), dtype=torch.float32)
    whole = {"lora_down.weight": down, "lora_up.weight": up, "alpha": alpha}
    if "dora_scale" in sizes:
        whole["dora_scale"] = first["dora_scale"].new_zeros(sizes["dora_scale"])
        for rows, parts in pieces:
            _lay(whole["dora_scale"], rows, parts["dora_scale"].detach())
    return whole


def split(parts: Parts, places: Mapping[T, Rows]) -> dict[T, dict[str, Tensor]]:
    """What each of the modules that a file has in one gets of its tensors; nothing for one that did not learn.

    Raises:
        ValueError: the algorithm cannot be taken apart there; the text says why.
    """
    if all(not rows for rows in places.values()):
        return {module: dict(parts) for module in places}
    algorithm = algorithm_of({suffix: tuple(tensor.shape) for suffix, tensor in parts.items()}) or "unknown"
    _check_cut(parts, algorithm)
    if algorithm == "lora" and (ranks := _blocks(parts["lora_up.weight"], places)):
        return {module: _block(parts, places[module], own) for module, own in ranks.items()}
    return {module: _cut_all(parts, algorithm, rows) for module, rows in places.items()}


def separable(parts: Parts, places: Mapping[T, Rows]) -> bool:
    """Whether it was put together from LoRAs of its modules, each with ranks of its own."""
    plain = algorithm_of({suffix: tuple(tensor.shape) for suffix, tensor in parts.items()}) == "lora"
    return plain and all(places.values()) and bool(_blocks(parts["lora_up.weight"], places))


def _check_cut(parts: Parts, algorithm: str) -> None:
    if algorithm not in CUT:
        raise ValueError(f"{algorithm} does not treat its rows one by one")
    if spare := next((suffix for suffix in _TUCKER if suffix in parts), None):
        raise ValueError(f"{spare} belongs to a convolution")
    if "dora_scale" in parts and parts["dora_scale"].shape[0] == 1:
        raise ValueError("its DoRA has a magnitude per input, over the rows of all")


def _cut_all(parts: Parts, algorithm: str, rows: Rows) -> dict[str, Tensor]:
    by_rows = () if float(parts.get("on_input", 0)) else CUT[algorithm]
    return {suffix: cut(tensor, rows) if suffix in by_rows else tensor for suffix, tensor in parts.items()}


def cut(tensor: Tensor, rows: Rows) -> Tensor:
    """Those rows of a tensor.

    Raises:
        ValueError: its rows are not so many that they could be cut there.
    """
    import torch

    if any(edge * len(tensor) % of for start, stop, of in rows for edge in (start, stop)):
        raise ValueError(f"{len(tensor)} rows cannot be cut into {rows[0][2]} parts")
    return torch.cat([tensor[theirs] for theirs, _ in _runs(rows, len(tensor))])


def _blocks(up: Tensor, places: Mapping[T, Rows]) -> dict[T, slice] | None:
    """The ranks of each module, if none has any of another's; modules without ranks are left out.

    Equal shares are tried first, so that ranks that have learnt nothing stay where they belong.
    """
    rank = up.shape[1]
    order = sorted(places, key=lambda module: places[module])
    used = {module: (cut(up, places[module]) != 0).any(0).nonzero().flatten().tolist() for module in order}
    share = rank // len(order)
    if rank % len(order) == 0 and all(rank_ // share == index for index, own in enumerate(order) for rank_ in used[own]):
        return {module: slice(index * share, (index + 1) * share) for index, module in enumerate(order)}
    found, stop = {}, 0
    order = [module for module in order if used[module]]
    for module in order:
        if used[module][0] < stop:
            return None
        start, stop = stop, rank if module is order[-1] else used[module][-1] + 1
        found[module] = slice(start, stop)
    return found


def _block(parts: Parts, rows: Rows, ranks: slice) -> dict[str, Tensor]:
    import torch

    down, alpha = parts["lora_down.weight"], float(parts["alpha"])
    own = _cut_all(parts, "lora", rows)
    return own | {
        "lora_down.weight": down[ranks], "lora_up.weight": own["lora_up.weight"][:, ranks],
        "alpha": torch.tensor(alpha * (ranks.stop - ranks.start) / len(down), dtype=torch.float32),
    }  # fmt: skip


def _lay(whole: Tensor, rows: Rows, piece: Tensor) -> None:
    for theirs, own in _runs(rows, len(whole)):
        whole[theirs] = piece[own]


def _runs(rows: Rows, total: int) -> Iterator[tuple[slice, slice]]:
    """Rows of the whole, and those of the module that they are."""
    position = 0
    for start, stop, of in rows:
        begin, end = start * total // of, stop * total // of
        yield slice(begin, end), slice(position, position + end - begin)
        position += end - begin


def _whole(own: int, rows: Rows) -> int:
    """How many rows the whole has, from those of a piece."""
    return own * rows[0][2] // sum(stop - start for start, stop, _ in rows)


def _complete(pieces: Sequence[tuple[Rows, object]]) -> bool:
    """Whether no rows are left over."""
    return sum(stop - start for rows, _ in pieces for start, stop, _ in rows) == pieces[0][0][0][2]
