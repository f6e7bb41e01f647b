from __future__ import annotations

import random

import pytest

from engine.errors import EngineError
from engine.formats.cover import is_cover
from engine.formats.hashes import adapter_hash
from engine.formats.safetensors_header import read_header
from engine.formats.summary import describe
from engine.formats.verify import verify
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use
from tests.support.pictures import drawing


def test_only_the_metadata_changes_and_the_hash_stays_true(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    a = make_lora("a", **{"modelspec.author": "someone", "modelspec.description": "old"})
    before, payload = read_header(a), adapter_hash(a)
    drawing((900, 300), random.Random(0)).save(workspace.root / "cover.png")
    cover = str(workspace.root / "cover.png")
    report = use("edit", "", file="a", title="もふも", trigger="mofumo", tags="cat, red", author="-", cover=cover)
    after = read_header(a)
    assert report["changed"] == ["author", "cover", "tags", "title", "trigger"]
    assert after.metadata["modelspec.title"] == "もふも" and "modelspec.author" not in after.metadata
    assert after.metadata["modelspec.description"] == "old" and is_cover(after.metadata["modelspec.thumbnail"])
    assert after.tensors == before.tensors and adapter_hash(a) == payload and verify(a).unchanged
    assert {key: value for key, value in after.metadata.items() if key.startswith("ss")} == {
        key: value for key, value in before.metadata.items() if key.startswith("ss")
    }
    assert describe(a).trigger == "mofumo"


def test_a_name_makes_a_copy(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    a = make_lora("a")
    old = a.read_bytes()
    use("edit", "b", file="a", description="new", cover="-")
    assert a.read_bytes() == old and describe(workspace.loras / "b.safetensors").description == "new"
    with pytest.raises(EngineError) as told:
        use("edit", "a", file="b", title="x")
    assert told.value.code == "output.name_taken" and a.read_bytes() == old
