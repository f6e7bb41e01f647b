"""Looking into files of weights: models whole and in part, what is no model, number formats, all without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.inspection import inspect_model, weight_files
from engine.tiny import make_tiny


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    make_tiny("sdxl", place / "xl", variant="v")
    make_tiny("sdxl", place / "xl.safetensors", variant="v", single_file=True)
    return place


@pytest.mark.parametrize("name", ["xl", "xl.safetensors"])
def test_a_whole_model(shelf: Path, name: str) -> None:
    found = inspect_model(shelf / name)
    assert (found.family, found.variant, found.prediction, found.resolution) == ("SDXL", "SDXL v-prediction", "v_prediction", 64)
    assert list(found.parts) == ["text_encoder", "text_encoder_2", "unet", "vae"]
    assert found.missing == () and found.problem == ""
    assert all(list(part.formats) == ["fp32"] and part.formats["fp32"] == part.parameters for part in found.parts.values())
    assert found.size == 4 * sum(part.parameters for part in found.parts.values())
    assert found.parts["unet"].parameters == sum(tensor.numel() for tensor in load_unet(shelf).values())


def load_unet(shelf: Path) -> dict[str, torch.Tensor]:
    return load_file(shelf / "xl" / "unet" / "diffusion_pytorch_model.safetensors")


def test_a_denoiser_by_itself_in_fp8(shelf: Path, tmp_path: Path) -> None:
    tensors = {key: tensor for key, tensor in load_file(shelf / "xl.safetensors").items() if "diffusion_model" in key}
    halves = {key: tensor.to(torch.float8_e4m3fn if tensor.dim() > 1 else torch.bfloat16) for key, tensor in tensors.items()}
    marker = {"conditioner.embedders.0.kept": torch.zeros(1)}  # its keys alone are those of a Stable Diffusion 2 U-Net too
    save_file(halves | marker, tmp_path / "unet.safetensors", {"modelspec.title": "Mine", "modelspec.thumbnail": "x" * 5000})
    found = inspect_model(tmp_path / "unet.safetensors")
    assert found.family == "SDXL" and list(found.parts) == ["unet"] and len(found.missing) == 3
    assert list(found.parts["unet"].formats) == ["fp8 (e4m3)", "bf16"]
    assert found.card == {"title": "Mine"}
    assert "lacks" in found.problem


@pytest.mark.parametrize(
    ("part", "kind"), [("vae", "VAE"), ("text_encoder", "text encoder (CLIP)"), ("text_encoder_2", "text encoder (CLIP)")]
)
def test_what_is_no_model(shelf: Path, tmp_path: Path, part: str, kind: str) -> None:
    prefix = {"vae": "first_stage_model.", "text_encoder": "conditioner.embedders.0.transformer."}.get(part)
    if prefix:
        tensors = load_file(shelf / "xl.safetensors")
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        save_file(own, tmp_path / "part.safetensors")
    else:
        shutil.copyfile(shelf / "xl" / part / "model.safetensors", tmp_path / "part.safetensors")
    found = inspect_model(tmp_path / "part.safetensors")
    assert (found.kind, found.family) == (kind, "")
    assert sum(each.parameters for each in found.parts.values()) > 10_000


@pytest.mark.parametrize(
    ("family", "part", "kind"),
    [("sd3", "text_encoder_3", "text encoder (T5)"), ("z_image", "text_encoder", "text encoder (Qwen3)")],
)
def test_text_encoders_of_the_transformers(family: str, part: str, kind: str, tmp_path: Path) -> None:
    folder = make_tiny(family, tmp_path / family)
    assert inspect_model(folder / part / "model.safetensors").kind == kind


def test_adapters_embeddings_and_strangers(tmp_path: Path) -> None:
    save_file(
        {"lora_unet_a.lora_down.weight": torch.zeros(2, 4), "lora_unet_a.lora_up.weight": torch.zeros(4, 2)},
        tmp_path / "a.safetensors",
    )
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "e.safetensors")
    save_file({"anything": torch.zeros(3)}, tmp_path / "s.safetensors")
    kinds = [inspect_model(tmp_path / name).kind for name in ("a.safetensors", "e.safetensors", "s.safetensors")]
    assert kinds == ["LoRA", "embedding", ""]
    (tmp_path / "page.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ModelError) as caught:
        inspect_model(tmp_path / "page.safetensors")
    assert "web page" in str(caught.value)


def test_an_incomplete_folder_says_what_it_lacks(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "xl", tmp_path / "xl")
    shutil.rmtree(tmp_path / "xl" / "vae")
    found = inspect_model(tmp_path / "xl")
    assert {"vae/config.json", "vae/*.safetensors"} <= set(found.missing)
    assert found.problem and set(found.parts) == {"text_encoder", "text_encoder_2", "unet"}


def test_files_of_another_number_format_are_not_counted_twice(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.fp16.safetensors"):
        (tmp_path / name).touch()
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    assert [file.name for file in weight_files(tmp_path)] == ["model.fp16.safetensors"]


def test_torch_sleeps(shelf: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.inspection import inspect_model\n"
        f"inspect_model(Path({str(shelf / 'xl.safetensors')!r})); inspect_model(Path({str(shelf / 'xl')!r}))\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
