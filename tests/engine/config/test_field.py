"""One declaration per setting: everything a screen, a file and an error need is in it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Le
from pydantic import BaseModel

from engine.config.adapter import OPTIONS
from engine.config.field import Field, Section, Ui, fields
from engine.config.generate import GenerateConfig
from engine.config.tools import TOOLS, ToolConfig
from engine.config.train import AdamW, AdamW8bit, TrainConfig

CONFIGS = (TrainConfig, GenerateConfig, ToolConfig)
UNIONS = {"adapter": OPTIONS, "tool": TOOLS, "training.optimizer": {"adamw": AdamW, "adamw8bit": AdamW8bit}}
DECLARED = [(model, field) for model in CONFIGS for field in fields(model)]


class Cat(Section):
    kind: Literal["cat"] = "cat"
    """What it is."""
    lives: Annotated[int, Ge(1), Le(9), Ui(unit="lives", step=1)] = 9
    """How many it has,
    on two lines."""
    age: Annotated[int, Ge(0), Le(99), Ui()] = 0
    """In years."""


class Dog(Section):
    kind: Literal["dog"] = "dog"
    """What it is."""
    lives: Annotated[int, Ge(1), Le(9), Ui(unit="lives", step=1)] = 1
    """How many it has."""
    age: Annotated[int, Ge(0), Le(99), Ui()] = 0
    """In years."""
    tricks: Annotated[float | None, Ge(0), Le(10), Ui(level="basic")] = None
    """How many it knows."""


class House(Section):
    animal: Cat | Dog = Cat()
    colour: Annotated[Literal["red", "blue"], Ui(level="basic")] = "red"
    """Its colour."""


@pytest.mark.parametrize(("model", "field"), DECLARED, ids=lambda value: getattr(value, "path", None))
def test_every_field_is_fully_declared(model: type[BaseModel], field: Field) -> None:
    assert field.help and field.help[-1] in ".)?", "help is sentences"
    assert len(field.help) <= 240
    section = field.path.rpartition(".")[0]
    if len(field.choices) != 1 and field.path != f"{section}.kind":
        leaf = UNIONS[section][field.kinds[0]] if field.kinds else model
        for part in section.split(".") if section and not field.kinds else ():
            leaf = leaf.model_fields[part].annotation  # type: ignore[assignment]
        declared = leaf.model_fields[field.path.split(".")[-1]].metadata
        assert any(isinstance(each, Ui) for each in declared), "says how it appears on a screen"
    if field.type in (int, float) and field.path != "version":
        assert field.minimum is not None and field.maximum is not None and field.ui.step
        assert field.default is None or field.minimum <= field.default <= field.maximum  # type: ignore[operator]
    if field.choices:
        assert field.default in field.choices


def test_keys_are_unique_and_paths_are_so_within_a_kind() -> None:
    for model in CONFIGS:
        keys = [field.key for field in fields(model)]
        assert len(keys) == len(set(keys))
        paths = [(field.path, kind) for field in fields(model) for kind in field.kinds or ("",)]
        assert len(paths) == len(set(paths))


@pytest.mark.parametrize(("model", "section"), [(TrainConfig, "adapter"), (ToolConfig, "tool")])
def test_every_kind_of_a_union_has_its_fields(model: type[BaseModel], section: str) -> None:
    listed = [field for field in fields(model) if field.path.startswith(f"{section}.")]
    for kind in next(field for field in listed if field.path == f"{section}.kind").choices:
        own = {field.path.removeprefix(f"{section}.") for field in listed if field.belongs_to(kind)}
        assert own == set(UNIONS[section][kind].model_fields)


def test_fields_reads_a_declaration() -> None:
    found = {field.key: field for field in fields(House)}
    assert list(found) == ["animal.kind", "animal.lives@cat", "animal.age", "animal.lives@dog", "animal.tricks", "colour"]
    assert (found["animal.kind"].kinds, found["animal.kind"].choices) == ((), ("cat", "dog"))
    assert found["animal.age"].kinds == ("cat", "dog")
    assert found["animal.lives@cat"] == Field(
        "animal.lives", int, 9, "How many it has, on two lines.", Ui(unit="lives", step=1), 1, 9, (), False, ("cat",),
        "animal.lives@cat",
    )  # fmt: skip
    assert found["animal.tricks"] == Field(
        "animal.tricks", float, None, "How many it knows.", Ui(level="basic"), 0, 10, (), True, ("dog",), "animal.tricks"
    )
    assert found["colour"] == Field("colour", str, "red", "Its colour.", Ui(level="basic"), choices=("red", "blue"), key="colour")


def test_settings_left_empty_are_optional_and_others_are_not() -> None:
    optional = {field.path for _, field in DECLARED if field.optional}
    assert optional == {"training.max_steps", "training.epochs"}


def test_simple_mode_is_short() -> None:
    basic = [field.path for field in fields(TrainConfig) if field.ui.level == "basic"]
    assert set(basic) >= {"model.path", "dataset.folder", "dataset.trigger", "dataset.kind", "output.name"}
    assert len(basic) <= 12
