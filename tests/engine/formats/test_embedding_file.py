"""Every spelling of an embedding that is in the wild, and what is none."""

import hashlib
import os

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import AdapterError
from engine.formats.embedding_file import MAX_BYTES, by_encoder, read_embedding

VECTORS = torch.arange(6.0).reshape(2, 3)


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("name", "content", "expect"),
    [
        ("kohya.safetensors", {"emb_params": VECTORS}, {"": VECTORS}),
        ("sdxl.safetensors", {"clip_l": VECTORS, "clip_g": VECTORS + 1}, {"clip_l": VECTORS, "clip_g": VECTORS + 1}),
        ("half.safetensors", {"emb_params": VECTORS.half()}, {"": VECTORS}),
        ("a1111.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "a", "step": 5}, {"": VECTORS}),
        ("parameter.pt", {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}}, {"": VECTORS}),
        ("diffusers.bin", {"<cat>": VECTORS[0]}, {"": VECTORS[:1]}),
    ],
)
def test_every_spelling(tmp_path, name, content, expect):
    file = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(content, file)
    read = read_embedding(file)
    assert read.vectors.keys() == expect.keys()
    assert all(torch.equal(read.vectors[key], vectors) and not read.vectors[key].requires_grad for key, vectors in expect.items())
    assert read.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("two.bin", {"a": VECTORS, "b": VECTORS}, "2 tensors"),
        ("none.bin", {"name": "a"}, "0 tensors"),
        ("list.pt", [VECTORS], "0 tensors"),
        ("cube.bin", {"a": VECTORS[None]}, "no vectors"),
        ("empty.bin", {"a": VECTORS[:0]}, "no vectors"),
        ("nan.bin", {"a": VECTORS / 0}, "no vectors"),
        ("uneven.bin", {"clip_l": VECTORS, "clip_g": VECTORS[:1]}, "different numbers"),
        ("hostile.pt", {"a": Hostile()}, "Weights only load failed"),
    ],
)
def test_what_is_no_embedding_says_why(tmp_path, name, content, reason):
    torch.save(content, tmp_path / name)
    with pytest.raises(AdapterError, match=reason) as caught:
        read_embedding(tmp_path / name)
    assert caught.value.code == "embedding.unreadable"


def test_damaged_missing_and_huge_files_say_why(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\x08")
    (tmp_path / "b.pt").write_bytes(b"")
    with (tmp_path / "c.pt").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    for name in ("a.safetensors", "b.pt", "c.pt", "d.pt"):
        with pytest.raises(AdapterError, match=name):
            read_embedding(tmp_path / name)


def test_a_bundled_one_is_read_as_a_file_is():
    assert torch.equal(by_encoder({"string_to_param.*": VECTORS})[""], VECTORS)
    assert by_encoder({"clip_l": VECTORS, "clip_g": VECTORS}).keys() == {"clip_l", "clip_g"}
