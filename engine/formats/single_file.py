"""Base models as one `.safetensors` file: which parts it holds, their configs, their tensors.

Reading never needs the network: sizes come from the tensors' shapes, everything else from small config files that ship. What
neither tells, of unusual sizes, stands in the metadata of files written here. Knows nothing of training or sampling.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.layers import Size
from engine.errors import ModelError
from engine.formats.kinds import detect_kind, recognise
from engine.formats.layouts.stored import Place
from engine.formats.mistaken import is_folder_part, mistaken, unknown_family
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS, ModelFormat, Part, Shapes
from engine.formats.safetensors_header import Header
from engine.formats.scaled import SCALES, rescaled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIGS_KEY = "lora_atelier.configs"
"""Metadata key: part, or `SCHEDULE` -> what neither its shapes nor the shipped config tell, JSON."""
SCHEDULE = "scheduler"
_UNUSED = re.compile(
    r"(text_model\.)?embeddings\.position_ids|(.*\.)?(text_projection|logit_scale)(\.weight)?|loss\..*|.*model_ema.*"
    r"|attn_mask|transformer\.resblocks\.23\..*"  # the block of OpenCLIP-H that Stable Diffusion 2.x does not use
    r"|(shared|encoder\.embed_tokens)\.weight"  # two names of T5's embedding, of which one is enough
)
"""Tensors that checkpoints carry along and no part reads."""

log = logging.getLogger(__name__)


def part_shapes(header: Header, prefix: str) -> Shapes:
    """Shapes of a part's tensors by their names behind the prefix, without the scales of 8-bit numbers."""
    return {
        key.removeprefix(prefix): info.shape
        for key, info in header.tensors.items()
        if key.startswith(prefix) and not key.endswith(SCALES)
    }


def find_parts(header: Header, model: ModelFormat) -> dict[str, str]:
    """The parts of a family that a file holds -> the prefix of their keys."""
    found = {}
    for name, part in model.parts.items():
        for prefix in part.prefixes:
            mark = re.compile(re.escape(prefix) + part.mark)
            if any(mark.fullmatch(key) for key in header.tensors):
                found[name] = prefix
                break
    return found


def file_family(path: Path, header: Header) -> str:
    """The family of a checkpoint.

    Raises:
        ModelError: `model.unknown_family`, or what it is instead: `model.is_adapter`, `model.is_vae`, ...
    """
    if detect_kind(header) != "checkpoint":
        raise mistaken(path, header)
    family = recognise(header)
    if family not in MODELS:
        raise mistaken(path, header) if is_folder_part(header) else unknown_family(path)
    return family


def part_config(path: Path, name: str, part: Part, configs: str, header: Header, prefix: str) -> dict[str, Any]:
    """The config of a part: the shipped one, over it what the file shows, over that what its metadata say.

    Args:
        configs: folder below CONFIGS.

    Raises:
        ModelError: `model.bad_shape`.
    """
    config = shipped_config(configs, name)
    try:
        shown = part.sizes(part_shapes(header, prefix))
    except (KeyError, IndexError, ValueError) as error:
        raise bad_shape(path, f"the tensor {error} is missing or has an unusual shape") from error
    return config | believed(config, shown) | said(header, name, config)


def believed(config: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes show, without what the shipped config knows better.

    The shape of a text encoder does not show its heads: the config is believed that describes this very width.
    """
    known = "hidden_size" in config and config["hidden_size"] == shown.get("hidden_size")
    return {key: value for key, value in shown.items() if not (known and key == "num_attention_heads")}


def shipped_config(configs: str, name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / configs / name / "config.json").read_text(encoding="utf-8"))


def said(header: Header, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata say of a part or of the schedule.

    Whoever wrote them can set numbers and words that the config has anyway, nothing else.
    """
    try:
        told = json.loads(header.metadata.get(CONFIGS_KEY, "{}"))[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    plain = (bool, int, float, str, type(None))
    return {
        key: value
        for key, value in (told.items() if isinstance(told, dict) else ())
        if key in known and all(isinstance(each, plain) for each in (value if isinstance(value, list) else [value]))
    }


def read_state(
    path: Path,
    part: Part,
    prefix: str,
    config: Mapping[str, Any],
    wanted: Mapping[str, Size],
    dtype_of: Callable[[str], torch.dtype],
) -> dict[str, Tensor]:
    """The tensors of a part, copied out of the file.

    Args:
        wanted: key of the network -> size.
        dtype_of: key of the network -> number format.

    Raises:
        ModelError: `model.missing_tensors`, `model.bad_shape`.
    """
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        stored = [key.removeprefix(prefix) for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        places = part.keys.find(stored, config)
        if missing := [key for key in wanted if key not in places and key != part.identity]:
            raise ModelError(
                "model.missing_tensors", f"{path.name} lacks {len(missing)} tensors of its {part.title}, first {missing[0]!r}.",
                "A complete checkpoint was expected.", "Download it again.", path=path, count=len(missing), tensor=missing[0],
            )  # fmt: skip
        state = {}
        for key, size in wanted.items():
            if key == part.identity:
                state[key] = torch.eye(*size, dtype=dtype_of(key))
                continue
            try:
                tensor = read_place(file, prefix, places[key], size)
            except ValueError as error:
                raise bad_shape(path, str(error)) from error
            if tuple(tensor.shape) != tuple(size):
                raise bad_shape(path, f"{prefix}{places[key].key} is {tuple(tensor.shape)}, not {tuple(size)}")
            state[key] = tensor.to(dtype_of(key), copy=True).contiguous()
    used = {places[key].key for key in wanted if key != part.identity}
    strange = (key for key in stored if key not in used and not key.endswith(SCALES) and not _UNUSED.fullmatch(key))
    if prefix and (unused := list(strange)):
        log.warning("%s: %d tensors of its %s are not used, first %r.", path.name, len(unused), part.title, unused[0])
    return state


def read_place(file: Any, prefix: str, place: Place, size: Size) -> Tensor:
    """One tensor of an open safetensors file, in the network's shape; of a shared one only its rows are read.

    Raises:
        ValueError: it is in 8 bits with scales that are not known.
    """
    name, rows = prefix + place.key, slice(None)
    if place.share:
        lying = file.get_slice(name)
        start, stop, of = place.share
        share = lying.get_shape()[0] // of
        rows = slice(start * share, stop * share)
        tensor = lying[rows]
    else:
        tensor = file.get_tensor(name)
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = rescaled(file, name, tensor, rows)
    if tensor.dim() == 4 and len(size) == 2 and tuple(tensor.shape[2:]) == (1, 1):
        tensor = tensor[:, :, 0, 0]
    if place.change == "transposed":
        tensor = tensor.T
    if place.change == "swapped":
        tensor = swap_halves(tensor)
    return tensor


def swap_halves(tensor: Tensor) -> Tensor:
    """The second half of the rows first: scale and shift of a modulation stand the other way round."""
    import torch

    first, second = tensor.chunk(2)
    return torch.cat([second, first])


def layer_sizes(part: Part, header: Header, prefix: str, config: Mapping[str, Any]) -> dict[str, Size]:
    """Key of the network -> size, for every tensor of a part, from the header alone."""
    shapes = part_shapes(header, prefix)
    return {key: place.size(shapes[place.key]) for key, place in part.keys.find(shapes, config).items()}


def incomplete(path: Path, model: ModelFormat, missing: Iterable[str]) -> ModelError:
    """What a model lacks, and which files to put where."""
    parts = [(model.parts[name], "vae" if name == "vae" else "text_encoders") for name in missing]
    titles = " and ".join(part.title for part, _ in parts)
    files = ", ".join(f"models/{folder}/{part.file}" for part, folder in parts)
    return ModelError(
        "model.incomplete", f"{path.name} lacks its {titles}.", f"A {model.title} model with all its parts was expected.",
        f"Put the missing parts into the data folder ({files}), or download the full version of this model.",
        path=path.name, missing=titles, files=files,
    )  # fmt: skip


def no_denoiser(path: Path, model: ModelFormat) -> ModelError:
    title = model.parts[model.denoiser].title
    return ModelError(
        "model.no_denoiser", f"{path.name} lacks its {title}, which draws.", f"A {model.title} model was expected.",
        "Download the full version of this model.", path=path.name, missing=title,
    )  # fmt: skip


def bad_shape(path: Path, reason: str) -> ModelError:
    return ModelError(
        "model.bad_shape", f"{path.name} cannot be loaded: {reason}.", "A checkpoint of a known make was expected.",
        "Choose another model.", path=path, reason=reason,
    )  # fmt: skip
