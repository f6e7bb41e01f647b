"""The starter's tagger: what ships is what the script makes, in the form of WD14, and it names what is drawn."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import torch

from engine.datasets.taggers.wd14 import read_table
from engine.starter import tagging
from engine.starter.world import Scene, is_held_out

MOST_BYTES = 3 * 10**6
LEAST_F1 = {"shape": 0.9, "colour": 0.9, "background": 0.9, "detail": 0.85}


@pytest.fixture(scope="module")
def scores() -> dict[str, dict[str, float]]:
    return tagging.score()


@pytest.mark.parametrize("kind", LEAST_F1)
def test_every_tag_is_named_on_fresh_drawings(scores: dict[str, dict[str, float]], kind: str) -> None:
    assert {tag: f1 for tag, f1 in scores[kind].items() if f1 < LEAST_F1[kind]} == {}
    assert len(scores[kind]) >= 0.9 * len(tagging.KINDS[kind])


def test_what_ships_has_the_form_of_wd14() -> None:
    model = onnx.load(tagging.FOLDER / "model.onnx")
    (taken,), (answered,) = model.graph.input, model.graph.output
    sides = [each.dim_value or each.dim_param for each in taken.type.tensor_type.shape.dim]
    assert sides == ["N", 448, 448, 3]
    assert [each.dim_value or each.dim_param for each in answered.type.tensor_type.shape.dim] == ["N", len(tagging.OUTPUTS)]
    assert [name for name, _ in read_table(tagging.FOLDER)] == tagging.OUTPUTS
    assert sum(file.stat().st_size for file in tagging.FOLDER.iterdir()) <= MOST_BYTES


def test_the_table_that_ships_is_the_one_the_script_writes() -> None:
    assert (tagging.FOLDER / "selected_tags.csv").read_text(encoding="utf-8") == tagging.table()


def test_the_graph_computes_what_the_network_does() -> None:
    """Normalisation folded in, channels turned, values scaled: the exported file equals the trained network."""
    torch.manual_seed(0)
    net = tagging.TaggerNet()
    for norm in net.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
        norm.running_mean = torch.randn_like(norm.running_mean)
        norm.running_var = torch.rand_like(norm.running_var) + 0.5
    net.eval()
    small = torch.rand(2, 3, 64, 64)
    wide = small.repeat_interleave(tagging.POOL, 2).repeat_interleave(tagging.POOL, 3)
    session = onnxruntime.InferenceSession(tagging.graph(net), providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": (wide.flip(1).permute(0, 2, 3, 1) * 255).contiguous().numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), net(small * 2 - 1).sigmoid(), atol=1e-5, rtol=1e-5)


def test_the_test_shows_what_training_did_not() -> None:
    unseen = [scene for scene in tagging.fresh_scenes(100, 3) if is_held_out(scene.thing, scene.colour, scene.background)]
    assert len(unseen) >= 40


def test_the_mascot_is_described_but_not_known_by_name() -> None:
    tags = tagging.tags_of(Scene("cyclops", "own", "yellow"))
    assert tags == {"creature", "one-eyed", "horns", "yellow_background"}
