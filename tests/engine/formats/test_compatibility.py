"""Verdicts on other programs: one for each, with a reason where it is not a plain yes; those on diffusers are tried out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from engine.families import FAMILIES
from engine.formats import compatibility as module
from engine.formats.compatibility import ALGORITHMS, PROGRAMS, REASONS, compatibility
from engine.formats.models import MODELS
from engine.formats.summary import AdapterSummary, describe
from tests.support.tiny import tiny_parts

PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
NAME = "lora_unet_" + PATH.replace(".", "_")


def tensors(*suffixes: tuple[str, tuple[int, ...]], name: str = NAME) -> dict[str, torch.Tensor]:
    return {f"{name}.{suffix}": torch.ones(shape) for suffix, shape in suffixes}


PAIR = (("lora_down.weight", (2, 64)), ("lora_up.weight", (64, 2)))
FILES = {
    "lora": tensors(*PAIR),
    "peft": tensors(("lora_A.weight", (2, 64)), ("lora_B.weight", (64, 2)), name=f"unet.{PATH}"),
    "dora": tensors(*PAIR, ("dora_scale", (64, 1))),
    "loha": tensors(*((f"hada_w{i}_{side}", size) for i in (1, 2) for side, size in (("a", (64, 2)), ("b", (2, 64))))),
    "lokr": tensors(("lokr_w1", (8, 8)), ("lokr_w2", (8, 8))),
    "ia3": tensors(("weight", (64,)), ("on_input", ())),
    "oft": tensors(("oft_blocks", (8, 8, 8))),
    "full": tensors(("diff", (64, 64))),
    "tucker": tensors(
        ("lora_down.weight", (2, 64, 1, 1)), ("lora_up.weight", (64, 2, 1, 1)), ("lora_mid.weight", (2, 2, 3, 3)),
        name="lora_unet_mid_block_resnets_0_conv1",
    ),
    "bundle": {**tensors(*PAIR), "bundle_emb.cat.string_to_param.*": torch.ones(1, 32)},
}  # fmt: skip


@pytest.fixture
def summaries(tmp_path: Path) -> dict[str, AdapterSummary]:
    for name, content in FILES.items():
        save_file(content, tmp_path / f"{name}.safetensors")
    return {name: describe(tmp_path / f"{name}.safetensors") for name in FILES}


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    return StableDiffusionPipeline(**tiny_parts(), safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def test_a_plain_lora_works_everywhere(summaries: dict[str, AdapterSummary]) -> None:
    verdicts = compatibility(summaries["lora"])
    assert set(verdicts) == set(PROGRAMS)
    assert {(verdict.loads, verdict.reasons) for verdict in verdicts.values()} == {("yes", ())}


def test_every_other_verdict_has_a_known_reason(summaries: dict[str, AdapterSummary]) -> None:
    for name, summary in summaries.items():
        for verdict in compatibility(replace(summary, base="flux") if name == "lora" else summary).values():
            assert bool(verdict.reasons) == (verdict.loads != "yes") and set(verdict.reasons) <= set(REASONS)


@pytest.mark.parametrize(
    ("file", "program", "loads", "reason"),
    [
        ("ia3", "comfyui", "no", "algorithm"),
        ("ia3", "automatic1111", "yes", None),
        ("oft", "forge", "no", "algorithm"),
        ("dora", "comfyui", "partly", "dora_base"),
        ("peft", "automatic1111", "no", "spelling"),
        ("peft", "lora_atelier", "yes", None),
        ("tucker", "comfyui", "yes", None),
        ("loha", "sd_scripts", "partly", "lycoris"),
        ("bundle", "automatic1111", "yes", None),
    ],
)
def test_verdicts(summaries: dict[str, AdapterSummary], file: str, program: str, loads: str, reason: str | None) -> None:
    verdict = compatibility(summaries[file])[program]
    assert (verdict.loads, verdict.reasons[:1]) == (loads, (reason,) if reason else ())


OTHER_FAMILIES = [
    ("flux", {}, {"automatic1111": "family"}),
    ("flux", {"modules": {"unet": 1, "text_encoder_3": 1}}, {"automatic1111": "family", "diffusers": "t5"}),
    ("sd3", {}, {"diffusers": "spelling"}),
    (
        "sd3",
        {"format": "peft"},
        {"automatic1111": "spelling", "forge": "peft_names", "comfyui": "peft_names", "sd_scripts": "spelling"},
    ),
    ("z_image", {"format": "diffusers"}, dict.fromkeys(("automatic1111", "forge", "sd_scripts"), "family")),
]


@pytest.mark.parametrize(("family", "facts", "reasons"), OTHER_FAMILIES)
def test_other_families(summaries: dict[str, AdapterSummary], family: str, facts: dict, reasons: dict[str, str]) -> None:
    verdicts = compatibility(replace(summaries["lora"], base=family, **facts))
    assert {program: verdict.reasons[0] for program, verdict in verdicts.items() if verdict.loads != "yes"} == reasons


def test_all_reasons_of_a_file_are_told_the_gravest_first(summaries: dict[str, AdapterSummary]) -> None:
    mixed = replace(summaries["dora"], algorithms=("ia3", "lora"), embeddings=("cat",))
    assert compatibility(mixed)["comfyui"].reasons == ("algorithm", "dora_base", "embeddings")


def test_our_families_are_those_there_are() -> None:
    assert set(module.FAMILIES["lora_atelier"]) == set(FAMILIES) == set(MODELS)
    assert all(set(families) <= set(MODELS) for families in module.FAMILIES.values())


def test_no_sentence_is_left_over() -> None:
    tables = [
        *ALGORITHMS.values(),
        module.DORA,
        module.TUCKER,
        module.PEFT,
        module.LYCORIS,
        module.EMBEDDINGS,
        module.SD3_KOHYA,
        module.T5,
    ]
    assert {reason for table in tables for _, reason in table.values() if reason} | {"algorithm", "family"} == set(REASONS)


@pytest.mark.parametrize("name", FILES)
def test_diffusers_does_what_is_said_of_it(
    pipe: StableDiffusionPipeline, summaries: dict[str, AdapterSummary], name: str
) -> None:
    try:
        pipe.load_lora_weights(str(summaries[name].path))
        loaded = sum(tensor.numel() for key, tensor in pipe.unet.state_dict().items() if ".lora_" in key)
    except ValueError:
        loaded = 0
    pipe.unload_lora_weights()
    whole = sum(tensor.numel() for tensor in FILES[name].values())
    assert (compatibility(summaries[name])["diffusers"].loads == "yes") == (loaded == whole)
