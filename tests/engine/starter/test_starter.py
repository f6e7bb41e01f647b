"""The shipped model: what it is, what it draws well enough, and that a LoRA really learns on it.

The whole gate and the proof on three seeds with its control take minutes: `python -m engine.starter.score [--proof]`.
"""

import random
from pathlib import Path

import pytest
import torch

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.formats.adapter_file import read_adapter
from engine.library import STARTER, find_model, model_facts
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
    assert starter.prediction_type == "v_prediction" and starter.size_step == 4


@pytest.mark.parametrize("prompt", ["a red cat", "赤い猫、夕焼け", "🦊 ñandú", "﷽", "x" * 300, ""])
def test_any_prompt_can_be_read(starter, prompt):
    tokens = starter.tokenizer(prompt).input_ids
    words = [token for token in tokens if token not in (starter.tokenizer.bos_token_id, starter.tokenizer.eos_token_id)]
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


def test_a_lora_learns_the_mascot_and_a_lora_of_another_does_not(starter, tmp_path):
    """60 of the practice run's 150 steps: 0.30 was measured for the mascot and 0.90 for the other one, on one seed each."""
    workspace = Workspace(tmp_path).prepare()
    other = mascot_scenes(16, seed=11, mascot="lantern")
    write_set(tmp_path / "datasets" / "other" / f"10_{TRIGGER}", other, seed=12)
    base, merger = held_out_loss(starter, draws=2), Merger(starter.components)
    ratios = {}
    for name, folder in (("mascot", "practice/mascot"), ("other", "other")):
        file = train_preset(workspace, name, 1, folder, steps=60)
        merger.apply([Applied(Network.from_file(read_adapter(file), starter.components), 1.0, 1.0, (name,))])
        ratios[name] = held_out_loss(starter, draws=2) / base
    merger.restore()
    assert held_out_loss(starter, draws=2) == base
    assert ratios["mascot"] <= MAX_RATIO and ratios["other"] > 0.75, ratios
