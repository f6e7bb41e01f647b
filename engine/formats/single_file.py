"""Stable Diffusion 1.x checkpoints as one `.safetensors` file in the original latent-diffusion layout.

Loading never needs the network: sizes come from the tensors' shapes, everything else from small config files. Knows nothing
of training or sampling.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError
from engine.formats.checkpoint_shapes import (
    PREFIXES,
    architecture_from_header,
    component_shapes,
    prediction_type_from_header,
    resolution_from_header,
)
from engine.formats.kinds import detect_kind, recognise
from engine.formats.ldm_names import text_encoder_to_ldm, unet_to_ldm, vae_to_ldm
from engine.formats.safetensors_header import Header, read_header
from engine.formats.tokenizer_files import find_tokenizer

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

SD1_CONFIGS = Path(__file__).parent.parent / "families" / "configs" / "sd1"
"""The public sizes and constants of Stable Diffusion 1.5."""

_COMPONENT_NAMES = {"unet": "U-Net", "vae": "VAE", "text_encoder": "text encoder"}
_MAPS = {"unet": unet_to_ldm, "vae": vae_to_ldm, "text_encoder": text_encoder_to_ldm}
_UNUSED = ("embeddings.position_ids", "text_projection", "logit_scale", "loss.")
"""Tensors that checkpoints carry along and no part of the pipeline reads."""

log = logging.getLogger(__name__)


def ldm_keys(component: str, keys: Iterable[str]) -> dict[str, str]:
    """State-dict keys of a diffusers or transformers component -> keys in a single file, prefix included.

    Raises:
        KeyError: a key of a module that Stable Diffusion 1.x does not have.
    """
    split = {key: key.rpartition(".") for key in keys}
    modules = _MAPS[component]({module for module, _, _ in split.values()})
    return {key: f"{PREFIXES[component]}{modules[module]}.{leaf}" for key, (module, _, leaf) in split.items()}


def write_single_file(
    path: Path | str,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    prediction_type: str = "epsilon",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a pipeline's parts at their dtypes as a checkpoint that AUTOMATIC1111, ComfyUI and diffusers read.

    Args:
        prediction_type: "epsilon" or "v_prediction", as in the scheduler's config.

    Raises:
        ModelError: `model.not_finite`, `file.write_failed`.
    """
    from engine.formats.adapter_file import find_not_finite
    from engine.formats.safetensors_writer import write_safetensors

    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    for component, model in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        state = model.state_dict()
        for key, name in ldm_keys(component, state).items():
            # The original VAE computes its attention with 1x1 convolutions.
            as_convolution = component == "vae" and ".attn_1." in name and state[key].dim() == 2
            tensors[name] = state[key][:, :, None, None] if as_convolution else state[key]
    if broken := find_not_finite(tensors):
        raise ModelError(
            "model.not_finite",
            f"Tensor {broken!r} holds NaN or infinity; {path.name} was not written.",
            "Finite numbers were expected.",
            "The training diverged: go back to an earlier checkpoint.",
            path=path,
            tensor=broken,
        )
    side = int(unet.config["sample_size"]) * 2 ** (len(vae.config["block_out_channels"]) - 1)
    card = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1",
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "v" if prediction_type == "v_prediction" else prediction_type,
    }
    write_safetensors(path, tensors, card | (metadata or {}))


def check_sd1_checkpoint(path: Path, header: Header) -> None:
    """Refuse what is not a whole Stable Diffusion 1.x checkpoint, saying what it is instead.

    Raises:
        ModelError: `model.is_adapter`, `model.not_a_checkpoint`, `model.wrong_family`, `model.incomplete`.
    """
    kind, family = detect_kind(header), recognise(header)
    if kind == "adapter":
        raise ModelError(
            "model.is_adapter",
            f"{path.name} is a LoRA, not a base model.",
            "A checkpoint was expected.",
            "Put it into the LoRA folder and use it in a prompt: <lora:name:0.8>.",
            path=path,
        )
    if family and family != "sd1":
        raise ModelError(
            "model.wrong_family",
            f"{path.name} is a {family} model.",
            "A Stable Diffusion 1.x checkpoint was expected.",
            "Choose a Stable Diffusion 1.x model.",
            path=path,
            family=family,
        )
    missing = [name for component, name in _COMPONENT_NAMES.items() if not component_shapes(header, component)]
    if kind != "checkpoint":
        raise ModelError(
            "model.not_a_checkpoint",
            f"{path.name} holds no image model ({kind}).",
            "A Stable Diffusion 1.x checkpoint was expected.",
            "Choose another file.",
            path=path,
            kind=kind,
        )
    if missing:
        raise ModelError(
            "model.incomplete",
            f"{path.name} lacks its {' and '.join(missing)}.",
            "A checkpoint with U-Net, VAE and text encoder was expected.",
            "Download the full version of this model.",
            path=path,
            missing=", ".join(missing),
        )


def read_architecture(path: Path, header: Header) -> dict[str, dict[str, Any]]:
    """The sizes of a checkpoint's components, as overrides of their configs.

    Raises:
        ModelError: `model.bad_shape`.
    """
    try:
        return architecture_from_header(header)
    except (KeyError, IndexError, ValueError) as error:
        raise _bad_shape(path, f"the tensor {error} is missing or has an unusual shape") from error


def load_components(
    path: Path | str, config_folder: Path | str | None = None, dtype: torch.dtype | None = None, offline: bool = False
) -> dict[str, Any]:
    """Load a checkpoint as the parts of a StableDiffusionPipeline, in evaluation mode on the CPU, copied out of the file.

    Args:
        config_folder: a diffusers folder of configs (weights not needed); by default Stable Diffusion 1.5's. What the file
            shows takes precedence over it: sizes of tensors, and the prediction type and resolution on its model card.
        dtype: of all weights; float32 when None.
        offline: do not ask the hub for the tokenizer.

    Returns:
        "tokenizer", "text_encoder", "unet", "vae", "scheduler" (DDIM with the model's noise schedule).

    Raises:
        ModelError: codes `file.*`; those of `check_sd1_checkpoint`; `model.bad_shape`, `model.missing_tensors`,
            `model.no_tokenizer`.
    """
    import torch
    from diffusers import DDIMScheduler

    path, folder = Path(path), Path(config_folder or SD1_CONFIGS)
    header = read_header(path)
    check_sd1_checkpoint(path, header)
    configs = component_configs(path, folder, header)
    tokenizer = find_tokenizer(path, folder, configs["text_encoder"]["vocab_size"], offline)
    configs["text_encoder"] |= {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    if stated := prediction_type_from_header(header):
        scheduler["prediction_type"] = stated
    parts = {component: _load(path, component, config, dtype or torch.float32) for component, config in configs.items()}
    return {"tokenizer": tokenizer, **parts, "scheduler": DDIMScheduler.from_config(scheduler)}


def empty_components(path: Path) -> dict[str, Any]:
    """ "unet" and "text_encoder" of a checkpoint as they would be loaded, but without weights (on the meta device).

    Raises:
        ModelError: as `load_components`, as far as the header tells.
    """
    header = read_header(path)
    check_sd1_checkpoint(path, header)
    configs = component_configs(path, SD1_CONFIGS, header)
    try:
        return {component: build_empty(component, configs[component]) for component in ("unet", "text_encoder")}
    except ValueError as error:
        raise _bad_shape(path, str(error)) from error


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def component_configs(path: Path, folder: Path, header: Header) -> dict[str, dict[str, Any]]:
    """Component -> its config: that of `folder`, and over it what the file shows.

    Raises:
        ModelError: `model.bad_shape`.
    """
    configs = {}
    for component, overrides in read_architecture(path, header).items():
        config = _read_json(folder / component / "config.json")
        if component == "text_encoder" and config["hidden_size"] == overrides["hidden_size"]:
            # The shape of a text encoder does not show its heads: believe the config that describes this very width.
            overrides.pop("num_attention_heads")
        configs[component] = config | overrides
    if side := resolution_from_header(header):
        configs["unet"]["sample_size"] = side // 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
        configs["vae"]["sample_size"] = side
    return configs


def build_empty(component: str, config: dict[str, Any]) -> Any:
    """A component without weights: parameters on the meta device, buffers real."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with init_empty_weights(include_buffers=False):
        if component == "text_encoder":
            return CLIPTextModel(CLIPTextConfig(**config))
        return (UNet2DConditionModel if component == "unet" else AutoencoderKL).from_config(config)


def _load(path: Path, component: str, config: dict[str, Any], dtype: torch.dtype) -> Any:
    from safetensors import safe_open

    try:
        model = build_empty(component, config)
    except ValueError as error:
        raise _bad_shape(path, str(error)) from error
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        names = {_canonical(key): key for key in keys if key.startswith(PREFIXES[component])}
        wanted = {key: names.pop(name, None) for key, name in ldm_keys(component, model.state_dict()).items()}
        if missing := [key for key, stored in wanted.items() if stored is None]:
            raise ModelError(
                "model.missing_tensors",
                f"{path.name} lacks {len(missing)} tensors of its {_COMPONENT_NAMES[component]}, first {missing[0]!r}.",
                "A complete checkpoint was expected.",
                "Download it again.",
                path=path,
                count=len(missing),
                tensor=missing[0],
            )
        state = {}
        for key, empty in model.state_dict().items():
            tensor = file.get_tensor(wanted[key])
            if tensor.dim() == 4 and empty.dim() == 2 and tensor.shape[2:] == (1, 1):
                tensor = tensor[:, :, 0, 0]
            if tensor.shape != empty.shape:
                raise _bad_shape(path, f"{wanted[key]} is {tuple(tensor.shape)}, not {tuple(empty.shape)}")
            state[key] = tensor.to(dtype, copy=True).contiguous()
    unused = [
        name for name in names if not name.removeprefix(PREFIXES[component]).removeprefix("text_model.").startswith(_UNUSED)
    ]
    if unused:
        log.warning(
            "%s: %d tensors of the %s are not used, first %s", path.name, len(unused), _COMPONENT_NAMES[component], unused[0]
        )
    model.load_state_dict(state, assign=True)
    return model.eval()


def _canonical(key: str) -> str:
    """Some merges dropped the text encoder's `text_model` level."""
    prefix = PREFIXES["text_encoder"]
    return f"{prefix}text_model.{key.removeprefix(prefix).removeprefix('text_model.')}" if key.startswith(prefix) else key


def _bad_shape(path: Path, reason: str) -> ModelError:
    return ModelError(
        "model.bad_shape",
        f"{path.name} does not have the shape of a Stable Diffusion 1.x model: {reason}.",
        "The layout of Stable Diffusion 1.x was expected.",
        "Choose another checkpoint.",
        path=path,
        reason=reason,
    )
