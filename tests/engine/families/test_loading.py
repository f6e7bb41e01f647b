"""Number formats of parts, tensors with two names, and files that change under a loaded model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.families import load_model
from engine.families.shelf import ModelShelf
from engine.model_facts import model_facts
from engine.spare_parts import SpareParts
from engine.tiny import make_tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("flux")
    return {
        "folder": make_tiny("flux", place / "folder"),
        "file": make_tiny("flux", place / "file.safetensors", single_file=True),
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_t5_keeps_in_float32_what_overflows_float16(flux: dict[str, Path], kind: str, dtype: torch.dtype) -> None:
    parts = load_model(flux[kind], CPU, dtype).parts
    formats = {name.endswith(".wo.weight"): tensor.dtype for name, tensor in parts["text_encoder_2"].named_parameters()}
    assert formats == {True: torch.float32 if dtype == torch.float16 else dtype, False: dtype}
    assert parts["text_encoder"].dtype == parts["transformer"].dtype == dtype
    tokens = torch.arange(8)[None]
    assert torch.isfinite(parts["text_encoder_2"](tokens).last_hidden_state).all()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_embedding_of_t5_has_two_names_and_is_one_tensor(flux: dict[str, Path], kind: str) -> None:
    t5 = load_model(flux[kind], CPU, torch.float32).parts["text_encoder_2"]
    assert t5.encoder.embed_tokens.weight is t5.shared.weight
    assert len([name for name, _ in t5.named_parameters() if name.endswith(("shared.weight", "embed_tokens.weight"))]) == 1


@pytest.mark.parametrize("name", ["shared.weight", "encoder.embed_tokens.weight"])
def test_a_file_may_have_either_of_the_names(flux: dict[str, Path], tmp_path: Path, name: str) -> None:
    whole, prefix = load_file(flux["file"]), "text_encoders.t5xxl.transformer."
    names = [key for key in whole if key.startswith(prefix) and key.endswith(("shared.weight", "embed_tokens.weight"))]
    embedding = next(whole.pop(key) for key in names)
    save_file(whole | {prefix + name: embedding}, tmp_path / "x.safetensors")
    shutil.copytree(flux["file"].parent / "tokenizers", tmp_path / "tokenizers")
    one, other = (load_model(path, CPU, torch.float32) for path in (flux["file"], tmp_path / "x.safetensors"))
    assert one.weights_key == other.weights_key


def test_half_precision_files_of_every_format_are_read_as_what_is_asked_for(flux: dict[str, Path], tmp_path: Path) -> None:
    whole = load_file(flux["file"])
    shutil.copytree(flux["file"].parent / "tokenizers", tmp_path / "tokenizers")
    for stored in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        save_file({key: tensor.to(stored) for key, tensor in whole.items()}, tmp_path / "x.safetensors")
        loaded = load_model(tmp_path / "x.safetensors", CPU, torch.bfloat16)
        bias = whole["model.diffusion_model.img_in.bias"].to(stored).to(torch.bfloat16)
        assert torch.equal(loaded.denoiser.x_embedder.bias, bias)


def test_the_shelf_knows_the_parts_from_other_files(flux: dict[str, Path], tmp_path: Path) -> None:
    vae = {key.removeprefix("vae."): x for key, x in load_file(flux["file"]).items() if key.startswith("vae.")}
    save_file(vae, tmp_path / "ae.safetensors")
    own, other = model_facts(flux["file"]), model_facts(flux["file"], SpareParts(tmp_path / "ae.safetensors"))
    shelf = ModelShelf()
    model = shelf.take(other, CPU, torch.float32)
    assert shelf.holds(other, CPU, torch.float32) and not shelf.holds(own, CPU, torch.float32)
    assert shelf.take(other, CPU, torch.float32) is model
    save_file(vae | {"decoder.conv_in.bias": vae["decoder.conv_in.bias"] + 1}, tmp_path / "ae.safetensors")
    assert not shelf.holds(other, CPU, torch.float32)
