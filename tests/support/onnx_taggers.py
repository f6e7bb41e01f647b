"""A tagger of WD14's form whose answers are known: it tells the channels of a picture, so what it is shown can be read from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import TensorProto, helper

SIDE = 16
ROWS = (("blue", 0), ("green", 0), ("red", 0), ("white_corner", 0), ("hatsune_miku", 4), ("^_^", 0), ("safe", 9), ("explicit", 9))
"""(name, category): the means of the three channels in the order they come in, how light the blue of the corner is, then the mean of
green for a character, of blue for an emoticon, and of green and red for the ratings."""


def save_tagger(
    folder: Path,
    rows: Sequence[tuple[str, int]] = ROWS,
    shape: Sequence[int | str] = ("N", SIDE, SIDE, 3),
    kind: int = TensorProto.FLOAT,
    divisor: float = 255.0,
) -> Path:
    """Write `model.onnx` and `selected_tags.csv`.

    Args:
        shape, kind: of the input.
        divisor: of the means; with 1 the answers are no probabilities.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels_last = shape[-1] == 3
    nodes = [
        helper.make_node("Cast", ["input"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2] if channels_last else [2, 3], keepdims=0),
        helper.make_node("Slice", ["pixels", "from", "to", "axes"], ["corner"]),
        helper.make_node("Reshape", ["corner", "flat"], ["corner_blue"]),
        helper.make_node("Concat", ["means", "corner_blue"], ["seen"], axis=1),
        helper.make_node("Gather", ["seen", "chosen"], ["ordered"], axis=1),
        helper.make_node("Div", ["ordered", "divisor"], ["output"]),
    ]
    last = [0, 0, 0], [1, 1, 1], [1, 2, 3]
    integers = {"from": last[0], "to": last[1], "axes": last[2], "flat": [-1, 1], "chosen": [0, 1, 2, 3, 1, 0, 1, 2]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in integers.items()]
    constants.append(helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor]))
    graph = helper.make_graph(
        nodes, "channels", [helper.make_tensor_value_info("input", kind, list(shape))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 8])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    lines = ["tag_id,name,category,count", *(f"{number},{name},{category},1" for number, (name, category) in enumerate(rows))]
    (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
