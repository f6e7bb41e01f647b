"""The alpha of PEFT and diffusers files, which keep it beside the tensors instead of as tensors.

Diffusers writes PEFT's options as JSON under the metadata key `lora_adapter_metadata`, each name prefixed with its component;
PEFT itself writes `adapter_config.json` beside the file. The factor on a change is alpha / rank, or alpha / sqrt(rank) for
rank-stabilised LoRA, which becomes alpha * sqrt(rank) here so that alpha / rank holds everywhere. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import AdapterError

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer")
OPTIONS_KEY = "lora_adapter_metadata"
_PLAIN = re.compile(r"\^?[\w.]+\$?")


@dataclass(frozen=True)
class PeftOptions:
    """What decides the factor, None where the file does not say; patterns map module names to their own values."""

    alpha: float | None
    alpha_pattern: dict[str, float]
    rank: float | None
    rank_pattern: dict[str, float]
    root: bool


def read_options(path: Path, metadata: Mapping[str, str]) -> dict[str, PeftOptions]:
    """PEFT's options by component; the empty component holds for every module.

    Raises:
        AdapterError: `adapter.bad_peft_config` when they are not JSON objects, or name modules by regular expressions.
    """
    beside = path.with_name("adapter_config.json")
    try:
        if text := metadata.get(OPTIONS_KEY):
            flat = json.loads(text)
            split = {
                name: {key[len(name) + 1 :]: value for key, value in flat.items() if key.startswith(name + ".")}
                for name in COMPONENTS
            }
            found = {name: _options(own) for name, own in split.items() if own}
            return found or {"": _options(flat)}
        if path.stem == "adapter_model" and beside.is_file():
            return {"": _options(json.loads(beside.read_text(encoding="utf-8")))}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise AdapterError(
            "adapter.bad_peft_config",
            f"The PEFT options of {path.name} cannot be read: {error}.",
            "A JSON object was expected, with modules named in full.",
            "Save the adapter again, or convert it to the Kohya format.",
            path=path,
        ) from error
    return {}


def _options(options: dict) -> PeftOptions:
    """From LoRA's names, or from those of LoHa and LoKr (`alpha`)."""
    alpha, rank = options.get("lora_alpha", options.get("alpha")), options.get("r")
    return PeftOptions(
        None if alpha is None else float(alpha),
        _pattern(options, "alpha_pattern"),
        None if rank is None else float(rank),
        _pattern(options, "rank_pattern"),
        options.get("use_rslora") is True,
    )


def _pattern(options: dict, name: str) -> dict[str, float]:
    """A table of modules. PEFT would run its keys as regular expressions; a stranger's are never run here."""
    table = {str(key).replace("\\.", "."): float(value) for key, value in (options.get(name) or {}).items()}
    if strange := [key for key in table if not _PLAIN.fullmatch(key)]:
        raise ValueError(f"{name} has the regular expression {strange[0][:100]!r}")
    return table


def alpha_for(options: Mapping[str, PeftOptions], module: str, rank: int) -> float:
    """The alpha of one module so that its factor is alpha / rank; `rank` where the file says nothing."""
    own, inner = _of(options, module)
    if own is None:
        return float(rank)
    alpha = _first(own.alpha_pattern, inner, own.alpha)
    return float(rank) if alpha is None else alpha * (rank**0.5 if own.root else 1.0)


def scale_without_rank(options: Mapping[str, PeftOptions], module: str) -> float:
    """alpha / rank by the options alone, which PEFT applies to LoKr even where neither of its matrices has a rank."""
    own, inner = _of(options, module)
    if own is None:
        return 1.0
    alpha, rank = _first(own.alpha_pattern, inner, own.alpha), _first(own.rank_pattern, inner, own.rank)
    return alpha / rank if alpha is not None and rank else 1.0


def _of(options: Mapping[str, PeftOptions], module: str) -> tuple[PeftOptions | None, str]:
    """The options that hold for a module, and its name as they spell it."""
    component, _, inner = module.partition(".")
    own = options.get(component) or options.get("")
    return own, (inner if component in options else module).removeprefix("base_model.model.")


def _first(pattern: Mapping[str, float], module: str, otherwise: float | None) -> float | None:
    """As PEFT has it, the first that is the module's name or the end of it."""
    for key, value in pattern.items():
        plain = key.removeprefix("^").removesuffix("$")
        if module == plain or (not key.startswith("^") and module.endswith("." + plain)):
            return value
    return otherwise
