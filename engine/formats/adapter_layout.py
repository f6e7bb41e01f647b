"""What lies in an adapter file: which tensor belongs to which module, or to an embedding that comes with it.

Judged by names, shapes and number formats alone, so that a file is refused before its tensors are read. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from engine.errors import AdapterError
from engine.formats.safetensors_header import TensorInfo
from engine.formats.suffixes import algorithm_of, split_keys

AdapterFormat = Literal["kohya", "lycoris", "peft", "diffusers"]

BUNDLE = "bundle_emb."
"""Begins the name of a tensor of a bundled embedding: `bundle_emb.<embedding>.<its own name>`, as AUTOMATIC1111 reads it."""
MAX_RANK = 100_000
"""The largest rank that the options allow, too."""
NUMBERS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
"""Formats of weights."""
SCALARS = ("alpha", "on_input")
RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "hira_A", "a1.weight", "a2.weight")
"""Tensors whose first size is the rank; of GLoRA's two it is the smaller, since early files have them exchanged."""


@dataclass(frozen=True)
class AdapterLayout:
    """Where everything is.

    Attributes:
        modules: module name as the file spells it -> suffix used here -> name of the tensor in the file.
        embeddings: name of a bundled embedding -> its own tensor names (`string_to_param.*`, `clip_l`) -> name in the file.
        format: whose spelling the file uses.
    """

    modules: dict[str, dict[str, str]]
    embeddings: dict[str, dict[str, str]]
    format: AdapterFormat


def lay_out(path: Path, tensors: Mapping[str, TensorInfo]) -> AdapterLayout:
    """Sort the tensors of a file, and check that each module's fit each other as far as can be told without a model.

    Raises:
        AdapterError: `adapter.not_an_adapter`, `adapter.unknown_tensor`, `adapter.module_twice`, `adapter.incomplete_module`,
            `adapter.bad_shape`, `adapter.bad_dtype`.
    """
    embeddings: dict[str, dict[str, str]] = {}
    own = []
    for key in tensors:
        name, dot, part = key.removeprefix(BUNDLE).partition(".")
        if key.startswith(BUNDLE) and dot:
            _check_dtype(path, name, part, tensors[key])
            embeddings.setdefault(name, {})[part] = key
        else:
            own.append(key)
    split, unknown = split_keys(own)
    _check_names(path, len(split), unknown)
    modules: dict[str, dict[str, str]] = {}
    for key, (module, suffix, _) in split.items():
        if suffix in modules.setdefault(module, {}):
            raise AdapterError(
                "adapter.module_twice", f"{path.name} holds {suffix} of the module {module} under two names, one of them {key}.",
                "Each tensor once.", "Save it again with the program that made it.", path=path, module=module,
            )  # fmt: skip
        modules[module][suffix] = key
    for module, parts in modules.items():
        _check_module(path, module, {suffix: tensors[key] for suffix, key in parts.items()})
    return AdapterLayout(modules, embeddings, _format_of(split.values()))


def rank_of(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The rank of one module, from the shapes of its tensors; None for algorithms without one, or where all factors are whole."""
    found = [shapes[suffix][0] for suffix in RANKED if shapes.get(suffix)]
    return min(found if "a2.weight" in shapes else found[:1], default=None)


def _check_names(path: Path, known: int, unknown: list[str]) -> None:
    if not known:
        raise AdapterError(
            "adapter.not_an_adapter", f"{path.name} is not an adapter: none of its {len(unknown)} tensors belongs to a LoRA.",
            "A LoRA file was expected.", "If it is a checkpoint, choose it as the base model.", path=path,
        )  # fmt: skip
    if unknown:
        raise AdapterError(
            "adapter.unknown_tensor",
            f"{path.name} has {len(unknown)} tensors of an unknown kind, the first is {unknown[0][:200]!r}.",
            "LoRA, LoHa, LoKr, (IA)3, OFT, BOFT, GLoRA, full and norm adapters are known.",
            "Convert it with the program that made it.", path=path, tensor=unknown[0][:200], count=len(unknown),
        )  # fmt: skip


def _check_module(path: Path, module: str, parts: Mapping[str, TensorInfo]) -> None:
    for suffix, info in parts.items():
        if suffix not in SCALARS:
            _check_dtype(path, module, suffix, info)
        elif prod(info.shape) != 1:
            raise _bad_shape(path, module, f"{suffix} is {info.shape}", "A single number was expected.")
    if algorithm_of({suffix: info.shape for suffix, info in parts.items()}) is None:
        raise _incomplete(path, module, f"holds nothing but {', '.join(parts)}", "The tensors of an algorithm were expected.")
    down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
    if down and up:
        _check_factors(path, module, down.shape, up.shape)
    elif down or up or "lora_mid.weight" in parts:
        raise _incomplete(path, module, "has only one of its two LoRA factors", "Both lora_down and lora_up were expected.")


def _check_dtype(path: Path, module: str, suffix: str, info: TensorInfo) -> None:
    if info.dtype not in NUMBERS:
        raise AdapterError(
            "adapter.bad_dtype", f"{path.name}: {suffix} of {module!r} is stored as {info.dtype}.",
            f"One of {', '.join(NUMBERS)} was expected.", "Use a version of the file that is not quantised.",
            path=path, module=module, dtype=info.dtype,
        )  # fmt: skip


def _check_factors(path: Path, module: str, down: tuple[int, ...], up: tuple[int, ...]) -> None:
    found = f"lora_down is {down} and lora_up is {up}"
    if len(down) < 2 or len(up) < 2 or up[1] != down[0]:
        raise _bad_shape(path, module, found, "The second size of lora_up must be the first of lora_down (the rank).")
    if not 0 < down[0] <= MAX_RANK:
        raise _bad_shape(path, module, found, f"A rank of 1 to {MAX_RANK} was expected.")


def _format_of(split: Iterable[tuple[str, str, str]]) -> AdapterFormat:
    entries = list(split)
    if any(written.startswith("lora_A") or module.startswith("base_model.model.") for module, _, written in entries):
        return "peft"
    if any("." in module for module, _, _ in entries):
        return "diffusers"
    return "lycoris" if any(module.startswith("lycoris_") for module, _, _ in entries) else "kohya"


def _incomplete(path: Path, module: str, what: str, expected: str) -> AdapterError:
    return AdapterError(
        "adapter.incomplete_module", f"{path.name}: module {module!r} {what}.", expected,
        "The file is damaged; use another copy.", path=path, module=module,
    )  # fmt: skip


def _bad_shape(path: Path, module: str, what: str, expected: str) -> AdapterError:
    return AdapterError(
        "adapter.bad_shape", f"{path.name}: in {module!r} {what}.", expected, "The file is damaged; use another copy.",
        path=path, module=module,
    )  # fmt: skip
