"""A LoRA of the difference between a base model and one that was trained from it.

Layer by layer the difference of the weights, in float32, is cut to its leading singular vectors: a fixed number, or as many as
a mode asks for (LyCORIS' names: `ratio` of the largest, `quantile` of their sum, `threshold`). Layers without a difference are
left out. What LoRA cannot hold, biases, normalisation and embeddings, is counted in the report.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.adapters.base import LayerShape
from engine.config.tools import ExtractOptions
from engine.errors import ModelError
from engine.families.base import adaptable_layers
from engine.formats.hashes import model_hashes
from engine.formats.models import MODELS
from engine.formats.names import DiskName, disk_names, own_name
from engine.tools.bench import Bench, Builder, Report, chosen_dtype
from engine.tools.change import Change
from engine.tools.checkpoint import Checkpoint
from engine.tools.spectrum import Spectrum, above_ratio, above_threshold, share_of_sum

MODES: dict[str, Callable[[Tensor, float], int]] = {
    "fixed": lambda values, limit: len(values),
    "ratio": above_ratio,
    "quantile": share_of_sum,
    "threshold": above_threshold,
}
"""Mode -> from singular values (descending) and limit the number of ranks that it asks for."""


def extract(options: ExtractOptions, bench: Bench) -> Report:
    """The report has `left_out`: the share of the whole difference (Frobenius norm) that LoRA cannot hold or was not asked to;
    `unchanged`: layers without a difference.

    Raises:
        ModelError: `tool.models_differ`, `tool.models_equal`.
    """
    base, tuned = bench.checkpoint(), bench.checkpoint("tuned")
    assert base and tuned
    _check_same_make(base, tuned)
    layers, names = _layers(base, options)
    held, unchanged = 0.0, 0
    first = next(iter(base.places))
    builder = Builder(chosen_dtype(options.precision, [base.tensor(*first), tuned.tensor(*first)]), names)
    for name in bench.watch(list(layers)):
        component, path = layers[name]
        exact = layer_difference(base, tuned, component, path)
        held += exact.norm() ** 2
        if exact.whole["weight"].any():
            builder.add(name, cut_to(exact, exact.spectrum(), options), exact)
        else:
            unchanged += 1
    if not builder.modules:
        raise ModelError(
            "tool.models_equal", "The two models have no difference that LoRA could hold.", "A model that was trained from the other.",
            "Choose another pair.", field="tool.tuned",
        )  # fmt: skip
    builder.save(bench.out, _metadata(base, bench))
    covered = {(component, f"{path}.weight") for component, path in layers.values()}
    # an embedding of T5 lies in one place for two names
    others = {lying[0]: place for place, lying in base.places.items() if lying and place not in covered}
    whole = held + sum(_difference(base, tuned, *place) ** 2 for place in others.values())
    return {**builder.report(), "unchanged": unchanged, "left_out": (1 - held / whole) ** 0.5}


def _layers(base: Checkpoint, options: ExtractOptions) -> tuple[dict[str, tuple[str, str]], dict[str, DiskName]]:
    """Name -> component and path of the layers asked for; name -> what they are called on disk."""
    groups = ("attention", "mlp", *(("convolution", "other") if options.convolutions else ()))
    family, found, names = base.facts.family, {}, {}
    for component, listed in adaptable_layers(family, base.components).items():
        if component.startswith("text_encoder") and not options.text_encoder:
            continue
        written = disk_names(family, component, [layer.path for layer in listed])
        for layer in listed:
            if layer.group in groups:
                name = own_name(family, component, layer.path)
                found[name], names[name] = (component, layer.path), written[layer.path]
    return found, names


@torch.no_grad()
def layer_difference(base: Checkpoint, tuned: Checkpoint, component: str, path: str) -> Change:
    """tuned - base of a layer's weight, float32."""
    key = f"{path}.weight"
    delta = tuned.tensor(component, key).float() - base.tensor(component, key).float()
    return Change(LayerShape.of(base.components[component].get_submodule(path)).weight, whole={"weight": delta})


def cut_to(change: Change, spectrum: Spectrum, options: ExtractOptions) -> Change:
    """The change at the rank that the options give it."""
    rank = options.conv_rank if change.spatial and options.conv_rank else options.rank
    limit = options.conv_limit if change.spatial and options.conv_limit else options.limit
    return Change(change.size, *spectrum.cut(min(rank, MODES[options.mode](spectrum.values, limit))))


def _difference(base: Checkpoint, tuned: Checkpoint, component: str, key: str) -> float:
    return float((tuned.tensor(component, key).float() - base.tensor(component, key).float()).double().norm())


def _check_same_make(base: Checkpoint, tuned: Checkpoint) -> None:
    if base.sizes != tuned.sizes:
        differing = next(place for place in {**base.sizes, **tuned.sizes} if base.sizes.get(place) != tuned.sizes.get(place))
        raise ModelError(
            "tool.models_differ", f"The two models have different layers, for example {'.'.join(differing)}.",
            "A model that was trained from the other.", "Choose two models of one family.",
            tensor=".".join(differing), field="tool.tuned",
        )  # fmt: skip


def _metadata(base: Checkpoint, bench: Bench) -> dict[str, str]:
    hashes, variant = model_hashes(base.location), MODELS[base.facts.family].variants[base.facts.variant]
    return {
        "ss_base_model_version": variant.base_version, "ss_v2": str(base.facts.family == "sd2"), "ss_sd_model_name": base.location.name, "ss_sd_model_hash": hashes.old,
        "ss_new_sd_model_hash": hashes.sha256, "ss_network_args": "None", "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{variant.architecture}/lora", "modelspec.implementation": "diffusers",
        "modelspec.title": bench.out.stem,
    }  # fmt: skip
