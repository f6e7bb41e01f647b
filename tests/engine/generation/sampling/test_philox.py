"""Noise as NVIDIA cards draw it, against numbers drawn on one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.generation.sampling.philox import PhiloxGenerator, philox

VECTORS = json.loads((Path(__file__).parents[3] / "fixtures" / "prompt_vectors.json").read_text(encoding="utf-8"))["philox"]
WORDS = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORDS,) * 4, (WORDS,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_the_published_answers(counter, key, expected):
    """The known answers that Salmon et al. 2011 ship with their generator."""
    assert philox(np.array(counter, dtype=np.uint64)[:, None], key)[:, 0].tolist() == list(expected)


@pytest.mark.parametrize(("name", "seed"), [("seed0_3x4", 0), ("seed42_4", 42)])
def test_numbers_drawn_on_a_card(name, seed):
    expected = torch.tensor(VECTORS[name])
    torch.testing.assert_close(PhiloxGenerator(seed).randn(tuple(expected.shape)), expected, rtol=0, atol=1e-5)


def test_draws_go_on_and_are_unit_noise():
    generator = PhiloxGenerator(2**40 + 3)
    drawn = torch.stack([generator.randn((4, 32, 32)) for _ in range(2)])
    assert torch.corrcoef(drawn.flatten(1))[0, 1].abs() < 0.05
    assert drawn.mean().abs() < 0.03 and abs(drawn.std() - 1) < 0.03
    assert not torch.equal(drawn[0], PhiloxGenerator(3).randn((4, 32, 32)))
