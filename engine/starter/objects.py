"""What stands in the starter's world: sixteen objects, and two mascots the model never sees.

Each function draws one thing in unit coordinates with a main colour; small parts (eyes, wheels, stems) have colours of
their own so that an object is recognised in any colour. `OBJECTS` is what the starter learns, `MASCOTS` what a LoRA learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.starter.drawing import COLOURS, INK, Colour, Pen, darker, lighter

WHITE, BROWN, GREEN = COLOURS["white"], (118, 74, 40), COLOURS["green"]


def circle(pen: Pen, colour: Colour) -> None:
    pen.ellipse(0, 0, 0.9, 0.9, colour)


def star(pen: Pen, colour: Colour) -> None:
    points = []
    for i in range(10):
        radius, turn = (1.0 if i % 2 == 0 else 0.42), math.pi * i / 5 - math.pi / 2
        points.append((radius * math.cos(turn), radius * math.sin(turn) + 0.06))
    pen.polygon(points, colour)


def heart(pen: Pen, colour: Colour) -> None:
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        x = 16 * math.sin(t) ** 3
        y = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        points.append((x / 17.5, y / 17.5 - 0.08))
    pen.polygon(points, colour)


def flower(pen: Pen, colour: Colour) -> None:
    pen.box(-0.07, 0.1, 0.07, 0.98, darker(GREEN, 0.15), inked=False)
    pen.polygon([(0.05, 0.75), (0.5, 0.45), (0.42, 0.72), (0.05, 0.9)], GREEN)
    for i in range(6):
        turn = 2 * math.pi * i / 6
        pen.ellipse(0.36 * math.cos(turn), -0.32 + 0.36 * math.sin(turn), 0.27, 0.27, colour)
    pen.ellipse(0, -0.32, 0.22, 0.22, (92, 52, 20) if colour == COLOURS["yellow"] else (255, 214, 64))


def tree(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.14, 0.1), (0.14, 0.1), (0.2, 0.98), (-0.2, 0.98)], BROWN)
    for x, y in ((-0.42, 0.0), (0.42, 0.0), (0.0, -0.42)):
        pen.ellipse(x, y, 0.48, 0.48, colour)
    pen.ellipse(0, -0.08, 0.42, 0.4, colour, inked=False)


def house(pen: Pen, colour: Colour) -> None:
    pen.box(-0.7, -0.12, 0.7, 0.92, colour)
    pen.polygon([(-0.95, -0.1), (0, -0.95), (0.95, -0.1)], darker(colour, 0.4))
    pen.box(-0.16, 0.38, 0.16, 0.92, BROWN)
    for x in (-0.46, 0.46):
        pen.box(x - 0.15, 0.1, x + 0.15, 0.4, (206, 236, 252))


def mushroom(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.27, 0.05), (0.27, 0.05), (0.33, 0.95), (-0.33, 0.95)], (250, 234, 210))
    cap = [(math.cos(math.pi * i / 24), -math.sin(math.pi * i / 24)) for i in range(25)]
    pen.polygon([(0.97 * x, 0.16 + 0.98 * y) for x, y in cap], colour)
    spot = (250, 214, 120) if colour == WHITE else WHITE
    for x, y, radius in ((-0.5, -0.16, 0.16), (0.04, -0.46, 0.19), (0.55, -0.14, 0.15)):
        pen.ellipse(x, y, radius, radius, spot, inked=False)


def car(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.55, -0.08), (-0.36, -0.55), (0.3, -0.55), (0.56, -0.08)], colour)
    pen.polygon([(-0.38, -0.12), (-0.27, -0.42), (-0.04, -0.42), (-0.04, -0.12)], (206, 236, 252))
    pen.polygon([(0.06, -0.12), (0.06, -0.42), (0.23, -0.42), (0.37, -0.12)], (206, 236, 252))
    pen.box(-0.98, -0.1, 0.98, 0.36, colour)
    pen.box(0.8, 0.0, 0.98, 0.14, (255, 232, 120), inked=False)
    for x in (-0.54, 0.54):
        pen.ellipse(x, 0.38, 0.26, 0.26, INK)
        pen.ellipse(x, 0.38, 0.11, 0.11, (188, 188, 194), inked=False)


def rocket(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.2, 0.55), (0.2, 0.55), (0.0, 1.0)], (255, 178, 40))
    for side in (-1, 1):
        pen.polygon([(0.28 * side, 0.15), (0.7 * side, 0.72), (0.22 * side, 0.6)], darker(colour, 0.4))
    body = [(0.36 * math.sin(math.pi * i / 20) ** 0.7, -1 + 1.62 * i / 20) for i in range(1, 19)]
    pen.polygon([(0, -1), *body, (0.2, 0.6), (-0.2, 0.6), *[(-x, y) for x, y in reversed(body)]], colour)
    pen.ellipse(0, -0.25, 0.2, 0.2, WHITE)
    pen.ellipse(0, -0.25, 0.13, 0.13, (110, 190, 240), inked=False)


def _eyes(pen: Pen, x: float, y: float, radius: float, colour: Colour) -> None:
    """Two round eyes that stay visible on a dark face."""
    dark_face = sum(colour) < 150
    for side in (-1, 1):
        pen.ellipse(x * side, y, radius, radius * 1.15, WHITE if dark_face else INK, inked=False)
        if dark_face:
            pen.ellipse(x * side, y, radius * 0.5, radius * 0.6, INK, inked=False)


def cat(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.polygon([(0.82 * side, 0.1), (0.8 * side, -0.95), (0.18 * side, -0.5)], colour)
        pen.polygon([(0.68 * side, -0.35), (0.7 * side, -0.72), (0.42 * side, -0.5)], (255, 170, 180), inked=False)
    pen.ellipse(0, 0.16, 0.86, 0.74, colour)
    _eyes(pen, 0.36, 0.04, 0.13, colour)
    pen.polygon([(-0.11, 0.3), (0.11, 0.3), (0, 0.42)], (250, 130, 150), inked=False)
    whisker = WHITE if sum(colour) < 250 else INK
    for side in (-1, 1):
        pen.stroke([(0.0, 0.42), (0.13 * side, 0.54), (0.25 * side, 0.48)], 0.06, whisker)
        pen.stroke([(0.5 * side, 0.34), (0.98 * side, 0.26)], 0.05, whisker)
        pen.stroke([(0.5 * side, 0.46), (0.96 * side, 0.54)], 0.05, whisker)


def bear(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse(0.62 * side, -0.6, 0.31, 0.31, colour)
        pen.ellipse(0.62 * side, -0.6, 0.16, 0.16, lighter(colour, 0.5), inked=False)
    pen.ellipse(0, 0.1, 0.84, 0.8, colour)
    pen.ellipse(0, 0.38, 0.38, 0.3, lighter(colour, 0.6), inked=False)
    pen.ellipse(0, 0.27, 0.15, 0.11, INK, inked=False)
    pen.stroke([(0, 0.36), (0, 0.52)], 0.06, INK)
    _eyes(pen, 0.34, -0.06, 0.11, colour)


def bunny(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse(0.3 * side, -0.55, 0.2, 0.45, colour)
        pen.ellipse(0.3 * side, -0.53, 0.1, 0.32, (255, 176, 196), inked=False)
    pen.ellipse(0, 0.35, 0.66, 0.6, colour)
    _eyes(pen, 0.28, 0.24, 0.1, colour)
    pen.ellipse(0, 0.43, 0.09, 0.07, (250, 120, 150), inked=False)
    pen.box(-0.1, 0.54, 0.1, 0.76, WHITE)


def robot(pen: Pen, colour: Colour) -> None:
    pen.box(-0.05, -0.98, 0.05, -0.72, darker(colour, 0.4), inked=False)
    pen.ellipse(0, -0.93, 0.11, 0.11, COLOURS["red"], inked=False)
    pen.box(-0.5, -0.74, 0.5, -0.08, colour)
    for side in (-1, 1):
        pen.box(*sorted_box(0.72 * side, 0.1, 0.98 * side, 0.66), fill=darker(colour, 0.3))
        pen.ellipse(0.24 * side, -0.48, 0.13, 0.13, WHITE, inked=False)
        pen.ellipse(0.24 * side, -0.48, 0.06, 0.06, INK, inked=False)
        pen.box(*sorted_box(0.12 * side, 0.72, 0.48 * side, 0.98), fill=darker(colour, 0.4))
    pen.box(-0.26, -0.28, 0.26, -0.18, INK, inked=False)
    pen.box(-0.7, 0.0, 0.7, 0.74, colour)
    pen.box(-0.36, 0.2, 0.36, 0.5, lighter(colour, 0.55))


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return min(x0, x1), y0, max(x0, x1), y1


def fish(pen: Pen, colour: Colour) -> None:
    pen.polygon([(0.45, 0.0), (1.0, -0.5), (0.88, 0.0), (1.0, 0.5)], darker(colour, 0.25))
    pen.polygon([(-0.25, -0.4), (0.2, -0.85), (0.35, -0.3)], darker(colour, 0.25))
    pen.ellipse(-0.16, 0.0, 0.76, 0.5, colour)
    pen.polygon([(0.0, 0.05), (0.32, -0.1), (0.32, 0.24)], darker(colour, 0.25), inked=False)
    pen.ellipse(-0.56, -0.12, 0.14, 0.14, WHITE)
    pen.ellipse(-0.58, -0.12, 0.07, 0.07, INK, inked=False)


def ghost(pen: Pen, colour: Colour) -> None:
    dome = [(0.72 * math.cos(math.pi + math.pi * i / 24), -0.2 + 0.74 * math.sin(math.pi + math.pi * i / 24)) for i in range(25)]
    hem = [(0.72, 0.92), (0.48, 0.7), (0.24, 0.92), (0.0, 0.7), (-0.24, 0.92), (-0.48, 0.7), (-0.72, 0.92)]
    pen.polygon([*dome, *hem], colour)
    for side in (-1, 1):
        pen.ellipse(0.28 * side, -0.2, 0.17, 0.22, WHITE if colour != WHITE else INK, inked=False)
        pen.ellipse(0.26 * side, -0.16, 0.09, 0.11, INK, inked=False)
    pen.ellipse(0, 0.24, 0.13, 0.18, INK if sum(colour) > 150 else WHITE, inked=False)


def snowman(pen: Pen, colour: Colour) -> None:
    pen.ellipse(0, 0.5, 0.54, 0.48, colour)
    pen.ellipse(0, -0.14, 0.4, 0.36, colour)
    hat = INK if sum(colour) > 150 else (120, 60, 40)
    pen.box(-0.42, -0.56, 0.42, -0.44, hat, inked=False)
    pen.box(-0.25, -0.98, 0.25, -0.5, hat, inked=False)
    _eyes(pen, 0.16, -0.24, 0.07, colour)
    pen.polygon([(0.0, -0.14), (0.34, -0.06), (0.0, 0.0)], (255, 134, 20), inked=False)
    button = INK if sum(colour) > 150 else WHITE
    for y in (0.3, 0.56):
        pen.ellipse(0, y, 0.08, 0.08, button, inked=False)


OBJECTS: dict[str, Callable[[Pen, Colour], None]] = {
    "circle": circle, "star": star, "heart": heart, "flower": flower,
    "tree": tree, "house": house, "mushroom": mushroom, "car": car,
    "rocket": rocket, "cat": cat, "bear": bear, "bunny": bunny,
    "robot": robot, "fish": fish, "ghost": ghost, "snowman": snowman,
}  # fmt: skip


def cyclops(pen: Pen, colour: Colour) -> None:
    """The practice mascot: one eye, two horns, a yellow belly. `colour` is ignored, a mascot has its own."""
    teal, horn, belly = (24, 150, 142), (244, 138, 36), (250, 216, 74)
    for side in (-1, 1):
        pen.polygon([(0.16 * side, -0.5), (0.62 * side, -0.98), (0.56 * side, -0.36)], horn)
        pen.ellipse(0.74 * side, 0.18, 0.2, 0.36, teal)
        pen.ellipse(0.3 * side, 0.88, 0.26, 0.12, (126, 62, 168))
    pen.ellipse(0, -0.08, 0.58, 0.6, teal)
    pen.ellipse(0, 0.36, 0.66, 0.54, teal)
    pen.ellipse(0, -0.08, 0.58, 0.58, teal, inked=False)
    pen.ellipse(0, 0.46, 0.42, 0.36, belly)
    pen.ellipse(0, -0.24, 0.3, 0.3, WHITE)
    pen.ellipse(0, -0.22, 0.16, 0.16, (126, 62, 168), inked=False)
    pen.ellipse(0, -0.22, 0.07, 0.07, INK, inked=False)
    pen.stroke([(-0.2, 0.14), (0.0, 0.2), (0.2, 0.14)], 0.07, INK)


def lantern(pen: Pen, colour: Colour) -> None:
    """The other mascot, for the negative control: a square pink lantern with two antennae and a blue smile."""
    for side in (-1, 1):
        pen.stroke([(0.3 * side, -0.55), (0.5 * side, -0.95)], 0.09, (60, 60, 66))
        pen.ellipse(0.5 * side, -0.9, 0.13, 0.13, (250, 216, 74))
        pen.box(*sorted_box(0.2 * side, 0.7, 0.46 * side, 0.98), fill=(38, 92, 224))
    pen.box(-0.75, -0.6, 0.75, 0.76, (240, 96, 150))
    pen.box(-0.52, -0.36, 0.52, 0.24, (250, 240, 220))
    for side in (-1, 1):
        pen.ellipse(0.24 * side, -0.1, 0.12, 0.18, INK, inked=False)
    pen.stroke([(-0.4, 0.44), (0.0, 0.58), (0.4, 0.44)], 0.1, (38, 92, 224))


MASCOTS: dict[str, Callable[[Pen, Colour], None]] = {"cyclops": cyclops, "lantern": lantern}
