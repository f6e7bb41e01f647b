"""What every tool works with: the files it was given, a builder for the new adapter, and the report of what was lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import AdapterError
from engine.formats.adapter_file import AdapterFile, read_adapter
from engine.formats.adapter_layout import BUNDLE
from engine.formats.adapter_writer import write_adapter
from engine.formats.fused import assembled, fuse
from engine.formats.kohya_tensors import by_key
from engine.formats.names import DiskName
from engine.formats.peft_alpha import OPTIONS_KEY
from engine.tools.change import Change, relative_error
from engine.tools.checkpoint import Checkpoint, open_checkpoint
from engine.tools.plan import Plan

Progress = Callable[[int, int], None]
Report = dict[str, Any]
"""Plain data for the page: numbers, words, and tables of them."""
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Bench:
    """Attributes:
    plan: where everything lies.
    on_progress: told (done, total) after each module or tensor; it may raise to end the work.
    """

    plan: Plan
    on_progress: Progress = lambda done, total: None

    @property
    def out(self) -> Path:
        assert self.plan.out
        return self.plan.out

    def adapters(self) -> list[AdapterFile]:
        return [read_adapter(path) for path, _ in self.plan.files]

    def checkpoint(self, which: str = "model", whole: bool = False) -> Checkpoint | None:
        """The base model of that field, if one was named; `whole` as in `open_checkpoint`."""
        model = self.plan.models.get(which)
        return open_checkpoint(model, whole) if model else None

    def watch(self, names: Sequence[str]) -> Iterable[str]:
        """The names one by one, with progress."""
        for index, name in enumerate(names):
            yield name
            self.on_progress(index + 1, len(names))


@dataclass
class Builder:
    """An adapter as it grows.

    Attributes:
        dtype: of its tensors; alpha is float32.
        names: module -> what it is called on disk; those that are not there keep their name.
        modules: module -> suffix -> tensor.
        bundled: embeddings, by full name.
        ranks: module -> rank, 0 for a whole difference. errors: module -> relative error in the Frobenius norm, rounding included.
    """

    dtype: torch.dtype
    names: Mapping[str, DiskName] = field(default_factory=dict)
    modules: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    bundled: dict[str, Tensor] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, change: Change, exact: Change) -> None:
        """Put a module in.

        Args:
            exact: what `change` stands for; the error is measured against it.
        """
        down, up = change.down, change.up
        if down is not None and up is not None:
            made = Change(change.size, down.to(self.dtype), up.to(self.dtype))
            self.modules[name] = {
                "lora_down.weight": made.down.view(-1, *change.size[1:]).contiguous(),  # type: ignore[union-attr]
                "lora_up.weight": made.up.view(*up.shape, *(1 for _ in change.size[2:])).contiguous(),  # type: ignore[union-attr]
                "alpha": torch.tensor(float(change.rank)),
            }
            made = Change(change.size, made.down.float(), made.up.float())  # type: ignore[union-attr]
        else:
            suffixes = ("w_norm", "b_norm") if len(change.size) == 1 else ("diff", "diff_b")
            written = {part: delta.to(self.dtype) for part, delta in change.whole.items()}
            self.modules[name] = {
                suffix: written[part] for suffix, part in zip(suffixes, ("weight", "bias"), strict=True) if part in written
            }
            made = Change(change.size, whole={part: delta.float() for part, delta in written.items()})
        self.ranks[name], self.errors[name] = change.rank, relative_error(made, exact)

    def keep_embeddings(self, files: Iterable[AdapterFile]) -> None:
        """Take over the embeddings bundled with the files.

        Raises:
            AdapterError: `tool.embedding_twice`.
        """
        for file in files:
            for word, parts in file.embeddings.items():
                new = {f"{BUNDLE}{word}.{part}": tensor for part, tensor in parts.items()}
                if not self.bundled.keys().isdisjoint(new):
                    raise AdapterError(
                        "tool.embedding_twice", f"Two embeddings are called {word!r}.", "The name of a file is the word that calls it.",
                        "Rename one of them.", name=word, field="tool.files",
                    )  # fmt: skip
                self.bundled |= new

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the file and read it back. What the metadata says of rank and alpha is made true; "Dynamic" where modules differ."""
        named = ((self.names.get(name, DiskName(name)), parts) for name, parts in self.modules.items())
        ranks = {str(rank) for rank in self.ranks.values() if rank}
        alphas = {f"{float(parts['alpha']):g}" for parts in self.modules.values() if "alpha" in parts}
        about = {"ss_network_dim": _one(ranks), "ss_network_alpha": _one(alphas), "ss_output_name": path.stem}
        tensors = by_key(assembled(named, fuse)) | self.bundled
        write_adapter(path, tensors, {"ss_network_module": "networks.lora", **metadata, **about})

    def report(self) -> Report:
        """modules, whole (of them not LoRA), the ranks as lowest and highest, and the relative error: mean, max and where."""
        ranks = [rank for rank in self.ranks.values() if rank]
        worst = max(self.errors, key=lambda name: self.errors[name], default="")
        return {
            "modules": len(self.ranks), "whole": len(self.ranks) - len(ranks),
            "rank_lowest": min(ranks, default=0), "rank_highest": max(ranks, default=0),
            "error_mean": sum(self.errors.values()) / max(1, len(self.errors)), "error_max": self.errors.get(worst, 0.0),
            "worst": worst, "parameters": sum(tensor.numel() for parts in self.modules.values() for tensor in parts.values()),
        }  # fmt: skip


def _one(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else "Dynamic" if found else "None"


def chosen_dtype(precision: str, tensors: Iterable[Tensor]) -> torch.dtype:
    """The number format of a tool's option; "same" is the narrowest that holds all the tensors, at least 16 and at most 32 bits."""
    if precision != "same":
        return getattr(torch, precision)
    found = {tensor.dtype if tensor.itemsize > 1 else torch.float16 for tensor in tensors if tensor.is_floating_point()}
    return found.pop() if len(found) == 1 and found <= set(HALF) else torch.float32


def weights_of(file: AdapterFile) -> list[Tensor]:
    """The tensors of a file that decide its number format: all but alpha."""
    return [tensor for parts in file.modules.values() for suffix, tensor in parts.items() if suffix != "alpha"]


def shared_metadata(sources: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all sources say alike, less what is true of one file only: its hashes and the options beside its tensors."""
    first, *rest = sources
    same = {key: value for key, value in first.items() if all(other.get(key) == value for other in rest)}
    own = ("sshs_", "modelspec.hash", OPTIONS_KEY)
    return {key: value for key, value in same.items() if not key.startswith(own)}
