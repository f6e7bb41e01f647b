"""LoRA and DoRA in PEFT's spelling, as diffusers' `load_lora_weights` reads it.

Tensors are `unet.<path>.lora_A.weight` (down) and `lora_B.weight` (up), bit for bit those of Kohya's spelling. Rank and alpha
stand as PEFT's options in the metadata, JSON under `lora_adapter_metadata`; without it diffusers takes the rank for alpha.
What a file has in one (q, k and v) is taken apart. Paths in CLIP's text encoders keep the `text_model` level, which other programs want and diffusers drops where the installed
transformers has none; the options go without it, since PEFT compares the ends of names. DoRA's magnitude is named with
`.weight`, which PEFT and transformers read; diffusers writes it without, and transformers 5 then loads none of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.adapter_layout import rank_of
from engine.formats.dotted import joint_blocks, module_refs
from engine.formats.fused import split
from engine.formats.models import MODELS
from engine.formats.names import ModuleRef
from engine.formats.peft_alpha import OPTIONS_KEY
from engine.formats.suffixes import algorithm_of

if TYPE_CHECKING:
    from torch import Tensor

CLIP = ("clip", "clip_projected")
_EXPRESSED = {"lora_down.weight", "lora_up.weight", "alpha", "dora_scale"}

Modules = Mapping[str, Mapping[str, "Tensor"]]


def peft_tensors(modules: Modules, family: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name on disk, and the metadata that belongs to them.

    Args:
        modules: module name in any writer's spelling -> suffix -> tensor, as `AdapterFile.modules`.
        family: the base model's.

    Raises:
        AdapterError: `adapter.cannot_convert`: another algorithm than LoRA and DoRA, Tucker's decomposition, DoRA per input or
            on a part of the layers only, or a module whose path cannot be told from its name.
    """
    tensors: dict[str, Tensor] = {}
    components: dict[str, dict[str, Mapping[str, Tensor]]] = {}
    for ref, parts in _layers(modules, family):
        components.setdefault(ref.component, {})[ref.path] = parts
        level = "text_model." if MODELS[family].parts[ref.component].kind in CLIP else ""
        path = f"{ref.component}.{level}{ref.path}"
        tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"] = parts["lora_down.weight"], parts["lora_up.weight"]
        if "dora_scale" in parts:
            tensors[f"{path}.lora_magnitude_vector.weight"] = _magnitude(parts["dora_scale"])
    options = {f"{component}.{option}": value for component, own in components.items() for option, value in _options(own).items()}
    return tensors, {OPTIONS_KEY: json.dumps(options, sort_keys=True)}


def _layers(modules: Modules, family: str) -> Iterator[tuple[ModuleRef, Mapping[str, Tensor]]]:
    """Every layer with tensors of its own."""
    blocks = joint_blocks({name: {suffix: tuple(t.shape) for suffix, t in parts.items()} for name, parts in modules.items()})
    for name, parts in modules.items():
        _check(name, parts)
        if not (refs := module_refs(name, family, blocks)):
            raise _impossible(name, "lora", "which layer of diffusers' models that is cannot be told from the name")
        yield from split(parts, refs).items()


def _check(name: str, parts: Mapping[str, Tensor]) -> None:
    shapes = {suffix: tuple(tensor.shape) for suffix, tensor in parts.items()}
    algorithm = algorithm_of(shapes) or "unknown"
    if algorithm != "lora":
        raise _impossible(name, algorithm, f"it uses {algorithm}, which PEFT's files do not have as the others understand it")
    if spare := sorted(shapes.keys() - _EXPRESSED):
        raise _impossible(name, "lora", f"its convolution is split into three factors (Tucker, {spare[0]})")
    if "dora_scale" in shapes and shapes["dora_scale"][0] != shapes["lora_up.weight"][0]:
        raise _impossible(name, "dora", "its DoRA has a magnitude per input, PEFT's has one per output")


def _magnitude(scale: Tensor) -> Tensor:
    """(out, 1) as (out,); (out, 1, 1, 1) as (1, out, 1, 1)."""
    return scale.flatten() if scale.dim() == 2 else scale.movedim(0, 1)


def _options(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, object]:
    """PEFT's LoraConfig for the modules of one component: what most of them have, and patterns for the others."""
    ranks = {path: rank_of({suffix: tuple(t.shape) for suffix, t in parts.items()}) for path, parts in modules.items()}
    alphas = {path: float(parts["alpha"]) for path, parts in modules.items()}
    decomposed = [path for path, parts in modules.items() if "dora_scale" in parts]
    if decomposed and len(decomposed) != len(modules):
        raise _impossible(decomposed[0], "dora", "PEFT has DoRA on all layers or on none")
    (rank, _), (alpha, _) = Counter(ranks.values()).most_common(1)[0], Counter(alphas.values()).most_common(1)[0]
    return {
        "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": sorted(modules), "use_dora": bool(decomposed),
        "rank_pattern": {path: own for path, own in ranks.items() if own != rank},
        "alpha_pattern": {path: own for path, own in alphas.items() if own != alpha},
    }  # fmt: skip


def _impossible(module: str, algorithm: str, reason: str) -> AdapterError:
    return AdapterError(
        "adapter.cannot_convert", f"{module} cannot be written in this form: {reason}.", "LoRA or DoRA in a common form.",
        "Keep the Kohya form, which has everything.", module=module, algorithm=algorithm, reason=reason,
    )  # fmt: skip
