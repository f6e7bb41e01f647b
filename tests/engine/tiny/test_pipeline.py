"""Tiny models are whole: diffusers draws with each, the same seed gives the same bytes, words matter."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from engine.errors import ModelError
from engine.formats.models.base import CONFIGS
from engine.tiny import make_tiny
from engine.tiny.pipeline import fill, tiny_pipeline
from engine.tiny.write import save_pipeline

FAMILY_OF = {"sd1": "sd1", "sd2": "sd2", "sdxl": "sdxl", "sd3": "sd3", "sd35": "sd3", "flux": "flux", "z": "z_image"}
PUBLISHED = sorted(folder.name for folder in CONFIGS.iterdir())
LARGEST = 20 * 2**20
"""Bytes."""


def draw(pipeline: DiffusionPipeline, prompt: str) -> torch.Tensor:
    """A picture of 64 px in two steps, (H, W, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    given = {}
    if "Inpaint" in type(pipeline).__name__:
        given = {"image": torch.full((1, 3, 64, 64), 0.5), "mask_image": torch.ones(1, 1, 64, 64)}
    made = pipeline(
        prompt, num_inference_steps=2, height=64, width=64, generator=torch.Generator().manual_seed(0), output_type="pt", **given
    )
    return made.images[0].permute(1, 2, 0)


@pytest.mark.parametrize("configs", PUBLISHED)
def test_every_published_model_has_a_tiny_one_that_diffusers_draws_with(configs: str, tmp_path: Path) -> None:
    folder = save_pipeline(tiny_pipeline(FAMILY_OF[configs.split("_")[0]], configs), tmp_path / configs)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < LARGEST
    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    predictions = []
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    denoiser.register_forward_hook(lambda module, given, made: predictions.append(made[0]))
    cat, house = draw(pipeline, "a red cat"), draw(pipeline, "a green house")
    assert cat.shape == (64, 64, 3) and torch.isfinite(cat).all() and cat.std() > 0.05
    assert not torch.equal(cat, house)
    for made in predictions:
        size = torch.stack(list(made)).float().std()
        assert 0.2 < size < 3, "a prediction as large as the noise"


def digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("family", ["sd2", "z_image"])
def test_same_seed_same_bytes(family: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = digests(make_tiny(family, tmp_path / "first"))
    assert torch.equal(torch.get_rng_state(), before), "whoever makes a model in passing draws the same numbers as without it"
    torch.manual_seed(4)
    assert digests(make_tiny(family, tmp_path / "again")) == first
    other = digests(make_tiny(family, tmp_path / "other", seed=1))
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {name for name in first if name.endswith(".safetensors")}


def test_filling_keeps_the_size_of_what_goes_through() -> None:
    layer = fill(torch.nn.Linear(256, 256), "seed")
    given = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    assert 0.9 < layer(given).std() < 1.1
    assert torch.equal(fill(torch.nn.Linear(256, 256), "seed").weight, layer.weight)
    assert not torch.equal(fill(torch.nn.Linear(256, 256), "another").weight, layer.weight)


def test_nothing_is_written_over_and_wrong_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(ModelError) as caught:
        make_tiny("sd1", tmp_path / "full")
    assert caught.value.code == "model.place_taken"
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(ModelError) as caught:
        make_tiny("sd9", tmp_path / "new")
    assert caught.value.code == "model.no_tiny" and "sdxl" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        make_tiny("sd2", tmp_path / "new", variant="turbo")
    assert "base, v, inpainting" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (make_tiny("sd1", tmp_path / "empty") / "model_index.json").is_file()
    assert [place.name for place in tmp_path.iterdir()] == ["empty"], "no staging folder is left"
