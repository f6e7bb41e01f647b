from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from engine.formats.compatibility import PROGRAMS
from webui.i18n import LANGUAGES, t
from webui.widgets.adapter_detail import SHOWN_VALUE, detail_html, span

MODULES = ("lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_unet_mid_block_attentions_0_proj_in")


def lora(file: Path, ranks: tuple[int, int] = (2, 4), **metadata: str) -> Path:
    tensors = {}
    for module, rank in zip(MODULES, ranks, strict=True):
        tensors |= {
            f"{module}.lora_down.weight": numpy.zeros((rank, 8), numpy.float16),
            f"{module}.lora_up.weight": numpy.zeros((8, rank), numpy.float16),
            f"{module}.alpha": numpy.array(rank, numpy.float32),
        }
    save_file(tensors, file, metadata)
    return file


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_is_told_in_full(tmp_path: Path, language: str) -> None:
    said = {
        "modelspec.trigger_phrase": "mofumo", "ss_base_model_version": "sd_v1", "ss_output_name": "mascot",
        "ss_tag_frequency": json.dumps({"10_mofumo": {"mofumo": 9, "beach": 1}}), "ss_training_comment": "x" * 5000,
    }  # fmt: skip
    shown = detail_html("mascot", lora(tmp_path / "mascot.safetensors", **said), language)
    for words in ("mofumo", "beach", "SD 1.x", "&lt;lora:mascot:0.8&gt;", t("text.component.text_encoder", language), "2, 4"):
        assert words in shown
    assert shown.count('class="bars-bar"') == 2
    assert all(t(f"text.program.{program}", language) in shown for program in PROGRAMS)
    assert "x" * SHOWN_VALUE + "…" in shown and "x" * (SHOWN_VALUE + 1) not in shown


def test_the_rank_map_is_open_where_ranks_differ(tmp_path: Path) -> None:
    assert '<details open="">' in detail_html("a", lora(tmp_path / "a.safetensors"), "en")
    assert '<details open="">' not in detail_html("b", lora(tmp_path / "b.safetensors", (4, 4)), "en")


def test_a_damaged_file_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(b"\x40\0\0\0\0\0\0\0{}")
    assert 'role="alert"' in detail_html("bad", file, "ja")


def test_ranks_in_short() -> None:
    assert [span(()), span((8,)), span((4, 8)), span((1, 2, 3, 4, 5))] == ["", "8", "4, 8", "1–5"]
