"""The alpha of PEFT and diffusers LoRA files, which keep it beside the tensors instead of as tensors.

Diffusers writes PEFT's options as JSON under the metadata key `lora_adapter_metadata`, each name prefixed with its component;
PEFT itself writes `adapter_config.json` beside the file. The factor on `up @ down` is alpha / rank, or alpha / sqrt(rank) for
rank-stabilised LoRA, which becomes alpha * sqrt(rank) here so that alpha / rank holds everywhere. Standard library only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from engine.errors import AdapterError

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "transformer")


def read_options(path: Path, metadata: dict[str, str]) -> dict[str, dict]:
    """PEFT's options by component; the empty component holds for every module.

    Raises:
        AdapterError: `adapter.bad_peft_config` when they are not JSON objects.
    """
    try:
        if text := metadata.get("lora_adapter_metadata"):
            flat = json.loads(text)
            split = {
                name: {key[len(name) + 1 :]: value for key, value in flat.items() if key.startswith(name + ".")}
                for name in COMPONENTS
            }
            return {name: _checked(options) for name, options in split.items() if options}
        beside = path.with_name("adapter_config.json")
        if path.stem == "adapter_model" and beside.is_file():
            return {"": _checked(json.loads(beside.read_text(encoding="utf-8")))}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise AdapterError(
            "adapter.bad_peft_config",
            f"The PEFT options of {path.name} cannot be read: {error}.",
            "A JSON object was expected.",
            "Save the adapter again, or convert it to the Kohya format.",
            path=path,
        ) from error
    return {}


def _checked(options: dict) -> dict:
    """The options that decide alpha, as numbers."""
    pattern = {str(name): float(value) for name, value in (options.get("alpha_pattern") or {}).items()}
    own = {"alpha_pattern": pattern, "use_rslora": options.get("use_rslora") is True}
    return own | ({"lora_alpha": float(options["lora_alpha"])} if options.get("lora_alpha") is not None else {})


def alpha_for(options: dict[str, dict], module: str, rank: int) -> float:
    """The alpha of one module so that its factor is alpha / rank; `rank` where the file says nothing."""
    component, _, inner = module.partition(".")
    own = options.get(component) or options.get("")
    if own is None:
        return float(rank)
    inner = (inner if component in options else module).removeprefix("base_model.model.")
    alpha = own.get("lora_alpha", float(rank))
    for pattern, value in own["alpha_pattern"].items():
        # PEFT's patterns may be regular expressions; those of strangers' files are compared as plain names only.
        plain = re.sub(r"^\^|\$$", "", pattern)
        if inner == plain or inner.endswith("." + plain):
            alpha = value
    return alpha * (rank**0.5 if own["use_rslora"] else 1.0)
