"""The table of what devices can do, on devices this machine does not have."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from engine.config.choices import Attention, Precision, Quantization
from engine.config.field import fields
from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.fitting import (
    BIG,
    FIELDS,
    PROFILE,
    REASONS,
    TABLE,
    DeviceError,
    DeviceProfile,
    automatic_precision,
    check_config,
    read_profile,
    refusals,
    vae_precision,
    write_profile,
)

H100 = DeviceProfile("cuda", "H100", (9, 0), 81_000, bfloat16=True, bitsandbytes=True)
RTX_3060 = DeviceProfile("cuda", "RTX 3060", (8, 6), 12_000, bfloat16=True, bitsandbytes=True)
T4 = DeviceProfile("cuda", "T4", (7, 5), 15_000, bitsandbytes=True)
RX_7900 = DeviceProfile("rocm", "RX 7900", (11, 0), 24_000, bfloat16=True)
M3 = DeviceProfile("mps", "M3", memory_mib=16_000)
ZEN_4 = DeviceProfile("cpu", "Zen 4", memory_mib=32_000, bfloat16=True, bitsandbytes=True)
LAPTOP = DeviceProfile("cpu", "laptop", memory_mib=8_000)
FULL: dict[str, str] = {}

ROWS = [
    (H100, "precision", FULL),
    (H100, "quantization", FULL),
    (H100, "attention", FULL),
    (H100, "optimizer", FULL),
    (H100, "streaming", FULL),
    (RTX_3060, "precision", FULL),
    (RTX_3060, "attention", FULL),
    (T4, "precision", {"bfloat16": "no_bfloat16"}),
    (T4, "quantization", FULL),
    (T4, "attention", {"flash": "old_card", "cudnn": "old_card"}),
    (RX_7900, "precision", FULL),
    (RX_7900, "quantization", {"nf4": "no_bitsandbytes"}),
    (RX_7900, "attention", {"cudnn": "no_kernel"}),
    (RX_7900, "optimizer", {"adamw8bit": "no_bitsandbytes"}),
    (RX_7900, "streaming", FULL),
    (M3, "precision", {"bfloat16": "mps_half", "float16": "mps_half"}),
    (M3, "quantization", {"nf4": "mps_bitsandbytes", "fp8": "mps_fp8"}),
    (M3, "attention", {"flash": "no_kernel", "efficient": "no_kernel", "cudnn": "no_kernel"}),
    (M3, "optimizer", {"adamw8bit": "mps_bitsandbytes"}),
    (M3, "streaming", {"on": "mps_streaming"}),
    (ZEN_4, "precision", {"float16": "cpu_float16"}),
    (ZEN_4, "quantization", FULL),
    (ZEN_4, "attention", {"efficient": "no_kernel", "cudnn": "no_kernel"}),
    (ZEN_4, "optimizer", FULL),
    (ZEN_4, "streaming", FULL),
    (LAPTOP, "precision", {"float16": "cpu_float16"}),
    (LAPTOP, "quantization", {"nf4": "no_bitsandbytes"}),
    (LAPTOP, "optimizer", {"adamw8bit": "no_bitsandbytes"}),
]


@pytest.mark.parametrize(("profile", "setting", "refused"), ROWS, ids=lambda each: getattr(each, "name", str(each)))
def test_the_table(profile: DeviceProfile, setting: str, refused: dict[str, str]) -> None:
    assert refusals(profile, setting) == refused


@pytest.mark.parametrize(
    ("profile", "small", "big"),
    [
        (H100, "bfloat16", "bfloat16"),
        (T4, "float16", "float16"),
        (RX_7900, "bfloat16", "bfloat16"),
        (M3, "float32", "float32"),
        (ZEN_4, "float32", "bfloat16"),
        (LAPTOP, "float32", "float32"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_automatic_precision(profile: DeviceProfile, small: str, big: str) -> None:
    assert automatic_precision(profile, BIG - 1) == small and automatic_precision(profile, BIG) == big
    assert not {small, big} & set(refusals(profile, "precision"))


def test_a_vae_that_overflows_is_kept_out_of_float16() -> None:
    assert vae_precision("float16", True) == "float32"
    assert [vae_precision(*case) for case in (("float16", False), ("bfloat16", True), ("float32", True))] == [
        "float16", "bfloat16", "float32",
    ]  # fmt: skip


def test_the_table_has_every_choice_of_the_config_and_every_reason_is_used() -> None:
    assert {name: tuple(TABLE[name]) for name in ("precision", "quantization", "attention")} == {
        "precision": get_args(Precision), "quantization": get_args(Quantization), "attention": get_args(Attention),
    }  # fmt: skip
    declared = {field.path: field for field in (*fields(TrainConfig), *fields(GenerateConfig))}
    assert tuple(TABLE["optimizer"]) == declared["training.optimizer.kind"].choices
    assert set(FIELDS) <= set(declared) and set(FIELDS.values()) == set(TABLE)
    given = {reason for profile, setting, _ in ROWS for reason in refusals(profile, setting).values()}
    assert given == set(REASONS)


def test_what_a_device_cannot_do_is_refused_by_field_and_reason() -> None:
    check_config(M3, TrainConfig.model_validate({"model": {"quantization": "int8"}}))
    check_config(None, TrainConfig.model_validate({"model": {"quantization": "fp8"}}))
    with pytest.raises(DeviceError) as caught:
        check_config(M3, TrainConfig.model_validate({"model": {"quantization": "fp8"}}))
    error = caught.value
    assert (error.code, error.values["field"], error.values["reason"]) == ("device.unsupported", "model.quantization", "mps_fp8")
    assert "fp8" in error.what and "M3" in error.what and "int8" in error.expected and "fp8" not in error.expected
    with pytest.raises(DeviceError, match="main memory"):
        check_config(M3, GenerateConfig(streamed_blocks=4))
    with pytest.raises(DeviceError, match="float16"):
        check_config(LAPTOP, GenerateConfig(precision="float16"))
    with pytest.raises(DeviceError, match=r"training\.optimizer\.kind"):
        check_config(LAPTOP, TrainConfig.model_validate({"training": {"optimizer": {"kind": "adamw8bit"}}}))


def test_a_profile_is_left_for_those_without_pytorch(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None
    write_profile(T4, tmp_path)
    assert read_profile(tmp_path) == T4
    for content in (b"{", b"[]", b'{"kind": "cuda"}', b'{"kind": "cuda", "capability": [1, 2], "colour": "red"}'):
        (tmp_path / PROFILE).write_bytes(content)
        assert read_profile(tmp_path) is None
