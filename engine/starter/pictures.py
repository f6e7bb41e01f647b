"""The starter's training set as arrays: drawn once from a seed, kept beside the checkpoints.

Pictures are uint8 (N, 3, 64, 64); captions are token ids (N, 3, 77), three phrasings a picture. The VAE also sees generic
pictures (random polygons, gradients, textures) so that drawings and photographs from outside the world survive it.
"""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from transformers import CLIPTokenizer

from engine.starter.world import SIZE, Scene, captions, random_scene, render


def draw_scenes(scenes: list[Scene], seed: int) -> np.ndarray:
    """Pictures of the scenes, uint8 (N, 3, SIZE, SIZE)."""
    rng = random.Random(seed)
    return np.stack([np.asarray(render(scene, rng)).transpose(2, 0, 1) for scene in scenes])


def _world_part(seed: int, count: int) -> tuple[np.ndarray, list[list[str]]]:
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    return draw_scenes(scenes, seed + 1), [captions(scene) for scene in scenes]


def _in_parts(draw, count: int, seed: int, processes: int) -> list:
    """Run `draw(seed, part_size)` over fixed parts, so that the result does not depend on `processes`."""
    part = 1000
    seeds = [seed + 10 * i for i in range(-(-count // part))]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(draw, count=part), seeds))


def draw_world(count: int, seed: int, processes: int = 2) -> tuple[np.ndarray, list[list[str]]]:
    """`count` training pictures (rounded up to thousands) and their three captions each."""
    parts = _in_parts(_world_part, count, seed, processes)
    return np.concatenate([pictures for pictures, _ in parts]), [words for _, part in parts for words in part]


def _generic_picture(rng: random.Random) -> Image.Image:
    def colour() -> tuple[int, int, int]:
        return tuple(rng.randrange(256) for _ in range(3))  # type: ignore[return-value]

    side = SIZE * 2
    image = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize((side, side))
    image = Image.merge(
        "RGB", [image.point(lambda v, a=a, b=b: a + (b - a) * v // 255) for a, b in zip(colour(), colour(), strict=True)]
    )
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(2, 12)):
        points = [(rng.random() * side, rng.random() * side) for _ in range(rng.randrange(3, 7))]
        if rng.random() < 0.4:
            draw.line(points, fill=colour(), width=rng.randrange(1, 7))
        elif rng.random() < 0.4:
            (x0, x1), (y0, y1) = (sorted(p[i] for p in points[:2]) for i in range(2))
            draw.ellipse((x0, y0, x1, y1), fill=colour())
        else:
            draw.polygon(points, fill=colour())
    if rng.random() < 0.4:
        grain = Image.effect_noise((side, side), rng.uniform(10, 60)).convert("RGB")
        image = Image.blend(image, grain, rng.uniform(0.1, 0.4))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def _generic_part(seed: int, count: int) -> np.ndarray:
    rng = random.Random(seed)
    return np.stack([np.asarray(_generic_picture(rng)).transpose(2, 0, 1) for _ in range(count)])


def draw_generic(count: int, seed: int, processes: int = 2) -> np.ndarray:
    """Pictures from outside the world, uint8 (N, 3, SIZE, SIZE). PIL's noise is unseeded; they feed only the VAE."""
    return np.concatenate(_in_parts(_generic_part, count, seed, processes))


def tokenize(tokenizer: CLIPTokenizer, words: list[list[str]]) -> np.ndarray:
    """Token ids int16 (N, phrasings, 77)."""
    flat = [phrase for phrasings in words for phrase in phrasings]
    ids = tokenizer(flat, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)["input_ids"]
    return np.asarray(ids, dtype=np.int16).reshape(len(words), -1, tokenizer.model_max_length)
