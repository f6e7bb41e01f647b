"""Any adapter in Kohya's spelling, the one that most programs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.errors import AdapterError
from engine.formats.dotted import joint_blocks, module_refs
from engine.formats.fused import Parts, assembled, fuse, separable, split
from engine.formats.models import MODELS
from engine.formats.names import DiskName, disk_names, name_starts, without_wrappers

if TYPE_CHECKING:
    from torch import Tensor

KOHYAS = ("lora_unet_", "lora_te")


def kohya_names(modules: Mapping[str, Parts], family: str) -> dict[str, DiskName]:
    """Module name in any writer's spelling -> Kohya's name for it; what is spelled so already, and any U-Net's blocks, stay.

    Args:
        modules: module name -> suffix -> tensor, as `AdapterFile.modules`.
        family: the base model's, as far as the file shows it.

    Raises:
        AdapterError: `adapter.module_twice` where two names mean one layer.
    """
    blocks = _joint_blocks(modules)
    names = {name: _kohya_name(name, family, blocks) for name in modules}
    if len({(name.name, name.rows) for name in names.values()}) != len(names):
        found = [name.name for name in names.values()]
        twice = next(name for name in found if found.count(name) > 1)
        raise AdapterError(
            "adapter.module_twice", f"The module {twice} is there under two names.", "Each module once.",
            "Save it again with the program that made it.", path="", module=twice,
        )  # fmt: skip
    return names


def _kohya_name(name: str, family: str, blocks: int) -> DiskName:
    flat = name.replace(".", "_")
    if flat.startswith(KOHYAS):
        return DiskName(flat)
    refs = module_refs(name, family, blocks)
    if refs and all(MODELS[family].parts[ref.component].kind != "unet" for ref in refs):
        written = [disk_names(family, ref.component, [ref.path], blocks)[ref.path] for ref in refs]
        if [each.rows for each in written] == list(refs.values()):
            return DiskName(written[0].name)
        if not any(each.rows for each in written):  # several in one, where files have them one by one
            return DiskName(name)
        return DiskName(written[0].name, tuple(run for each in written for run in each.rows), written[0].apart)
    flat = flat.removeprefix("base_model_model_")
    components = {ref.component for ref in refs}
    starts = [(start, of) for start, of in name_starts(family) if flat.startswith(start) and (not refs or of in components)]
    start, component = max(starts, key=lambda each: len(each[0]))
    return DiskName(MODELS[family].parts[component].adapter_prefix + without_wrappers(flat.removeprefix(start)))


def _joint_blocks(modules: Mapping[str, Parts]) -> int:
    return joint_blocks({name: {suffix: tuple(t.shape) for suffix, t in parts.items()} for name, parts in modules.items()})


def taken_apart(modules: Mapping[str, Parts], family: str) -> dict[str, Parts]:
    """Modules that were put together from LoRAs with ranks of their own, q, k and v, as these again, by their own names; any other
    as it is."""
    blocks, found = _joint_blocks(modules), dict[str, Parts]()
    for name, parts in modules.items():
        refs = module_refs(name, family, blocks)
        if len(refs) > 1 and separable(parts, refs):
            names = {ref: disk_names(family, ref.component, [ref.path], blocks)[ref.path].apart for ref in refs}
            found |= {names[ref]: own for ref, own in split(parts, refs).items()}
        else:
            found[name] = parts
    return found


def kohya_tensors(modules: Mapping[str, Parts], family: str) -> dict[str, Tensor]:
    """The tensors of an adapter by their full names in Kohya's spelling, bit for bit; q, k and v become one as in single files.

    Raises:
        AdapterError: as `kohya_names`.
    """
    names = kohya_names(modules, family)
    return by_key(assembled(((names[name], parts) for name, parts in modules.items()), fuse))


def by_key(modules: Mapping[str, Parts]) -> dict[str, Tensor]:
    """`module.suffix` -> tensor."""
    return {f"{name}.{suffix}": tensor for name, parts in modules.items() for suffix, tensor in parts.items()}
