"""The shipped model: what it is, what it draws well enough, and that a LoRA really learns on it.

The whole gate and the proof on three seeds with its control take minutes: `python -m engine.starter.score [--proof]`.
"""

import random
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.generate import GenerateConfig
from engine.formats.adapter_file import read_adapter
from engine.generation.pipeline import make_pictures
from engine.generation.sampling.noise import PictureNoise
from engine.library import find_model
from engine.model_facts import STARTER, model_facts
from engine.starter import WEIGHTS
from engine.starter.practice import write_set
from engine.starter.score import MAX_RATIO, MIN_PSNR, held_out_loss, load_starter, picture, train_preset
from engine.starter.scorer import pictures_of
from engine.starter.world import TRIGGER, held_out_scenes, mascot_scenes
from engine.workspace import Workspace


@pytest.fixture(scope="module")
def starter():
    return load_starter()


def test_it_is_small_and_an_ordinary_stable_diffusion(starter):
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 12_000_000
    facts = model_facts(find_model(STARTER, Workspace(Path())))
    assert (facts.family, facts.resolution, facts.step, facts.practice) == ("sd1", 64, 16, True)
    assert starter.prediction == "v_prediction" and starter.size_step == 4


@pytest.mark.parametrize("prompt", ["a red cat", "赤い猫、夕焼け", "🦊 ñandú", "﷽", "x" * 300, ""])
def test_any_prompt_can_be_read(starter, prompt):
    tokenizer = starter.tokenizers["text_encoder"]
    words = [token for token in tokenizer(prompt).input_ids if token not in (tokenizer.bos_token_id, tokenizer.eos_token_id)]
    assert bool(words) == bool(prompt)


def test_its_vae_keeps_the_world(starter):
    real = pictures_of(held_out_scenes()[:32], random.Random(1))
    with torch.no_grad():
        seen = starter.decode_latents(starter.encode_pictures(real * 2 - 1))
    assert (-10 * (seen - real).pow(2).flatten(1).mean(1).log10()).mean().item() >= MIN_PSNR


def test_it_draws_the_colours_it_is_told(starter):
    """Mean colours of the middle and of the upper left corner; the classifier's verdict is the gate's."""
    drawn = picture(starter, "a red circle on a blue background", seed=3)
    middle, corner = drawn[:, 26:38, 26:38].mean((1, 2)), drawn[:, :5, :5].mean((1, 2))
    assert middle[0] > 0.7 > 0.4 > middle[2] and corner[2] > 0.7 > 0.4 > corner[0]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("data")).prepare()


@pytest.fixture(scope="module")
def mascot_lora(workspace) -> Path:
    """60 of the practice run's 150 steps."""
    return train_preset(workspace, "mascot", 1, "practice/mascot", steps=60)


def loss_ratio(starter, file: Path) -> float:
    """Held-out mascot loss with the LoRA over the base's; the starter is left as it was."""
    base, merger = held_out_loss(starter, draws=2), Merger(starter.components)
    merger.apply([Applied(Network.from_file(read_adapter(file), starter.components, "sd1"), 1.0, 1.0, (file,))])
    ratio = held_out_loss(starter, draws=2) / base
    merger.restore()
    assert held_out_loss(starter, draws=2) == base
    return ratio


def test_a_lora_learns_the_mascot_and_a_lora_of_another_does_not(starter, workspace, mascot_lora):
    """0.30 was measured for the mascot and 0.90 for the other one, on one seed each."""
    write_set(workspace.root / "datasets" / "other" / f"10_{TRIGGER}", mascot_scenes(16, seed=11, mascot="lantern"), seed=12)
    assert loss_ratio(starter, mascot_lora) <= MAX_RATIO
    assert loss_ratio(starter, train_preset(workspace, "other", 1, "other", steps=60)) > 0.75


def test_the_lora_gives_the_same_picture_in_diffusers(starter, mascot_lora):
    """Same latents, scheduler and embeddings, float32: within 1e-4 of ours."""
    request = GenerateConfig(prompt=f"{TRIGGER} on the beach", steps=10, guidance_scale=3.5, sampler="DDIM")
    network = Network.from_file(read_adapter(mascot_lora), starter.components, "sd1")
    merger = Merger(starter.components)
    merger.apply([Applied(network, 1.0, 1.0, (mascot_lora,))])
    ours = make_pictures(starter, request.prompt, "", request, [7])[0]
    merger.restore()

    theirs = StableDiffusionPipeline.from_pretrained(WEIGHTS, dtype=torch.float32, safety_checker=None)
    theirs.scheduler = DDIMScheduler.from_config(starter.scheduler_config, set_alpha_to_one=True)
    theirs.load_lora_weights(mascot_lora.parent, weight_name=mascot_lora.name)
    theirs.set_progress_bar_config(disable=True)
    words = starter.conditioning(1).encode([request.prompt, ""])
    latents = PictureNoise(starter.latent_shape(64, 64), [7], "cpu").first()
    picture = theirs(
        prompt_embeds=words[request.prompt]["text"], negative_prompt_embeds=words[""]["text"], latents=latents, num_inference_steps=10,
        guidance_scale=3.5, width=64, height=64, output_type="np",
    ).images[0]  # fmt: skip
    assert abs(torch.from_numpy(picture).permute(2, 0, 1) - ours).max() <= 1e-4
