"""The scores behind a grid's suggestion: on the starter, whose world says what is alike."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from engine.families import load_model
from engine.families.base import Family
from engine.generation.likeness import features, harmonic, middle_layer, score, spread
from engine.model_facts import STARTER_FOLDER
from engine.starter.scorer import pictures_of
from engine.starter.world import mascot_scenes, random_scene

COUNT = 8


@pytest.fixture(scope="module")
def starter() -> Family:
    return load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def seen(starter: Family) -> dict[str, Tensor]:
    """Features of two sets of the same mascot, of another mascot, and of what the world is full of."""
    rng = random.Random(0)
    sets = {
        "training": mascot_scenes(COUNT, 1), "alike": mascot_scenes(COUNT, 2), "other": mascot_scenes(COUNT, 3, "lantern"),
        "base": [random_scene(rng) for _ in range(COUNT)], "usual": [random_scene(rng) for _ in range(COUNT)],
    }  # fmt: skip
    return {name: features(starter, pictures_of(scenes, rng)) for name, scenes in sets.items()}


def test_what_was_learnt_is_nearer_than_what_was_not(seen: dict[str, Tensor]) -> None:
    scores = score(seen["training"], seen["base"], {name: seen[name] for name in ("alike", "other", "usual")})
    assert scores["alike"].likeness > 0.6
    assert scores["alike"].likeness > scores["usual"].likeness + 0.4


def test_one_picture_again_and_again_has_no_diversity(seen: dict[str, Tensor]) -> None:
    same = seen["alike"][:1].repeat(COUNT, 1)
    scores = score(seen["training"], seen["base"], {"same": same, "usual": seen["usual"]})
    assert scores["same"].diversity == pytest.approx(0, abs=1e-3) and scores["same"].total == pytest.approx(0, abs=1e-2)
    assert scores["usual"].diversity == pytest.approx(1, abs=0.3)


def test_the_ends_of_the_scale(seen: dict[str, Tensor]) -> None:
    scores = score(seen["training"], seen["base"], {"training": seen["training"], "base": seen["base"]})
    assert scores["training"].likeness == pytest.approx(1) and scores["base"].likeness == pytest.approx(0, abs=1e-5)
    assert scores["base"].diversity == pytest.approx(1) and scores["base"].total == pytest.approx(0, abs=1e-4)


def test_looking_changes_nothing_and_says_the_same_twice(starter: Family, seen: dict[str, Tensor]) -> None:
    pictures = pictures_of(mascot_scenes(2, 1), random.Random(0))
    first, second = features(starter, pictures), features(starter, pictures)
    assert torch.equal(first, second) and not middle_layer(starter.denoiser)._forward_hooks
    torch.testing.assert_close(features(starter, pictures[1:]), first[1:], atol=1e-4, rtol=1e-4)


def test_the_middle_of_a_transformer() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.ModuleList([nn.Linear(1, 1)] * 2)
            self.then = nn.ModuleList([nn.Identity(), nn.Tanh()])

    assert isinstance(middle_layer(Stack()), nn.Identity)


@pytest.mark.parametrize(("likeness", "diversity", "total"), [(1, 1, 1), (0, 1, 0), (-1, 2, 0), (0.5, 0.5, 0.5), (2, 0.5, 2 / 3)])
def test_the_total_is_high_only_where_both_are(likeness: float, diversity: float, total: float) -> None:
    assert harmonic(likeness, diversity) == pytest.approx(total)


def test_spread_of_one_is_none() -> None:
    assert spread(torch.ones(1, 3)) == 0
