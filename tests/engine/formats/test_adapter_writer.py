"""What is written is what was meant, the same bytes each time, with the hashes the ecosystem computes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash
from engine.formats.lazy_tensor import DTYPE_NAMES
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_writer import arrange, described, header_bytes, tensor_payload

METADATA = {"ss_network_dim": "4", "ss_comment": 'quote " back \\ tab \t line \n bell \x07 é 青', "modelspec.title": "x"}


def lora(rank: int = 4, width: int = 8, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {}
    for module in ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1"):
        tensors[f"{module}.lora_up.weight"] = torch.randn(width, rank).to(dtype)
        tensors[f"{module}.lora_down.weight"] = torch.randn(rank, width).to(dtype)
        tensors[f"{module}.alpha"] = torch.tensor(2.0)
    return tensors


def split_file(content: bytes) -> tuple[bytes, bytes]:
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start], content[start:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip_is_exact(tmp_path: Path, dtype: torch.dtype) -> None:
    path, tensors = tmp_path / "x.safetensors", lora(dtype=dtype)
    write_adapter(path, tensors, METADATA)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) and loaded[name].dtype == tensors[name].dtype for name in tensors)
    with safe_open(path, "pt") as file:
        assert {name: value for name, value in file.metadata().items() if not name.startswith("sshs_")} == METADATA
    modules = read_adapter(path).modules
    assert {f"{module}.{suffix}" for module, parts in modules.items() for suffix in parts} == set(tensors)
    assert modules["lora_unet_mid_block_attentions_0_proj_in"]["alpha"].dtype == torch.float32


def test_hashes_of_the_final_file(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", lora()
    write_adapter(path, tensors, METADATA)
    _, payload = split_file(path.read_bytes())
    written = read_header(path).metadata
    assert written["sshs_model_hash"] == hashlib.sha256(payload).hexdigest() == adapter_hash(path)
    assert written["sshs_legacy_hash"] == "e3b0c442"


def test_hashes_are_those_of_the_library_serialisation(tmp_path: Path) -> None:
    """Over 1 MiB the legacy hash depends on where the payload begins, hence on the length of the `ss_*` header."""
    path, tensors = tmp_path / "x.safetensors", lora(rank=64, width=4096)
    write_adapter(path, tensors, METADATA)
    reference = save(tensors, {name: value for name, value in METADATA.items() if name.startswith("ss_")})
    written = read_header(path).metadata
    assert written["sshs_model_hash"] == hashlib.sha256(split_file(reference)[1]).hexdigest()
    assert written["sshs_legacy_hash"] == hashlib.sha256(reference[0x100000:0x110000]).hexdigest()[:8]


def test_layout_is_the_library_s_for_every_dtype() -> None:
    tensors = {f"{name}.{size}": torch.ones(size, 3).to(getattr(torch, name)) for name in DTYPE_NAMES for size in (0, 2)}
    ours = header_bytes(arrange(described(tensors)), {"a": "b"}) + b"".join(tensor_payload(tensors))
    assert ours == save(tensors, {"a": "b"})


def test_equal_content_makes_equal_files(tmp_path: Path) -> None:
    tensors = lora()
    write_adapter(tmp_path / "a.safetensors", tensors, METADATA)
    shuffled = dict(reversed(tensors.items())), dict(reversed(METADATA.items()))
    write_adapter(tmp_path / "b.safetensors", *shuffled)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    tensors = lora()
    name = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"
    tensors[name] = torch.nn.Parameter(torch.arange(32.0).reshape(4, 8)).t()
    write_adapter(tmp_path / "x.safetensors", tensors, {})
    assert torch.equal(load_file(tmp_path / "x.safetensors")[name], tensors[name])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_refuses_numbers_that_are_not(tmp_path: Path, bad: float) -> None:
    path, tensors = tmp_path / "x.safetensors", lora()
    write_adapter(path, tensors, {})
    before = path.read_bytes()
    tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"][1, 1] = bad
    with pytest.raises(AdapterError) as caught:
        write_adapter(path, tensors, {})
    assert caught.value.code == "adapter.not_finite"
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_header_readers_import_no_torch() -> None:
    names = [
        "adapter_file",
        "adapter_writer",
        "checkpoint_shapes",
        "hashes",
        "infotext",
        "kinds",
        "metadata",
        "names",
        "safetensors_header",
    ]
    names += ["adapter_layout", "compatibility", "cover", "dotted", "kohya_tensors", "module_facts", "peft_alpha", "peft_writer"]
    names += ["verify", "safetensors_writer", "single_file", "suffixes", "summary", "tokenizer_files"]
    lines = [f"import engine.formats.{name}" for name in names]
    code = "\n".join(
        [*lines, "import sys", "assert not {'torch', 'numpy', 'diffusers', 'safetensors', 'PIL'} & set(sys.modules)"]
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
