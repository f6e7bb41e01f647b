"""A file in another spelling or number format. The spelling changes no number; the number format only rounds."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config.tools import ConvertOptions
from engine.errors import AdapterError
from engine.formats.adapter_layout import BUNDLE
from engine.formats.adapter_writer import write_adapter
from engine.formats.kohya_tensors import kohya_tensors
from engine.formats.peft_writer import peft_tensors
from engine.formats.summary import family_of
from engine.tools.bench import Bench, Report, chosen_dtype, shared_metadata, weights_of

EXACT = ("alpha", "on_input")
"""Tensors that are never rounded."""


def convert(options: ConvertOptions, bench: Bench) -> Report:
    """The report has the relative error of rounding per tensor: mean and max.

    Raises:
        AdapterError: `adapter.cannot_convert`, `tool.overflow`.
    """
    (file,) = bench.adapters()
    modules: dict[str, dict[str, Tensor]] = {}
    errors: dict[str, float] = {}
    for name in bench.watch(list(file.modules)):
        parts = modules[name] = dict(file.modules[name])
        for suffix, tensor in parts.items():
            if suffix not in EXACT and options.precision != "same":
                parts[suffix] = tensor.to(chosen_dtype(options.precision, ()))
                errors[f"{name}.{suffix}"] = rounding(parts[suffix], tensor)
    worst = max(errors, key=lambda key: errors[key], default="")
    if errors.get(worst) == float("inf"):
        raise AdapterError(
            "tool.overflow", f"{worst} has numbers that {options.precision} cannot hold.", "A wider number format.",
            "Choose float32 or bfloat16.", tensor=worst, precision=options.precision, field="tool.precision",
        )  # fmt: skip
    family = family_of(file)
    tensors, about = peft_tensors(modules, family) if options.format == "peft" else (kohya_tensors(modules, family), {})
    embeddings = {f"{BUNDLE}{word}.{part}": tensor for word, parts in file.embeddings.items() for part, tensor in parts.items()}
    metadata = {**shared_metadata([file.metadata]), **about, "ss_output_name": bench.out.stem}
    write_adapter(bench.out, tensors | embeddings, metadata)
    return {
        "modules": len(modules), "format_before": file.format, "error_mean": sum(errors.values()) / max(1, len(errors)),
        "error_max": errors.get(worst, 0.0), "worst": worst, "dtype": str(chosen_dtype("same", weights_of(file))).removeprefix("torch.")
        if options.precision == "same" else options.precision,
    }  # fmt: skip


def rounding(rounded: Tensor, exact: Tensor) -> float:
    """Relative error in the Frobenius norm; infinite when a number became infinite."""
    if not torch.isfinite(rounded).all():
        return float("inf")
    size = float(exact.double().norm())
    return float((rounded.double() - exact.double()).norm()) / size if size else 0.0
