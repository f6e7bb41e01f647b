"""Z-Image with the real classes in tiny: beside its own pipeline in diffusers, and as training needs it."""

from __future__ import annotations

import pytest
import torch
from diffusers import ZImagePipeline
from torch import Tensor

from engine.adapters.network import Network
from engine.config.adapter import Ia3Options, LayerOptions, LohaOptions, LokrOptions, LoraOptions
from engine.config.generate import GenerateConfig
from engine.families.z_image import ZImage
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.kohya_tensors import kohya_names
from engine.formats.names import ModuleRef, NameIndex
from engine.generation.pipeline import make_pictures
from engine.generation.qwen_text import MAX_TOKENS
from engine.generation.sampling.noise import PictureNoise
from engine.model_facts import ModelFacts
from engine.tiny.pipeline import tiny_pipeline

CPU = torch.device("cpu")
PROMPT, NEGATIVE = "a photo of a red cat on a blue chair", "a green house"


@pytest.fixture(scope="module")
def pipeline() -> ZImagePipeline:
    made = tiny_pipeline("z_image", "z_image")
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def family(pipeline) -> ZImage:
    facts = ModelFacts("tiny", "tiny", "z_image", 1024, 16, 16, False, "turbo", "flow")
    parts = {name: getattr(pipeline, name) for name in ("text_encoder", "transformer", "vae")}
    return ZImage(facts, parts, {"text_encoder": pipeline.tokenizer}, pipeline.scheduler.config, CPU, torch.float32)


def noise(family: ZImage, count: int = 1, width: int = 64, height: int = 96) -> Tensor:
    return torch.randn(count, *family.latent_shape(width, height), generator=torch.Generator().manual_seed(0))


def test_its_layers_are_those_of_the_transformer_only(family):
    assert list(family.components) == list(family.layers()) == ["transformer"]
    assert {layer.switch for layer in family.layers()["transformer"]} == {"train_unet"}


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_pictures_are_those_of_its_own_pipeline(family, pipeline, guidance):
    seeds, shape = [3, 4], family.latent_shape(64, 96)
    config = GenerateConfig(steps=4, guidance_scale=guidance, width=64, height=96)
    ours = make_pictures(family, PROMPT, NEGATIVE, config, seeds)
    theirs = pipeline(
        [PROMPT] * 2, negative_prompt=[NEGATIVE] * 2, num_inference_steps=4, width=64, height=96, output_type="pt",
        guidance_scale=guidance - 1,  # it adds guidance to the guided prediction, so that its 0 is our 1
        latents=PictureNoise(shape, seeds, "cpu").first(),
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_prediction_is_the_velocity_from_picture_to_noise(family):
    asked: list[Tensor] = []

    def answer(pictures: list[Tensor], time: Tensor, texts: list[Tensor], return_dict: bool) -> tuple[list[Tensor]]:
        asked.append(time)
        return ([picture * 2 for picture in pictures],)  # picture - noise, as Z-Image answers

    transformer, family.parts["transformer"] = family.parts["transformer"], answer
    try:
        latents = noise(family, 2)
        made = family.predict(latents, torch.tensor([1000.0, 250.0]), family.encode_tokens(["a", "b"], 0))
    finally:
        family.parts["transformer"] = transformer
    assert asked[0].tolist() == [0.0, 0.75]
    torch.testing.assert_close(made, -2 * latents)


def test_padding_changes_nothing_and_a_batch_next_to_nothing(family):
    latents, times = noise(family, 2), torch.tensor([900.0, 300.0])
    captions = [PROMPT, "a cat"]
    trained = family.encode_tokens(captions, 0)
    assert trained["text"].shape == (2, MAX_TOKENS, 64) and trained["mask"].shape == (2, MAX_TOKENS)
    short = family.conditioning(0).encode(captions)
    with torch.no_grad():
        together = family.predict(latents, times, trained)
        for row, caption in enumerate(captions):
            alone = family.predict(latents[row : row + 1], times[row : row + 1], short[caption])
            padded = family.predict(
                latents[row : row + 1], times[row : row + 1], {k: v[row : row + 1] for k, v in trained.items()}
            )
            assert torch.equal(alone, padded)
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_conditions_survive_a_cache_in_half_precision(family):
    made = family.encode_tokens([PROMPT], 0)
    kept = {name: tensor.to(torch.float16).float() for name, tensor in made.items()}
    latents, time = noise(family), torch.tensor([500.0])
    with torch.no_grad():
        torch.testing.assert_close(family.predict(latents, time, kept), family.predict(latents, time, made), rtol=1e-2, atol=1e-2)


def test_gradients_reach_every_layer_with_and_without_checkpointing(family):
    transformer = family.denoiser
    latents, conditions = noise(family, 2), family.encode_tokens([PROMPT, "a cat"], 0)
    found = []
    for checkpointing in (False, True):
        (transformer.enable_gradient_checkpointing if checkpointing else transformer.disable_gradient_checkpointing)()
        weights = [transformer.get_submodule(layer.path).weight.requires_grad_(True) for layer in family.layers()["transformer"]]
        family.predict(latents, torch.tensor([700.0, 100.0]), conditions).square().mean().backward()
        found.append([weight.grad.clone() for weight in weights])
        transformer.zero_grad()
        transformer.requires_grad_(False)
    transformer.disable_gradient_checkpointing()
    assert all(gradient.abs().max() > 0 for gradient in found[0])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


def trained(family: ZImage, options: LayerOptions) -> Network:
    network = Network.create("z_image", family.components, family.targets(options), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return network


def velocity(family: ZImage) -> Tensor:
    with torch.no_grad():
        return family.predict(noise(family), torch.tensor([600.0]), family.conditioning(0).encode([PROMPT])[PROMPT])


@pytest.mark.parametrize(
    "options",
    [
        LoraOptions(rank=4, alpha=2, targets="full"), LoraOptions(rank=4, alpha=4, targets="attention"),
        LokrOptions(rank=2, alpha=1, factor=4), LokrOptions(rank=10_000, alpha=1, factor=4),
    ],
    ids=["lora everywhere", "lora", "lokr", "whole lokr"],
)  # fmt: skip
def test_an_adapter_file_says_the_same_to_diffusers(family, pipeline, tmp_path, options):
    network = trained(family, options)
    write_adapter(tmp_path / "ours.safetensors", network.tensors(), {})
    plain = velocity(family)
    network.insert(family.components)
    ours = velocity(family)
    network.remove()
    assert not torch.allclose(ours, plain, atol=1e-2)
    pipeline.load_lora_weights(tmp_path, weight_name="ours.safetensors", adapter_name="ours")
    try:
        theirs = velocity(family)
    finally:
        pipeline.unload_lora_weights()
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert torch.equal(velocity(family), plain)


@pytest.mark.parametrize(
    "options",
    [
        LoraOptions(rank=4, targets="full"),
        LoraOptions(rank=2, decompose="outputs"),
        LohaOptions(rank=2),
        LokrOptions(rank=2),
        Ia3Options(),
    ],
    ids=lambda options: f"{options.kind} {getattr(options, 'decompose', '')}",
)
def test_an_adapter_file_is_read_back_to_the_bit(family, tmp_path, options):
    network = trained(family, options)
    tensors = network.tensors()
    assert all(name.startswith("diffusion_model.") for name in tensors)
    write_adapter(tmp_path / "ours.safetensors", tensors, {})
    again = Network.from_file(read_adapter(tmp_path / "ours.safetensors"), family.components, "z_image")
    assert again.refs == network.refs and not again.match.unmatched
    assert tensors.keys() == again.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "spelling",
    [
        "diffusion_model.layers.0.attention.{}", "transformer.layers.0.attention.{}", "lora_unet_layers_0_attention_{}",
        "lycoris_layers_0_attention_{}", "base_model.model.layers.0.attention.{}", "layers.0.attention.{}",
    ],
)  # fmt: skip
def test_other_programs_names_are_understood(spelling):
    paths = [f"layers.0.attention.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")]
    index = NameIndex("z_image", {"transformer": paths})
    dotted = "." in spelling
    for path in paths:
        name = path.removeprefix("layers.0.attention.")
        found = index.find(spelling.format(name if dotted else name.replace(".", "_")))
        assert found == {ModuleRef("transformer", path): ()}
    fused = index.find(spelling.format("qkv"))
    assert fused == {ModuleRef("transformer", path): ((row, row + 1, 3),) for row, path in enumerate(paths[:3])}
    assert index.find(spelling.format("out")) == {ModuleRef("transformer", paths[3]): ()}


def test_kohyas_spelling_of_a_file_keeps_what_it_cannot_say_otherwise():
    modules = {
        "transformer.layers.0.attention.to_q": {},
        "diffusion_model.layers.1.attention.qkv": {},
        "lora_unet_layers_2_feed_forward_w1": {},
    }
    assert [name.name for name in kohya_names(modules, "z_image").values()] == [
        "diffusion_model.layers.0.attention.to_q", "diffusion_model.layers.1.attention.qkv", "lora_unet_layers_2_feed_forward_w1",
    ]  # fmt: skip
