from __future__ import annotations

import pytest

from engine.config.load import validate
from engine.config.tools import TOOLS, ToolConfig, weighted
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "name", "weight"),
    [
        ("a", "a", 1.0), ("a:0.5", "a", 0.5), ("a:-2", "a", -2.0), (" my cat : 1e-3", "my cat", 1e-3),
        ("C:/x/y.safetensors", "C:/x/y.safetensors", 1.0), ("C:\\x.safetensors:0.7", "C:\\x.safetensors", 0.7),
    ],
)  # fmt: skip
def test_weights(line: str, name: str, weight: float) -> None:
    assert weighted(line) == (name, weight)


@pytest.mark.parametrize("line", ["", ":1", "a:", "a:nan", "a:inf"])
def test_lines_that_are_no_file(line: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        weighted(line)
    with pytest.raises(ConfigError) as told:
        validate(ToolConfig, {"tool": {"kind": "merge", "files": ["a", line]}})
    assert told.value.values["field"] == "tool.files"


def test_every_tool_can_be_chosen_and_inspect_is_the_default() -> None:
    for kind, options in TOOLS.items():
        config = validate(ToolConfig, {"tool": {"kind": kind}})
        assert type(config.tool) is options and config.tool.kind == kind
    assert validate(ToolConfig, {}).tool.kind == validate(ToolConfig, {"tool": {"file": "a"}}).tool.kind == "inspect"


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ({"kind": "extract", "mode": "ratio", "limit": 1.5}, "tool"),
        ({"kind": "extract", "mode": "quantile", "conv_limit": 2}, "tool"),
        ({"kind": "resize", "reduction": "sv_ratio", "target": 1}, "tool"),
        ({"kind": "resize", "reduction": "sv_fro", "target": 0}, "tool"),
        ({"kind": "cut", "rank": 0}, "tool.rank"),
        ({"kind": "edit", "rank": 1}, "tool.rank"),
        ({"kind": "polish"}, "tool.kind"),
    ],
)
def test_contradictions(tool: dict, field: str) -> None:
    with pytest.raises(ConfigError) as told:
        validate(ToolConfig, {"tool": tool})
    assert told.value.values["field"] == field
