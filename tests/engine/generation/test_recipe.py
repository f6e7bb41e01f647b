"""The recipe in a picture: AUTOMATIC1111's order and names, and back into the same settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine import __version__
from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.choices import SAMPLER_NAMES, SCHEDULE_NAMES, ModelChoice
from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.families import ready_model
from engine.families.base import Family
from engine.families.shelf import ModelShelf
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash, model_hashes
from engine.formats.infotext import parse_infotext
from engine.generation.applying import resolve
from engine.generation.pipeline import picture_size, with_habits
from engine.generation.prompt import parse_tags
from engine.generation.recipe import number, recipe
from engine.model_facts import STARTER_FOLDER
from engine.recall import recall
from engine.workspace import Workspace

SOURCE, MASK = f"{'a' * 32}.png", f"{'b' * 32}.png"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    workspace.sources.mkdir(parents=True)
    Image.new("RGB", (64, 96)).save(workspace.sources / SOURCE)
    Image.new("L", (64, 96)).save(workspace.sources / MASK)
    return workspace


@pytest.fixture(scope="module")
def starter(workspace: Workspace) -> Family:
    return ModelShelf().take(ready_model(ModelChoice("starter"), workspace), torch.device("cpu"), torch.float32)


def add_lora(model: Family, file: Path, **metadata: str) -> Path:
    network = Network.create(model.facts.family, model.components, model.targets(LoraOptions(rank=2)), 0)
    write_adapter(file, network.tensors(), metadata)
    return file


def test_order_and_names_are_those_of_automatic1111(starter: Family, workspace: Workspace) -> None:
    file = add_lora(starter, workspace.loras / "sub" / "a dog, v2.safetensors", ss_output_name="dog")
    prompt = "(a dog) <lora:dog:0.8>, <lora:a dog, v2:0.5>"
    applied, problems = resolve(parse_tags(prompt)[1], starter, workspace, {})
    config = GenerateConfig(
        sampler="DPM++ 2M", schedule="Karras", steps=24, guidance_scale=6.5, clip_skip=2, variation_strength=0.25, emphasis="No norm",
        eta_noise_seed_delta=31337, noise_source="NV", hires={"scale": 1.5, "steps": 9, "denoising": 0.55, "prompt": 'a "q", b: c\nd'},
    )  # fmt: skip
    text = recipe(
        with_habits(config, starter), starter, prompt, "bad, words", 42, variation_seed=7, applied=applied,
        embeddings=[("EasyNegative", "c74b4e810b03")],
    )  # fmt: skip
    digest = adapter_hash(file)[:12]
    assert problems == [] and text == (
        "(a dog) <lora:dog:0.8>, <lora:a dog, v2:0.5>\nNegative prompt: bad, words\n"
        "Steps: 24, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 64x64, "
        f"Model hash: {model_hashes(STARTER_FOLDER).short}, Model: starter, Variation seed: 7, Variation seed strength: 0.25, "
        "Denoising strength: 0.55, Clip skip: 2, ENSD: 31337, RNG: NV, Hires upscale: 1.5, Hires steps: 9, Hires upscaler: Latent, "
        rf'Hires prompt: "a \"q\", b: c\nd", Lora hashes: "dog: {digest}, a dog v2: {digest}", TI hashes: "EasyNegative: c74b4e810b03", '
        f"Emphasis: No norm, Version: LoRA Atelier {__version__}"
    )
    recalled = recall(text, workspace)
    assert recalled.settings["prompt"] == prompt
    assert [line.fate for line in recalled.report if line.field == "Lora hashes"] == ["taken", "taken"]


def test_what_is_default_is_left_out(starter: Family) -> None:
    config = with_habits(
        GenerateConfig(variation_seed=5, hires={"steps": 9}, source={"denoising": 0.1}, emphasis="No norm"), starter
    )
    _, _, told = parse_infotext(recipe(config, starter, "a cat", "", 1, variation_seed=5))
    assert list(told) == [
        "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size-1", "Size-2", "Model hash", "Model", "RNG", "Version",
    ]  # fmt: skip


def test_the_comparison_tells_of_no_adapter(starter: Family, workspace: Workspace) -> None:
    add_lora(starter, workspace.loras / "mine.safetensors")
    applied, _ = resolve(parse_tags("<lora:mine:1>")[1], starter, workspace, {})
    text = recipe(with_habits(GenerateConfig(), starter), starter, "a cat <lora:mine:1>", "", 1, applied=applied, without=True)
    assert text.startswith("a cat\nSteps") and "mine" not in text


@given(st.floats(0, 50))
def test_numbers_read_back_as_they_were(value: float) -> None:
    assert float(number(value)) == value


plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
pieces = plain | st.sampled_from(['"', ",", ":", "\n", "\\", "(a:1.2)", "<b>", "Steps: 20, Seed: 3", "<lora:x:1>", " ", "[a|b]"])
prompts = st.lists(pieces, max_size=6).map("".join).filter(
    lambda text: not re.search(r"(^|\n)\s*Negative prompt:", text) and not re.fullmatch(r"\s*\d+x\d+\s*", text)
)  # fmt: skip
configs = st.fixed_dictionaries({
    "prompt": prompts, "negative_prompt": prompts, "sampler": st.sampled_from(SAMPLER_NAMES), "schedule": st.sampled_from(SCHEDULE_NAMES),
    "steps": st.integers(1, 150), "guidance_scale": st.floats(0.1, 50), "seed": st.integers(0, 2**32 - 1),
    "variation_strength": st.just(0.0) | st.floats(0, 1), "variation_seed": st.integers(0, 2**32 - 1),
    "noise_source": st.sampled_from(["CPU", "NV"]), "eta_noise_seed_delta": st.integers(0, 2**32 - 1),
    "width": st.sampled_from([64, 96]), "height": st.sampled_from([64, 128]), "clip_skip": st.integers(1, 12),
    "emphasis": st.sampled_from(["Original", "No norm", "Ignore", "None"]),
    "hires": st.just({}) | st.fixed_dictionaries({
        "scale": st.floats(1, 4), "upscaler": st.sampled_from(["Latent", "Latent (nearest)", "Lanczos"]), "denoising": st.floats(0, 1),
        "steps": st.integers(0, 150), "prompt": prompts, "negative_prompt": prompts,
    }),
    "source": st.just({}) | st.fixed_dictionaries({
        "picture": st.just(SOURCE), "mask": st.sampled_from(["", MASK]), "denoising": st.floats(0, 1),
        "resize": st.sampled_from(["crop", "fill", "stretch"]), "invert_mask": st.booleans(), "mask_blur": st.integers(0, 64),
        "masked_content": st.sampled_from(["original", "fill", "noise", "nothing"]), "only_masked": st.booleans(),
        "padding": st.integers(0, 256),
    }),
})  # fmt: skip


def lines(text: str) -> str:
    """A prompt as its lines are kept: without spaces around them."""
    return "\n".join(line.strip() for line in text.strip().split("\n")).strip()


def meant(config: GenerateConfig) -> dict[str, Any]:
    """What of a request changes the picture; the rest as it is by default."""
    plain, data = GenerateConfig().model_dump(), config.model_dump()
    data |= {key: lines(data[key]) for key in ("prompt", "negative_prompt")}
    if not config.variation_strength:
        data["variation_seed"] = plain["variation_seed"]
    if not re.search(r"[(\[]", config.prompt + config.negative_prompt):
        data["emphasis"] = "Original"
    if config.hires.scale == 1:
        data["hires"] = plain["hires"]
    if not config.source.picture:
        data["source"] = plain["source"]
    elif not config.source.mask:
        kept = ("picture", "denoising", "resize")
        data["source"] = plain["source"] | {key: data["source"][key] for key in kept}
    elif not config.source.only_masked:
        data["source"]["padding"] = plain["source"]["padding"]
    return data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configs)
def test_every_setting_comes_back(starter: Family, workspace: Workspace, given: dict[str, Any]) -> None:
    source = {
        key: str(workspace.sources / value) if value and key in ("picture", "mask") else value
        for key, value in given["source"].items()
    }
    config = with_habits(GenerateConfig(**{**given, "source": source}), starter)
    width, height = picture_size(config, starter)
    text = recipe(config, starter, config.prompt, config.negative_prompt, config.seed, variation_seed=config.variation_seed)
    back = validate(GenerateConfig, recall(text, workspace).settings)
    assert back.model_dump() == meant(config) | {"width": width, "height": height}
