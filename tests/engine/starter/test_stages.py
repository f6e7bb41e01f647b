"""The starter's training: its schedule, the normalised latents, and that it continues where it was."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.starter.architecture import make_vae
from engine.starter.stages import encode_all, learning_rate, normalise_latents

ROOT = Path(__file__).parents[3]


def test_the_rate_rises_holds_and_falls():
    rates = [learning_rate(step, 1000, 1.0, hold=0.5) for step in range(1000)]
    assert rates[0] == 0.01 and rates[99] == rates[499] == 1.0
    assert all(a >= b for a, b in pairwise(rates[499:])) and rates[-1] == pytest.approx(0.02)


@torch.no_grad()
def test_normalised_latents_decode_to_the_same_pictures():
    torch.manual_seed(0)
    vae = make_vae().eval().requires_grad_(False)
    pictures = torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8)
    raw = encode_all(vae, pictures, torch.device("cpu"))
    before = vae.decode(raw).sample
    told = normalise_latents(vae, raw)
    latents = encode_all(vae, pictures, torch.device("cpu"))
    torch.testing.assert_close(latents, told, atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(vae.decode(latents).sample, before, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_build_in_two_sittings_is_the_build_in_one(tmp_path):
    def build(place: Path, *more: str) -> None:
        command = [sys.executable, "-m", "engine.starter.build", "--work-dir", str(place), "--out", str(place / "out")]
        sizes = ["--pictures", "1000", "--processes", "1", "--vae-batch", "4", "--batch", "4"]
        subprocess.run([*command, *sizes, *more], cwd=ROOT, check=True)

    build(tmp_path / "one", "--vae-steps", "6", "--unet-steps", "6")
    build(tmp_path / "two", "--vae-steps", "6", "--unet-steps", "6")
    (tmp_path / "two" / "unet.pt").unlink()  # the second sitting finds the VAE done and trains the rest
    build(tmp_path / "two", "--vae-steps", "6", "--unet-steps", "6")
    one, two = (load_file(tmp_path / name / "out" / "unet" / "diffusion_pytorch_model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
