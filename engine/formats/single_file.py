"""Base models as one `.safetensors` file: which parts it holds, their configs, their tensors, and writing one.

Reading never needs the network: sizes come from the tensors' shapes, everything else from small config files that ship. What
neither tells, of unusual sizes, stands in the metadata of files written here. Knows nothing of training or sampling.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.layers import Size
from engine.errors import ModelError
from engine.formats.kinds import detect_kind, recognise
from engine.formats.layouts.stored import Place
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS, ModelFormat, Part, Shapes
from engine.formats.safetensors_header import Header

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CONFIGS_KEY = "lora_atelier.configs"
"""Metadata key: part -> what neither its shapes nor the shipped config tell, JSON."""
_UNUSED = re.compile(
    r"(text_model\.)?embeddings\.position_ids|(.*\.)?(text_projection|logit_scale)(\.weight)?|loss\..*|.*model_ema.*"
    r"|attn_mask|transformer\.resblocks\.23\..*"  # the block of OpenCLIP-H that Stable Diffusion 2.x does not use
)
"""Tensors that checkpoints carry along and no part reads."""

log = logging.getLogger(__name__)


def part_shapes(header: Header, prefix: str) -> Shapes:
    """Shapes of a part's tensors by their names behind the prefix."""
    return {key.removeprefix(prefix): info.shape for key, info in header.tensors.items() if key.startswith(prefix)}


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
        ModelError: `model.is_adapter`, `model.not_a_checkpoint`, `model.unknown_family`.
    """
    kind, family = detect_kind(header), recognise(header)
    if kind == "adapter":
        raise ModelError(
            "model.is_adapter", f"{path.name} is a LoRA, not a base model.", "A checkpoint was expected.",
            "Put it into the LoRA folder and use it in a prompt: <lora:name:0.8>.", path=path,
        )  # fmt: skip
    if kind != "checkpoint":
        raise ModelError(
            "model.not_a_checkpoint", f"{path.name} holds no image model ({kind}).", "A checkpoint was expected.",
            "Choose another file.", path=path, kind=kind,
        )  # fmt: skip
    if family not in MODELS:
        raise ModelError(
            "model.unknown_family", f"{path.name} is an image model of a family that is not known.",
            f"One of: {', '.join(each.title for each in MODELS.values())}.", "Choose another model.", path=path,
        )  # fmt: skip
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
    if config.get("hidden_size") == shown.get("hidden_size"):
        # The shape of a text encoder does not show its heads: believe the config that describes this very width.
        shown.pop("num_attention_heads", None)
    return config | shown | _said(header, name, config)


def shipped_config(configs: str, name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / configs / name / "config.json").read_text(encoding="utf-8"))


def _said(header: Header, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata say of a part. Whoever wrote them can set numbers and words that the config has anyway, nothing else."""
    try:
        said = json.loads(header.metadata.get(CONFIGS_KEY, "{}"))[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    plain = (bool, int, float, str, type(None))
    return {
        key: value
        for key, value in (said.items() if isinstance(said, dict) else ())
        if key in known and all(isinstance(each, plain) for each in (value if isinstance(value, list) else [value]))
    }


def read_state(
    path: Path, part: Part, prefix: str, config: Mapping[str, Any], wanted: Mapping[str, Size], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The tensors of a part, copied out of the file.

    Args:
        wanted: key of the network -> size.

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
                state[key] = torch.eye(*size, dtype=dtype)
                continue
            tensor = read_place(file, prefix, places[key], size)
            if tuple(tensor.shape) != tuple(size):
                raise bad_shape(path, f"{prefix}{places[key].key} is {tuple(tensor.shape)}, not {tuple(size)}")
            state[key] = tensor.to(dtype, copy=True).contiguous()
    used = {places[key].key for key in wanted if key != part.identity}
    if prefix and (unused := [key for key in stored if key not in used and not _UNUSED.fullmatch(key)]):
        log.warning("%s: %d tensors of its %s are not used, first %r.", path.name, len(unused), part.title, unused[0])
    return state


def read_place(file: Any, prefix: str, place: Place, size: Size) -> Tensor:
    """One tensor of an open safetensors file, in the network's shape; of a shared one only its rows are read."""
    name = prefix + place.key
    if place.share:
        lying = file.get_slice(name)
        start, stop, of = place.share
        rows = lying.get_shape()[0] // of
        tensor = lying[start * rows : stop * rows]
    else:
        tensor = file.get_tensor(name)
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


def stored_tensors(part: Part, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A part's tensors as a single file has them, by their names there without prefix: `read_state` the other way round.

    Raises:
        ModelError: `model.not_identity`.
    """
    import torch

    _check_identity(part, state)
    shares: dict[str, dict[int, Tensor]] = {}
    for key, place in part.keys.places((key for key in state if key != part.identity), config).items():
        tensor = state[key]
        if place.change == "convolution" and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]
        if place.change == "transposed":
            tensor = tensor.T
        if place.change == "swapped":
            tensor = swap_halves(tensor)
        shares.setdefault(place.key, {})[place.share[0] if place.share else 0] = tensor
    joined = {key: [found[start] for start in sorted(found)] for key, found in shares.items()}
    return {key: (tensors[0] if len(tensors) == 1 else torch.cat(tensors)).contiguous() for key, tensors in joined.items()}


def _check_identity(part: Part, state: Mapping[str, Tensor]) -> None:
    import torch

    if part.identity and not torch.equal(state[part.identity].cpu().float(), torch.eye(*state[part.identity].shape)):
        raise ModelError(
            "model.not_identity", f"{part.identity} of the {part.title} is not the identity, for which alone single files have a place.",
            "A model whose matrix is the identity, as it was published.", "Save it as a diffusers folder.",
            part=part.title, tensor=part.identity,
        )  # fmt: skip


def write_single_file(
    path: Path | str,
    family: str,
    parts: Mapping[str, nn.Module],
    variant: str,
    prediction: str,
    resolution: int,
    metadata: Mapping[str, str] | None = None,
    zero_terminal_snr: bool = False,
) -> None:
    """Write a model's parts at their number formats as a checkpoint that AUTOMATIC1111, ComfyUI and diffusers read.

    Args:
        parts: name -> network.
        prediction: "epsilon", "v_prediction" or "flow".
        resolution: side of the square it was made for, px.
        zero_terminal_snr: whether the last noise level is pure noise (`rescale_betas_zero_snr` of its schedule).

    Raises:
        ModelError: `model.not_finite`, `model.not_identity`, `file.write_failed`.
    """
    import torch

    from engine.formats.adapter_file import find_not_finite
    from engine.formats.safetensors_writer import write_safetensors

    path, model = Path(path), MODELS[family]
    tensors: dict[str, Tensor] = {}
    said = {}
    for name, network in parts.items():
        part = model.parts[name]
        config = network.config.to_dict() if hasattr(network.config, "to_dict") else dict(network.config)  # type: ignore[union-attr]
        own = stored_tensors(part, network.state_dict(), config)
        tensors |= {part.prefixes[0] + key: tensor for key, tensor in own.items()}
        said[name] = _unsaid(part, name, model.variants[variant].configs, config, own)
    markers = {"v_pred": prediction == "v_prediction", "ztsnr": zero_terminal_snr}
    tensors |= {name: torch.empty(0) for name, holds in markers.items() if holds}
    if broken := find_not_finite(tensors):
        raise ModelError(
            "model.not_finite", f"Tensor {broken!r} holds NaN or infinity; {path.name} was not written.",
            "Finite numbers were expected.", "The training diverged: go back to an earlier checkpoint.", path=path, tensor=broken,
        )  # fmt: skip
    card = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": model.variants[variant].architecture,
        "modelspec.resolution": f"{resolution}x{resolution}",
    }
    if prediction != "flow":
        card["modelspec.prediction_type"] = "v" if prediction == "v_prediction" else prediction
    if any(said.values()):
        card[CONFIGS_KEY] = json.dumps({name: each for name, each in said.items() if each})
    write_safetensors(path, tensors, card | dict(metadata or {}))


def _unsaid(part: Part, name: str, configs: str, config: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """What of a network's config a reader would not know."""
    shipped = shipped_config(configs, name)
    shown = part.sizes({key: tuple(tensor.shape) for key, tensor in own.items()})
    if shipped.get("hidden_size") == shown.get("hidden_size"):
        shown.pop("num_attention_heads", None)
    guessed = json.loads(json.dumps(shipped | shown))
    plain = json.loads(json.dumps({key: config[key] for key in shipped if key in config and key[0] != "_"}, default=str))
    return {key: value for key, value in plain.items() if value != guessed[key]}


def layer_sizes(part: Part, header: Header, prefix: str, config: Mapping[str, Any]) -> dict[str, Size]:
    """Key of the network -> size, for every tensor of a part, from the header alone."""
    shapes = part_shapes(header, prefix)
    return {key: place.size(shapes[place.key]) for key, place in part.keys.find(shapes, config).items()}


def incomplete(path: Path, model: ModelFormat, missing: Iterable[str]) -> ModelError:
    titles = " and ".join(model.parts[name].title for name in missing)
    return ModelError(
        "model.incomplete", f"{path.name} lacks its {titles}.", f"A {model.title} model with all its parts was expected.",
        "Download the full version of this model, or put the missing parts beside it.", path=path, missing=titles,
    )  # fmt: skip


def bad_shape(path: Path, reason: str) -> ModelError:
    return ModelError(
        "model.bad_shape", f"{path.name} cannot be loaded: {reason}.", "A checkpoint of a known make was expected.",
        "Choose another model.", path=path, reason=reason,
    )  # fmt: skip
