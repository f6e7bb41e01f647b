"""Names are safe whatever a server calls a file; places follow from headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from engine.downloads.place import local_name, place_for
from engine.errors import DownloadError
from engine.formats.safetensors_header import read_header
from engine.workspace import Workspace, check_name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Model v1.0.safetensors", "Model v1.0.safetensors"),
        ("x.SAFETENSORS", "x.safetensors"),
        ("../../etc/x.safetensors", "x.safetensors"),
        ("..\\..\\x.safetensors", "x.safetensors"),
        ("/abs/x.safetensors", "x.safetensors"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("-rf.safetensors", "rf.safetensors"),
        ("a<b>c:d|e?f*g,h=i.safetensors", "a_b_c_d_e_f_g_h_i.safetensors"),
        ("CON.safetensors", "model-CON.safetensors"),
        (".safetensors", "model.safetensors"),
        ("line\nbreak\u202e.safetensors", "linebreak.safetensors"),
        ("日本の絵.safetensors", "日本の絵.safetensors"),
        ("stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base-1.0"),
        ("..", "model"),
    ],
)
def test_names(said: str, name: str) -> None:
    assert local_name(said) == name


@given(st.text(max_size=300), st.sampled_from(["", ".safetensors"]))
def test_every_name_is_safe(said: str, ending: str) -> None:
    name = local_name(said + ending)
    assert check_name(name) == name and name.endswith(ending) and "/" not in name


@pytest.mark.parametrize(
    ("keys", "kind", "family", "folder"),
    [
        ({"lora_unet_x.lora_down.weight": (2, 4), "lora_unet_x.lora_up.weight": (4, 2)}, "adapter", "", "loras"),
        ({"double_blocks.0.img_attn.qkv.weight": (3, 1)}, "checkpoint", "flux", "models/checkpoints"),
        ({"decoder.conv_in.weight": (1,), "encoder.conv_in.weight": (1,)}, "vae", "", "models/vae"),
        ({"emb_params": (2, 768)}, "embedding", "", "models/embeddings"),
        (
            {"shared.weight": (8, 4), "encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4)},
            "text_encoder",
            "",
            "models/text_encoders",
        ),
    ],
)
def test_places(keys: dict, kind: str, family: str, folder: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data")
    save_file({key: np.zeros(shape, "float32") for key, shape in keys.items()}, tmp_path / "x.safetensors")
    place = place_for(read_header(tmp_path / "x.safetensors"), "x", workspace)
    assert (place.kind, place.family) == (kind, family) and place.folder == workspace.root / folder


def test_what_is_nothing_for_us_is_refused(tmp_path: Path) -> None:
    save_file({"embeddings.word_embeddings.weight": np.zeros((2, 2), "float32")}, tmp_path / "bert.safetensors")
    with pytest.raises(DownloadError) as told:
        place_for(read_header(tmp_path / "bert.safetensors"), "bert.safetensors", Workspace(tmp_path))
    assert told.value.code == "download.useless"
