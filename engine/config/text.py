"""Settings as YAML text, without YAML's surprises.

Words mean what YAML 1.2 says: `yes`, `007` and `12:30` are text, `1e-4` is a number. Tags, aliases and doubled keys are
refused: settings need none of them, and a few aliases can stand for more data than a machine holds.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_WORDS = [
    (_NULL, re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    (_BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    (_INT, re.compile(r"[-+]?(0|[1-9][0-9]*)"), list("-+0123456789")),
    (_FLOAT, re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), list("-+.0123456789")),
]
"""Tag, pattern of the whole word, first letters; the first that fits counts, everything else is text."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{self.peek_event().anchor}) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise yaml.YAMLError(f"{doubled} is set twice")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or this module would not read as text."""

    yaml_implicit_resolvers = {first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()}

    def represent_str(self, data: str) -> yaml.Node:
        rare = any(character in data for character in "\x85\u2028\u2029\ufeff")  # read as line ends unless escaped
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if rare else None)


for _tag, _pattern, _first in _WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern.pattern})$"), _first)
_Dumper.add_representer(str, _Dumper.represent_str)


def parse(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ValueError: it is no YAML, or uses more of YAML than settings need.
    """
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300] or "it is nested too deeply") from None


def dump(data: Any) -> str:
    """YAML that `parse` reads back as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=130)
