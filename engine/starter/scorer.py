"""The yardstick: a small classifier that names object, colour and background of a picture of the starter's world.

Trained from a seed on real drawings, half of them seen through the starter's VAE, so that softness is no excuse. Takes
about a minute on two cores and is kept in a cache under the hash of everything it depends on.
"""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

from engine.families.base import Family
from engine.starter import drawing, objects, world
from engine.starter.drawing import COLOURS
from engine.starter.objects import MASCOTS, OBJECTS
from engine.starter.world import PLACES, Scene
from engine.workspace import atomic_write

LABELS: dict[str, list[str]] = {
    "object": [*OBJECTS, *MASCOTS],
    "colour": [*COLOURS, "own"],
    "background": [*COLOURS, *PLACES],
}
STEPS, BATCH = 700, 64


class Scorer(nn.Module):
    """Pictures (B, 3, 64, 64) in [0, 1] to logits, by the names in LABELS."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.heads = nn.ModuleDict({name: nn.Linear(128 * 16, len(labels)) for name, labels in LABELS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.body(pictures * 2 - 1)
        return {name: head(features) for name, head in self.heads.items()}


def pictures_of(scenes: list[Scene], rng: random.Random) -> Tensor:
    """Drawings of scenes, float32 (N, 3, 64, 64) in [0, 1]."""
    return (
        torch.stack(
            [torch.from_numpy(np.asarray(world.render(scene, rng)).transpose(2, 0, 1).copy()) for scene in scenes]
        ).float()
        / 255
    )


def labels_of(scenes: list[Scene]) -> dict[str, Tensor]:
    words = {
        "object": [scene.thing for scene in scenes],
        "colour": [scene.colour for scene in scenes],
        "background": [scene.background for scene in scenes],
    }
    return {name: torch.tensor([LABELS[name].index(word) for word in each]) for name, each in words.items()}


def accuracy(scorer: Scorer, pictures: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """Share of pictures whose label is named, by kind of label."""
    with torch.no_grad():
        logits, labels = scorer(pictures), labels_of(scenes)
    return {name: (logits[name].argmax(1) == labels[name]).float().mean().item() for name in LABELS}


def load_scorer(model: Family, cache: Path) -> Scorer:
    """The scorer for this starter, trained if the cache has none."""
    sources = b"".join(Path(module.__file__).read_bytes() for module in (drawing, objects, world))
    key = hashlib.sha256(sources + Path(__file__).read_bytes() + model.weights_key["vae"].encode()).hexdigest()[:16]
    file, scorer = cache / f"starter-scorer-{key}.safetensors", Scorer()
    if file.exists():
        scorer.load_state_dict(load(file.read_bytes()))
        return scorer.eval()
    print("training the scorer (about a minute) ...", flush=True)
    _train(scorer, model)
    with atomic_write(file) as stream:
        stream.write(save(scorer.state_dict()))
    return scorer.eval()


def _train(scorer: Scorer, model: Family) -> None:
    torch.manual_seed(5)
    rng = random.Random(5)
    scenes = [world.random_scene(rng) for _ in range(3000)]
    scenes += [scene for mascot in MASCOTS for scene in world.mascot_scenes(160, 6, mascot)]
    # Held-out combinations are fair here: this is the yardstick, not the model that is measured.
    scenes += world.held_out_scenes()
    pictures, labels = pictures_of(scenes, rng), labels_of(scenes)
    with torch.no_grad():
        softened = torch.cat([model.decode_latents(model.encode_pictures(part * 2 - 1)).cpu() for part in pictures.split(100)])
    both, count = torch.stack([pictures, softened]), len(scenes)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(count, (BATCH,))
        x = both[torch.randint(2, (BATCH,)), chosen]
        x = (x + 0.03 * torch.randn_like(x)).clamp(0, 1)
        logits = scorer(x)
        loss = sum(F.cross_entropy(logits[name], labels[name][chosen]) for name in LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
