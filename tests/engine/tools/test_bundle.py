from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import AdapterError, ConfigError
from engine.formats.adapter_file import read_adapter
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use


@pytest.fixture
def embeddings(workspace: Workspace) -> Path:
    folder = workspace.embedding_folders[0]
    save_file({"emb_params": torch.arange(6.0).view(2, 3)}, folder / "moko.safetensors")
    save_file({"clip_l": torch.ones(1, 4), "clip_g": torch.ones(1, 5)}, folder / "big.safetensors")
    save_file({"x": torch.ones(3)}, folder / "bad.safetensors")
    return folder


def test_embeddings_come_with_the_lora(make_lora: MakeLora, use: Use, workspace: Workspace, embeddings: Path) -> None:
    a = read_adapter(make_lora("a"))
    report = use("bundle", file="a", embeddings=["moko", "big.safetensors"])
    made = read_adapter(workspace.loras / "made.safetensors")
    assert report["embeddings"] == {"moko": 2, "big": 1} and made.embeddings.keys() == {"moko", "big"}
    assert torch.equal(made.embeddings["moko"]["string_to_param.*"], torch.arange(6.0).view(2, 3))
    assert set(made.embeddings["big"]) == {"clip_l", "clip_g"}
    assert all(torch.equal(made.modules[name][suffix], t) for name, parts in a.modules.items() for suffix, t in parts.items())
    # and every other tool passes them on
    for kind, options in (
        ("resize", {"file": "made", "rank": 1}), ("merge", {"files": ["made", "a"]}), ("convert", {"file": "made"}),
        ("cut", {"file": "made", "rank": 1}),
    ):  # fmt: skip
        use(kind, kind, **options)
        assert read_adapter(workspace.loras / f"{kind}.safetensors").embeddings.keys() == {"moko", "big"}, kind
    with pytest.raises(AdapterError) as told:
        use("merge", "twice", files=["made", "resize"])
    assert told.value.code == "tool.embedding_twice"


def test_what_is_no_embedding(make_lora: MakeLora, use: Use, embeddings: Path) -> None:
    make_lora("a")
    with pytest.raises(AdapterError) as told:
        use("bundle", file="a", embeddings=["bad"])
    assert told.value.code == "tool.bad_embedding"
    with pytest.raises(ConfigError) as twice:
        use("bundle", file="a", embeddings=["moko", str(embeddings / "moko.safetensors")])
    assert twice.value.code == "tool.embedding_twice"
    use("bundle", "one", file="a", embeddings=["moko"])
    with pytest.raises(AdapterError) as told:
        use("bundle", file="one", embeddings=["moko"])
    assert told.value.code == "tool.embedding_twice"
