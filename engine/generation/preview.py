"""What a picture on its way looks like, for a thousandth of the VAE's work.

Colours are nearly linear in latents: a matrix from a latent to the colour behind it is fitted for each VAE, by least squares, to
drawn pictures that the VAE itself encodes. Where a tiny autoencoder for the family lies in `models/vae_approx` (TAESD by Ollin
Boer Bohan: "taesd", "taesdxl", "taesd3", "taef1"), its decoder takes the matrix's place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import ModelError
from engine.families.base import Family
from engine.workspace import Workspace

Preview = Callable[[Tensor], Tensor]
"""Latents (B, C, h, w) -> what they look like, (B, 3, h', w') in [0, 1] on the CPU."""
TAESD = {"sd1": "taesd", "sd2": "taesd", "sdxl": "taesdxl", "sd3": "taesd3", "flux": "taef1", "z_image": "taef1"}
"""Family -> what the tiny autoencoder for its latents is called; Z-Image has FLUX's."""
TAESD_WEIGHTS = "diffusion_pytorch_model.safetensors"
SIDE, FIELDS = 128, 4
"""Size in px and number of the pictures that a matrix is fitted to."""

_fitted: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


def make_preview(model: Family, taesd: Path | None = None) -> Preview:
    """How latents of this model are shown.

    Args:
        taesd: of `find_taesd`.

    Raises:
        ModelError: `preview.unreadable`.
    """
    if taesd:
        decoder = load_taesd(taesd, model.latent_shape(SIDE, SIDE)[0]).to(model.device, model.vae.dtype)
        return lambda latents: (decoder(latents.to(model.vae.dtype)).float() / 2 + 0.5).clamp(0, 1).cpu()
    matrix = colour_matrix(model)
    return lambda latents: colours(latents.float(), matrix).cpu()


def colours(latents: Tensor, matrix: Tensor) -> Tensor:
    """The colours (B, 3, h, w) in [0, 1] behind latents (B, C, h, w), by a matrix (C + 1, 3) whose last row is added."""
    mixed = torch.einsum("bchw,ck->bkhw", latents, matrix[:-1]) + matrix[-1][:, None, None]
    return mixed.clamp(0, 1)


def colour_matrix(model: Family) -> Tensor:
    """The matrix (C + 1, 3) that fits the model's VAE best, on its device; fitted once for each VAE."""
    if model.vae not in _fitted:
        pictures = drawn_fields()
        with model.on_device("vae"):
            latents = torch.cat([model.encode_latents(picture[None] * 2 - 1).cpu() for picture in pictures])
        shown = F.adaptive_avg_pool2d(pictures, latents.shape[-2:])
        inputs = F.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        _fitted[model.vae] = torch.linalg.lstsq(inputs.double(), shown.movedim(1, -1).flatten(0, 2).double()).solution.float()
    return _fitted[model.vae].to(model.device)


def drawn_fields() -> Tensor:
    """Pictures (FIELDS, 3, SIDE, SIDE) in [0, 1], always the same: soft fields of colour with flat rectangles on them."""
    generator = torch.Generator().manual_seed(0)
    pictures = F.interpolate(torch.rand(FIELDS, 3, 4, 4, generator=generator), (SIDE, SIDE), mode="bilinear")
    for picture in pictures:
        for _ in range(8):
            top, left = torch.randint(SIDE, (2,), generator=generator).tolist()
            height, width = torch.randint(SIDE // 8, SIDE // 2, (2,), generator=generator).tolist()
            picture[:, top : top + height, left : left + width] = torch.rand(3, 1, 1, generator=generator)
    return pictures


def find_taesd(family: str, workspace: Workspace) -> Path | None:
    """The tiny autoencoder for a family's latents, if there is one: a folder of diffusers, or a `.safetensors` file of the whole
    or of its decoder."""
    folder, name = workspace.root / "models" / "vae_approx", TAESD.get(family, "")
    places = [folder / name / TAESD_WEIGHTS, folder / f"{name}_decoder.safetensors", folder / f"{name}.safetensors"]
    return next((place for place in places if name and place.is_file()), None)


def load_taesd(file: Path, channels: int) -> nn.Module:
    """The decoder of a tiny autoencoder: latents (B, channels, h, w) -> pictures (B, 3, H, W) in [-1, 1].

    Its tensors are called as diffusers does, or by their place in the decoder of the original, which counts its clamp too.

    Raises:
        ModelError: `preview.unreadable`.
    """
    try:
        tensors = load_file(file)
        if any(key.startswith("decoder.") for key in tensors):
            named = {key.removeprefix("decoder."): each for key, each in tensors.items() if key.startswith("decoder.")}
        else:
            named = {f"layers.{int(place) - 1}.{rest}": each for place, rest, each in _by_place(tensors)}
        width = len(named["layers.0.bias"])
        tiny = AutoencoderTiny(
            latent_channels=channels, decoder_block_out_channels=(width,) * 4, encoder_block_out_channels=(8,) * 4
        )
        tiny.decoder.load_state_dict(named)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            "preview.unreadable", f"{file.name} is no tiny autoencoder for this model.",
            f"The decoder of TAESD for latents of {channels} channels.", "Take it out of models/vae_approx, or replace it.",
            path=file, channels=channels,
        ) from error  # fmt: skip
    return tiny.decoder.eval().requires_grad_(False)


def _by_place(tensors: dict[str, Tensor]) -> list[tuple[str, str, Tensor]]:
    """ "3.conv.0.weight" -> ("3", "conv.0.weight", tensor)."""
    return [(*key.partition(".")[::2], tensor) for key, tensor in tensors.items()]
