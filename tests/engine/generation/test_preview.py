"""Pictures on their way: the fitted matrix and the tiny autoencoders."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from engine.errors import ModelError
from engine.families import load_model
from engine.families.base import Family
from engine.formats.models import MODELS
from engine.generation.preview import TAESD, colour_matrix, colours, find_taesd, load_taesd, make_preview
from engine.model_facts import STARTER_FOLDER
from engine.starter.scorer import pictures_of
from engine.starter.world import held_out_scenes
from engine.workspace import Workspace


@pytest.fixture(scope="module")
def starter() -> Family:
    return load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def tiny() -> AutoencoderTiny:
    torch.manual_seed(0)
    return AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).eval()


@torch.no_grad()
def test_the_matrix_shows_pictures_it_was_not_fitted_to(starter: Family) -> None:
    pictures = pictures_of(held_out_scenes()[:12], random.Random(1))
    latents = starter.encode_latents(pictures * 2 - 1)
    shown, wanted = make_preview(starter)(latents), F.adaptive_avg_pool2d(pictures, latents.shape[-2:])
    assert shown.shape == wanted.shape and shown.min() >= 0 and shown.max() <= 1
    assert torch.corrcoef(torch.stack([shown.flatten(), wanted.flatten()]))[0, 1] > 0.93


@torch.no_grad()
def test_the_matrix_is_fitted_once_for_each_vae(starter: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    first = colour_matrix(starter)
    assert first.shape == (starter.vae.config.latent_channels + 1, 3)
    monkeypatch.setattr(type(starter), "encode_latents", None)
    assert torch.equal(colour_matrix(starter), first)


def test_colours_are_a_matrix_and_a_constant() -> None:
    latents = torch.tensor([[0.1, 0.4], [0.2, -0.2]]).view(1, 2, 1, 2)  # two channels, two pixels
    matrix = torch.tensor([[1.0, 0, 2], [0, 1, -1], [0.5, 0.25, 0]])
    expected = torch.tensor([[0.6, 0.45, 0.0], [0.9, 0.05, 1.0]]).T.view(1, 3, 1, 2)
    torch.testing.assert_close(colours(latents, matrix), expected)


def test_where_tiny_autoencoders_lie(tmp_path: Path, tiny: AutoencoderTiny) -> None:
    workspace, folder = Workspace(tmp_path), tmp_path / "models" / "vae_approx"
    assert TAESD.keys() == MODELS.keys()
    assert [find_taesd(family, workspace) for family in TAESD] == [None] * len(TAESD)
    folder.mkdir(parents=True)
    for name in ("taesdxl.safetensors", "taesd3_decoder.safetensors"):
        save_file(tiny.state_dict(), folder / name)
    tiny.save_pretrained(folder / "taef1")
    found = {family: find_taesd(family, workspace) for family in TAESD}
    assert found["sd1"] is found["sd2"] is None
    assert found["sdxl"] == folder / "taesdxl.safetensors" and found["sd3"] == folder / "taesd3_decoder.safetensors"
    assert found["flux"] == found["z_image"] and found["flux"] and found["flux"].parent == folder / "taef1"


@torch.no_grad()
def test_a_tiny_autoencoder_is_read_in_each_of_its_forms(tmp_path: Path, tiny: AutoencoderTiny, starter: Family) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = tiny.decode(latents).sample
    tensors = {key: each.contiguous() for key, each in tiny.decoder.state_dict().items()}
    save_file(tiny.state_dict(), tmp_path / "whole.safetensors")
    save_file({f"decoder.{key}": each for key, each in tensors.items()}, tmp_path / "decoder.safetensors")
    by_place = {}
    for key, each in tensors.items():  # the original counts a clamp in front of the layers
        _, place, rest = key.split(".", 2)
        by_place[f"{int(place) + 1}.{rest}"] = each
    save_file(by_place, tmp_path / "original.safetensors")
    for name in ("whole", "decoder", "original"):
        torch.testing.assert_close(load_taesd(tmp_path / f"{name}.safetensors", 4)(latents), expected)
    shown = make_preview(starter, tmp_path / "original.safetensors")(latents)
    torch.testing.assert_close(shown, (expected / 2 + 0.5).clamp(0, 1))


def test_another_file_is_refused(tmp_path: Path, tiny: AutoencoderTiny) -> None:
    file = tmp_path / "taesd.safetensors"
    for write in (
        lambda: file.write_bytes(b"nothing"),
        lambda: save_file({"a.b": torch.zeros(2)}, file),
        lambda: save_file({"decoder.layers.0.bias": torch.zeros(8)}, file),
        lambda: save_file(tiny.state_dict(), file),  # for four channels, asked for sixteen
    ):
        write()
        with pytest.raises(ModelError) as caught:
            load_taesd(file, 16)
        assert caught.value.code == "preview.unreadable" and "16 channels" in caught.value.expected
