"""Events are plain data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from engine.training import events
from engine.training.events import Event, Step

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]


def test_types_are_named_and_distinct() -> None:
    names = [kind.type for kind in KINDS]
    assert all(names) and len(set(names)) == len(names) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is(kind: type[Event]) -> None:
    assert kind.__doc__


def test_a_step_as_data() -> None:
    data = Step(3, 0.5, 1e-4, 1.5, 0.2).to_dict()
    assert data == {"type": "step", "step": 3, "loss": 0.5, "learning_rate": 1e-4, "grad_norm": 1.5, "seconds": 0.2}
    assert json.loads(json.dumps(data)) == data


def test_a_reader_needs_no_torch() -> None:
    told = subprocess.run([sys.executable, "-c", "import sys, engine.training.events; sys.exit('torch' in sys.modules)"])
    assert told.returncode == 0
