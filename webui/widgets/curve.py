"""The loss curve as an inline SVG: raw values thin, their moving average on top. Pure; colours come from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from webui.widgets.html import tag, text

Point = tuple[int, float]
WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 26
MOST_POINTS = 400
SMOOTHING = 0.9
"""Weight of the past in the moving average."""


def smooth(points: Sequence[Point], weight: float = SMOOTHING) -> list[Point]:
    """Exponential moving average, started without bias: each value is divided by the weight it has gathered."""
    result, mean, gathered = [], 0.0, 0.0
    for step, value in points:
        if math.isfinite(value):
            mean = weight * mean + (1 - weight) * value
            gathered = weight * gathered + (1 - weight)
        result.append((step, mean / gathered if gathered else value))
    return result


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points, evenly taken; the last one stays."""
    stride = max(1, math.ceil(len(points) / most))
    return [*points[:-1:stride], points[-1]] if points else []


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers within [low, high], about `count` of them."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def curve_svg(points: Sequence[Point], steps: int, title: str, axis: str) -> str:
    """The curve, or "" without a finite point.

    Args:
        points: (step, loss), ascending.
        steps: the planned length, where the axis ends.
        title: what the picture shows, for screen readers. axis: name of the step axis.
    """
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return ""
    # a single spike at the start would press the rest of the curve flat: the axis ends at the 98th percentile of the raw values
    ordered = sorted(value for _, value in finite)
    high = max(ordered[math.ceil(0.98 * (len(ordered) - 1))], max(value for _, value in smooth(finite)))
    low = 0.0 if 0 <= ordered[0] < high / 2 else ordered[0] - 0.1 * abs(ordered[0])  # a shallow fall is still seen
    high = high if high > low else low + 1
    last = max(steps, finite[-1][0], 1)

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (min(max(value, low), high) - low) / (high - low))
        return round(x, 1), round(y, 1)

    def line(values: Sequence[Point], name: str) -> str:
        return tag("polyline", points=" ".join("{},{}".format(*place(*point)) for point in thin(values)), class_=name)

    parts = [text("title", title)]
    for value in ticks(low, high):
        y = place(0, value)[1]
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="curve-grid"))
        parts.append(text("text", f"{value:g}", x=LEFT - 6, y=y + 4, class_="curve-label curve-value"))
    for value in ticks(0, last, 6):
        if value == int(value):
            x = place(value, low)[0]
            parts.append(text("text", f"{int(value):,}", x=x, y=HEIGHT - 8, class_="curve-label curve-step"))
    parts.append(text("text", axis, x=WIDTH - RIGHT, y=HEIGHT - BOTTOM - 6, class_="curve-label curve-axis"))
    parts += [line(finite, "curve-raw"), line(smooth(finite), "curve-smooth")]
    x, y = place(*smooth(finite)[-1])
    parts.append(tag("circle", cx=x, cy=y, r=3.5, class_="curve-now"))
    return tag("svg", "".join(parts), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="curve")
