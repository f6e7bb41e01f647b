"""Models in another layout and number format: the same model, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.config.adapter import LoraOptions
from engine.errors import ModelError
from engine.families import load_model
from engine.families.base import Family
from engine.formats import safetensors_writer
from engine.formats.models import MODELS
from engine.formats.safetensors_header import read_header
from engine.formats.single_file_writer import write_single_file
from engine.model_facts import model_facts
from engine.tiny import make_tiny
from engine.tiny.pipeline import tiny_pipeline
from engine.tiny.tokenizers import TOKENIZERS
from engine.tiny.write import save_tokenizers
from engine.tools import rewrite
from engine.workspace import Workspace
from tests.engine.tools.conftest import random_lora, use_tool
from tests.support.tiny import tiny_sd1, tiny_sd1_single_file

FIRST = [(family, next(iter(model.variants))) for family, model in MODELS.items()]
OTHERS = [("sd1", "inpainting"), ("sd2", "v"), ("z_image", "base")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


@pytest.fixture
def shelf(workspace: Workspace) -> Path:
    return workspace.checkpoint_folders[0]


def loaded(path: Path) -> Family:
    return load_model(path, torch.device("cpu"), torch.float32)


def assert_same(one: Family, other: Family, rounded: torch.dtype = torch.float32) -> None:
    assert one.parts.keys() == other.parts.keys()
    for name in one.parts:
        ours, theirs = one.parts[name].state_dict(), other.parts[name].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key].to(rounded).float(), theirs[key]) for key in ours), name
    about = ("family", "variant", "prediction", "resolution")
    assert all(getattr(one.facts, each) == getattr(other.facts, each) for each in about)
    assert {key: each.get_vocab() for key, each in one.tokenizers.items()} == {
        key: each.get_vocab() for key, each in other.tokenizers.items()
    }


@pytest.mark.parametrize(("family", "variant"), FIRST + OTHERS)
def test_a_file_and_a_folder_again_are_the_model(family: str, variant: str, workspace: Workspace, shelf: Path) -> None:
    make_tiny(family, shelf / "first", variant=variant)
    use_tool(workspace, "bake", "file", model="first", layout="single_file")
    use_tool(workspace, "bake", "again", model="file", layout="folder", precision="bfloat16")
    first, file, again = (loaded(shelf / name) for name in ("first", "file.safetensors", "again"))
    assert_same(first, file)
    assert_same(first, again, torch.bfloat16)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(shelf / "again", local_files_only=True, torch_dtype=torch.float32)
    for name, part in again.parts.items():
        state = pipeline.components[name].state_dict()
        assert all(torch.equal(state[key], tensor) for key, tensor in part.state_dict().items())
    original = getattr(diffusers, first.scheduler_config["_class_name"]).from_config(first.scheduler_config)
    shifted = first.schedule_options(64, 64, 4) if first.prediction == "flow" else {}
    for schedule in (original, pipeline.scheduler):
        schedule.set_timesteps(4, **shifted)
    assert torch.equal(original.timesteps, pipeline.scheduler.timesteps)


@pytest.mark.parametrize("place", ["folder", "file"])
def test_number_formats_only_round(place: str, workspace: Workspace, shelf: Path) -> None:
    made = make_tiny("sdxl", shelf / ("x" if place == "folder" else "x.safetensors"), single_file=place == "file")
    use_tool(workspace, "bake", "half", model="x", precision="float16")
    half = shelf / ("half" if place == "folder" else "half.safetensors")
    assert_same(loaded(made), loaded(half), torch.float16)
    files = [half] if place == "file" else [*half.rglob("*.safetensors")]
    assert {info.dtype for file in files for info in read_header(file).tensors.values()} == {"F16"}


def test_the_card_says_what_was_done(workspace: Workspace, shelf: Path) -> None:
    make_tiny("sdxl", shelf / "x.safetensors", variant="v", single_file=True)
    random = loaded(shelf / "x.safetensors")
    random_lora(workspace.loras / "a.safetensors", random, LoraOptions(rank=1, targets="attention"))
    for name, options in (("same", {}), ("anew", {"precision": "float16"})):
        report = use_tool(workspace, "bake", name, model="x", files=["a"], **options)
        card = read_header(shelf / f"{name}.safetensors").metadata
        assert card["modelspec.title"] == name and card["modelspec.merged_from"] == "x, a"
        assert card["modelspec.prediction_type"] == "v" and card["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
        payload = safetensors_writer.payload_hash(
            shelf / f"{name}.safetensors", read_header(shelf / f"{name}.safetensors").payload_offset
        )
        assert card["modelspec.hash_sha256"] == f"0x{payload}" and len(report["hash"]) == 10


def test_a_schedule_of_its_own_goes_along(workspace: Workspace, shelf: Path) -> None:
    """Zero terminal SNR by the marker, the rest in the metadata."""
    make_tiny("sdxl", shelf / "x", variant="v")
    file = shelf / "x" / "scheduler" / "scheduler_config.json"
    own = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "beta_end": 0.014}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    use_tool(workspace, "bake", "file", model="x", layout="single_file")
    use_tool(workspace, "bake", "again", model="file", layout="folder")
    for name in ("file.safetensors", "again"):
        config = loaded(shelf / name).scheduler_config
        assert {key: config[key] for key in own} == own and config["prediction_type"] == "v_prediction"
    assert "ztsnr" in read_header(shelf / "file.safetensors").tensors


def test_the_resolution_of_a_card_becomes_that_of_a_folder(workspace: Workspace, shelf: Path) -> None:
    pipeline = tiny_pipeline("sd1", "sd1")
    parts = {name: pipeline.components[name] for name in MODELS["sd1"].parts}
    write_single_file(shelf / "x.safetensors", "sd1", parts, "base", "epsilon", 96)
    save_tokenizers(pipeline, "sd1", shelf / "tokenizers")
    use_tool(workspace, "bake", "made", model="x", layout="folder")
    assert model_facts(shelf / "made").resolution == 96


def test_what_no_part_reads_is_left_behind(workspace: Workspace, shelf: Path) -> None:
    make_tiny("sd2", shelf / "x.safetensors", single_file=True)
    tensors, metadata = load_file(shelf / "x.safetensors"), read_header(shelf / "x.safetensors").metadata
    extra = {"model_ema.decay": torch.ones(()), "cond_stage_model.model.logit_scale": torch.ones(())}
    save_file(tensors | extra, shelf / "x.safetensors", metadata)
    use_tool(workspace, "bake", "made", model="x", precision="float32")
    assert read_header(shelf / "made.safetensors").tensors.keys() == tensors.keys()


def test_without_the_text_encoder_that_is_optional(workspace: Workspace, shelf: Path) -> None:
    make_tiny("sd3", shelf / "whole.safetensors", single_file=True)
    tensors = {
        key: each for key, each in load_file(shelf / "whole.safetensors").items() if not key.startswith("text_encoders.t5xxl.")
    }
    save_file(tensors, shelf / "x.safetensors", read_header(shelf / "whole.safetensors").metadata)
    use_tool(workspace, "bake", "made", model="x", layout="folder")
    assert_same(loaded(shelf / "x.safetensors"), loaded(shelf / "made"))
    absent = {"text_encoder_3": None, "tokenizer_3": None}
    assert diffusers.StableDiffusion3Pipeline.from_pretrained(shelf / "made", local_files_only=True, **absent).transformer


def test_parts_from_several_files_become_one(workspace: Workspace, shelf: Path) -> None:
    """A transformer by itself, its text encoders and VAE in their folders."""
    make_tiny("flux", shelf / "whole.safetensors", single_file=True)
    tensors = load_file(shelf / "whole.safetensors")
    prefixes = {"model.diffusion_model.": shelf / "x.safetensors", "vae.": shelf.parent / "vae" / "ae.safetensors"}
    for name in ("clip_l", "t5xxl"):
        prefixes[f"text_encoders.{name}.transformer."] = shelf.parent / "text_encoders" / f"{name}.safetensors"
    for prefix, file in prefixes.items():
        file.parent.mkdir(exist_ok=True)
        alone = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        save_file(alone, file, read_header(shelf / "whole.safetensors").metadata)
    use_tool(workspace, "bake", "made", model="x", layout="single_file", precision="float32")
    assert load_file(shelf / "made.safetensors").keys() == tensors.keys()
    assert_same(loaded(shelf / "whole.safetensors"), loaded(shelf / "made.safetensors"))


def scaled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices of the transformer as 8-bit numbers with scales."""
    found = dict(tensors)
    for key, tensor in tensors.items():
        if key.startswith("model.diffusion_model.double_blocks.") and tensor.dim() == 2:
            scale = tensor.abs().max() / 448
            found[key] = (tensor / scale).to(torch.float8_e4m3fn)
            found[key.removesuffix(".weight") + ".scale_weight"] = scale.reshape(1)
    return found


def test_8_bit_numbers_with_scales_are_written_without(workspace: Workspace, shelf: Path) -> None:
    make_tiny("flux", shelf / "whole.safetensors", single_file=True)
    metadata = read_header(shelf / "whole.safetensors").metadata
    save_file(scaled(load_file(shelf / "whole.safetensors")), shelf / "x.safetensors", metadata)
    x = loaded(shelf / "x.safetensors")
    random_lora(workspace.loras / "a.safetensors", x, LoraOptions(rank=1, targets="attention"), size=0.0)
    use_tool(workspace, "bake", "made", model="x", files=["a:0"])
    header = read_header(shelf / "made.safetensors")
    assert {info.dtype for info in header.tensors.values()} == {"F32", "BF16"}
    assert not any("scale_weight" in key for key in header.tensors)
    made = loaded(shelf / "made.safetensors").denoiser.state_dict()
    for key, tensor in x.denoiser.state_dict().items():
        assert torch.allclose(made[key], tensor, rtol=2**-8)


def test_tokenizers_that_differ_are_not_mixed_up(workspace: Workspace, shelf: Path) -> None:
    tiny_sd1(shelf / "x")
    other = TOKENIZERS["CLIPTokenizer"]()
    other.add_tokens(["mofumo"])
    other.save_pretrained(shelf / "tokenizers" / "clip")
    with pytest.raises(ModelError) as told:
        use_tool(workspace, "bake", "made", model="x", layout="single_file")
    assert told.value.code == "model.tokenizer_differs"
    assert {path.name for path in shelf.iterdir()} == {"x", "tokenizers"}


def test_what_does_not_read_back_is_not_kept(workspace: Workspace, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_sd1_single_file(shelf / "x.safetensors")
    before = rewrite.open_checkpoint

    def damaged(place: Path, whole: bool = False) -> Any:
        content = bytearray(place.read_bytes())
        content[-1] ^= 1
        place.write_bytes(content)
        return before(place, whole)

    monkeypatch.setattr(rewrite, "open_checkpoint", damaged)
    with pytest.raises(ModelError) as told:
        use_tool(workspace, "bake", "made", model="x", precision="float16")
    assert told.value.code == "file.write_failed" and not (shelf / "made.safetensors").exists()
    assert {path.name for path in shelf.iterdir()} == {"x.safetensors", "tokenizers"}


def test_numbers_that_do_not_fit_the_format(workspace: Workspace, shelf: Path) -> None:
    tiny_sd1_single_file(shelf / "x.safetensors")
    tensors, metadata = load_file(shelf / "x.safetensors"), read_header(shelf / "x.safetensors").metadata
    tensors["first_stage_model.decoder.conv_in.bias"] *= 1e9
    save_file(tensors, shelf / "x.safetensors", metadata)
    with pytest.raises(ModelError) as told:
        use_tool(workspace, "bake", "made", model="x", precision="float16")
    assert told.value.code == "model.not_finite" and told.value.values["tensor"] == "first_stage_model.decoder.conv_in.bias"
    use_tool(workspace, "bake", "made", model="x", precision="bfloat16")
