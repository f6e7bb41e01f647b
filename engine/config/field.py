"""How one setting is declared: a type with bounds, a `Ui` for the screen, and a docstring as help.

Everything that shows or checks a setting (form, YAML, command line, error text, documentation) reads this one declaration.
"""

from __future__ import annotations

import types
from collections import Counter
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

Level = Literal["basic", "advanced", "expert"]
Trait = Literal["unet", "flow", "distilled", "text", "t5", "clip_skip"]
"""What some base models have and others do not: convolutions, flow matching, a guidance they are told, text encoders that can be
trained, T5, layers of a text encoder that can be left out."""
TRAITS: frozenset[Trait] = frozenset(get_args(Trait))


@dataclass(frozen=True)
class Ui:
    """How a field appears on a screen.

    Attributes:
        unit: shown behind the number, for example "px" or "steps".
        step: the step of a number field or slider.
        level: who needs it; `basic` is always shown.
        widget: a hint where the type does not say enough ("slider", "lines", "model", "dataset", "seed").
        needs: what a base model must have for it to mean anything, one of TRAITS; "" for nothing.
    """

    unit: str = ""
    step: float | None = None
    level: Level = "advanced"
    widget: str = ""
    needs: Trait | Literal[""] = ""


class Section(BaseModel):
    """A group of fields. Unknown fields are errors and assignments are checked."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Field:
    """One declared setting, as read from a config model.

    `path` is its name everywhere, for example `training.learning_rate`. `choices` are the allowed words of a Literal. `kinds`
    are the members of a union that declare it just so; () outside unions and for the `kind` that tells them apart. `key` is
    the path, or `path@kind` where members declare a field of that name differently.
    """

    path: str
    type: type
    default: Any
    help: str
    ui: Ui
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    kinds: tuple[str, ...] = ()
    key: str = ""

    def belongs_to(self, kind: str) -> bool:
        """Whether a section of this kind has it."""
        return not self.kinds or kind in self.kinds


def fields(model: type[BaseModel], prefix: str = "") -> list[Field]:
    """Every leaf field of a config model, depth first, in the order of declaration; one that several members share stands once."""
    found: list[Field] = []
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        members = [member for member in _members(info.annotation) if _is_section(member)]
        if len(members) > 1:
            found += _together(path, members)
        elif members:
            found += fields(members[0], f"{path}.")
        else:
            found.append(_leaf(path, info))
    return found


def _together(path: str, members: list[type[BaseModel]]) -> list[Field]:
    """The fields of a union of sections: `kind` with all kinds as its choices, then what they declare."""
    declared = {_kind(member): fields(member, f"{path}.") for member in members}
    kind = next(field for field in fields(members[0], f"{path}.") if field.path == f"{path}.kind")
    alike: dict[str, tuple[Field, list[str]]] = {}
    for word, listed in declared.items():
        for field in listed:
            if field.path != kind.path:
                alike.setdefault(repr(field), (field, []))[1].append(word)
    shared = [replace(field, kinds=tuple(words)) for field, words in alike.values()]
    written = Counter(field.path for field in shared)
    own = [replace(field, key=f"{field.path}@{field.kinds[0]}") if written[field.path] > 1 else field for field in shared]
    return [replace(kind, choices=tuple(declared)), *own]


def _kind(member: type[BaseModel]) -> str:
    """The one word that tells a union member apart."""
    return get_args(member.model_fields["kind"].annotation)[0]


def _is_section(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel)


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a union, without None and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members(member) if inner is not type(None)]
    return [annotation]


def _leaf(path: str, info: FieldInfo) -> Field:
    members = _members(info.annotation)
    choices = tuple(word for member in members if get_origin(member) is Literal for word in get_args(member))
    shape = type(choices[0]) if choices else (get_origin(members[0]) or members[0])
    low = [
        getattr(m, "ge", getattr(m, "gt", None)) for m in info.metadata if isinstance(m, annotated_types.Ge | annotated_types.Gt)
    ]
    high = [
        getattr(m, "le", getattr(m, "lt", None)) for m in info.metadata if isinstance(m, annotated_types.Le | annotated_types.Lt)
    ]
    return Field(
        path=path,
        type=shape,
        default=info.get_default(call_default_factory=True) if not info.is_required() else None,
        help=" ".join((info.description or "").split()),
        ui=next((m for m in info.metadata if isinstance(m, Ui)), Ui()),
        minimum=low[0] if low else None,
        maximum=high[0] if high else None,
        choices=choices,
        optional=type(None) in get_args(info.annotation),
        key=path,
    )
