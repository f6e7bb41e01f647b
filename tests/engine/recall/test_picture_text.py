"""Texts of pictures become settings: those of AUTOMATIC1111 and Forge, hostile ones, and files under other names."""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.file_notes import FileNotes
from engine.formats.hashes import adapter_hash, model_hashes
from engine.formats.infotext import write_infotext
from engine.model_facts import STARTER_FOLDER
from engine.recall import REASONS, Line, Recalled, recall
from engine.recall.adapters import MAX_FILES
from engine.recall.picture_text import MAX_CHARACTERS, MAX_LINES
from engine.workspace import Workspace

EXAMPLE = """a photo of sks dog, (sharp:1.2) <lora:mydog-v2:0.8>
Negative prompt: blurry
Steps: 24, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 1024x1024, Model hash: 31e35c80fc, \
Model: sd_xl_base_1.0, Lora hashes: "mydog-v2: 0a1b2c3d4e5f", Version: ours-0.1"""
SHORT = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", embedding_folder=tmp_path / "more").prepare()


def lora(file: Path, content: int = 0, **metadata: str) -> Path:
    """A small adapter file."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for suffix, shape in {"lora_down.weight": [2, 6], "lora_up.weight": [6, 2], "alpha": []}.items():
        size = 4 * math.prod(shape)
        header[f"lora_unet_mid_block_attentions_0_proj_in.{suffix}"] = {
            "dtype": "F32", "shape": shape, "data_offsets": [position, position + size],
        }  # fmt: skip
        position += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes([content]) * position)
    return file


def fates(recalled: Recalled) -> dict[str, tuple[str, str]]:
    return {line.field: (line.fate, line.reason) for line in recalled.report}


def config_of(recalled: Recalled) -> GenerateConfig:
    return validate(GenerateConfig, recalled.settings)


# ---- what others write ----


def test_the_example(workspace: Workspace) -> None:
    recalled = recall(EXAMPLE, workspace)
    config = config_of(recalled)
    assert (config.prompt, config.negative_prompt) == ("a photo of sks dog, (sharp:1.2) <lora:mydog-v2:0.8>", "blurry")
    assert (config.steps, config.sampler, config.schedule, config.guidance_scale) == (24, "DPM++ 2M", "Karras", 6.5)
    assert (config.seed, config.width, config.height) == (42, 1024, 1024)
    assert "model" not in recalled.settings and "vae" not in recalled.settings
    told = fates(recalled)
    assert told["Model"] == told["Lora hashes"] == ("unknown", "absent_file")
    assert told["Version"] == ("ignored", "information") and told["Seed"] == ("taken", "")


def test_what_is_not_said_is_what_automatic1111_takes(workspace: Workspace) -> None:
    recalled = recall(f"a cat\n{SHORT}", workspace)
    before = GenerateConfig(
        styles=["x"], wildcards=True, schedule="Beta", clip_skip=2, emphasis="No norm", variation_strength=0.5, noise_source="CPU",
        eta_noise_seed_delta=31337, hires={"scale": 2}, source={"picture": "x.png"}, batch_size=3, compare=True,
    )  # fmt: skip
    config = validate(GenerateConfig, before.model_dump() | recalled.settings)
    assert config == GenerateConfig(
        prompt="a cat", steps=20, sampler="Euler a", guidance_scale=7, seed=965400086, width=512, height=512, noise_source="NV",
        batch_size=3, compare=True,
    )  # fmt: skip
    assert fates(recalled)["RNG"] == ("translated", "gpu_noise")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Sampler: DPM++ 2M SDE Karras", {"sampler": "DPM++ 2M SDE", "schedule": "Karras"}),
        ("Sampler: DPM++ 2M Karras, Schedule type: Exponential", {"sampler": "DPM++ 2M", "schedule": "Exponential"}),
        ("Schedule type: SGM uniform", {"schedule": "SGM Uniform"}),
        ("RNG: CPU", {"noise_source": "CPU"}),
        ("RNG: GPU", {"noise_source": "NV"}),
        ("Clip skip: 2, ENSD: 31337", {"clip_skip": 2, "eta_noise_seed_delta": 31337}),
        ("Variation seed: 5, Variation seed strength: 0.25", {"variation_seed": 5, "variation_strength": 0.25}),
        ("Distilled CFG Scale: 3.5", {"distilled_guidance": 3.5}),
        ("Emphasis: No norm", {"emphasis": "No norm"}),
        (
            "Denoising strength: 0.55, Hires upscale: 1.5, Hires steps: 9, Hires upscaler: Latent (bicubic)",
            {"hires": {"scale": 1.5, "steps": 9, "upscaler": "Latent (bicubic)", "denoising": 0.55}},
        ),
        ("Denoising strength: 0.3, Hires resize: 768x768", {"hires": {"scale": 1.5, "denoising": 0.3}}),
        ("Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: 4x-UltraSharp", {"hires": {"scale": 2, "upscaler": "Lanczos"}}),
        (r'Hires upscale: 2, Hires prompt: "a, \"b\": c\nd"', {"hires": {"scale": 2, "prompt": 'a, "b": c\nd'}}),
        (
            "Denoising strength: 0.6, Mask blur: 8, Mask mode: Inpaint not masked, Masked content: latent noise, "
            "Inpaint area: Only masked, Masked area padding: 16",
            {"source": {"denoising": 0.6, "mask_blur": 8, "invert_mask": True, "masked_content": "noise", "only_masked": True, "padding": 16}},
        ),
    ],
)  # fmt: skip
def test_fields(workspace: Workspace, fields: str, expected: dict) -> None:
    got = recall(f"a cat\n{SHORT}, {fields}", workspace).settings
    for name, value in expected.items():
        assert got[name] == value if not isinstance(value, dict) else {key: got[name][key] for key in value} == value
    validate(GenerateConfig, got)


def test_a_picture_made_from_another_leaves_that_in_place(workspace: Workspace) -> None:
    recalled = recall(f"a cat\n{SHORT}, Denoising strength: 0.5", workspace)
    assert recalled.settings["source"]["denoising"] == 0.5 and "picture" not in recalled.settings["source"]
    assert fates(recalled)["Source picture"] == ("ignored", "source")
    assert recall(f"a cat\n{SHORT}", workspace).settings["source"]["picture"] == ""


def test_a_prompt_alone_changes_nothing_else(workspace: Workspace) -> None:
    assert recall("a cat, running\nin the sun", workspace).settings == {
        "prompt": "a cat, running\nin the sun",
        "negative_prompt": "",
    }


# ---- files ----


def test_a_model_is_known_by_its_hash_under_another_name(workspace: Workspace) -> None:
    file = workspace.root / "models" / "checkpoints" / "renamed.safetensors"
    file.write_bytes(b"weights")
    digest = model_hashes(file, FileNotes(workspace.cache)).short
    recalled = recall(f"a cat\n{SHORT}, Model hash: {digest}, Model: anythingV3", workspace)
    assert (recalled.settings["model"], recalled.settings["vae"]) == ("renamed.safetensors", "")
    assert Line("Model", f"anythingV3 [{digest}]", "translated", "renamed", "renamed.safetensors") in recalled.report
    assert recall(f"a cat\n{SHORT}, Model hash: {digest}", workspace).settings["model"] == "renamed.safetensors"


def test_a_model_of_that_name_with_other_content_is_told(workspace: Workspace) -> None:
    file = workspace.root / "models" / "checkpoints" / "anime" / "anythingV3.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    text = f"a cat\n{SHORT}, Model hash: 0123456789, Model: anythingV3"
    assert fates(recall(text, workspace))["Model"] == ("taken", "")  # nobody knows its hash yet
    model_hashes(file, FileNotes(workspace.cache))
    recalled = recall(text, workspace)
    assert fates(recalled)["Model"] == ("translated", "other_content")
    assert recalled.settings["model"] == "anime/anythingV3.safetensors"


def test_the_starter_and_parts_by_name(workspace: Workspace) -> None:
    (workspace.root / "models" / "vae" / "fine.safetensors").write_bytes(b"vae")
    (workspace.root / "models" / "text_encoders" / "clip_l.safetensors").write_bytes(b"clip")
    text = f"a cat\n{SHORT}, Model: starter, Module 1: fine, Module 2: clip_l, Module 3: t5xxl"
    recalled = recall(text, workspace)
    assert recalled.settings["model"] == "starter" and STARTER_FOLDER.is_dir()
    assert (recalled.settings["vae"], recalled.settings["text_encoders"]) == ("fine.safetensors", ["clip_l.safetensors"])
    assert fates(recalled)["Module 3"] == ("unknown", "absent_file")


def test_tags_follow_their_file_to_the_name_it_has_here(workspace: Workspace) -> None:
    first = lora(workspace.loras / "dogs" / "my dog, v2.safetensors", 1)
    lora(workspace.loras / "dog.safetensors", 2)
    kept = lora(workspace.loras / "style.safetensors", 3)
    text = (
        f"a dog <lora:dog:0.8:0.5:lbw=OUTD> and <lora:style:1> and <lora:gone:1> and <lora:unnamed>\n{SHORT}, "
        f'Lora hashes: "dog: {adapter_hash(first)[:12]}, style: {adapter_hash(kept)[:12]}, gone: 0123456789ab, other: 0123456789ab"'
    )
    recalled = recall(text, workspace)
    assert recalled.settings["prompt"] == (
        "a dog <lora:my dog, v2:0.8:0.5:lbw=OUTD> and <lora:style:1> and <lora:gone:1> and <lora:unnamed>"
    )
    told = [
        (line.value.split(" [")[0], line.fate, line.reason) for line in recalled.report if line.field in ("Lora hashes", "LoRA")
    ]
    assert told == [
        ("dog", "translated", "renamed"),
        ("style", "taken", ""),
        ("gone", "unknown", "absent_file"),
        ("other", "ignored", "no_tag"),
        ("unnamed", "unknown", "absent_file"),
    ]


def test_names_exchanged_between_two_files_are_put_right(workspace: Workspace) -> None:
    one, two = (lora(workspace.loras / f"{name}.safetensors", content) for name, content in (("a", 1), ("b", 2)))
    text = f'<lora:a:1> <lora:b:1> <lora:b:0.5>\n{SHORT}, Lora hashes: "a: {adapter_hash(two)[:12]}, b: {adapter_hash(one)[:12]}"'
    assert recall(text, workspace).settings["prompt"] == "<lora:b:1> <lora:a:1> <lora:a:0.5>"


def test_a_hash_in_the_header_is_enough(workspace: Workspace) -> None:
    lora(workspace.loras / "new.safetensors", sshs_model_hash="ab" * 32)
    text = f'<lora:old:1>\n{SHORT}, Lora hashes: "old: {"ab" * 6}"'
    assert recall(text, workspace).settings["prompt"] == "<lora:new:1>"
    text = f'<lora:new:1>\n{SHORT}, Lora hashes: "new: {"cd" * 6}"'
    assert fates(recall(text, workspace))["Lora hashes"] == ("translated", "other_content")


def test_embeddings_follow_too(workspace: Workspace) -> None:
    file = workspace.root / "models" / "embeddings" / "bad hands.pt"
    file.write_bytes(b"vectors")
    digest = hashlib.sha256(b"vectors").hexdigest()[:12]
    text = f'a cat\nNegative prompt: EasyNegative, easynegatives\n{SHORT}, TI hashes: "EasyNegative: {digest}, none: {"0" * 12}"'
    recalled = recall(text, workspace)
    assert recalled.settings["negative_prompt"] == "bad hands, easynegatives"
    assert [line.reason for line in recalled.report if line.field == "TI hashes"] == ["renamed", "absent_file"]


# ---- hostile texts ----


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-1e999", "9" * 400, "1_000", "0x10", "", "'; DROP TABLE", "../../etc/passwd", "１２", "1e3", "-5", "{x}", "4.5.6"]
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["Steps", "CFG scale", "Seed", "Clip skip", "Hires upscale", "Denoising strength", "Sampler", "RNG"]
)
def test_values_out_of_bounds_are_told_and_leave_the_setting(workspace: Workspace, name: str, value: str) -> None:
    recalled = recall(f"a cat\nSize: 8x8, Eta: 1, Note: 1, {name}: {value}", workspace)
    assert [line for line in recalled.report if line.field == name and line.fate == "taken"] == []
    validate(GenerateConfig, recalled.settings)


@pytest.mark.parametrize("name", ["Model", "VAE", "Module 1", "Source picture"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../etc/passwd", "models/../x.safetensors", "someone/some-model", "~/x.ckpt"]
)
def test_no_path_is_ever_taken(workspace: Workspace, name: str, path: str) -> None:
    recalled = recall(f"a cat\n{SHORT}, {name}: {path}", workspace)
    assert path not in repr(recalled.settings)
    assert all(line.fate != "taken" for line in recalled.report if line.field == name)


def test_what_is_too_long_or_empty_is_told(workspace: Workspace) -> None:
    assert recall("x" * (MAX_CHARACTERS + 1), workspace) == Recalled(report=[Line("", "200,001", "unknown", "too_long")])
    assert recall(" \n\0", workspace) == Recalled(report=[Line("", "", "unknown", "no_text")])


def test_control_characters_go(workspace: Workspace) -> None:
    recalled = recall("a\x1b[31m cat\x00 \ud800\r\nsecond\tline", workspace)
    assert recalled.settings["prompt"] == "a[31m cat\nsecond\tline"
    assert recalled.report[0] == Line("", "3", "translated", "control")


def test_many_fields_and_many_files_take_little_time(workspace: Workspace) -> None:
    for each in range(30):
        lora(workspace.loras / f"l{each}.safetensors", each)
    tags = "".join(f"<lora:n{each}:1>" for each in range(3000))
    hashes = ", ".join(f"n{each}: {each:012x}" for each in range(3000))
    many = ", ".join(f"K{each} x: {each}" for each in range(3000))
    started = time.perf_counter()
    recalled = recall(f'{tags}\n{SHORT}, {many}, Lora hashes: "{hashes}"', workspace)
    assert time.perf_counter() - started < 5
    assert len(recalled.report) == MAX_LINES + 1 and recalled.report[-1].reason == "more"
    assert MAX_FILES < 100


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.dictionaries(st.sampled_from([
    "Steps", "Sampler", "Size", "Seed", "Model", "Lora hashes", "TI hashes", "Hires resize", "Hires upscale", "VAE", "Size-1", "Module 1",
]), st.text(max_size=40)))  # fmt: skip
@example("<lora:", {"Lora hashes": ":::,,,"})
@example("a <lora:x>", {"Lora hashes": "x", "Hires resize": "0x0", "Size": "0x0"})
def test_nothing_raises_and_all_settings_are_valid(prompt: str, params: dict[str, str]) -> None:
    workspace = Workspace(Path("/nowhere"))
    for text in (prompt, write_infotext(prompt, "", {"Note one": 1, "Note two": 2, "Note three": 3, **params})):
        recalled = recall(text, workspace)
        validate(GenerateConfig, recalled.settings)
        assert all(line.reason in ("", *REASONS) for line in recalled.report)
