"""Checkpoints as pickles (`.ckpt`, `.pt`, `.pth`): turned once into a `.safetensors` file, by PyTorch's reader that runs no code.

A pickle can call any function while it is read. PyTorch's `weights_only` reader knows tensors and plain containers and refuses
all else; what it refuses is not read in any other way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError
from engine.workspace import stamp

if TYPE_CHECKING:
    from torch import Tensor

PICKLED = (".ckpt", ".pt", ".pth")
_NESTED = ("state_dict", "model", "module")
"""Keys under which trainers put the weights."""
_UNREAD = ("model_ema.",)
"""Averaged weights beside the real ones, which nobody reads."""
_LABELS = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)
"""A class that the first checkpoints of Stable Diffusion name as a label of a note and never make an instance of."""


def is_pickled(path: Path) -> bool:
    return path.suffix.lower() in PICKLED


def converted_file(path: Path, cache: Path) -> Path:
    """Where the converted copy of a pickle lies, or will: a changed pickle is another one."""
    identity = f"{path.resolve()}|{stamp(path)}"
    return cache / "converted" / hashlib.sha256(identity.encode()).hexdigest()[:16] / f"{path.stem}.safetensors"


def convert(path: Path, cache: Path) -> Path:
    """The converted copy, made if it is not there. Of a file of some GB only a tensor at a time is in memory.

    Raises:
        ModelError: `model.unsafe_pickle`, `model.broken_pickle`, `model.not_finite`, `file.*`.
    """
    from engine.formats.lazy_tensor import in_memory
    from engine.formats.safetensors_writer import write_lazily

    target = converted_file(path, cache)
    if not target.is_file():
        tensors = tensors_in(_load(path))
        if not tensors:
            raise _broken(path, "it holds no tensors")
        write_lazily(target, in_memory(tensors), {"lora_atelier.converted_from": path.name})
    return target


def tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a loaded pickle by name, out of the containers that trainers put them into."""
    import torch

    while isinstance(content, Mapping) and (
        inner := next((content[key] for key in _NESTED if _is_table(content.get(key))), None)
    ):
        content = inner
    found: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, torch.Tensor) and not str(name).startswith(_UNREAD):
            found[str(name)] = value
        elif name == "string_to_param" and _is_table(value):  # an embedding, which is told as such
            found |= {f"{name}.{word}": tensor for word, tensor in value.items()}
    return found


def _is_table(value: Any) -> bool:
    """Whether it maps names to tensors, at least in part."""
    import torch

    return isinstance(value, Mapping) and any(isinstance(each, torch.Tensor) for each in value.values())


def _load(path: Path) -> Any:
    import torch

    labels = [(type(name.rpartition(".")[2], (), {}), name) for name in _LABELS]
    try:
        with torch.serialization.safe_globals(labels):
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):  # older than the zip format
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            "file.missing", f"{path.name} cannot be opened: {error.strerror}.", "A readable file was expected.", "Check the path.",
            path=path,
        ) from error  # fmt: skip
    except Exception as error:  # the reader raises whatever a damaged or hostile file makes it stumble over
        if "Weights only load failed" in str(error) and _begins_like_a_pickle(path):
            raise ModelError(
                "model.unsafe_pickle", f"{path.name} holds more than weights: it could run code while it is read, so it is not read.",
                "A checkpoint of weights alone.", "Download the .safetensors version of this model, which cannot carry code.",
                path=path.name,
            ) from error  # fmt: skip
        raise _broken(path, " ".join(str(error).split())[:200] or type(error).__name__) from error


def _begins_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2).startswith((b"PK", b"\x80"))


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(
        "model.broken_pickle", f"{path.name} cannot be read: {reason}", "A checkpoint that PyTorch wrote.",
        "The file is damaged or something else; download it again, as .safetensors if there is one.", path=path.name, reason=reason,
    )  # fmt: skip
