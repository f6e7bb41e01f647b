"""Stable Diffusion 2.x with the real classes in tiny, beside diffusers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from engine.config.generate import GenerateConfig
from engine.families import load_model
from engine.generation.pipeline import make_pictures
from engine.tiny import make_tiny

CPU = torch.device("cpu")
PROMPT, AGAINST, SEED = "a photo of a red cat on a blue chair", "a green house", 5
CONFIG = GenerateConfig(steps=3, guidance_scale=4, sampler="DDIM", width=64, height=96)


@pytest.fixture(scope="module", params=["base", "v"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("sd2", tmp_path_factory.mktemp("models") / request.param, variant=request.param)


@pytest.fixture(scope="module")
def single(folder: Path) -> Path:
    return make_tiny("sd2", folder.parent / "tiny.safetensors", variant=folder.name, single_file=True)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_folder_and_a_single_file_are_one_model(folder: Path, single: Path) -> None:
    model, read = (load_model(each, CPU, torch.float32) for each in (folder, single))
    assert (read.facts.family, read.facts.variant, read.facts.prediction) == ("sd2", model.facts.variant, model.facts.prediction)
    assert model.facts.prediction == ("v_prediction" if folder.name == "v" else "epsilon")
    assert model.variant.base_version == ("sd_v2_v" if folder.name == "v" else "sd_v2")
    assert all(same(model.parts[name], read.parts[name]) for name in model.parts)
    one, two = (make_pictures(each, PROMPT, AGAINST, CONFIG, [SEED]) for each in (model, read))
    assert torch.equal(one, two)


def test_diffusers_reads_the_single_file(folder: Path, single: Path) -> None:
    model = load_model(folder, CPU, torch.float32)
    read = StableDiffusionPipeline.from_single_file(str(single), config=str(folder), local_files_only=True, safety_checker=None)
    assert all(same(model.parts[name], getattr(read, name)) for name in model.parts)


def test_pictures_are_diffusers_pictures(folder: Path) -> None:
    model = load_model(folder, CPU, torch.float32)
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.scheduler = DDIMScheduler.from_config(model.scheduler_config, set_alpha_to_one=True)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        PROMPT, negative_prompt=AGAINST, num_inference_steps=3, guidance_scale=4.0, width=64, height=96,
        generator=torch.Generator().manual_seed(SEED), output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(make_pictures(model, PROMPT, AGAINST, CONFIG, [SEED]), theirs, rtol=1e-3, atol=1e-3)
    words, _ = pipe.encode_prompt(PROMPT, CPU, 1, do_classifier_free_guidance=False)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_tokens([PROMPT], 1)["text"], words)
    assert model.tokenizers["text_encoder"].pad_token == "!"  # as OpenCLIP pads
