"""A pen that draws in unit coordinates, so that one drawing serves every picture size.

Shapes are given in an object's own frame: x to the right and y down, both about -1 to 1. The pen places that frame on
the picture (centre, half size in px, angle) and draws polygons only, which keeps rotation and outlines uniform.
It does not know which objects exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (222, 38, 38),
    "orange": (245, 140, 28),
    "yellow": (252, 220, 40),
    "green": (52, 160, 68),
    "cyan": (64, 196, 224),
    "blue": (38, 92, 224),
    "purple": (136, 62, 178),
    "pink": (252, 136, 184),
    "brown": (130, 84, 46),
    "white": (252, 252, 252),
    "gray": (142, 142, 146),
    "black": (30, 28, 32),
}
INK: Colour = (18, 16, 20)


def mix(colour: Colour, other: Colour, amount: float) -> Colour:
    """The colour moved towards `other` by `amount` (fraction 0-1)."""
    return tuple(round(a + (b - a) * amount) for a, b in zip(colour, other, strict=True))  # type: ignore[return-value]


def darker(colour: Colour, amount: float = 0.3) -> Colour:
    return mix(colour, (0, 0, 0), amount)


def lighter(colour: Colour, amount: float = 0.4) -> Colour:
    return mix(colour, (255, 255, 255), amount)


@dataclass
class Pen:
    """Draws one object on a picture.

    Attributes:
        draw: the picture's ImageDraw.
        centre: centre of the object's frame, px.
        half: half the side of the object's frame, px.
        angle: rotation, radians, clockwise on the screen.
        outline: outline width, px; 0 draws none.
    """

    draw: ImageDraw.ImageDraw
    centre: Point
    half: float
    angle: float = 0.0
    outline: float = 0.0

    def _place(self, point: Point) -> Point:
        x, y = point
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (
            self.centre[0] + self.half * (x * cos - y * sin),
            self.centre[1] + self.half * (x * sin + y * cos),
        )

    def polygon(self, points: list[Point], fill: Colour, inked: bool = True) -> None:
        placed = [self._place(point) for point in points]
        self.draw.polygon(placed, fill=fill)
        if self.outline and inked:
            self.draw.line([*placed, placed[0], placed[1]], fill=INK, width=round(self.outline), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, inked: bool = True) -> None:
        turns = [2 * math.pi * i / 48 for i in range(48)]
        self.polygon([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns], fill, inked)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, inked: bool = True) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill, inked)

    def stroke(self, points: list[Point], width: float, fill: Colour) -> None:
        """An open line; `width` in unit coordinates."""
        placed = [self._place(point) for point in points]
        self.draw.line(placed, fill=fill, width=max(1, round(width * self.half)), joint="curve")
