"""Module names of the original latent-diffusion layout and of diffusers, for Stable Diffusion 1.x shaped networks.

Both layouts list the same modules; only the names differ. A map here is made from the diffusers module paths of one network,
whatever its number of levels and layers per block. Pure functions on strings; they know no tensors.

    down level i, resnet or attention j   input_blocks.{n*i+j+1}.{0 or 1}        n = layers_per_block + 1
    downsampler of level i                input_blocks.{n*(i+1)}.0.op
    middle                                middle_block.{0, 1, 2}
    up level i, resnet or attention j     output_blocks.{n*i+j}.{0 or 1}
    upsampler of level i                  output_blocks.{n*i+n-1}.{1, or 2 after an attention}.conv
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_RESNET_PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_PARTS = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.attentions.0": "mid.attn_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_shortcut": "nin_shortcut",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_to_ldm(paths: Iterable[str]) -> dict[str, str]:
    """Diffusers module paths of one U-Net -> its LDM module paths. Containers without a counterpart are left out."""
    paths = list(paths)
    blocks = [re.match(r"down_blocks\.\d+\.(?:resnets|attentions)\.(\d+)", path) for path in paths]
    per_level = max((int(block[1]) for block in blocks if block), default=0) + 2
    attended = {path.split(".")[1] for path in paths if re.match(r"up_blocks\.\d+\.attentions\.", path)}
    names = {path: _unet_name(path, per_level, attended) for path in paths}
    return {path: name for path, name in names.items() if name}


def _unet_name(path: str, n: int, attended: set[str]) -> str | None:
    place, rest = _unet_place(path, n, attended)
    if place is None:
        return None
    if "resnets" in path:
        part = _RESNET_PARTS.get(rest)
        return f"{place}.{part}" if part else None
    return f"{place}.{rest}" if rest else place


def _unet_place(path: str, n: int, attended: set[str]) -> tuple[str | None, str]:
    """The LDM container of a module, and what is left of its path."""
    for start, place in _UNET_ENDS.items():
        if path == start or path.startswith(start + "."):
            return place, path[len(start) + 1 :]
    block = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path)
    if not block:
        return None, ""
    i, kind, j, rest = int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"input_blocks.{n * (i + 1)}.0", "op" if rest == "conv" else rest
    if kind == "upsamplers":
        return f"output_blocks.{n * i + n - 1}.{2 if block[2] in attended else 1}", rest
    slot = 1 if kind == "attentions" else 0
    return (f"input_blocks.{n * i + j + 1}.{slot}" if block[1] == "down" else f"output_blocks.{n * i + j}.{slot}"), rest


_UNET_STARTS = {ldm: diffusers for diffusers, ldm in _UNET_ENDS.items()}
_RESNET_NAMES = {ldm: diffusers for diffusers, ldm in _RESNET_PARTS.items()}


def unet_from_ldm(paths: Iterable[str], layers_per_block: int) -> dict[str, str]:
    """LDM paths of modules that have weights -> diffusers paths, the other way round. Strange ones are left out."""
    names = {path: _diffusers_name(path, layers_per_block + 1) for path in paths}
    return {path: name for path, name in names.items() if name}


def _diffusers_name(path: str, n: int) -> str | None:
    for start, place in _UNET_STARTS.items():
        if path == start:
            return place
        if path.startswith(start + "."):
            return _inside(place, path[len(start) + 1 :])
    block = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", path)
    if not block:
        return None
    down, number, slot, rest = block[1] == "input", int(block[2]), int(block[3]), block[4]
    level, layer = divmod(number - down, n)
    place = f"{'down' if down else 'up'}_blocks.{level}"
    if down and layer == n - 1:
        return f"{place}.downsamplers.0.conv"
    if rest == "conv":
        return f"{place}.upsamplers.0.conv"
    return _inside(f"{place}.{'attentions' if slot else 'resnets'}.{layer}", rest)


def _inside(place: str, rest: str) -> str | None:
    if ".resnets." not in place:
        return f"{place}.{rest}"
    return f"{place}.{_RESNET_NAMES[rest]}" if rest in _RESNET_NAMES else None


def vae_to_ldm(paths: Iterable[str]) -> dict[str, str]:
    """Diffusers module paths of one AutoencoderKL -> its LDM module paths."""
    paths = list(paths)
    levels = 1 + max((int(level) for path in paths for level in re.findall(r"up_blocks\.(\d+)", path)), default=0)
    return {path: _vae_name(path, levels) for path in paths}


def _vae_name(path: str, levels: int) -> str:
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", path)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda found: f"up.{levels - 1 - int(found[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{levels - 1 - int(found[1])}.upsample", name)
    for diffusers, ldm in _VAE_PARTS.items():
        name = name.replace(diffusers, ldm)
    if ".attn_1." in name:
        head, part = name.split(".attn_1.")
        name = f"{head}.attn_1.{_VAE_ATTENTION.get(part, part)}"
    return name


_VAE_OWN = {ldm: own for own, ldm in _VAE_PARTS.items()}
_VAE_OWN_ATTENTION = {ldm: own for own, ldm in _VAE_ATTENTION.items()}


def vae_from_ldm(path: str, levels: int) -> str:
    """The diffusers path of a module of a VAE with so many levels, from its LDM path."""
    name = re.sub(r"\bdown\.(\d+)\.block\.", r"down_blocks.\1.resnets.", path)
    name = re.sub(r"\bdown\.(\d+)\.downsample", r"down_blocks.\1.downsamplers.0", name)
    name = re.sub(r"\bup\.(\d+)\.block\.", lambda found: f"up_blocks.{levels - 1 - int(found[1])}.resnets.", name)
    name = re.sub(r"\bup\.(\d+)\.upsample", lambda found: f"up_blocks.{levels - 1 - int(found[1])}.upsamplers.0", name)
    if ".attn_1." in name:
        head, part = name.split(".attn_1.")
        name = f"{head}.attn_1.{_VAE_OWN_ATTENTION.get(part, part)}"
    for ldm, own in _VAE_OWN.items():
        name = name.replace(ldm, own)
    return name
