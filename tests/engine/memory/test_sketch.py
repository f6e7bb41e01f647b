from __future__ import annotations

from engine.memory.activations import activations
from engine.memory.flops import forward_flops, step_flops
from engine.memory.sketch import Sketch
from engine.memory.values import FULL, Value
from engine.memory.walk import denoise
from tests.support.costs import ranks_of, shipped

ROWS, WIDE = 10, 8


def three(sketch: Sketch) -> Value:
    """Three layers with an activation between them, in two blocks."""
    x = sketch.given(ROWS, WIDE)
    with sketch.block("first", x):
        x = sketch.activation(sketch.linear("a", x, WIDE))
    with sketch.block("second", x):
        x = sketch.linear("c", sketch.activation(sketch.linear("b", x, WIDE)), WIDE)
    return x


def test_what_nobody_refers_to_is_freed() -> None:
    sketch = Sketch(formats=FULL)
    out = three(sketch)
    assert sketch.live == out.size == ROWS * WIDE * 4
    assert sketch.peak == 3 * out.size  # what the block is given, what the layer is given and what comes out
    del out
    assert sketch.live == 0


def test_nothing_is_kept_where_nothing_learns() -> None:
    sketch = Sketch()
    three(sketch)
    assert activations(sketch).kept == {} and activations(sketch).peak == 0
    assert step_flops(sketch) == forward_flops(sketch) == 3 * 2 * ROWS * WIDE * WIDE


def test_what_comes_before_the_first_adapter_is_free() -> None:
    product = 2 * ROWS * WIDE * WIDE
    backward = {}
    for path in "abc":
        sketch = Sketch(formats=FULL, ranks={path: 2})
        three(sketch)
        thin = 2 * ROWS * 2 * (WIDE + WIDE)
        assert forward_flops(sketch) == 3 * product + thin
        backward[path] = sum(block.backward for block in sketch.blocks)
        values = {"a": 3, "b": 2, "c": 1}[path]  # the input of the layer, and those of the activations after it
        assert sum(activations(sketch).kept.values()) == values * ROWS * WIDE * 4 + ROWS * 2 * 4
    # the gradient of x is wanted of every layer behind the first one that learns, and of nothing before it
    assert backward["c"] < backward["b"] < backward["a"]
    assert backward["a"] - backward["b"] == backward["b"] - backward["c"] == product


def test_a_recomputed_block_keeps_what_it_is_given() -> None:
    whole, again = (Sketch(formats=FULL, ranks={"a": 2, "b": 2, "c": 2}, again=names) for names in ((), ("second",)))
    for sketch in (whole, again):
        three(sketch)
    kept = {name: sum(activations(sketch).kept.values()) for name, sketch in (("whole", whole), ("again", again))}
    assert kept["whole"] > kept["again"] > 0
    assert again.blocks[2].remade.total() == kept["whole"] - kept["again"] + ROWS * WIDE * 4
    assert step_flops(whole) == step_flops(again)


def test_a_network_learns_more_slowly_and_keeps_more_with_every_adapter() -> None:
    base = shipped("sd1", "base")
    network = base.predicting
    few, more = (ranks_of("sd1", base, 16, groups) for groups in (("attention",), ("attention", "mlp", "convolution")))
    least, most = (denoise(network.kind, network.config, 32, 32, 77, ranks=ranks) for ranks in (few, more))
    assert step_flops(least) < step_flops(most)
    assert sum(activations(least).kept.values()) < sum(activations(most).kept.values())
    assert set(more) <= {path for block in most.blocks for path in block.weights}


def test_more_pictures_and_larger_ones_cost_in_proportion() -> None:
    network = shipped("sd1", "base").predicting
    one, two, large = (
        denoise(network.kind, network.config, side, side, 77, batch=batch) for side, batch in ((32, 1), (32, 2), (64, 1))
    )
    assert forward_flops(two) == 2 * forward_flops(one)
    assert forward_flops(large) > 4 * forward_flops(one)  # attention grows faster than the picture
