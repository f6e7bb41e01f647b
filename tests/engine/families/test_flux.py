"""FLUX.1 against diffusers' own pipeline: the same tokens, encodings, predictions and noise levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from engine.config.generate import GenerateConfig
from engine.families import load_model
from engine.families.flux import Flux, pack, positions, unpack
from engine.generation.embeddings import Embeddings
from engine.generation.pipeline import make_pictures
from engine.generation.sampling.noise import PictureNoise
from engine.generation.studio import render
from engine.tiny import make_tiny
from engine.workspace import Workspace

PROMPTS = ["a red cat", "a drawing of a green house, a photo"]
LENGTH = {"dev": 512, "schnell": 256}


@pytest.fixture(scope="module", params=["dev", "schnell"])
def both(request, tmp_path_factory) -> tuple[Flux, FluxPipeline]:
    folder = make_tiny("flux", tmp_path_factory.mktemp("flux") / request.param, variant=request.param)
    return load(folder), FluxPipeline.from_pretrained(folder, local_files_only=True)


def load(place: Path) -> Flux:
    model = load_model(place, torch.device("cpu"), torch.float32)
    assert isinstance(model, Flux)
    return model


@torch.no_grad()
def encoded(both: tuple[Flux, FluxPipeline], prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Text, pooled text and positions as the pipeline has them."""
    model, pipeline = both
    return pipeline.encode_prompt(prompts, None, max_sequence_length=LENGTH[model.facts.variant])


def test_captions_are_what_the_pipeline_makes_of_prompts(both):
    text, pooled, _ = encoded(both, PROMPTS)
    with torch.no_grad():
        found = both[0].encode_tokens(PROMPTS, 0)
    assert torch.equal(found["text"], text)
    assert torch.equal(found["pooled"], pooled)


def test_plain_prompts_are_what_the_pipeline_makes_of_them(both):
    found = both[0].conditioning(0).encode(PROMPTS)
    for prompt in PROMPTS:
        text, pooled, _ = encoded(both, [prompt])
        assert torch.equal(found[prompt]["text"], text)
        assert torch.equal(found[prompt]["pooled"], pooled)


def test_weights_change_the_words_and_not_the_one_vector(both):
    model, _ = both
    found = model.conditioning(0).encode(["a red cat", "a (red:1.5) cat"])
    plain, strong = found.values()
    assert torch.equal(plain["pooled"], strong["pooled"])
    assert not torch.equal(plain["text"], strong["text"])


def test_no_emphasis_reads_brackets_in_both_encoders(both):
    model, _ = both
    text, pooled, _ = encoded(both, ["a (red:1.5) cat"])
    found = model.conditioning(0, "None").encode(["a (red:1.5) cat"])["a (red:1.5) cat"]
    assert torch.equal(found["text"], text) and torch.equal(found["pooled"], pooled)


def test_embeddings_are_words_and_that_is_told(both):
    model, _ = both
    embeddings = Embeddings({}, {}, {"red": {"": torch.ones(1, 8)}})
    words = model.conditioning(0, embeddings=embeddings)
    assert torch.equal(
        words.encode(["a red cat"])["a red cat"]["text"], model.conditioning(0).encode(["a red cat"])["a red cat"]["text"]
    )
    assert [problem.code for problem in words.problems] == ["prompt.embedding_no_place"]


def test_a_prompt_longer_than_the_model_reads_is_told(both):
    model, _ = both
    words = model.conditioning(0)
    assert words.encode(["a red cat"]) and words.problems == []
    words.encode(["a red cat " * LENGTH[model.facts.variant]])
    assert [problem.code for problem in words.problems] == ["prompt.too_long"]


def test_captions_teach_both_text_encoders(both):
    model, _ = both
    for encoder in ("text_encoder", "text_encoder_2"):
        model.parts[encoder].requires_grad_(True)
        found = model.encode_tokens(["a red cat"], 0)
        (found["text"].sum() + found["pooled"].sum()).backward()
        assert all(p.grad is not None for name, p in model.parts[encoder].named_parameters() if name.endswith("q.weight"))
        model.parts[encoder].requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12)])
def test_latents_are_packed_as_the_pipeline_packs_them(height, width):
    latents = torch.randn(2, 16, height, width)
    packed = pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 16, height, width))
    assert torch.equal(unpack(packed, height, width), latents)
    ids = FluxPipeline._prepare_latent_image_ids(2, height // 2, width // 2, "cpu", torch.float32)
    assert torch.equal(positions(height // 2, width // 2, latents.device), ids)


def test_predictions_are_those_of_the_transformer_in_the_pipeline(both):
    model, pipeline = both
    text, pooled, text_ids = encoded(both, PROMPTS)
    latents = torch.randn(2, *model.latent_shape(64, 96), generator=torch.Generator().manual_seed(1))
    height, width = latents.shape[-2:]
    guided = model.facts.variant == "dev"
    timesteps, guidance = torch.tensor([900.0, 250.0]), torch.tensor([3.5, 1.0])
    with torch.no_grad():
        expected = pipeline.transformer(
            hidden_states=pipeline._pack_latents(latents, *latents.shape),
            timestep=timesteps / 1000,
            guidance=guidance if guided else None,
            pooled_projections=pooled,
            encoder_hidden_states=text,
            txt_ids=text_ids,
            img_ids=pipeline._prepare_latent_image_ids(2, height // 2, width // 2, "cpu", torch.float32),
        ).sample
        found = model.predict(latents, timesteps, {"text": text, "pooled": pooled, "guidance": guidance})
        unsaid = model.predict(latents, timesteps, {"text": text, "pooled": pooled})
    assert torch.equal(pack(found), expected)
    assert torch.equal(found[0], unsaid[0])  # 3.5 is what dev is told where nobody says anything
    assert torch.equal(found[1], unsaid[1]) != guided


@pytest.mark.parametrize(("width", "height", "steps"), [(1024, 1024, 20), (64, 128, 4), (512, 768, 7)])
def test_the_noise_levels_are_those_of_the_pipeline(both, width, height, steps):
    model, pipeline = both
    pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=calculate_shift(width * height // 256))
    expected = pipeline.scheduler.sigmas
    own = type(pipeline.scheduler).from_config(model.scheduler_config)
    own.set_timesteps(steps, **model.schedule_options(width, height, steps))
    torch.testing.assert_close(own.sigmas, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("negative", ["", "a green house"])
def test_pictures_are_those_of_the_pipeline(both, negative):
    model, pipeline = both
    pipeline.set_progress_bar_config(disable=True)
    seeds, (channels, rows, columns) = [3, 4], model.latent_shape(64, 96)
    guided = {"guidance_scale": 2.0} if negative else {}  # true guidance, which the published models do without
    config = GenerateConfig(steps=3, width=64, height=96, distilled_guidance=2.5, **guided)
    ours = make_pictures(model, PROMPTS[0], negative, config, seeds)
    theirs = pipeline(
        [PROMPTS[0]] * 2, negative_prompt=[negative] * 2 if negative else None, true_cfg_scale=2.0 if negative else 1.0,
        num_inference_steps=3, width=64, height=96, guidance_scale=2.5, max_sequence_length=LENGTH[model.facts.variant],
        latents=pack(PictureNoise((channels, rows, columns), seeds, "cpu").first()), output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_picture_tells_of_a_prompt_that_was_cut(both, tmp_path):
    model, _ = both
    config = GenerateConfig(prompt="a red cat " * LENGTH[model.facts.variant], steps=1, width=32, height=32, seed=1)
    (picture,) = render(model, None, None, config, Workspace(tmp_path).prepare(), {}, tmp_path / "out")
    assert [problem["code"] for problem in picture.problems] == ["prompt.too_long"]


def test_sides_are_multiples_of_what_a_token_covers(both):
    model, _ = both
    assert model.size_step == 16


def test_a_single_file_is_the_same_model(both, tmp_path):
    model, _ = both
    file = make_tiny("flux", tmp_path / "tiny.safetensors", variant=model.facts.variant, single_file=True)
    again = load(file)
    assert (again.facts.variant, again.facts.prediction) == (model.facts.variant, "flow")
    assert set(again.parts) == set(model.parts)
    for name, part in model.parts.items():
        stored = again.parts[name].state_dict()
        assert {key: tensor.shape for key, tensor in stored.items()} == {key: t.shape for key, t in part.state_dict().items()}
        assert all(torch.equal(stored[key], tensor) for key, tensor in part.state_dict().items()), name
    for known, read in ((model.denoiser.config, again.denoiser.config), (model.vae.config, again.vae.config)):
        assert {key: read[key] for key in read if key[0] != "_"} == {key: known[key] for key in known if key[0] != "_"}
    assert torch.equal(again.encode_tokens(PROMPTS, 0)["text"], model.encode_tokens(PROMPTS, 0)["text"])
    assert torch.equal(again.encode_tokens(PROMPTS, 0)["pooled"], model.encode_tokens(PROMPTS, 0)["pooled"])
