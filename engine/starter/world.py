"""The starter's world: which pictures exist, what they look like and how they are captioned.

A scene is one object in one colour on one background. A fixed share of the (object, colour, background) combinations is
held out of training, so that the gate measures composition and not memory. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from engine.starter.drawing import COLOURS, INK, Pen, mix
from engine.starter.objects import MASCOTS, OBJECTS

SIZE = 64
"""Side of a training picture, px."""
PLACES = ("field", "night", "beach", "sunset")
HATTABLE = ("cat", "bear", "bunny", "robot", "ghost")
HELD_OUT_SHARE = 0.12
TRIGGER = "mofumo"
"""The practice mascot's trigger word: a word no caption of the world contains."""
NEON = "neonline"
"""Trigger word of the style exercise."""


@dataclass(frozen=True)
class Scene:
    """What is in a picture. `background` is a colour name or one of `PLACES`."""

    thing: str
    colour: str
    background: str
    outline: bool = False
    small: bool = False
    hat: bool = False
    style: str = "flat"


def backgrounds_for(colour: str) -> list[str]:
    """Every background an object of this colour can be seen on."""
    too_dark = ("night",) if colour == "black" else ()
    return [name for name in (*COLOURS, *PLACES) if name != colour and name not in too_dark]


def is_held_out(thing: str, colour: str, background: str) -> bool:
    digest = hashlib.sha256(f"{thing}/{colour}/{background}".encode()).digest()
    return digest[0] / 256 < HELD_OUT_SHARE


def held_out_scenes() -> list[Scene]:
    """All combinations training never shows, in a fixed shuffled order."""
    scenes = [
        Scene(thing, colour, background)
        for thing in OBJECTS
        for colour in COLOURS
        for background in backgrounds_for(colour)
        if is_held_out(thing, colour, background)
    ]
    random.Random(0).shuffle(scenes)
    return scenes


def random_background(rng: random.Random, colour: str) -> str:
    choices = backgrounds_for(colour)
    places = [name for name in choices if name in PLACES]
    return rng.choice(places) if rng.random() < 0.4 else rng.choice([c for c in choices if c in COLOURS])


def random_scene(rng: random.Random) -> Scene:
    """A training scene, never a held-out combination."""
    while True:
        thing, colour = rng.choice(list(OBJECTS)), rng.choice(list(COLOURS))
        background = random_background(rng, colour)
        if is_held_out(thing, colour, background):
            continue
        return Scene(
            thing,
            colour,
            background,
            outline=rng.random() < 0.2,
            small=rng.random() < 0.08,
            hat=thing in HATTABLE and rng.random() < 0.2,
        )


def _paint_background(image: Image.Image, name: str, rng: random.Random) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    if name in COLOURS:
        draw.rectangle((0, 0, side, side), fill=COLOURS[name])
    elif name == "field":
        draw.rectangle((0, 0, side, side), fill=(150, 208, 250))
        draw.rectangle((0, 0.66 * side, side, side), fill=(96, 184, 72))
    elif name == "beach":
        draw.rectangle((0, 0, side, side), fill=(168, 220, 252))
        draw.rectangle((0, 0.42 * side, side, side), fill=(52, 124, 196))
        draw.rectangle((0, 0.68 * side, side, side), fill=(240, 214, 152))
    elif name == "night":
        draw.rectangle((0, 0, side, side), fill=(18, 20, 74))
        for _ in range(14):
            x, y, r = rng.random() * side, rng.random() * side, 0.012 * side
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 246, 200))
    elif name == "sunset":
        for row in range(side):
            draw.line((0, row, side, row), fill=mix((92, 48, 128), (255, 160, 66), row / side))


def render(scene: Scene, rng: random.Random, size: int = SIZE, oversample: int = 4) -> Image.Image:
    """Draw a scene as an RGB picture of `size` px; `rng` decides only placement and stars."""
    side = size * oversample
    image = Image.new("RGB", (side, side))
    _paint_background(image, scene.background, rng)
    share = 0.5 if scene.small else rng.uniform(0.78, 0.9)
    drift = 0.03 if not scene.small else 0.12
    centre = side * (0.5 + rng.uniform(-drift, drift)), side * (0.5 + rng.uniform(-drift, drift))
    if scene.hat:
        centre, share = (centre[0], centre[1] + 0.05 * side), share * 0.88
    pen = Pen(
        ImageDraw.Draw(image), centre, side * share / 2, math.radians(rng.uniform(-3, 3)),
        outline=side * 0.022 if scene.outline else 0.0,
    )  # fmt: skip
    draw_thing = MASCOTS.get(scene.thing) or OBJECTS[scene.thing]
    draw_thing(pen, COLOURS.get(scene.colour, (0, 0, 0)))
    if scene.hat:
        band = INK if scene.background not in ("black", "night") else (200, 40, 60)
        pen.box(-0.5, -1.02, 0.5, -0.9, band, inked=False)
        pen.box(-0.3, -1.36, 0.3, -0.95, band, inked=False)
    image = image.resize((size, size), Image.Resampling.BOX)
    return _neon(image) if scene.style == "neon" else image


def _neon(image: Image.Image) -> Image.Image:
    """The style exercise: bright contours on near black, a look the starter was never shown."""
    from PIL import ImageChops, ImageEnhance, ImageFilter

    spread = ImageChops.subtract(image.filter(ImageFilter.MaxFilter(3)), image.filter(ImageFilter.MinFilter(3)))
    glow = ImageEnhance.Brightness(spread).enhance(1.7)
    return ImageChops.add(glow, Image.new("RGB", image.size, (14, 10, 26)))


def subject(scene: Scene) -> str:
    """The words for the thing itself: `a small red cat wearing a hat`."""
    if scene.thing in MASCOTS:
        words = TRIGGER
    else:
        words = f"{'small ' if scene.small else ''}{scene.colour} {scene.thing}"
    return words + (" wearing a hat" if scene.hat else "")


def place_phrase(background: str) -> str:
    phrases = {"field": "in a field", "night": "at night", "beach": "on the beach", "sunset": "at sunset"}
    return phrases.get(background) or f"on {article(background)} {background} background"


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def captions(scene: Scene) -> list[str]:
    """The ways people would describe the scene: sentence, short sentence, tags."""
    place, thing = place_phrase(scene.background), subject(scene)
    tag = scene.background if scene.background in PLACES else f"{scene.background} background"
    lead = "" if scene.thing in MASCOTS else f"{article(thing)} "
    style = ", bold outline" if scene.outline else (f", {NEON} style" if scene.style == "neon" else "")
    return [f"{lead}{thing} {place}{style}", f"a picture of {lead}{thing} {place}{style}", f"{thing}, {tag}{style}"]


def mascot_scenes(count: int, seed: int, mascot: str = "cyclops") -> list[Scene]:
    """Scenes of a mascot on varied backgrounds."""
    rng = random.Random(seed)
    backgrounds = [*COLOURS, *PLACES, *PLACES]
    rng.shuffle(backgrounds)
    return [Scene(mascot, "own", backgrounds[i % len(backgrounds)]) for i in range(count)]


def style_scenes(count: int, seed: int) -> list[Scene]:
    """Ordinary scenes in the neon style."""
    rng = random.Random(seed)
    return [replace(random_scene(rng), style="neon", small=False, outline=False) for _ in range(count)]
