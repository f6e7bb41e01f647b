"""Draw the practice datasets that ship with the starter, in Kohya's folder form.

    python -m engine.starter.practice

`mascot`: a creature the starter has never seen, under its trigger word. `style`: ordinary things in an unseen style.
"""

from __future__ import annotations

import random
from pathlib import Path

from engine.starter import PRACTICE
from engine.starter.world import NEON, TRIGGER, Scene, captions, mascot_scenes, render, style_scenes
from engine.workspace import atomic_write

SIDE = 256
"""Side of a practice picture, px: larger than the starter needs, so that it looks like a picture on the page."""
COUNT = 16


def write_set(folder: Path, scenes: list[Scene], seed: int) -> None:
    """Numbered PNG files with their captions."""
    rng = random.Random(seed)
    for number, scene in enumerate(scenes, 1):
        with atomic_write(folder / f"{number:02d}.png") as stream:
            render(scene, rng, SIDE).save(stream, "PNG", optimize=True)
        with atomic_write(folder / f"{number:02d}.txt", "w") as stream:
            stream.write(captions(scene)[0] + "\n")


def main() -> None:
    write_set(PRACTICE / "mascot" / f"10_{TRIGGER}", mascot_scenes(COUNT, seed=11), seed=12)
    write_set(PRACTICE / "style" / f"10_{NEON}", style_scenes(COUNT, seed=13), seed=14)
    print(f"practice datasets written to {PRACTICE}")


if __name__ == "__main__":
    main()
