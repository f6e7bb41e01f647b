"""One declaration per setting: everything a screen, a file and an error need is in it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Le
from pydantic import BaseModel

from engine.config.field import Field, Section, Ui, fields
from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig

DECLARED = [(model, field) for model in (TrainConfig, GenerateConfig) for field in fields(model)]


class Cat(Section):
    kind: Literal["cat"] = "cat"
    """What it is."""
    lives: Annotated[int, Ge(1), Le(9), Ui(unit="lives", step=1)] = 9
    """How many it has,
    on two lines."""


class Dog(Section):
    kind: Literal["dog"] = "dog"
    """What it is."""
    tricks: Annotated[float | None, Ge(0), Le(10), Ui(level="basic")] = None
    """How many it knows."""


class House(Section):
    animal: Cat | Dog = Cat()
    colour: Annotated[Literal["red", "blue"], Ui(level="basic")] = "red"
    """Its colour."""


@pytest.mark.parametrize(("model", "field"), DECLARED, ids=lambda value: getattr(value, "path", None))
def test_every_field_is_fully_declared(model: type[BaseModel], field: Field) -> None:
    assert field.help and field.help[-1] in ".)?", "help is sentences"
    assert len(field.help) <= 160
    if len(field.choices) != 1:
        leaf = model
        for part in field.path.split(".")[:-1]:
            leaf = leaf.model_fields[part].annotation  # type: ignore[assignment]
        declared = leaf.model_fields[field.path.split(".")[-1]].metadata
        assert any(isinstance(each, Ui) for each in declared), "says how it appears on a screen"
    if field.type in (int, float) and field.path != "version":
        assert field.minimum is not None and field.maximum is not None and field.ui.step
        assert field.default is None or field.minimum <= field.default <= field.maximum  # type: ignore[operator]
    if field.choices:
        assert field.default in field.choices


def test_paths_are_unique_within_a_kind() -> None:
    for model in (TrainConfig, GenerateConfig):
        keys = [(field.path, field.kind) for field in fields(model)]
        assert len(keys) == len(set(keys))


def test_fields_reads_a_declaration() -> None:
    kinds = [field for field in fields(House) if field.path == "animal.kind"]
    assert [(field.kind, field.choices) for field in kinds] == [("cat", ("cat",)), ("dog", ("dog",))]
    found = {field.path: field for field in fields(House)}
    assert found["animal.lives"] == Field(
        "animal.lives", int, 9, "How many it has, on two lines.", Ui(unit="lives", step=1), 1, 9, (), False, "cat"
    )
    assert found["animal.tricks"] == Field(
        "animal.tricks", float, None, "How many it knows.", Ui(level="basic"), 0, 10, (), True, "dog"
    )
    assert found["colour"] == Field("colour", str, "red", "Its colour.", Ui(level="basic"), choices=("red", "blue"))


def test_settings_left_empty_are_optional_and_others_are_not() -> None:
    optional = {field.path for _, field in DECLARED if field.optional}
    assert optional == {"training.max_steps", "training.epochs"}


def test_simple_mode_is_short() -> None:
    basic = [field.path for field in fields(TrainConfig) if field.ui.level == "basic"]
    assert set(basic) >= {"model.path", "dataset.folder", "dataset.trigger", "dataset.kind", "output.name"}
    assert len(basic) <= 10
