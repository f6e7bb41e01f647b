"""SDXL with the real classes in tiny, beside diffusers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.generate import GenerateConfig
from engine.families import load_model
from engine.families.base import Placing
from engine.formats.adapter_writer import write_adapter
from engine.formats.single_file_writer import write_single_file
from engine.generation.pipeline import make_pictures
from engine.tiny import make_tiny

CPU = torch.device("cpu")
PROMPT, AGAINST, SEED = "a photo of a red cat on a blue chair", "a green house", 5
CONFIG = GenerateConfig(steps=3, guidance_scale=4, sampler="Euler", width=64, height=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("sdxl", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("sdxl", tmp_path_factory.mktemp("single") / "tiny.safetensors", single_file=True)


@pytest.fixture(scope="module")
def model(folder: Path):
    return load_model(folder, CPU, torch.float32)


def pipeline(folder: Path) -> StableDiffusionXLPipeline:
    made = StableDiffusionXLPipeline.from_pretrained(folder)
    made.scheduler = EulerDiscreteScheduler.from_config(made.scheduler.config, timestep_spacing="linspace")
    made.set_progress_bar_config(disable=True)
    return made


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_single_file_is_the_same_model(model, single: Path) -> None:
    read = load_model(single, CPU, torch.float32)
    assert read.facts.family == "sdxl" and read.facts.variant == model.facts.variant == "base"
    assert all(same(model.parts[name], read.parts[name]) for name in model.parts) and len(model.parts) == 4
    assert read.weights_key == model.weights_key
    one, two = (make_pictures(each, PROMPT, AGAINST, CONFIG, [SEED]) for each in (model, read))
    assert torch.equal(one, two)


def test_diffusers_reads_the_single_file(model, single: Path, folder: Path) -> None:
    read = StableDiffusionXLPipeline.from_single_file(str(single), config=str(folder), local_files_only=True)
    assert all(same(model.parts[name], getattr(read, name)) for name in model.parts)


def test_words_are_told_as_diffusers_tells_them(model, folder: Path) -> None:
    pipe = pipeline(folder)
    with torch.no_grad():
        text, against, pooled, pooled_against = pipe.encode_prompt(PROMPT, negative_prompt=AGAINST, device=CPU)
        _, nothing, _, pooled_nothing = pipe.encode_prompt(PROMPT, device=CPU)
        learnt = model.encode_tokens([PROMPT, AGAINST, ""], 1)
    told = model.conditioning(1).encode([PROMPT, AGAINST, ""])
    wanted = {PROMPT: (text, pooled), AGAINST: (against, pooled_against), "": (nothing, pooled_nothing)}
    for name, (words, summary) in wanted.items():
        torch.testing.assert_close(told[name]["text"], words)
        torch.testing.assert_close(told[name]["pooled"], summary)
    assert not nothing.any()  # an empty negative prompt is none; a dropped caption is an empty text
    torch.testing.assert_close(learnt["text"][:2], torch.cat([text, against]))
    torch.testing.assert_close(learnt["pooled"][:2], torch.cat([pooled, pooled_against]))
    assert learnt["text"][2].any() and learnt["pooled"][2].any()


def test_clip_skip_changes_nothing(model) -> None:
    one, two = (model.conditioning(skip).encode([PROMPT])[PROMPT]["text"] for skip in (1, 2))
    assert torch.equal(one, two)


def test_sizes_are_told_in_diffusers_order(model, folder: Path) -> None:
    told = model.picture_conditions([Placing((640, 480), (7, 3), (512, 384)), Placing((8, 8), (0, 0), (8, 8))])["sizes"]
    theirs = pipeline(folder)._get_add_time_ids((480, 640), (3, 7), (384, 512), torch.float32, 64)
    assert told.shape == (2, 6) and torch.equal(told[:1], theirs)


@pytest.mark.parametrize("against", [AGAINST, ""])
def test_pictures_are_diffusers_pictures(model, folder: Path, against: str) -> None:
    pipe = pipeline(folder)
    theirs = pipe(
        PROMPT, negative_prompt=against or None, num_inference_steps=3, guidance_scale=4.0, width=64, height=96,
        generator=torch.Generator().manual_seed(SEED), output_type="pt",
    ).images  # fmt: skip
    ours = make_pictures(model, PROMPT, against, CONFIG, [SEED])
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_sizes_change_the_prediction(model) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    words = model.conditioning(1).encode([PROMPT])[PROMPT]
    with torch.no_grad():
        whole, cut = (
            model.predict(latents, torch.tensor([500]), words | model.picture_conditions([Placing((64, 64), corner, (64, 64))]))
            for corner in ((0, 0), (500, 0))
        )
    assert (whole - cut).abs().max() > 1e-4


def test_markers_in_a_file_tell_prediction_and_schedule(model, single: Path, tmp_path: Path) -> None:
    """As NoobAI's files have them, whose cards say nothing."""
    path = tmp_path / "v.safetensors"
    write_single_file(path, "sdxl", model.parts, "v", "v_prediction", 64, {"modelspec.prediction_type": ""}, True)
    (tmp_path / "tokenizers").symlink_to(single.parent / "tokenizers")
    read = load_model(path, CPU, torch.float32)
    assert (read.facts.variant, read.facts.prediction) == ("v", "v_prediction")
    assert read.scheduler_config["prediction_type"] == "v_prediction" and read.scheduler_config["rescale_betas_zero_snr"]
    assert all(same(model.parts[name], read.parts[name]) for name in model.parts)
    assert not load_model(single, CPU, torch.float32).scheduler_config.get("rescale_betas_zero_snr")
    assert make_pictures(read, PROMPT, "", GenerateConfig(steps=2, width=64, height=64), [SEED]).isfinite().all()


def test_a_folder_says_so_in_its_scheduler(tmp_path: Path) -> None:
    read = load_model(make_tiny("sdxl", tmp_path / "v", variant="v"), CPU, torch.float32)
    assert (read.facts.variant, read.facts.prediction) == ("v", "v_prediction")


def test_a_kohya_file_gives_the_same_picture_in_diffusers(model, folder: Path, tmp_path: Path) -> None:
    targets = model.targets(LoraOptions(rank=4, alpha=2, conv_rank=2, train_text_encoder=True))
    network = Network.create("sdxl", model.components, targets, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    tensors = network.eval().requires_grad_(False).tensors()
    assert {"lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",
            "lora_unet_middle_block_1_transformer_blocks_1_attn2_to_k.alpha", "lora_unet_input_blocks_1_0_in_layers_2.alpha"} <= set(tensors)  # fmt: skip
    write_adapter(tmp_path / "mine.safetensors", tensors, {"ss_network_module": "networks.lora"})
    plain = make_pictures(model, PROMPT, AGAINST, CONFIG, [SEED])
    network.insert(model.components)
    try:
        ours = make_pictures(model, PROMPT, AGAINST, CONFIG, [SEED])
    finally:
        network.remove()
    assert (ours - plain).abs().max() > 0.01
    pipe = pipeline(folder)
    pipe.load_lora_weights(str(tmp_path / "mine.safetensors"))
    theirs = pipe(
        PROMPT, negative_prompt=AGAINST, num_inference_steps=3, guidance_scale=4.0, width=64, height=96,
        generator=torch.Generator().manual_seed(SEED), output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
