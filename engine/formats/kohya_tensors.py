"""Any adapter in Kohya's spelling, the one that most programs read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.names import DISK_PREFIXES, kohya_name

if TYPE_CHECKING:
    from torch import Tensor

_ONE, _FIRST, _SECOND = DISK_PREFIXES["text_encoder"], "lora_te1_text_model_", "lora_te2_"


def kohya_names(modules: Iterable[str]) -> dict[str, str]:
    """Module name in any writer's spelling -> Kohya's name for it.

    Raises:
        AdapterError: `adapter.module_twice` where two names mean one layer.
    """
    names = {name: kohya_name(name) for name in modules}
    if any(name.startswith(_SECOND) for name in names.values()):  # with a second text encoder the first is numbered, too
        names = {name: written.replace(_ONE, _FIRST, 1) for name, written in names.items()}
    if len(set(names.values())) != len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise AdapterError(
            "adapter.module_twice", f"The module {twice} is there under two names.", "Each module once.",
            "Save it again with the program that made it.", path="", module=twice,
        )  # fmt: skip
    return names


def kohya_tensors(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of an adapter by their full names in Kohya's spelling, bit for bit.

    Args:
        modules: module name in any writer's spelling -> suffix -> tensor, as `AdapterFile.modules`.

    Raises:
        AdapterError: as `kohya_names`.
    """
    names = kohya_names(modules)
    return {f"{names[name]}.{suffix}": tensor for name, parts in modules.items() for suffix, tensor in parts.items()}
