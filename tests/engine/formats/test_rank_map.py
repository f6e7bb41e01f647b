"""The rank map: model order, heads where they can be believed, and nothing in it that a stranger could use."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from engine.formats.adapter_writer import write_adapter
from engine.formats.rank_map import HEAD_RANKS, MOST_ROWS, NONE, LayerRank, colour, layer_ranks, rank_map_svg

SVG = "{http://www.w3.org/2000/svg}"
BLOCK = "lora_unet_down_blocks_0_attentions_0"
ORDER = [
    "lora_te_text_model_encoder_layers_2_self_attn_q_proj", "lora_te_text_model_encoder_layers_10_mlp_fc1",
    "lora_unet_down_blocks_0_resnets_0_conv1", "lora_unet_down_blocks_0_resnets_0_conv2", f"{BLOCK}_proj_in",
    f"{BLOCK}_transformer_blocks_0_attn1_to_q", f"{BLOCK}_transformer_blocks_0_attn1_to_k", f"{BLOCK}_transformer_blocks_0_attn1_to_v",
    f"{BLOCK}_transformer_blocks_0_attn1_to_out_0", f"{BLOCK}_transformer_blocks_0_attn2_to_q", f"{BLOCK}_transformer_blocks_0_ff_net_2",
    f"{BLOCK}_proj_out", "lora_unet_down_blocks_0_downsamplers_0_conv", "lora_unet_mid_block_attentions_0_proj_in",
    "lora_unet_up_blocks_1_resnets_0_conv1",
]  # fmt: skip


def write(path: Path, ranks: dict[str, int], head_ranks: object = None) -> Path:
    tensors = {}
    for name, rank in ranks.items():
        tensors |= {
            f"{name}.lora_down.weight": torch.zeros(rank, 4),
            f"{name}.lora_up.weight": torch.zeros(4, rank),
            f"{name}.alpha": torch.tensor(1.0),
        }
    write_adapter(path, tensors, {} if head_ranks is None else {HEAD_RANKS: json.dumps(head_ranks)})
    return path


def drawn(svg: str) -> list[tuple[str, list[str]]]:
    """What a row says when pointed at, and the colours of its cells."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return [(group.findtext(f"{SVG}title") or "", [cell.attrib["fill"] for cell in group.iter(f"{SVG}rect")]) for group in groups]


def test_rows_are_in_model_order(tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors", {name: 2 + number for number, name in enumerate(reversed(ORDER))})
    rows = layer_ranks(file)
    assert [row.name for row in rows] == ORDER
    assert [row.rank for row in rows] == [2 + len(ORDER) - 1 - number for number in range(len(ORDER))]


def test_a_row_is_coloured_by_its_rank() -> None:
    rows = [LayerRank("a", "mid", 0), LayerRank("b", "mid", 4), LayerRank("c", "mid", 8), LayerRank("d", "mid", None)]
    assert drawn(rank_map_svg(rows, "x")) == [
        ("a: 0", ["#ffffff"]), ("b: 4", [colour(4, 8)]), ("c: 8", [colour(8, 8)]), ("d: –", [NONE]),
    ]  # fmt: skip
    assert len({colour(rank, 8) for rank in range(9)}) == 9


def test_heads_have_cells_of_their_own(tmp_path: Path) -> None:
    heads = {ORDER[5]: [3.5, 0, 1.25], ORDER[6]: [0.0, 0.0, 0.0]}
    file = write(tmp_path / "x.safetensors", {ORDER[5]: 4, ORDER[6]: 1, ORDER[7]: 2}, heads)
    assert [row.cells for row in layer_ranks(file)] == [(3.5, 0, 1.25), (0, 0, 0), (2,)]
    (_, first), (_, second), (_, third) = drawn(rank_map_svg(layer_ranks(file), "x"))
    assert first == [colour(3.5, 3.5), "#ffffff", colour(1.25, 3.5)] and second == ["#ffffff"] * 3 and len(third) == 1


@pytest.mark.parametrize(
    "told",
    [
        [1], "x", {ORDER[5]: "x"}, {ORDER[5]: []}, {ORDER[5]: [1, None]}, {ORDER[5]: [float("nan")]}, {ORDER[5]: [-1, 4]},
        {ORDER[5]: [2.5, 1]}, {ORDER[5]: [4.5]}, {ORDER[5]: [4] * 257},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_agree_with_the_file_is_not_believed(told: object, tmp_path: Path) -> None:
    (row,) = layer_ranks(write(tmp_path / "x.safetensors", {ORDER[5]: 4}, told))
    assert row.cells == (4.0,)


def test_names_of_strangers_are_text() -> None:
    evil = "</title><script>alert(1)</script>&'\"\x00\ud800" + "x" * 1000
    svg = rank_map_svg([LayerRank(evil, evil[:40], 1)], evil)
    assert "<script" not in svg and len(svg) < 6000
    svg.encode()
    assert drawn(svg)[0][0].startswith("</title><script>alert(1)</script>&'\"xxx")


def test_layers_that_do_not_fit_are_counted() -> None:
    svg = rank_map_svg([LayerRank(f"a_{number}", "mid", 1) for number in range(MOST_ROWS + 7)], "x")
    assert len(drawn(svg)) == MOST_ROWS and ">+ 7<" in svg


def test_nothing_at_all_is_a_picture_too() -> None:
    assert drawn(rank_map_svg([], "x")) == [] and drawn(rank_map_svg([LayerRank("a", "mid", None)], "x")) == [("a: –", [NONE])]
