"""Names of modules inside adapter files, and which module of the loaded model each one means.

On disk a module of Stable Diffusion 1.x is `lora_unet_` or `lora_te_text_model_` plus its path with `.` turned to `_`, the
names Kohya's trainer established. They are made from tables here, never from `named_modules()` alone: transformers 5 dropped
the `text_model` level from CLIPTextModel, and a file named after it loads nowhere else.

On reading, these spellings are understood: Kohya's names with diffusers or LDM block names, dotted diffusers and PEFT names,
LyCORIS' and kohya-OFT prefixes, and LDM paths below `diffusion_model`. Pure functions on strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from engine.formats.ldm_names import unet_to_ldm

Component = Literal["unet", "text_encoder", "text_encoder_2"]

DISK_PREFIXES: dict[str, str] = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
_WRITTEN_PREFIXES = DISK_PREFIXES | {"text_encoder_2": "lora_te2_text_model_"}

READ_PREFIXES: tuple[tuple[str, tuple[Component, ...]], ...] = (
    ("lora_unet_", ("unet",)),
    ("oft_unet_", ("unet",)),
    ("lycoris_unet_", ("unet",)),
    ("unet_", ("unet",)),
    ("diffusion_model_", ("unet",)),
    ("model_diffusion_model_", ("unet",)),
    ("lora_te2_", ("text_encoder_2",)),
    ("lycoris_text_encoder_2_", ("text_encoder_2",)),
    ("text_encoder_2_", ("text_encoder_2",)),
    ("lora_te1_", ("text_encoder",)),
    ("lora_te_", ("text_encoder",)),
    ("oft_te_", ("text_encoder",)),
    ("lycoris_text_encoder_", ("text_encoder",)),
    ("text_encoder_", ("text_encoder",)),
    ("lycoris_", ("unet", "text_encoder")),
    ("", ("unet", "text_encoder")),
)
"""How the names of each writer begin, and which component that means; the first that fits counts."""


@dataclass(frozen=True)
class ModuleRef:
    """A module of the loaded model: its component and its dotted path there."""

    component: Component
    path: str


def disk_names(component: Component, paths: Iterable[str]) -> dict[str, str]:
    """Module path in the loaded model -> module name on disk.

    Raises:
        ValueError: two paths would share a name.
    """
    prefix = DISK_PREFIXES[component]
    names = {path: prefix + _flat(path) for path in paths}
    if len(set(names.values())) != len(names):
        raise ValueError(f"two modules of {component} have the same name on disk")
    return names


def _flat(path: str) -> str:
    return path.removeprefix("text_model.").replace(".", "_")


class NameIndex:
    """Finds the module of a loaded model that a name in a file means."""

    def __init__(self, paths: Mapping[str, Iterable[str]]) -> None:
        """Args:
        paths: for each component of the model, the dotted paths of its modules (all of them, or those that may be adapted).
        """
        self._modules: dict[tuple[str, str], ModuleRef] = {}
        for component in ("unet", "text_encoder"):
            listed = list(paths.get(component, ()))
            for path, ldm in (unet_to_ldm(listed) if component == "unet" else {}).items():
                self._modules[component, _flat(ldm)] = ModuleRef(component, path)
            for path in listed:
                self._modules[component, _flat(path)] = ModuleRef(component, path)

    def find(self, name: str) -> ModuleRef | None:
        """The module that a file calls `name` (without the tensor suffix), or None when this model has no such module."""
        flat = name.replace(".", "_")
        for prefix, components in READ_PREFIXES:
            if not flat.startswith(prefix):
                continue
            rest = without_wrappers(flat.removeprefix(prefix))
            for component in components:
                if found := self._modules.get((component, rest)):
                    return found
        return None

    def match(self, names: Iterable[str]) -> tuple[dict[str, ModuleRef], list[str]]:
        """All names of a file at once: those found, and those that mean nothing in this model."""
        found = {name: self.find(name) for name in names}
        return {name: ref for name, ref in found.items() if ref}, [name for name, ref in found.items() if not ref]


def kohya_name(name: str) -> str:
    """A module's name as Kohya's trainer writes it, as far as that can be told without the model: block names stay as they are."""
    flat = name.replace(".", "_")
    if flat.startswith("lora_"):
        return flat
    flat = flat.removeprefix("base_model_model_")
    prefix, components = next((start, of) for start, of in READ_PREFIXES if flat.startswith(start))
    component = (
        components[0] if len(components) == 1 else "text_encoder" if "_self_attn_" in flat or "_mlp_fc" in flat else "unet"
    )
    return _WRITTEN_PREFIXES[component] + without_wrappers(flat.removeprefix(prefix))


def without_wrappers(flat: str) -> str:
    """Drop the levels that wrappers put into a path: PEFT's, transformers 4's, and diffusers' attention processors."""
    flat = flat.removeprefix("base_model_model_").removeprefix("text_model_")
    return re.sub(r"_processor_(to_(?:q|k|v|out))$", lambda found: f"_{found[1]}{'_0' if found[1] == 'to_out' else ''}", flat)
