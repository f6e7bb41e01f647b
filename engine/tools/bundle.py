"""Embeddings inside a LoRA file, as AUTOMATIC1111 reads them: `bundle_emb.<name>.<tensor>`.

An embedding of Stable Diffusion 1.x, whose file has one tensor (n, 768) under whatever name, is stored as
`string_to_param.*`; one with several (`clip_l`, `clip_g`) keeps their names. The LoRA's own tensors are not touched.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from engine.config.tools import BundleOptions
from engine.errors import AdapterError
from engine.formats.adapter_layout import BUNDLE
from engine.formats.adapter_writer import write_adapter
from engine.formats.safetensors_header import read_header
from engine.tools.bench import Bench, Report


def bundle(options: BundleOptions, bench: Bench) -> Report:
    """The report has `embeddings`: name -> number of its vectors.

    Raises:
        AdapterError: `tool.bad_embedding`, `tool.embedding_twice`.
    """
    ((path, _),) = bench.plan.files
    tensors: dict[str, Tensor] = load(path.read_bytes())
    metadata = read_header(path).metadata
    vectors = {}
    for word in bench.watch(list(bench.plan.embeddings)):
        parts = read_embedding(bench.plan.embeddings[word])
        if any(key.startswith(f"{BUNDLE}{word}.") for key in tensors):
            raise AdapterError(
                "tool.embedding_twice", f"Two embeddings are called {word!r}.", "The name of a file is the word that calls it.",
                "Rename one of them.", name=word, field="tool.embeddings",
            )  # fmt: skip
        tensors |= {f"{BUNDLE}{word}.{part}": tensor for part, tensor in parts.items()}
        vectors[word] = len(next(iter(parts.values())))
    write_adapter(bench.out, tensors, {**metadata, "ss_output_name": bench.out.stem})
    return {"embeddings": vectors}


def read_embedding(file: Path) -> dict[str, Tensor]:
    """The tensors of an embedding as they are bundled, each (vectors, width).

    Raises:
        AdapterError: `tool.bad_embedding`.
    """
    tensors: dict[str, Tensor] = load(file.read_bytes())
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if not tensors or any(len(shape) != 2 or not shape[0] for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise AdapterError(
            "tool.bad_embedding", f"{file.name} is no embedding.", "One matrix of vectors, or clip_l and clip_g.",
            "Choose a .safetensors file made by Textual Inversion.", path=file.name, field="tool.embeddings",
        )  # fmt: skip
    return {"string_to_param.*": next(iter(tensors.values()))} if len(tensors) == 1 else tensors
