"""Names of modules inside adapter files, and which modules of the loaded model each one means.

On disk a module is a prefix (`lora_unet_`, `lora_te1_text_model_`) plus a path with `.` turned to `_`, the names Kohya's trainer
established: its own path, or for families whose parts are `named_as_stored` (SDXL's U-Net, the transformers of SD3 and FLUX) the
path that single files have. There one name may mean several modules, q, k and v in one matrix, of which each is some rows.
Z-Image came after Kohya's trainer: its files have dotted own paths, which ai-toolkit writes, ComfyUI and diffusers read.
Names never come from `named_modules()` alone: transformers 5 dropped the `text_model` level from CLIPTextModel, and a file
named after it loads nowhere else.

On reading, these spellings are understood, in any family: own paths and those of single files, each of them flat or dotted,
behind the prefixes of Kohya, LyCORIS (SimpleTuner), OneTrainer, PEFT, diffusers, ai-toolkit and ComfyUI; for FLUX, XLabs'
names of processors too. Pure functions on strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from engine.formats.layouts.stored import Place
from engine.formats.ldm_names import unet_to_ldm
from engine.formats.models import MODELS
from engine.formats.models.base import Part

Rows = tuple[tuple[int, int, int], ...]
"""Runs (start, stop, of): a module is rows start/of to stop/of of what a name means, one run after the other; () is all of it."""
SWAPPED: Rows = ((1, 2, 2), (0, 1, 2))

DENOISER_STARTS = (
    "lora_unet_", "oft_unet_", "lora_transformer_", "lycoris_unet_", "lycoris_transformer_", "lycoris_", "unet_", "transformer_",
    "diffusion_model_", "model_diffusion_model_", "",
)  # fmt: skip
"""How each writer's names of a U-Net's or transformer's modules begin."""
_LEVEL = "text_model_"


@dataclass(frozen=True)
class ModuleRef:
    """A module of the loaded model: its component and its dotted path there."""

    component: str
    path: str


@dataclass(frozen=True)
class DiskName:
    """What a module is called in a file.

    Attributes:
        name: with other modules, of which each has its own `rows`, or alone.
        rows: which rows of the tensors under that name are the module's.
        apart: the name by itself for what cannot be put together with others: LyCORIS' prefix and the own path, which SimpleTuner
            writes and ComfyUI reads.
    """

    name: str
    rows: Rows = ()
    apart: str = ""


def own_name(family: str, component: str, path: str) -> str:
    """The name of a module by its own path, which no other module has: `lora_unet_transformer_blocks_0_attn_to_q`."""
    return MODELS[family].parts[component].adapter_prefix + _flat(path)


def disk_names(family: str, component: str, paths: Iterable[str], blocks: int = 0) -> dict[str, DiskName]:
    """Module path in the loaded model -> its name on disk.

    Args:
        paths: of all layers of the component: where a block stands in a single file follows from how many there are.
        blocks: how many joint blocks there are, where the paths do not say.

    Raises:
        ValueError: two paths would share a name.
    """
    paths = list(paths)
    part = MODELS[family].parts[component]
    if part.dotted_prefix:
        return {path: DiskName(part.dotted_prefix + path) for path in paths}
    stored = _stored(part, paths, blocks) if part.named_as_stored else {}
    names = {
        path: DiskName(part.adapter_prefix + _flat(stored[path].key), rows_of(stored[path]), f"lycoris_{_flat(path)}")
        if path in stored else DiskName(own_name(family, component, path))
        for path in paths
    }  # fmt: skip
    if len({(name.name, name.rows) for name in names.values()}) != len(names):
        raise ValueError(f"two modules of {component} have the same name on disk")
    return names


def rows_of(place: Place) -> Rows:
    """The rows that a module has in the matrix of a single file."""
    if place.change == "swapped":
        return SWAPPED
    return (place.share,) if place.share else ()


def _flat(path: str) -> str:
    return path.removeprefix("text_model.").replace(".", "_")


def _stored(part: Part, paths: list[str], blocks: int = 0) -> dict[str, Place]:
    """Module path -> where a single file has it, the key without `weight`. Modules that the layout does not know are left out."""
    if part.kind == "unet":  # the numbers of its blocks follow from all of them
        return {path: Place(stored) for path, stored in unet_to_ldm(paths).items()}
    listed = [int(number) for path in paths for number in re.findall(r"^transformer_blocks\.(\d+)\.", path)]
    config = {"num_layers": blocks or 1 + max(listed, default=0)}
    found = {}
    for path in paths:
        try:
            (place,) = part.keys.places([f"{path}.weight"], config).values()
        except KeyError:
            continue
        found[path] = Place(place.key.rpartition(".")[0], place.share, place.change)
    return found


class NameIndex:
    """Finds the modules of a loaded model that a name in a file means."""

    def __init__(self, family: str, paths: Mapping[str, Iterable[str]]) -> None:
        """Args:
        paths: for each component of the model, the dotted paths of all its layers.
        """
        self._starts = name_starts(family)
        self._modules: dict[tuple[str, str], dict[ModuleRef, Rows]] = {}
        for component, listed in paths.items():
            listed = list(listed)
            stored = _stored(MODELS[family].parts[component], listed) if component == MODELS[family].denoiser else {}
            for path, place in stored.items():
                for name, rows in _spellings(_flat(place.key), rows_of(place)):
                    self._modules.setdefault((component, name), {})[ModuleRef(component, path)] = rows
            for path in listed:
                self._modules[component, _flat(path)] = {ModuleRef(component, path): ()}

    def find(self, name: str) -> dict[ModuleRef, Rows]:
        """The modules that a file calls `name` (without the tensor suffix), each with its rows; none if this model has no such."""
        flat = name.replace(".", "_").removeprefix("base_model_model_")
        for start, component in self._starts:
            if flat.startswith(start) and (found := self._modules.get((component, without_wrappers(flat.removeprefix(start))))):
                return found
        return {}

    def match(self, names: Iterable[str]) -> tuple[dict[str, dict[ModuleRef, Rows]], list[str]]:
        """All names of a file at once: those found, and those that mean nothing in this model."""
        found = {name: self.find(name) for name in names}
        return {name: refs for name, refs in found.items() if refs}, [name for name, refs in found.items() if not refs]


def _spellings(stored: str, rows: Rows) -> Iterator[tuple[str, Rows]]:
    """A name of single files, and XLabs' for the same: `processor_qkv_lora1` is the picture's, `lora2` the words'."""
    yield stored, rows
    if double := re.fullmatch(r"(double_blocks_\d+)_(img|txt)_attn_(qkv|proj)", stored):
        yield f"{double[1]}_processor_{double[3]}_lora{1 if double[2] == 'img' else 2}", rows
    if single := re.fullmatch(r"(single_blocks_\d+)_linear2", stored):
        yield f"{single[1]}_processor_proj", rows
    if (single := re.fullmatch(r"(single_blocks_\d+)_linear1", stored)) and rows[0][1] <= 3:
        yield f"{single[1]}_processor_qkv", ((*rows[0][:2], 3),)


@lru_cache
def name_starts(family: str) -> tuple[tuple[str, str], ...]:
    """How the names of each writer begin, and the component that it means there; one beginning may fit several."""
    model = MODELS[family]
    starts = [(start, model.denoiser) for start in DENOISER_STARTS]
    for number, component in enumerate(model.text_encoders, 1):
        kohyas = model.parts[component].adapter_prefix.removesuffix(_LEVEL)  # FLUX's second text encoder is its third
        own = (kohyas, f"lora_te{number}_", f"oft_te{number}_", f"lycoris_{component}_", f"{component}_")
        first = ("lora_te_", "oft_te_", "lycoris_", "") if number == 1 else ()
        starts += [(start, component) for start in (*filter(None, own), *first)]
    return tuple(starts)


def without_wrappers(flat: str) -> str:
    """Drop the levels that wrappers put into a path: PEFT's, transformers 4's, and diffusers' attention processors."""
    flat = flat.removeprefix("base_model_model_").removeprefix(_LEVEL)
    return re.sub(r"_processor_(to_(?:q|k|v|out))$", lambda found: f"_{found[1]}{'_0' if found[1] == 'to_out' else ''}", flat)
