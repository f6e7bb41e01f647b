"""Stable Diffusion 3 against diffusers' own pipeline: the same encodings, predictions, pictures; and what T5's absence means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from engine.config.choices import SAMPLERS_FOR
from engine.config.generate import GenerateConfig
from engine.errors import ModelError
from engine.families import load_model
from engine.families.sd3 import StableDiffusion3
from engine.formats.models import MODELS
from engine.formats.single_file_writer import write_single_file
from engine.generation.embeddings import embeddings_for
from engine.generation.pipeline import make_pictures
from engine.generation.sampling.noise import PictureNoise
from engine.tiny import make_tiny
from engine.workspace import Workspace

PROMPTS = ["a red cat", "a drawing of a green house, a photo"]
VARIANTS = list(MODELS["sd3"].variants)


@pytest.fixture(scope="module", params=VARIANTS)
def both(request, tmp_path_factory) -> tuple[StableDiffusion3, StableDiffusion3Pipeline]:
    folder = make_tiny("sd3", tmp_path_factory.mktemp("sd3") / request.param, variant=request.param)
    return load(folder), StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def without_t5(tmp_path_factory) -> Path:
    folder = make_tiny("sd3", tmp_path_factory.mktemp("sd3") / "tiny")
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}))
    return folder


def load(place: Path) -> StableDiffusion3:
    model = load_model(place, torch.device("cpu"), torch.float32)
    assert isinstance(model, StableDiffusion3)
    return model


@torch.no_grad()
def encode(pipeline, prompts):
    text, _, pooled, _ = pipeline.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    return text, pooled


def test_the_variant_is_told_from_the_folder(both):
    model, _ = both
    shown = model.denoiser.config
    assert (bool(shown.qk_norm), bool(shown.dual_attention_layers)) == {
        "medium": (False, False), "3.5_medium": (True, True), "3.5_large": (True, False),
    }[model.facts.variant]  # fmt: skip
    assert model.prediction == "flow"
    assert model.size_step == 16


def test_captions_and_plain_prompts_are_what_the_pipeline_makes_of_them(both):
    model, pipeline = both
    captions, prompts = model.encode_tokens(PROMPTS, 0), model.conditioning(0).encode([*PROMPTS, ""])
    text, pooled = encode(pipeline, PROMPTS)
    torch.testing.assert_close(captions["text"], text, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(captions["pooled"], pooled, atol=1e-5, rtol=1e-5)
    for prompt, found in prompts.items():
        text, pooled = encode(pipeline, [prompt])
        torch.testing.assert_close(found["text"], text, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["pooled"], pooled, atol=1e-5, rtol=1e-5)


def test_clip_reads_on_where_t5_stops(both):
    model, _ = both
    words = model.conditioning(0)
    found = words.encode(["a red cat " * 100, "a red cat"])
    (long, short), width = found.values(), model.denoiser.config.joint_attention_dim
    assert long["text"].shape == short["text"].shape == (1, 77 * (300 // 75) + 256, width)
    assert [problem.code for problem in words.problems] == ["prompt.too_long"]


def test_embeddings_are_for_both_clips_and_words_for_t5(both, tmp_path):
    model, _ = both
    ids = model.tokenizers["text_encoder"]("red", add_special_tokens=False).input_ids
    bundled = {name: model.parts[encoder].get_input_embeddings().weight[ids] for encoder, name in model.embedding_parts.items()}
    embeddings = embeddings_for(model, Workspace(tmp_path), [SimpleNamespace(embeddings={"cat": bundled})])
    told = model.conditioning(0, embeddings=embeddings).encode(["a cat"])["a cat"]
    words = model.conditioning(0).encode(["a cat", "a red"])
    assert torch.equal(told["pooled"], words["a red"]["pooled"])
    assert torch.equal(told["text"][:, :77], words["a red"]["text"][:, :77])
    assert torch.equal(told["text"][:, 77:], words["a cat"]["text"][:, 77:])


def test_predictions_are_those_of_the_transformer_in_the_pipeline(both):
    model, pipeline = both
    text, pooled = encode(pipeline, PROMPTS)
    latents = torch.randn(2, *model.latent_shape(64, 96), generator=torch.Generator().manual_seed(1))
    timesteps = torch.tensor([900.0, 250.0])
    with torch.no_grad():
        expected = pipeline.transformer(latents, text, pooled, timesteps).sample
        assert torch.equal(model.predict(latents, timesteps, {"text": text, "pooled": pooled}), expected)


def test_a_picture_is_the_one_of_the_pipeline(both):
    model, pipeline = both
    config = GenerateConfig(sampler="Euler", steps=4, guidance_scale=4.5, width=64, height=96)
    expected = pipeline(
        PROMPTS[0], negative_prompt="", num_inference_steps=4, guidance_scale=4.5, width=64, height=96,
        latents=PictureNoise(model.latent_shape(64, 96), [5], "cpu").first(), output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(make_pictures(model, PROMPTS[0], "", config, [5]), expected, atol=2e-4, rtol=1e-3)


def test_captions_teach_all_text_encoders(both):
    model, _ = both
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        model.parts[name].requires_grad_(True)
        found = model.encode_tokens(["a red cat"], 0)
        (found["text"].sum() + found["pooled"].sum()).backward()
        queries = [p for path, p in model.parts[name].named_parameters() if path.endswith(("q.weight", "q_proj.weight"))]
        assert queries and all(p.grad is not None for p in queries)
        model.parts[name].requires_grad_(False)


def test_without_t5_its_words_are_zeros(without_t5):
    nothing = {"text_encoder_3": None, "tokenizer_3": None}
    model, pipeline = load(without_t5), StableDiffusion3Pipeline.from_pretrained(without_t5, local_files_only=True, **nothing)
    assert "text_encoder_3" not in model.parts
    text, pooled = encode(pipeline, PROMPTS)
    captions = model.encode_tokens(PROMPTS, 0)
    torch.testing.assert_close(captions["text"], text, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(captions["pooled"], pooled, atol=1e-5, rtol=1e-5)
    assert captions["text"][:, 77:].count_nonzero() == 0
    torch.testing.assert_close(model.conditioning(0).encode(PROMPTS[:1])[PROMPTS[0]]["text"], text[:1], atol=1e-5, rtol=1e-5)
    assert set(model.weights_key) == {"vae", "text"}


def test_a_single_file_is_the_same_model(both, tmp_path):
    model, _ = both
    again = load(make_tiny("sd3", tmp_path / "tiny.safetensors", variant=model.facts.variant, single_file=True))
    assert again.facts.variant == model.facts.variant
    assert set(again.parts) == set(model.parts)
    for name, part in model.parts.items():
        stored = again.parts[name].state_dict()
        assert stored.keys() == part.state_dict().keys()
        assert all(torch.equal(stored[key], tensor) for key, tensor in part.state_dict().items()), name
    said = [{key: value for key, value in each.denoiser.config.items() if key[0] != "_"} for each in (again, model)]
    assert json.loads(json.dumps(said[0])) == json.loads(json.dumps(said[1]))
    assert torch.equal(again.encode_tokens(PROMPTS, 0)["text"], model.encode_tokens(PROMPTS, 0)["text"])


def test_a_single_file_without_t5_is_read(without_t5, tmp_path):
    model, file = load(without_t5), tmp_path / "tiny.safetensors"
    make_tiny("sd3", tmp_path / "beside.safetensors", single_file=True)  # for its tokenizers
    write_single_file(file, "sd3", model.parts, "medium", "flow", 64)
    again = load(file)
    assert set(again.parts) == set(model.parts)
    assert torch.equal(again.encode_tokens(PROMPTS, 0)["text"], model.encode_tokens(PROMPTS, 0)["text"])


def test_a_projection_that_files_have_no_place_for_is_not_lost(both, tmp_path):
    model, _ = both
    parts = dict(model.parts)
    kept = parts["text_encoder"].text_projection.weight.data
    try:
        parts["text_encoder"].text_projection.weight.data = kept * 2
        with pytest.raises(ModelError) as caught:
            write_single_file(tmp_path / "tiny.safetensors", "sd3", parts, model.facts.variant, "flow", 64)
        assert caught.value.code == "model.not_identity"
    finally:
        parts["text_encoder"].text_projection.weight.data = kept


@pytest.mark.parametrize("sampler", SAMPLERS_FOR["flow"])
def test_every_sampler_of_a_flow_draws(both, sampler):
    model, _ = both
    config = GenerateConfig(sampler=sampler, steps=3, guidance_scale=1, width=64, height=64)
    picture = make_pictures(model, PROMPTS[0], "", config, [5])
    assert picture.isfinite().all()
    assert picture.std() > 0.01
