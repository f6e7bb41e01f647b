"""Devices and number formats: what this machine has is used, what it lacks is refused by name."""

from __future__ import annotations

import os

import psutil
import pytest
import torch

from engine.device import available, device_facts, device_profile, pick_device, pick_dtype, set_deterministic
from engine.fitting import BIG, DeviceError

CPU = torch.device("cpu")


def test_auto_is_the_best_present_device() -> None:
    assert str(pick_device("auto")) == available()[0]
    assert available()[-1] == "cpu"
    assert torch.zeros(2, device=pick_device()).sum().item() == 0


@pytest.mark.parametrize("requested", ["cuda:99", "tpu", "", "meta", "cpu:1"])
def test_missing_device_is_named_beside_those_present(requested: str) -> None:
    with pytest.raises(DeviceError) as caught:
        pick_device(requested)
    assert caught.value.code == "device.unavailable"
    assert repr(requested) in caught.value.what and "cpu" in caught.value.expected and caught.value.todo


def test_dtypes_of_the_cpu() -> None:
    assert pick_dtype(CPU) == torch.float32
    assert pick_dtype(CPU, "bfloat16") == torch.bfloat16
    assert pick_dtype(CPU, "float32") == torch.float32


@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", "float16"), ("mps", "float16"), ("mps", "bfloat16"), ("cpu", "fp8"), ("mps", "float64")]
)
def test_dtype_a_device_cannot_do_is_refused(device: str, dtype: str) -> None:
    with pytest.raises(DeviceError) as caught:
        pick_dtype(torch.device(device), dtype)
    assert caught.value.code == "device.dtype"
    assert repr(dtype) in caught.value.what and device in caught.value.what and "float32" in caught.value.expected


def test_a_big_model_is_computed_in_bfloat16_where_the_processor_has_it() -> None:
    flags = torch.cpu.get_capabilities()
    native = bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    assert pick_dtype(CPU, parameters=BIG) == (torch.bfloat16 if native else torch.float32)
    assert pick_dtype(CPU, "float32", parameters=BIG) == torch.float32


def test_profile_of_this_processor() -> None:
    profile, facts = device_profile(CPU), device_facts(CPU)
    assert (profile.kind, profile.name, profile.memory_mib) == ("cpu", facts["name"], facts["total_mib"])


def test_dtypes_of_mps() -> None:
    assert pick_dtype(torch.device("mps")) == torch.float32
    assert pick_dtype(torch.device("mps"), parameters=10 * BIG) == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_cuda_names_and_formats() -> None:
    assert pick_device("cuda") == torch.device("cuda:0")
    for dtype in ("float32", "float16"):
        assert torch.ones(4, device="cuda", dtype=pick_dtype(torch.device("cuda"), dtype)).sum().item() == 4
    assert pick_dtype(torch.device("cuda")) in (torch.bfloat16, torch.float16)


def test_facts_of_the_cpu() -> None:
    facts = device_facts(CPU)
    assert facts["total_mib"] == psutil.virtual_memory().total // 2**20
    assert 0 < facts["free_mib"] <= facts["total_mib"]
    assert facts["name"] and facts["threads"] == torch.get_num_threads() and facts["torch"] == torch.__version__


def test_deterministic_is_switched_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        set_deterministic(True)
        assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.benchmark
    finally:
        set_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()
