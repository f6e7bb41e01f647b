"""The noise of each picture: its own, and AUTOMATIC1111's."""

import pytest
import torch

from engine.generation.sampling.noise import PictureNoise, slerp
from engine.generation.sampling.philox import PhiloxGenerator

SHAPE = (4, 8, 8)


def drawn(noise: PictureNoise, count: int = 3) -> torch.Tensor:
    """(count, B, C, h, w)"""
    return torch.stack([noise.first(), *(noise.next() for _ in range(count - 1))])


def test_the_cpus_draws_go_on_from_one_generator():
    reference = torch.Generator().manual_seed(5)
    expected = torch.stack([torch.randn(SHAPE, generator=reference) for _ in range(3)])
    assert torch.equal(drawn(PictureNoise(SHAPE, [5], "cpu"))[:, 0], expected)


def test_nvs_draws_go_on_from_one_generator():
    reference = PhiloxGenerator(5)
    expected = torch.stack([reference.randn(SHAPE) for _ in range(3)])
    assert torch.equal(drawn(PictureNoise(SHAPE, [5], "cpu", source="NV"))[:, 0], expected)


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_a_batch_is_its_pictures(source):
    options = {"source": source, "variation_strength": 0.3, "delta": 31337}
    together = drawn(PictureNoise(SHAPE, [7, 8, 9], "cpu", variation_seeds=[1, 2, 3], **options))
    for index, (seed, other) in enumerate(((7, 1), (8, 2), (9, 3))):
        alone = drawn(PictureNoise(SHAPE, [seed], "cpu", variation_seeds=[other], **options))
        assert torch.equal(together[:, index], alone[:, 0])
    assert not torch.equal(together[:, 0], together[:, 1])


def test_a_variation_changes_the_first_noise_only():
    plain, other = (PictureNoise(SHAPE, [seed], "cpu").first() for seed in (5, 6))
    noises = {
        share: drawn(PictureNoise(SHAPE, [5], "cpu", variation_seeds=[6], variation_strength=share)) for share in (0, 0.4, 1)
    }
    assert torch.equal(noises[0][0], plain)
    torch.testing.assert_close(noises[1][0], other)
    assert torch.equal(noises[0][1:], noises[0.4][1:])
    assert not torch.allclose(noises[0.4][0], plain, atol=0.1)


def test_a_delta_gives_later_draws_other_generators():
    plain, moved = drawn(PictureNoise(SHAPE, [5], "cpu")), drawn(PictureNoise(SHAPE, [5], "cpu", delta=31337))
    other = PictureNoise(SHAPE, [5 + 31337], "cpu")
    assert torch.equal(plain[0], moved[0])
    assert torch.equal(moved[1:], torch.stack([other.next(), other.next()]))


def test_an_arc_keeps_noise_as_strong_as_it_was():
    one, other = (torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for share in (0.25, 0.5, 0.75):
        assert slerp(one, other, share).std().item() == pytest.approx(1, abs=0.02)
    assert torch.lerp(one, other, 0.5).std() < 0.8
    torch.testing.assert_close(slerp(one, other, 0.0), one)


def test_an_arc_turns_evenly():
    east, north = torch.tensor([1.0, 0.0]).reshape(1, 2, 1), torch.tensor([0.0, 1.0]).reshape(1, 2, 1)
    torch.testing.assert_close(slerp(east, north, 1 / 3).flatten(), torch.tensor([3**0.5 / 2, 0.5]))


def test_parallel_noises_have_no_arc():
    one = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(slerp(one, 2 * one, 0.25), 1.25 * one)
