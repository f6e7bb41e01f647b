"""Errors: one sentence for people, plain data for logs."""

from __future__ import annotations

import json

import pytest

from engine import errors
from engine.errors import EngineError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EngineError)]


def example(kind: type[EngineError] = EngineError) -> EngineError:
    return kind("room.reason", "The rank is 0.", "A number from 1.", "Choose 8.", field="adapter.rank", value=0)


@pytest.mark.parametrize("kind", KINDS)
def test_reads_as_what_happened_what_was_expected_and_what_to_do(kind: type[EngineError]) -> None:
    assert str(example(kind)) == "The rank is 0. A number from 1. Choose 8."
    assert isinstance(example(kind), EngineError)


def test_parts_that_are_empty_leave_no_gap() -> None:
    assert str(EngineError("a.b", "It broke.", todo="Mend it.")) == "It broke. Mend it."


def test_survives_a_log_as_plain_data() -> None:
    data = json.loads(json.dumps(example().to_dict()))
    back = EngineError.from_dict(data)
    assert (back.code, str(back)) == ("room.reason", str(example()))
    assert back.values == {"field": "adapter.rank", "value": "0"}
    assert back.to_dict() == data


def test_reads_what_an_older_log_left_out() -> None:
    assert str(EngineError.from_dict({"code": "a.b", "what": "It broke."})) == "It broke."
