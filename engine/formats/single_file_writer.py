"""Writing a base model as one `.safetensors` file that AUTOMATIC1111, ComfyUI and diffusers read.

Every tensor is made when its turn comes; q, k and v that the file has as one are joined then. What a reader would not know from
shapes and from the configs that ship stands in the metadata.

Stable Diffusion 2.x: published files have the 24th block of OpenCLIP-H, `text_projection` and `logit_scale`. The model was trained
on what the 23rd gives, so diffusers leaves them out, and a file written from its 23 blocks lacks them. diffusers and sd-scripts
skip that block when they load; AUTOMATIC1111 and ComfyUI build it, accept that it is missing, and stop before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.layers import Size
from engine.errors import ModelError
from engine.formats.layouts.stored import Place
from engine.formats.lazy_tensor import LazyTensor, torch_dtype
from engine.formats.models.base import CONFIGS, Part, Prediction
from engine.formats.safetensors_writer import Watch, write_lazily
from engine.formats.single_file import CONFIGS_KEY, SCHEDULE, believed, shipped_config, swap_halves
from engine.formats.whole_model import PartState, WholeModel

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_single_file(
    path: Path | str,
    family: str,
    parts: Mapping[str, nn.Module],
    variant: str,
    prediction: Prediction,
    resolution: int,
    metadata: Mapping[str, str] | None = None,
    zero_terminal_snr: bool = False,
) -> None:
    """Write a model that is in memory, its parts at their number formats. Arguments and errors as those of `write_model_file`."""
    schedule = {"rescale_betas_zero_snr": True} if zero_terminal_snr else {}
    states = {name: PartState.of(network) for name, network in parts.items()}
    write_model_file(Path(path), WholeModel(family, variant, prediction, resolution, states, schedule), metadata or {})


def write_model_file(
    path: Path, model: WholeModel, metadata: Mapping[str, str], on_tensor: Watch = lambda done, total: None
) -> None:
    """Args:
        metadata: stand over the card that is made of the model.

    Raises:
        ModelError: `model.not_finite`, `model.not_identity`, `file.write_failed`.
    """
    tensors: dict[str, LazyTensor] = {}
    said = {}
    for name, state in model.parts.items():
        part = model.format.parts[name]
        own = stored_tensors(part, state.tensors, state.config)
        tensors |= {part.prefixes[0] + key: tensor for key, tensor in own.items()}
        shown = part.sizes({key: tensor.shape for key, tensor in own.items()})
        said[name] = _unsaid(shipped_config(model.about.configs, name), shown, state.config)
    schedule = {key: value for key, value in model.schedule.items() if key != "prediction_type"}
    said[SCHEDULE] = _unsaid(_shipped_schedule(model.about.configs), {}, schedule)
    zero_terminal_snr = bool(model.schedule.get("rescale_betas_zero_snr"))
    tensors |= _markers(v_pred=model.prediction == "v_prediction", ztsnr=zero_terminal_snr)
    write_lazily(path, tensors, card(model) | _configs(said) | dict(metadata), on_tensor)


def card(model: WholeModel) -> dict[str, str]:
    """What the model is, in the words of the Stability AI Model Metadata Standard."""
    card = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": model.about.architecture,
        "modelspec.resolution": f"{model.resolution}x{model.resolution}",
    }
    if model.prediction != "flow":
        card["modelspec.prediction_type"] = "v" if model.prediction == "v_prediction" else model.prediction
    return card


def _shipped_schedule(configs: str) -> dict[str, Any]:
    schedule = json.loads((CONFIGS / configs / SCHEDULE / "scheduler_config.json").read_text(encoding="utf-8"))
    return {"timestep_spacing": None, **schedule}


def _configs(said: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    told = {name: each for name, each in said.items() if each}
    return {CONFIGS_KEY: json.dumps(told)} if told else {}


def _markers(**markers: bool) -> dict[str, LazyTensor]:
    """Tensors of nothing whose names say something; trainers of v-prediction models began it."""
    import torch

    return {name: LazyTensor("F32", (0,), lambda: torch.empty(0)) for name, holds in markers.items() if holds}


def stored_tensors(part: Part, state: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> dict[str, LazyTensor]:
    """A part's tensors as a single file has them, by their names there without prefix: `read_state` the other way round.

    Raises:
        ModelError: `model.not_identity`.
    """
    _check_identity(part, state)
    shares: dict[str, dict[int, tuple[Place, LazyTensor]]] = {}
    for key, place in part.keys.places((key for key in state if key != part.identity), config).items():
        shares.setdefault(place.key, {})[place.share[0] if place.share else 0] = (place, state[key])
    return {key: _joined([found[start] for start in sorted(found)]) for key, found in shares.items()}


def _joined(pieces: Sequence[tuple[Place, LazyTensor]]) -> LazyTensor:
    """Tensors of the network one upon the other, each as the file has it."""
    formats = {tensor.dtype for _, tensor in pieces}
    dtype = formats.pop() if len(formats) == 1 else "F32"
    sizes = [_stored_size(place, tensor.shape) for place, tensor in pieces]
    shape = sizes[0] if len(sizes) == 1 else (sum(size[0] for size in sizes), *sizes[0][1:])

    def read() -> Tensor:
        import torch

        tensors = [_laid(place, tensor.read()).to(torch_dtype(dtype)) for place, tensor in pieces]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    return LazyTensor(dtype, shape, read)


def _stored_size(place: Place, size: Size) -> Size:
    if place.change == "convolution" and len(size) == 2:
        return (*size, 1, 1)
    return size[::-1] if place.change == "transposed" else size


def _laid(place: Place, tensor: Tensor) -> Tensor:
    """A tensor of the network as the file has it."""
    if place.change == "convolution" and tensor.dim() == 2:
        return tensor[:, :, None, None]
    if place.change == "transposed":
        return tensor.T
    return swap_halves(tensor) if place.change == "swapped" else tensor


def _check_identity(part: Part, state: Mapping[str, LazyTensor]) -> None:
    import torch

    if part.identity and not torch.equal(state[part.identity].read().cpu().float(), torch.eye(*state[part.identity].shape)):
        raise ModelError(
            "model.not_identity", f"{part.identity} of the {part.title} is not the identity, for which alone single files have a place.",
            "A model whose matrix is the identity, as it was published.", "Save it as a diffusers folder.",
            part=part.title, tensor=part.identity,
        )  # fmt: skip


def _unsaid(shipped: Mapping[str, Any], shown: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config a reader would not know, who has the shipped one and what shapes have `shown`."""
    guessed = json.loads(json.dumps({**shipped, **believed(shipped, shown)}))
    plain = json.loads(json.dumps({key: config[key] for key in shipped if key in config and key[0] != "_"}, default=str))
    return {key: value for key, value in plain.items() if value != guessed[key]}
