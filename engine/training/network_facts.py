"""What the metadata of a file say about its network, in the words of Kohya's trainer and of LyCORIS.

`ss_network_module` tells a program that goes on training which code to take: the file decides it, since many algorithms end
as plain LoRA. Arguments are strings, as on Kohya's command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.config.adapter import BoundedOptions, LayerOptions, LoraOptions, RankOptions, ThinOptions
from engine.formats.adapter_layout import rank_of
from engine.formats.suffixes import algorithm_of, split_keys

if TYPE_CHECKING:
    from torch import Tensor

DYNAMIC = "Dynamic"
LYCORIS_NAMES = {
    "lora": "locon", "loha": "loha", "lokr": "lokr", "ia3": "ia3", "oft": "diag-oft", "boft": "boft", "glora": "glora", "full": "full",
}  # fmt: skip
"""Algorithm -> LyCORIS' `algo`."""
PRESETS = {"attention": "attn-only", "attention+mlp": "attn-mlp", "convolutions": "unet-convblock-only", "full": "full"}
"""`targets` -> LyCORIS' `preset`."""
LYCORIS_FIELDS = {
    "tucker": "use_tucker", "factor": "factor", "decompose_both": "decompose_both", "full_matrix": "full_matrix",
    "constraint": "constraint", "rescaled": "rescaled", "train_norms": "train_norm",
}  # fmt: skip
"""Fields of ours -> the same argument of LyCORIS."""
SHARED_FIELDS = {name for model in (LayerOptions, ThinOptions, BoundedOptions) for name in model.model_fields}


def network_facts(options: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of `RunFacts` that describe the network: `network_module`, `network_dim`, `network_args` and so on.

    Args:
        options: of the run's algorithm, one of `engine.config.adapter`.
        tensors: those of the file, by full name. Where modules differ otherwise than convolutions do from the rest, rank and
            alpha are "Dynamic", as in Kohya's tools.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    for key, (module, suffix, _) in split_keys(list(tensors))[0].items():
        modules.setdefault(module, {})[suffix] = tensors[key]
    shapes = {name: {suffix: tuple(tensor.shape) for suffix, tensor in parts.items()} for name, parts in modules.items()}
    ranks = {name: rank for name, own in shapes.items() if (rank := rank_of(own))}
    told = [getattr(options, name, None) for name in ("rank", "conv_rank")]
    rank = told[0] if set(ranks.values()) <= set(told) else _one(set(ranks.values()))
    alphas = {float(modules[name]["alpha"]) for name, this in ranks.items() if rank in (this, DYNAMIC)}
    own = getattr(options, "constraint", None) if told[0] is None else options.alpha or options.rank
    module, args = _module(options, shapes)
    return {
        "network_module": module,
        "network_dim": getattr(options, "block_size", None) if rank is None else rank,
        "network_alpha": own if not alphas or (own in alphas and rank != DYNAMIC) else _one(alphas),
        "network_dropout": getattr(options, "dropout", 0) or None,
        "network_args": {name: str(value) for name, value in args.items()},
        "scale_weight_norms": getattr(options, "max_norm", 0) or None,
    }


def _one(found: set[Any]) -> Any:
    return found.pop() if len(found) == 1 else DYNAMIC


def _module(options: Any, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> tuple[str, dict[str, object]]:
    """Module and arguments."""
    algorithms = {algorithm_of(own) for own in shapes.values()}
    special = any({"dora_scale", "lora_mid.weight"} & own.keys() for own in shapes.values())
    if algorithms == {"lora"} and not special:
        return _plain(options)
    if "hira" in algorithms:
        return "engine.adapters.hira", _common(options)
    args = {name: getattr(options, field) for field, name in LYCORIS_FIELDS.items() if getattr(options, field, False)}
    if (decompose := getattr(options, "decompose", "off")) != "off":
        args |= {"dora_wd": True, "wd_on_output": decompose == "outputs"}
    if getattr(options, "side", "output") == "input":
        args["train_on_input"] = True
    algorithm = {"algo": LYCORIS_NAMES.get(options.kind, "locon"), "preset": PRESETS[options.targets]}
    return "lycoris.kohya", algorithm | _common(options) | args


def _plain(options: Any) -> tuple[str, dict[str, object]]:
    """Plain LoRA, whatever it was trained as: that stands in the arguments, with the fields that the algorithm has of its own."""
    if isinstance(options, LoraOptions):
        initial: dict[str, object] = {} if options.initial == "kaiming" else {"initial": options.initial}
        return "networks.lora_fa" if options.freeze_down else "networks.lora", _common(options) | initial
    own = {name: getattr(options, name) for name in type(options).model_fields if name not in SHARED_FIELDS}
    if options.kind == "dylora":
        return "networks.dylora", _common(options) | {"unit": own["unit"]}
    return "networks.lora", _common(options) | {"trained_as": own.pop("kind")} | own


def _common(options: Any) -> dict[str, object]:
    args: dict[str, object] = {}
    if getattr(options, "conv_rank", 0):
        args |= {"conv_dim": options.conv_rank, "conv_alpha": options.conv_alpha or options.conv_rank}
    elif isinstance(options, RankOptions) and options.targets in ("convolutions", "full"):
        args |= {"conv_dim": options.rank, "conv_alpha": options.alpha or options.rank}
    args |= {name: value for name in ("rank_dropout", "module_dropout") if (value := getattr(options, name, 0))}
    return args | ({"rs_lora": True} if getattr(options, "scaling", "rank") == "root" else {})
