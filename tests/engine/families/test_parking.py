"""Parts take turns on the device; "meta" stands for a card here, with parts that note where they were sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from engine.families.parking import RESERVE, free_memory, is_on, parked, visiting
from engine.families.placing import place
from tests.support.networks import network

CARD, CPU = torch.device("meta"), torch.device("cpu")
MIB = 2**20
Moves = list[tuple[str, str]]


class Part(nn.Module):
    def __init__(self, name: str, mib: int, moves: Moves, device: torch.device = CPU) -> None:
        super().__init__()
        self.name, self.moves = name, moves
        self.weight = nn.Parameter(torch.empty(mib * MIB, dtype=torch.uint8, device=device), requires_grad=False)

    def to(self, device: Any) -> Part:  # type: ignore[override]
        self.moves.append((self.name, device.type))
        self.weight = nn.Parameter(torch.empty_like(self.weight, device=device), requires_grad=False)
        return self


def model(moves: Moves) -> dict[str, nn.Module]:
    return {"text_encoder": Part("text_encoder", 3, moves), "unet": Part("unet", 7, moves, CARD), "vae": Part("vae", 2, moves)}


def with_free(mib: int) -> Callable[[torch.device], float]:
    return lambda device: RESERVE + mib * MIB


def test_a_part_that_fits_comes_and_goes_alone() -> None:
    moves: Moves = []
    parts = model(moves)
    with visiting(parts, ["vae"], CARD, with_free(2)):
        assert is_on(parts["vae"], CARD) and is_on(parts["unet"], CARD)
    assert moves == [("vae", "meta"), ("vae", "cpu")]


def test_where_there_is_no_room_others_leave_and_come_back() -> None:
    moves: Moves = []
    parts = model(moves)
    parts["vae"].to(CARD)
    moves.clear()
    with visiting(parts, ["text_encoder"], CARD, with_free(1)):
        assert not is_on(parts["unet"], CARD) and is_on(parts["vae"], CARD), "the largest is enough"
    assert moves == [("unet", "cpu"), ("text_encoder", "meta"), ("text_encoder", "cpu"), ("unet", "meta")]


def test_everything_is_back_after_an_error_too() -> None:
    moves: Moves = []
    parts = model(moves)
    with pytest.raises(KeyError), visiting(parts, ["vae"], CARD, with_free(0)):
        raise KeyError
    assert is_on(parts["unet"], CARD) and not is_on(parts["vae"], CARD)


def test_what_is_there_is_not_moved() -> None:
    moves: Moves = []
    parts = model(moves)
    with visiting(parts, ["unet"], CARD, with_free(0)):
        pass
    with parked(parts, ["vae"], CARD):
        pass
    assert moves == []


def test_where_the_processor_computes_nothing_moves() -> None:
    moves: Moves = []
    parts = {"text_encoder": Part("text_encoder", 3, moves), "unet": Part("unet", 7, moves)}
    with parked(parts, ["text_encoder"], CPU), visiting(parts, ["unet"], CPU):
        assert moves == []
    assert moves == [] and free_memory(CPU) == float("inf")


def test_parked_parts_leave_and_come_back() -> None:
    moves: Moves = []
    parts = model(moves)
    with parked(parts, ["unet", "vae"], CARD):
        assert moves == [("unet", "cpu")]
        with visiting(parts, ["unet"], CARD, with_free(7)):  # for a sample
            assert is_on(parts["unet"], CARD)
        assert not is_on(parts["unet"], CARD)
    assert is_on(parts["unet"], CARD) and not is_on(parts["vae"], CARD)


def test_a_streamed_part_stays_where_it_is() -> None:
    moves: Moves = []
    streamed = place(network("flux"), CPU, streamed=2)
    parts = {"transformer": streamed, "vae": Part("vae", 2, moves)}
    with visiting(parts, ["vae"], CARD, with_free(0)):
        assert streamed.device == CPU
    assert moves == [("vae", "meta"), ("vae", "cpu")]
