"""The drawn world: what is shown in training, what is held out, and what words describe it."""

import random

import numpy as np
import pytest

from engine.datasets.scan import scan
from engine.starter import PRACTICE
from engine.starter.drawing import COLOURS
from engine.starter.objects import MASCOTS, OBJECTS
from engine.starter.practice import COUNT, SIDE, write_set
from engine.starter.world import (
    NEON,
    TRIGGER,
    Scene,
    captions,
    held_out_scenes,
    is_held_out,
    mascot_scenes,
    random_scene,
    render,
    style_scenes,
)


def test_held_out_combinations_are_enough_and_never_drawn_for_training():
    held_out = {(s.thing, s.colour, s.background) for s in held_out_scenes()}
    assert len(held_out) >= 200
    assert {thing for thing, _, _ in held_out} == set(OBJECTS)
    rng = random.Random(0)
    drawn = [random_scene(rng) for _ in range(3000)]
    assert not any((s.thing, s.colour, s.background) in held_out for s in drawn)
    assert {s.thing for s in drawn} == set(OBJECTS)
    assert all(is_held_out(*combination) for combination in held_out)


def test_training_never_shows_a_mascot_or_its_words():
    rng = random.Random(1)
    for _ in range(500):
        scene = random_scene(rng)
        assert scene.thing not in MASCOTS
        assert not any(TRIGGER in caption or NEON in caption for caption in captions(scene))


def test_captions_name_thing_colour_and_place():
    for caption in captions(Scene("cat", "red", "beach", hat=True)):
        assert "red cat wearing a hat" in caption and "beach" in caption
    assert captions(Scene("fish", "orange", "white"))[0] == "an orange fish on a white background"
    assert captions(mascot_scenes(1, seed=3)[0])[0].startswith(TRIGGER)


@pytest.mark.parametrize("thing", [*OBJECTS, *MASCOTS])
def test_every_thing_is_drawn_the_same_from_the_same_seed_and_visibly(thing):
    scene = Scene(thing, "red", "white")
    first, second = (np.asarray(render(scene, random.Random(5))) for _ in range(2))
    assert (first == second).all() and first.shape == (64, 64, 3)
    assert (first != COLOURS["white"]).any(axis=2).mean() > 0.15


def test_shipped_practice_sets_are_kohya_folders_and_equal_their_script(tmp_path):
    for name, trigger in (("mascot", TRIGGER), ("style", NEON)):
        dataset = scan(PRACTICE / name)
        assert [c.repeats for c in dataset.concepts] == [10] and len(dataset.pictures) == COUNT
        assert not dataset.findings
        assert all(trigger in picture.caption and picture.size == (SIDE, SIDE) for picture in dataset.pictures)
    write_set(tmp_path, mascot_scenes(COUNT, seed=11), seed=12)
    shipped = PRACTICE / "mascot" / f"10_{TRIGGER}"
    assert [(shipped / f.name).read_text() for f in sorted(tmp_path.glob("*.txt"))] == [
        f.read_text() for f in sorted(tmp_path.glob("*.txt"))
    ]
    assert len(style_scenes(4, 1)) == 4
