"""Block weights: lists and presets."""

import pytest

from engine.formats.models import MODELS
from engine.generation.blocks import BLOCKS, LISTS, PRESETS, block_weights, family_weights, parse_blocks, presets_of


def test_each_list_names_as_many_blocks_as_it_is_long():
    assert all(len(set(names)) == length for length, names in BLOCKS.items())


@pytest.mark.parametrize(
    ("preset", "expect"),
    [
        ("NONE", "00000000000000000"),
        ("ALL", "11111111111111111"),
        ("INS", "11110000000000000"),
        ("IND", "10001110000000000"),
        ("INALL", "11111110000000000"),
        ("MIDD", "10001111111100000"),
        ("OUTD", "10000000111100000"),
        ("OUTS", "10000000000011111"),
        ("OUTALL", "10000000111111111"),
    ],
)
def test_presets_for_an_sd1_lora(preset, expect):
    weights = block_weights(preset, 17)
    assert [weights[block] for block in BLOCKS[17]] == [float(digit) for digit in expect]


def test_a_long_list_agrees_with_the_short_one_on_the_blocks_they_share():
    for short, long in ((12, 20), (17, 26)):
        for preset in PRESETS:
            wide = block_weights(preset, long)
            assert all(wide[block] == weight for block, weight in block_weights(preset, short).items())


def test_a_list_is_named_in_order_and_its_own_length_counts():
    weights = block_weights(parse_blocks("1,0,0,0,0,0.5,0,0,0,0,0,2"), 17)
    assert (weights["BASE"], weights["MID"], weights["OUT05"]) == (1.0, 0.5, 2.0)
    assert len(weights) == 12


@pytest.mark.parametrize("text", ["", "1,2", "ins", "1,0,0,0,0,0,0,0,0,0,0,inf", "R,0,0,0,0,0,0,0,0,0,0,0"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError):
        parse_blocks(text)


def test_a_family_reads_its_own_lists_only():
    for family in MODELS:
        for length in BLOCKS:
            value = tuple(float(number) for number in range(length))
            if length in LISTS.get(family, ()):
                assert family_weights(value, family) == block_weights(value, length)
            else:
                with pytest.raises(ValueError, match=f"{length} numbers"):
                    family_weights(value, family)


def test_a_preset_says_something_of_every_block_of_a_family():
    for family in MODELS:
        for preset in PRESETS:
            if preset not in presets_of(family):
                with pytest.raises(ValueError, match=preset):
                    family_weights(preset, family)
                continue
            weights = family_weights(preset, family)
            assert weights.keys() == {"", *BLOCKS[LISTS[family][-1]]}
            assert set(weights.values()) == {"NONE": {0.0}, "ALL": {1.0}}.get(preset, {0.0, 1.0})
    assert presets_of("flux") == ("NONE", "ALL") and presets_of("sd3") == presets_of("z_image") == ()
