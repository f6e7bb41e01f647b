"""What is for large layers only is tested on the small ones of these tests too."""

from __future__ import annotations

import pytest

from engine.adapters import recompute, siblings


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "SMALL", 0)
    monkeypatch.setattr(siblings, "SMALL", 0)
