"""What is put together or taken apart changes every row as before; what comes back is what was there, to the bit."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from engine.adapters.network import ADAPTERS
from engine.config.layers import LayerShape
from engine.formats.fused import assembled, fuse, fuse_sizes, split
from engine.formats.names import SWAPPED, DiskName, Rows
from engine.formats.suffixes import algorithm_of

QKV: dict[str, Rows] = {part: ((row, row + 1, 3),) for row, part in enumerate("qkv")}
LINEAR1: dict[str, Rows] = {part: ((row, row + 1, 7),) for row, part in enumerate("qkv")} | {"mlp": ((3, 7, 7),)}
INPUTS = 12


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def lora(outputs: int, rank: int = 2, alpha: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    down, up = noise(rank, INPUTS, seed=seed), noise(outputs, rank, seed=seed + 50)
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(alpha)}


def change(parts: Mapping[str, Tensor], outputs: int) -> Tensor:
    """What a module does to a weight of (outputs, 12) that is all ones, by the algorithm's own class."""
    shape = LayerShape(outputs, INPUTS)
    adapter = ADAPTERS[algorithm_of({name: tensor.shape for name, tensor in parts.items()}) or ""].from_tensors(shape, parts)
    base = {"weight": torch.ones(outputs, INPUTS), "bias": torch.ones(outputs)}
    with torch.no_grad():
        return adapter.eval().deltas(base)["weight"]


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("places", [QKV, LINEAR1], ids=["qkv", "linear1"])
@pytest.mark.parametrize(("ranks", "alphas"), [((2,), (1.0,)), ((2, 3), (1.0, 1.5)), ((2, 3, 1), (2.0, 1.0, 4.0))])
def test_fused_loras_change_each_row_as_they_did(
    places: dict[str, Rows], ranks: tuple[int, ...], alphas: tuple[float, ...]
) -> None:
    """Of one rank, of several at one scale, of several scales; and taken apart again."""
    pieces = {
        part: lora(8 if part != "mlp" else 32, ranks[index % len(ranks)], alphas[index % len(alphas)], seed=index)
        for index, part in enumerate(places)
    }
    whole = fuse([(places[part], pieces[part]) for part in pieces])
    assert whole
    changes = [change(parts, len(parts["lora_up.weight"])) for parts in pieces.values()]
    torch.testing.assert_close(change(whole, sum(map(len, changes))), torch.cat(changes), rtol=1e-6, atol=1e-6)
    again = split(whole, places)
    alike = len({alpha / rank for rank, alpha in zip(ranks, alphas, strict=True)}) == 1
    for part, parts in pieces.items():
        assert torch.equal(again[part]["lora_down.weight"], parts["lora_down.weight"])
        assert same(again[part], parts) or not alike
    assert same(fuse([(places[part], again[part]) for part in again]) or {}, whole)


def test_modules_that_do_not_learn_have_rows_of_zeros() -> None:
    whole = fuse([(QKV["q"], lora(8, 2)), (QKV["v"], lora(8, 4, 2.0, seed=1))])
    assert whole and whole["lora_up.weight"].shape == (24, 6)
    assert not whole["lora_up.weight"][8:16].any()
    again = split(whole, QKV)
    assert same(again["q"], lora(8, 2)) and same(again["v"], lora(8, 4, 2.0, seed=1)) and "k" not in again


@pytest.mark.parametrize("parts", [lora(24, 3), lora(24, 2)], ids=["rank of three parts", "other rank"])
def test_a_shared_down_is_given_to_all_and_goes_back_into_one(parts: dict[str, Tensor]) -> None:
    apart = split(parts, QKV)
    assert all(torch.equal(own["lora_down.weight"], parts["lora_down.weight"]) for own in apart.values())
    torch.testing.assert_close(torch.cat([change(apart[part], 8) for part in "qkv"]), change(parts, 24))
    assert same(fuse([(QKV[part], apart[part]) for part in "qkv"]) or {}, parts)


def test_ranks_that_have_learnt_nothing_stay_where_they_belong() -> None:
    """As in a network that is saved before its first step."""
    pieces = {part: lora(8, 2, seed=index) for index, part in enumerate("qkv")}
    for parts in pieces.values():
        parts["lora_up.weight"][:, 1] = 0
    pieces["k"]["lora_up.weight"].zero_()
    again = split(fuse([(QKV[part], pieces[part]) for part in "qkv"]) or {}, QKV)
    assert all(same(again[part], pieces[part]) for part in "qkv")


def loha(outputs: int) -> dict[str, Tensor]:
    return {
        "hada_w1_a": noise(outputs, 2), "hada_w1_b": noise(2, INPUTS, seed=1), "hada_w2_a": noise(outputs, 2, seed=2),
        "hada_w2_b": noise(2, INPUTS, seed=3), "alpha": torch.tensor(1.0),
    }  # fmt: skip


SPLITTABLE = {
    "loha": loha(24),
    "loha dora": {**loha(24), "dora_scale": noise(24, 1, seed=4).abs()},
    "lokr": {"lokr_w1": noise(6, 3), "lokr_w2_a": noise(4, 2, seed=1), "lokr_w2_b": noise(2, 4, seed=2), "alpha": torch.tensor(1.0)},
    "lokr both": {"lokr_w1_a": noise(3, 1), "lokr_w1_b": noise(1, 4, seed=1), "lokr_w2": noise(8, 3, seed=2), "alpha": torch.tensor(2.0)},
    "dora": {**lora(24), "dora_scale": noise(24, 1, seed=4).abs()},
    "full": {"diff": noise(24, INPUTS), "diff_b": noise(24, seed=1)},
    "ia3 output": {"weight": noise(24), "on_input": torch.tensor(0.0)},
    "ia3 input": {"weight": noise(INPUTS), "on_input": torch.tensor(1.0)},
}  # fmt: skip


@pytest.mark.parametrize("case", SPLITTABLE)
def test_other_algorithms_are_taken_apart_row_by_row(case: str) -> None:
    parts = SPLITTABLE[case]
    apart = split(parts, QKV)
    torch.testing.assert_close(torch.cat([change(apart[part], 8) for part in "qkv"]), change(parts, 24), rtol=1e-6, atol=1e-6)


REFUSED = {
    "lokr across": ({"lokr_w1": noise(4, 3), "lokr_w2": noise(6, 4)}, "4 rows cannot be cut into 3 parts"),
    "dora per input": ({**lora(24), "dora_scale": noise(1, INPUTS)}, "magnitude per input"),
    "oft": ({"oft_blocks": noise(6, 4, 4)}, "oft does not treat its rows one by one"),
    "boft": ({"oft_blocks": noise(1, 6, 4, 4)}, "boft"),
    "glora": ({f"{side}{end}.weight": noise(2, 2) for side in "ab" for end in "12"}, "glora"),
    "tucker": ({**lora(24), "lora_mid.weight": noise(2, 2, 3, 3)}, "lora_mid.weight belongs to a convolution"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mixes_rows_is_refused_with_the_reason(case: str) -> None:
    parts, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason):
        split(parts, QKV)


def test_swapped_halves() -> None:
    """The last modulation of SD3 and FLUX: shift and scale stand the other way round in single files."""
    parts = lora(8)
    whole = fuse([(SWAPPED, parts)])
    assert whole and torch.equal(whole["lora_up.weight"], parts["lora_up.weight"].roll(4, 0))
    assert same(split(whole, {"it": SWAPPED})["it"], parts)


def test_dora_and_whole_differences_are_fused() -> None:
    doras = {part: {**lora(8, seed=index), "dora_scale": noise(8, 1, seed=index).abs()} for index, part in enumerate("qkv")}
    whole = fuse([(QKV[part], doras[part]) for part in "qkv"])
    assert whole
    torch.testing.assert_close(change(whole, 24), torch.cat([change(parts, 8) for parts in doras.values()]))
    whole = fuse([(QKV["v"], {"diff": noise(8, INPUTS), "diff_b": noise(8)})])
    assert (
        whole
        and torch.equal(whole["diff"][16:], noise(8, INPUTS))
        and not whole["diff"][:16].any()
        and len(whole["diff_b"]) == 24
    )


APART = {
    "some with dora": [{**lora(8), "dora_scale": noise(8, 1)}, lora(8, seed=1), lora(8, seed=2)],
    "dora of a part only": [{**lora(8), "dora_scale": noise(8, 1)}],
    "dora per input": [{**lora(8, seed=index), "dora_scale": noise(1, INPUTS)} for index in range(3)],
    "loha": [loha(8), loha(8)],
    "two algorithms": [lora(8), {"diff": noise(8, INPUTS)}],
}


@pytest.mark.parametrize("case", APART)
def test_what_has_no_exact_whole_stays_apart(case: str) -> None:
    named = [(DiskName("whole", QKV[part], part), parts) for part, parts in zip("qkv", APART[case], strict=False)]
    written = assembled(named, fuse)
    assert list(written) == list("qkv")[: len(named)]
    assert all(written[name.apart] is parts for name, parts in named)


@pytest.mark.parametrize("case", ["lora", "dora", "full", "some with dora", "loha"])
def test_sizes_are_those_of_the_tensors(case: str) -> None:
    """So that the forecast of a file's size may use them."""
    made = {
        "lora": [lora(8, rank, seed=rank) for rank in (1, 2, 3)],
        "dora": [{**lora(8, seed=index), "dora_scale": noise(8, 1)} for index in range(3)],
        "full": [{"diff": noise(8, INPUTS)}] * 3,
    }
    pieces = [(QKV[part], parts) for part, parts in zip("qkv", made.get(case) or APART[case], strict=False)]
    whole = fuse(pieces)
    sizes = fuse_sizes([(rows, {name: tuple(tensor.shape) for name, tensor in parts.items()}) for rows, parts in pieces])
    assert sizes == (whole and {name: tuple(tensor.shape) for name, tensor in whole.items()})
