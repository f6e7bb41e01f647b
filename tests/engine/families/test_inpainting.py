"""Inpainting U-Nets: as diffusers' own pipelines use them, and what training shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from engine.config.generate import GenerateConfig
from engine.errors import ModelError
from engine.families import load_model
from engine.families.base import Placing
from engine.families.inpainting import LARGEST, MASKS, SMALLEST, Inpainting, hide, picture_masks
from engine.generation.pipeline import make_pictures
from engine.tiny import make_tiny

CPU = torch.device("cpu")
PIPELINES = {
    "sd1": StableDiffusionInpaintPipeline,
    "sd2": StableDiffusionInpaintPipeline,
    "sdxl": StableDiffusionXLInpaintPipeline,
}
DDIM, EULER = (DDIMScheduler, {"set_alpha_to_one": True}), (EulerDiscreteScheduler, {"timestep_spacing": "linspace"})
SAMPLERS = {"sd1": ("DDIM", DDIM), "sd2": ("DDIM", DDIM), "sdxl": ("Euler", EULER)}
PROMPT, AGAINST, SEED = "a photo of a red cat", "a green house", 5


@pytest.fixture(scope="module", params=list(PIPELINES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp("models") / request.param, variant="inpainting")


@pytest.fixture(scope="module")
def model(folder: Path) -> Inpainting:
    loaded = load_model(folder, CPU, torch.float32)
    assert isinstance(loaded, Inpainting)
    return loaded


def pictures(count: int = 2, height: int = 48, width: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_single_file_is_the_same_model(model, tmp_path: Path) -> None:
    read = load_model(
        make_tiny(model.facts.family, tmp_path / "x.safetensors", variant="inpainting", single_file=True), CPU, torch.float32
    )
    assert read.facts.variant == model.facts.variant == "inpainting"
    assert read.denoiser.config.in_channels == 9 and read.weights_key == model.weights_key
    one, two = model.denoiser.state_dict(), read.denoiser.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_without_a_mask_all_of_the_picture_is_repainted_as_in_diffusers(model, folder: Path) -> None:
    pipe = PIPELINES[model.facts.family].from_pretrained(folder)
    sampler, (scheduler, options) = SAMPLERS[model.facts.family]
    pipe.scheduler = scheduler.from_config(model.scheduler_config, **options)
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():  # the pipeline draws from the posterior; we take its mean
        pipe.vae.quant_conv.weight[4:], pipe.vae.quant_conv.bias[4:] = 0, -60
    # of a grey picture the tiny VAE's first norm has rounding errors alone to scale up: the same memory order for both
    encode = pipe.vae.encode
    pipe.vae.encode = lambda picture: encode(picture.contiguous())
    config = GenerateConfig(steps=3, guidance_scale=4, sampler=sampler, width=64, height=96)
    theirs = pipe(
        PROMPT, negative_prompt=AGAINST, num_inference_steps=3, guidance_scale=4.0, width=64, height=96, strength=1.0,
        image=Image.new("RGB", (64, 96), "red"), mask_image=Image.new("L", (64, 96), 255),
        generator=torch.Generator().manual_seed(SEED), output_type="pt",
    ).images  # fmt: skip
    ours = make_pictures(model, PROMPT, AGAINST, config, [SEED])
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_masks_follow_from_the_pixels() -> None:
    first, second = pictures()
    masks = picture_masks(first, 12, 16)
    assert masks.shape == (MASKS, 12, 16) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert masks[0].all() and torch.equal(masks, picture_masks(first.clone(), 12, 16))
    assert not torch.equal(masks, picture_masks(second, 12, 16))


def test_masks_are_rectangles_of_a_fair_size() -> None:
    for picture in pictures(64, 8, 8):
        for mask in picture_masks(picture, 128, 96)[1:]:
            rows, columns = mask.any(1), mask.any(0)
            assert torch.equal(mask, rows[:, None] * columns.float()) and mask.sum() == rows.sum() * columns.sum()
            assert all(side.int().diff().ne(0).sum() <= 2 for side in (rows, columns))
            assert SMALLEST - 0.02 < mask.mean() < LARGEST + 0.02


def test_hidden_is_grey_and_the_rest_untouched() -> None:
    shown = pictures(1)
    mask = torch.zeros(1, 6, 8)
    mask[0, 2:4, 1:5] = 1
    hidden = hide(shown, mask)
    assert not hidden[..., 16:32, 8:40].any()
    assert torch.equal(hidden[..., :16, :], shown[..., :16, :]) and torch.equal(hidden[..., 40:], shown[..., 40:])


def test_training_is_shown_a_picture_beside_one_of_its_masks(model) -> None:
    shown = pictures()
    with torch.no_grad():
        encoded = model.encode_pictures(shown)
        alone = model.encode_pictures(shown[1:])
        grey = super(Inpainting, model).encode_pictures(torch.zeros_like(shown[:1]))
        plain = super(Inpainting, model).encode_pictures(shown[:1])
    assert encoded.shape == (2, 4 + MASKS * 5, 6, 8)
    torch.testing.assert_close(encoded[1:], alone)
    latents, conditions = model.training_latents(encoded[0], torch.Generator().manual_seed(0))
    torch.testing.assert_close(latents, plain[0])
    drawn = {
        tuple(model.training_latents(encoded[0], torch.Generator().manual_seed(seed))[1]["inpaint"][0].flatten().tolist())
        for seed in range(40)
    }
    wanted = {tuple(mask.flatten().tolist()) for mask in picture_masks(shown[0], 6, 8)}
    assert drawn == wanted and conditions["inpaint"].shape == (5, 6, 8)
    whole = encoded[0, 4:9]
    assert whole[0].all()
    torch.testing.assert_close(whole[1:], grey[0])
    # told the whole mask by hand or not at all, the model answers the same
    words = model.conditioning(1).encode([PROMPT])[PROMPT] | model.picture_conditions([Placing((64, 48), (0, 0), (64, 48))])
    with torch.no_grad():
        told = model.predict(latents[None], torch.tensor([500]), words | {"inpaint": whole[None]})
        untold = model.predict(latents[None], torch.tensor([500]), words)
        masked = model.predict(latents[None], torch.tensor([500]), words | {"inpaint": encoded[:1, 9:14]})
    torch.testing.assert_close(told, untold)
    assert (masked - told).abs().max() > 1e-3


def test_a_plain_model_is_told_nothing_more(tmp_path: Path) -> None:
    model = load_model(make_tiny("sd1", tmp_path / "plain"), CPU, torch.float32)
    with torch.no_grad():
        encoded = model.encode_pictures(pictures(1))
    assert encoded.shape == (1, 4, 6, 8)
    latents, conditions = model.training_latents(encoded[0], torch.Generator())
    assert torch.equal(latents, encoded[0]) and conditions == {}


def test_a_unet_that_is_told_something_else_is_refused(tmp_path: Path) -> None:
    path = make_tiny("sd1", tmp_path / "x.safetensors", single_file=True)
    tensors, name = load_file(path), "model.diffusion_model.input_blocks.0.0.weight"
    tensors[name] = torch.zeros(tensors[name].shape[0], 8, 3, 3)  # as instruct-pix2pix
    save_file(tensors, path)
    with pytest.raises(ModelError) as caught:
        load_model(path, CPU, torch.float32)
    assert caught.value.code == "model.unknown_family" and "8 channels" in caught.value.what
