"""Saving and restoring a run exactly: adapter, optimizer, step.

Every random draw of a run is a function of (seed, step), and the learning rate of the step alone, so there is little more
than these three. A state is a folder: tensors as safetensors, numbers as JSON, no pickle. It is written beside the old one, synced,
checked and renamed; the previous good state is kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.errors import EngineError
from engine.workspace import atomic_write, sync_folder

NAMES = ("state", "state.previous")
TENSORS, FACTS = ("adapter.safetensors", "optimizer.safetensors"), "state.json"
PLAIN = ("step", "identity", "numbers", "scaler", "session", "started")
"""What of a state stands in its JSON file, beside the checksums of all three files."""


@dataclass(frozen=True)
class RunState:
    """A run after `step` optimizer steps.

    Attributes:
        identity: what a resume must find unchanged (config, data, base model, versions, threads): name -> value.
        adapter: parameters by name, at full precision.
        optimizer: its tensors by `index.name`; `numbers` holds everything of it that is no tensor.
        scaler: of the loss scaling; empty without it.
        session, started: of the run's first attempt, for the metadata: a random number, and seconds since 1970.
    """

    step: int
    identity: dict[str, str]
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    numbers: dict[str, Any]
    scaler: dict[str, Any]
    session: int
    started: float


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors and plain numbers, by `index.name`; of a group inside, as bitsandbytes has one, `index.group.name`."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}

    def note(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                note(f"{prefix}.{name}", value)
            else:
                (tensors if isinstance(value, Tensor) else numbers)[f"{prefix}.{name}"] = value

    for index, values in optimizer.state_dict()["state"].items():
        note(str(index), values)
    return tensors, numbers


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *numbers.items()]:
        index, *groups, name = key.split(".")
        place = state.setdefault(int(index), {})
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_state(folder: Path, state: RunState) -> None:
    """Make `folder/state` this state; the one before becomes `state.previous`."""
    staging = folder / "state.new"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    files = {TENSORS[0]: save(_plain(state.adapter)), TENSORS[1]: save(_plain(state.optimizer))}
    facts = {name: getattr(state, name) for name in PLAIN}
    checksums = {name: _sha256(content) for name, content in files.items()} | {FACTS: _sha256(_canonical(facts))}
    files[FACTS] = json.dumps({**facts, "sha256": checksums}, indent=1).encode()
    for name, content in files.items():
        with atomic_write(staging / name) as stream:
            stream.write(content)
    current, previous = (folder / name for name in NAMES)
    if current.exists():
        shutil.rmtree(previous, ignore_errors=True)
        current.rename(previous)
    staging.rename(current)
    sync_folder(folder)


def load_state(folder: Path, identity: dict[str, str]) -> tuple[RunState | None, list[str]]:
    """The newest whole state of a run, or None when there is none; and the names of those that are there but damaged.

    Raises:
        EngineError: `resume.changed`: the state belongs to other settings, data or programs than `identity` says.
    """
    damaged = []
    for name in NAMES:
        state = _read(folder / name)
        if state is None:
            damaged += [name] if (folder / name).exists() else []
            continue
        changed = sorted(key for key in {*identity, *state.identity} if identity.get(key) != state.identity.get(key))
        if changed:
            raise EngineError(
                "resume.changed", f"The run cannot be continued exactly: {', '.join(changed)} changed since it was stopped.",
                "The same settings, pictures, base model and program versions.", "Start it as a new run.", changed=", ".join(changed),
            )  # fmt: skip
        return state, damaged
    return None, damaged


def _read(folder: Path) -> RunState | None:
    """A state whose checksums hold, else None."""
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        contents = {name: (folder / name).read_bytes() for name in TENSORS}
        told = facts.pop("sha256")
        if told != {FACTS: _sha256(_canonical(facts)), **{name: _sha256(content) for name, content in contents.items()}}:
            return None
        adapter, optimizer = (load(contents[name]) for name in TENSORS)
        return RunState(adapter=adapter, optimizer=optimizer, **facts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError):
        return None


def describe_identity(**values: object) -> dict[str, str]:
    """Values as short text that compares: long ones become hashes."""
    texts = {name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in values.items()}
    return {name: text if len(text) <= 100 else hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
