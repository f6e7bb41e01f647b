"""Which layers of a model an adapter's options mean, and the options of each. Plain data, no torch.

A family says what its layers are (`Layer`); this says which of them learn, and how (`Target`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import ValidationError

from engine.config.adapter import OPTIONS, LayerOptions, NormOptions
from engine.config.rules import OFF, parse_rule
from engine.errors import ConfigError

Group = Literal["attention", "mlp", "convolution", "other", "norm"]
GROUPS: dict[str, tuple[Group, ...]] = {
    "attention": ("attention",),
    "attention+mlp": ("attention", "mlp"),
    "convolutions": ("convolution",),
    "full": ("attention", "mlp", "convolution", "other"),
}
"""`targets` of the options -> the groups of layers it means."""


@dataclass(frozen=True)
class Layer:
    """A layer that an adapter may change.

    Attributes:
        path: dotted path inside its component.
        group: "convolution" are the residual blocks with their up- and downsampling, "other" the way in and out of the model.
        heads: attention heads that its `head_axis` is cut into; 1 where there are none.
        shared_input: layers with the same word are given the very same input, one after the other (q, k, v); "" for none.
        switch: the option that lets it learn.
    """

    path: str
    group: Group
    heads: int = 1
    head_axis: Literal["outputs", "inputs"] = "outputs"
    shared_input: str = ""
    switch: Literal["train_unet", "train_text_encoder", "train_t5"] = "train_unet"


@dataclass(frozen=True)
class Target:
    """A layer that learns, with the options of its adapter; `options.kind` is the algorithm."""

    layer: Layer
    options: Any


def choose(layers: Mapping[str, Sequence[Layer]], options: LayerOptions) -> dict[str, list[Target]]:
    """Component -> the layers that `options` and their rules ask for, in the family's order.

    Raises:
        ConfigError: `config.rule` for a rule that names no layer, algorithm or field.
    """
    rules = [(rule, _laid_on(options, rule.kind, rule.settings, line)) for line in options.rules for rule in (parse_rule(line),)]
    used = [False] * len(rules)
    chosen: dict[str, list[Target]] = {}
    for component, listed in layers.items():
        learning = [layer for layer in listed if getattr(options, layer.switch)]
        if not learning:
            continue
        chosen[component] = []
        for layer in learning:
            layer_options = _default(layer, options)
            for index, (rule, laid) in enumerate(rules):
                if layer.group != "norm" and fnmatchcase(f"{component}.{layer.path}", rule.pattern):
                    used[index], layer_options = True, laid
            if layer_options is not None:
                chosen[component].append(Target(layer, layer_options))
    for line, matched in zip(options.rules, used, strict=True):
        if not matched:
            raise _bad_rule(line, "matches no layer that this run could train")
    return chosen


def _default(layer: Layer, options: LayerOptions) -> LayerOptions | None:
    if layer.group == "norm":
        return NormOptions() if options.train_norms else None
    groups = GROUPS[options.targets]
    if getattr(options, "conv_rank", 0):
        groups += ("convolution",)
    return options if layer.group in groups else None


def _laid_on(options: LayerOptions, kind: str, settings: dict[str, Any], line: str) -> LayerOptions | None:
    """The options that a rule makes of the run's own; None for `off`."""
    if kind == OFF:
        return None
    if kind and kind not in OPTIONS:
        raise _bad_rule(line, f"{kind} is no algorithm")
    model, base = OPTIONS[kind or options.kind], {} if kind not in ("", options.kind) else options.model_dump()  # type: ignore[attr-defined]
    try:
        return model.model_validate({**base, "rules": [], **settings})
    except ValidationError as error:
        first = error.errors()[0]
        raise _bad_rule(line, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def does_not_fit(path: str, reason: str) -> ConfigError:
    """`config.layer`: the options of a target do not fit its layer."""
    return ConfigError(
        "config.layer", f"{path}: {reason}.", "Options that fit every layer that is trained.",
        "Change them, or leave the layer out with a rule.", field="adapter.kind", path=path, reason=reason,
    )  # fmt: skip


def _bad_rule(line: str, reason: str) -> ConfigError:
    return ConfigError(
        "config.rule", f"The rule {line!r} cannot be followed: {reason}.",
        "A pattern of layer names, then `off`, an algorithm or its settings.", "Correct or remove the line.",
        field="adapter.rules", rule=line, reason=reason,
    )  # fmt: skip
