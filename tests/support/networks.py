"""Single networks of every kind, tiny and random, with inputs, and adapters that learn in them."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from engine.adapters import ADAPTERS
from engine.adapters.base import LayerShape
from engine.adapters.beside import Beside, Entry
from engine.adapters.layers import base_tensors
from engine.config.adapter import LohaOptions, LoraOptions
from engine.families.parts import part_class
from engine.formats.models.base import CONFIGS
from engine.tiny.pipeline import fill
from engine.tiny.sizes import SIZES

KINDS = {
    "unet": ("sd1", "sd1", "unet"),
    "unet of SDXL": ("sdxl", "sdxl", "unet"),
    "sd3": ("sd3", "sd35_medium", "transformer"),
    "flux": ("flux", "flux_dev", "transformer"),
    "z_image": ("z_image", "z_image", "transformer"),
    "clip": ("sd1", "sd1", "text_encoder"),
    "t5": ("flux", "flux_dev", "text_encoder_2"),
    "qwen3": ("z_image", "z_image", "text_encoder"),
}
"""Kind of network -> family, folder of configs, part."""
DENOISERS = [kind for kind in KINDS if KINDS[kind][2] in ("unet", "transformer")]


def network(kind: str, published: bool = False) -> Any:
    """A frozen network; `published` is its real size, for the meta device."""
    family, folder, part = KINDS[kind]
    config = json.loads((CONFIGS / folder / part / "config.json").read_text(encoding="utf-8"))
    if not published:
        config |= SIZES[family][part]
        if config.get("dual_attention_layers"):
            config["dual_attention_layers"] = [0]
    made = part_class(config.get("model_type", kind).partition("_")[0] if part.startswith("text") else kind.partition(" ")[0])
    network = made(made.config_class(**config)) if part.startswith("text") else made.from_config(config)
    return network.eval().requires_grad_(False) if published else fill(network, "0").requires_grad_(False)


def predict(kind: str, part: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a network gives for inputs that are always the same."""
    generator = torch.Generator().manual_seed(3)

    def noise(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    times = torch.tensor([100.0, 700.0])
    if kind == "unet":
        return part(noise(2, 4, 8, 8), times, noise(2, 7, 32)).sample
    if kind == "unet of SDXL":
        sizes = {"text_embeds": noise(2, 64), "time_ids": torch.full((2, 6), 64)}
        return part(noise(2, 4, 8, 8), times, noise(2, 7, 96), added_cond_kwargs=sizes).sample
    if kind == "sd3":
        return part(noise(2, 16, 8, 8), noise(2, 7, 96), noise(2, 96), times).sample
    if kind == "flux":
        ids = torch.zeros(16, 3), torch.zeros(7, 3)
        words, pooled, pictures = noise(2, 7, 96), noise(2, 32), noise(2, 16, 64)
        return part(pictures, words, pooled, times / 1000, *ids, guidance=torch.full((2,), 3.5)).sample
    if kind == "z_image":
        pictures, words = noise(2, 16, 1, 8, 8), noise(2, 7, 64)
        return torch.stack(part(list(pictures), times / 1000, list(words), return_dict=False)[0])
    return part(torch.arange(24).view(2, 12)).last_hidden_state


def adapters_in(part: nn.Module) -> nn.ModuleList:
    """Adapters beside every Linear layer, of two algorithms in turn: on activations, and as a change of the weight."""
    generator, adapters = torch.Generator().manual_seed(4), nn.ModuleList()
    for number, layer in enumerate(module for module in part.modules() if isinstance(module, nn.Linear)):
        options = (LoraOptions(rank=2, alpha=2), LohaOptions(rank=2, alpha=2))[number % 2]
        adapter = ADAPTERS[options.kind].create(LayerShape.of(layer), base_tensors(layer), options, generator)
        for parameter in adapter.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
        adapters.append(adapter)
        Beside(layer).entries.append(Entry(None, adapter, "unet", {"unet": 1.0}))  # type: ignore[arg-type]
    return adapters.train()


def gradients(kind: str, part: Any, learning: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The output and the gradients of everything that learns."""
    learning.zero_grad()
    output = predict(kind, part, dtype)
    (output.float() - 1).square().mean().backward()
    found = {name: parameter.grad.clone() for name, parameter in learning.named_parameters() if parameter.grad is not None}
    return {"output": output.detach().clone()} | found


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """To the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
