"""How good the starter is, and whether a LoRA learned: printed tables.

python -m engine.starter.score                 the gate: object, colour, background, VAE
python -m engine.starter.score --lora FILE     does this LoRA know the mascot?
python -m engine.starter.score --proof         trains the practice preset on three seeds and a control, and scores them
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.generate import GenerateConfig
from engine.config.load import load, merge, nested, preset_path
from engine.config.train import TrainConfig
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.generation.pipeline import make_pictures, to_image
from engine.model_facts import STARTER_FOLDER
from engine.starter.practice import write_set
from engine.starter.scorer import Scorer, accuracy, load_scorer, pictures_of
from engine.starter.world import TRIGGER, Scene, captions, held_out_scenes, mascot_scenes, place_phrase
from engine.training.objectives import TARGETS, add_noise, alphas_cumprod, squared_error
from engine.training.trainer import run
from engine.workspace import Workspace, atomic_write

GUIDANCE, STEPS = 3.5, 20
GATE = {"object": 0.85, "colour": 0.85, "background": 0.97}
MIN_PSNR = 28.0
MAX_RATIO = 0.5
"""Held-out loss with the LoRA over the base's."""
MIN_CONTROL = 0.95
PLACES_ASKED = ("red", "green", "white", "field", "night", "beach")


@dataclass(frozen=True)
class LoraScore:
    """What a LoRA does to the starter.

    Attributes:
        ratio: denoising loss on held-out mascot pictures with their trigger, LoRA over base, on fixed noise and timesteps.
        likeness: colour-histogram intersection with real mascots at strengths 0, 0.5 and 1.
        backgrounds: of six backgrounds asked for at strength 1, how many the scorer sees.
    """

    ratio: float
    likeness: tuple[float, float, float]
    backgrounds: int


def load_starter() -> Family:
    return load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)


def picture(model: Family, prompt: str, seed: int) -> Tensor:
    """One picture (3, 64, 64) in [0, 1] at the gate's settings."""
    request = GenerateConfig(prompt=prompt, steps=STEPS, guidance_scale=GUIDANCE, sampler="DDIM")
    return make_pictures(model, prompt, "", request, [seed])[0]


def gate(model: Family, scorer: Scorer, count: int, grid: Path | None) -> bool:
    """Print the gate's table over held-out combinations; True if it is passed."""
    scenes = held_out_scenes()[:count]
    real = pictures_of(scenes, random.Random(21))
    made = []
    for number, scene in enumerate(scenes):
        made.append(picture(model, captions(scene)[0], seed=1000 + number))
        if (number + 1) % 40 == 0:
            print(f"  {number + 1}/{len(scenes)} pictures", flush=True)
    on_real, on_made = accuracy(scorer, real, scenes), accuracy(scorer, torch.stack(made), scenes)
    with torch.no_grad():
        seen = torch.cat([model.decode_latents(model.encode_pictures(part * 2 - 1)) for part in real.split(50)])
    decibel = (-10 * (seen - real).pow(2).flatten(1).mean(1).log10()).mean().item()
    print(f"\n{len(scenes)} held-out combinations, one picture each, {STEPS} steps of DDIM, guidance {GUIDANCE}\n")
    print("              starter   gate   scorer on real drawings")
    for name, wanted in GATE.items():
        print(f"{name:<12}  {on_made[name]:7.3f}   {wanted:.2f}   {on_real[name]:.3f}")
    print(f"{'VAE, dB':<12}  {decibel:7.2f}   {MIN_PSNR:.0f}")
    if grid:
        write_grid(grid, made[:36], columns=6)
        print(f"grid of the first 36: {grid}")
    passed = decibel >= MIN_PSNR and all(on_made[name] >= wanted for name, wanted in GATE.items())
    print("gate passed" if passed else "gate MISSED")
    return passed


def write_grid(file: Path, pictures: Sequence[Tensor], columns: int, scale: int = 2) -> None:
    """Pictures side by side as one PNG."""
    side = pictures[0].shape[-1] * scale
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for number, each in enumerate(pictures):
        tile = to_image(each).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (number % columns * side, number // columns * side))
    with atomic_write(file) as stream:
        sheet.save(stream, "PNG")


@torch.no_grad()
def held_out_loss(model: Family, mascot: str = "cyclops", count: int = 32, draws: int = 4) -> float:
    """Mean denoising loss on mascot pictures nobody trained on, captioned with the trigger; the same noise every time."""
    scenes = mascot_scenes(count, seed=77, mascot=mascot)
    latents = model.encode_pictures(pictures_of(scenes, random.Random(78)) * 2 - 1)
    words = model.encode_tokens([captions(scene)[0] for scene in scenes], clip_skip=1)
    alphas, generator = alphas_cumprod(model.scheduler_config), torch.Generator().manual_seed(79)
    losses = []
    for _ in range(draws):
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(len(alphas), (count,), generator=generator)
        target = TARGETS[model.prediction](latents, noise, alphas, timesteps)
        prediction = model.predict(add_noise(latents, noise, alphas, timesteps), timesteps, words)
        losses.append(squared_error(prediction, target).mean().item())
    return statistics.mean(losses)


def likeness(pictures: Tensor, real: Tensor) -> float:
    """Intersection of colour histograms (4 levels a channel) of the picture's middle with the real mascots' mean: 0 to 1."""

    def histogram(x: Tensor) -> Tensor:
        middle = (x[..., 14:50, 14:50] * 3.999).long().clamp(0, 3)
        bins = (middle[:, 0] * 16 + middle[:, 1] * 4 + middle[:, 2]).flatten(1)
        return torch.stack([torch.bincount(each, minlength=64).float() / each.numel() for each in bins])

    wanted = histogram(real).mean(0)
    return torch.minimum(histogram(pictures), wanted).sum(1).mean().item()


def score_lora(model: Family, scorer: Scorer, file: Path, grid: Path | None = None) -> LoraScore:
    """Score a LoRA against the mascot; the model is left as it was."""
    network = Network.from_file(read_adapter(file), model.components, model.facts.family)
    merger = Merger(model.components)
    base = held_out_loss(model)
    real = pictures_of(mascot_scenes(32, seed=77), random.Random(78))
    prompts = [f"{TRIGGER} {place_phrase(place)}" for place in PLACES_ASKED]
    scenes = [Scene("cyclops", "own", place) for place in PLACES_ASKED]
    rows, measured = [], []
    for strength in (0.0, 0.5, 1.0):
        merger.apply([Applied(network, strength, strength, (str(file),))])
        rows.append(torch.stack([picture(model, prompt, seed=500 + i) for i, prompt in enumerate(prompts)]))
        measured.append(likeness(rows[-1], real))
    ratio = held_out_loss(model) / base
    merger.restore()
    obeyed = round(accuracy(scorer, rows[-1], scenes)["background"] * len(scenes))
    if grid:
        write_grid(grid, [each for row in rows for each in row], columns=len(prompts))
    return LoraScore(ratio, tuple(measured), obeyed)  # type: ignore[arg-type]


def verdict(score: LoraScore) -> bool:
    low, half, full = score.likeness
    return score.ratio <= MAX_RATIO and low < half < full and score.backgrounds >= 5


def row(name: str, score: LoraScore) -> str:
    shown = " / ".join(f"{value:.3f}" for value in score.likeness)
    return f"{name:<22} {score.ratio:10.3f}   {shown}      {score.backgrounds}/6"


HEADER = f"{'':<22} loss ratio   likeness at 0 / 0.5 / 1   backgrounds"


def train_preset(workspace: Workspace, name: str, seed: int, folder: str, steps: int | None = None) -> Path:
    """Train the practice preset without a page; returns the LoRA."""
    settings = {"training.seed": seed, "output.name": name, "samples.count": 0, "output.save_count": 1, "dataset.folder": folder}
    if steps:
        settings["training.max_steps"] = steps
    config = load(TrainConfig, preset_path("starter/character"), merge({}, nested(settings)))
    for _ in run(config, workspace.runs / name, workspace):
        pass
    return workspace.loras / f"{name}.safetensors"


def proof(model: Family, scorer: Scorer, grid: Path | None) -> bool:
    """Three seeds of the practice run, and a LoRA of another mascot under the same trigger as the control."""
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace(Path(place)).prepare()
        print(HEADER, flush=True)
        scores = []
        for seed in (1, 2, 3):
            file = train_preset(workspace, f"seed-{seed}", seed, "practice/mascot")
            scores.append(score_lora(model, scorer, file, grid if seed == 1 else None))
            print(row(f"practice run, seed {seed}", scores[-1]), flush=True)
        write_set(workspace.root / "datasets" / "other" / f"10_{TRIGGER}", mascot_scenes(16, seed=11, mascot="lantern"), seed=12)
        control = score_lora(model, scorer, train_preset(workspace, "control", 1, "other"))
        print(row("control: other mascot", control))
    ratios = [score.ratio for score in scores]
    print(
        f"\nloss ratio {min(ratios):.3f} to {max(ratios):.3f} over three seeds (at most {MAX_RATIO}); control {control.ratio:.3f} (above {MIN_CONTROL})"
    )
    passed = all(verdict(score) for score in scores) and control.ratio > MIN_CONTROL
    print("proof holds" if passed else "proof FAILS")
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.score", description=__doc__.split("\n")[0])
    parser.add_argument("--lora", type=Path, help="score this LoRA against the practice mascot")
    parser.add_argument("--proof", action="store_true", help="train and score three seeds and a control (about four minutes)")
    parser.add_argument("--count", type=int, default=240, help="held-out combinations of the gate")
    parser.add_argument("--grid", type=Path, help="also write the pictures as one PNG")
    parser.add_argument("--data-dir", type=Path, default=Path("workspace"))
    options = parser.parse_args()
    model = load_starter()
    scorer = load_scorer(model, options.data_dir / "cache")
    if options.lora:
        score = score_lora(model, scorer, options.lora, options.grid)
        print(HEADER)
        print(row(options.lora.stem, score))
        passed = verdict(score)
        print("it learned the mascot" if passed else "it did NOT learn the mascot")
        return 0 if passed else 1
    if options.proof:
        return 0 if proof(model, scorer, options.grid) else 1
    return 0 if gate(model, scorer, options.count, options.grid) else 1


if __name__ == "__main__":
    raise SystemExit(main())
