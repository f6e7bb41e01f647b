"""From the settings of a grid to its cells: which requests they are, and in which order they are best made.

A cell has a place on four axes, prompt, z, y and x, each counted from 0. Cells whose requests are equal are made once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, AxisKind, GridConfig
from engine.errors import ConfigError
from engine.generation.prompt import parse_tags, strip_comments
from engine.grid.axes import AXES, Choice
from engine.grid.finish import Finish
from engine.grid.ranges import read_numbers, shown, split_list
from engine.grid.request import Request
from engine.grid.surroundings import Surroundings
from engine.styles import apply_styles, read_styles
from engine.workspace import Workspace

MOST_PICTURES = 400
LETTERS = ("x", "y", "z")
BASE_LABEL, WITH_LABEL = "without LoRA", "with LoRA"


class Place(NamedTuple):
    """Where a cell stands."""

    prompt: int
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class Line:
    """An axis as planned.

    Attributes:
        kind: "none" for one that is not used, or only for the base column.
        values: as typed.
        labels: at least one; "" where there is nothing to say.
        base: whether the first of them is the base column.
    """

    kind: AxisKind
    values: str
    labels: tuple[str, ...]
    base: bool = False


@dataclass(frozen=True)
class Cell:
    """A request and all its places in the grid.

    Attributes:
        files: name -> file of adapters in its prompt that lie in none of the LoRA folders.
    """

    places: tuple[Place, ...]
    config: GenerateConfig
    files: Mapping[str, Path]

    @property
    def pictures(self) -> int:
        return self.config.batch_size * self.config.batch_count


@dataclass(frozen=True)
class GridPlan:
    """What a grid will be.

    Attributes:
        prompts: as typed; each has a grid of its own.
        lines: by letter of the axis.
        cells: in the order they are made.
    """

    prompts: tuple[str, ...]
    lines: Mapping[str, Line]
    cells: tuple[Cell, ...]

    @property
    def pictures(self) -> int:
        """How many are made."""
        return sum(cell.pictures for cell in self.cells)

    @property
    def places(self) -> int:
        """How many places there are for cells."""
        return sum(len(cell.places) for cell in self.cells)


def settle(config: GridConfig) -> GridConfig:
    """The same with every seed that is to be drawn drawn now, so that all cells have it in common."""
    config = config.model_copy(deep=True)
    picture = config.picture
    picture.seed = picture.seed if picture.seed >= 0 else random.randrange(2**32)
    if picture.variation_strength and picture.variation_seed < 0:
        picture.variation_seed = random.randrange(2**32)
    for letter, axis in _axes(config):
        if axis.kind == "seed":
            field = f"{letter}.values"
            seeds = read_numbers(split_list(axis.values, field), field, whole=True)
            axis.values = ", ".join(shown(seed) if seed != -1 else str(random.randrange(2**32)) for seed in seeds)
    return config


def plan_grid(config: GridConfig, workspace: Workspace) -> GridPlan:
    """The cells of a grid. Reads headers and logs only.

    Raises:
        EngineError: an axis cannot be read, something it names is not there, or there are too many pictures;
            `values["field"]` says where.
    """
    _check(config)
    config = settle(config)
    around = Surroundings(config, workspace)
    pictures = [_for_cell(config.picture, prompt, workspace) for prompt in config.prompts or [config.picture.prompt]]
    choices = {letter: _choices(letter, axis, around) for letter, axis in _axes(config)}
    base_on = _base_line(config, [picture.prompt for picture in pictures])
    if base_on:
        choices[base_on] = _with_base(choices[base_on], getattr(config, base_on))
    lines = {
        letter: Line(axis.kind, axis.values, tuple(choice.label for choice in choices[letter]), base=letter == base_on)
        for letter, axis in _axes(config)
    }
    _check_size(config, [len(pictures), *(len(line.labels) for line in lines.values())])
    cells = _cells(pictures, choices, config, Finish(config, around))
    return GridPlan(tuple(config.prompts or [config.picture.prompt]), lines, tuple(_in_order(cells)))


def _cells(
    pictures: Sequence[GenerateConfig], choices: Mapping[str, Sequence[Choice]], config: GridConfig, finish: Finish
) -> list[Cell]:
    """Every combination, those alike as one."""
    of_kind = {axis.kind: letter for letter, axis in _axes(config) if axis.kind != "none"}
    in_turn = [of_kind[kind] for kind in AXES if kind in of_kind]
    in_turn += [letter for letter in LETTERS if letter not in in_turn]
    found: dict[str, Cell] = {}
    for place in map(Place._make, product(*map(range, (len(pictures), *(len(choices[letter]) for letter in "zyx"))))):
        request = Request(pictures[place.prompt])
        for letter in in_turn:
            request = choices[letter][getattr(place, letter)].change(request)
        made, files = finish(request)
        key = f"{made.model_dump_json()} {files}"
        before = found[key].places if key in found else ()
        found[key] = Cell((*before, place), made, files)
    return list(found.values())


def _axes(config: GridConfig) -> list[tuple[str, Axis]]:
    return [(letter, getattr(config, letter)) for letter in LETTERS]


def _check(config: GridConfig) -> None:
    """Raises ConfigError: `grid.live`, `grid.twice`."""
    if config.picture.live_run:
        raise ConfigError(
            "grid.live", "A grid cannot be made with an adapter in training.", "Saved versions of it.",
            "Choose the axis of epochs and the run.", field="picture.live_run",
        )  # fmt: skip
    seen: set[str] = set()
    for letter, axis in _axes(config):
        # A version of a run is a file like any other.
        kind = "adapter" if axis.kind == "epoch" else axis.kind
        if kind in seen and kind != "none":
            raise ConfigError(
                "grid.twice", f"{letter}.kind: another axis varies the same.", "Each axis varies something else.",
                "Choose something else, or nothing.", field=f"{letter}.kind", value=axis.kind,
            )  # fmt: skip
        seen.add(kind)


def _choices(letter: str, axis: Axis, around: Surroundings) -> list[Choice]:
    """Raises ConfigError: `grid.no_values`, and what the readers raise."""
    if axis.kind == "none":
        return [Choice("", lambda request: request)]
    field = f"{letter}.values"
    choices = AXES[axis.kind].read(axis.values, field, around)
    if not choices:
        raise ConfigError(
            "grid.no_values", f"{field}: there are no values.", "A list such as 0.5, 0.8, 1, or a range such as 0-1 [5].",
            "Write some.", field=field,
        )  # fmt: skip
    return choices


def _base_line(config: GridConfig, prompts: Sequence[str]) -> str:
    """The letter of the axis that the base column stands on: the first that varies the adapter, or one that is free.

    "" where no base column is asked for, or would be like the others.

    Raises:
        ConfigError: `grid.no_base`.
    """
    if not config.base_column:
        return ""
    of_adapter = [letter for letter, axis in _axes(config) if axis.kind != "none" and AXES[axis.kind].of_adapter]
    if not of_adapter and not any(parse_tags(strip_comments(prompt))[1] for prompt in prompts):
        return ""
    free = [letter for letter, axis in _axes(config) if axis.kind == "none"]
    if not of_adapter and not free:
        raise ConfigError(
            "grid.no_base", "base_column: there is no room for the base column.", "An axis that varies the LoRA, or a free one.",
            "Free an axis, or leave the base column out.", field="base_column",
        )  # fmt: skip
    return (of_adapter or free)[0]


def _with_base(choices: list[Choice], axis: Axis) -> list[Choice]:
    """The choices of an axis after the base column. On a free axis there is one, which then needs a label."""
    named = [choices[0]._replace(label=WITH_LABEL)] if axis.kind == "none" else choices
    return [Choice(BASE_LABEL, lambda request: replace(request, base=True)), *named]


def _check_size(config: GridConfig, lengths: Sequence[int]) -> None:
    """Raises ConfigError: `grid.too_many_pictures`."""
    count = prod(lengths) * config.picture.batch_size * config.picture.batch_count
    if count > MOST_PICTURES:
        raise ConfigError(
            "grid.too_many_pictures", f"These are {count} pictures.", f"At most {MOST_PICTURES} in a grid.",
            "Take fewer values or prompts.", field="x.values", count=count, most=MOST_PICTURES,
        )  # fmt: skip


def _for_cell(picture: GenerateConfig, prompt: str, workspace: Workspace) -> GenerateConfig:
    """The request of one prompt, its styles written out. What compares with and without is the base column.

    Raises:
        PromptError: `prompt.style_unknown`, `styles.unreadable`.
    """
    styles = read_styles(workspace) if picture.styles else {}
    prompt, negative, problems = apply_styles(prompt, picture.negative_prompt, picture.styles, styles)
    if problems:
        problems[0].values["field"] = "picture.styles"
        raise problems[0]
    return picture.model_copy(
        update={"prompt": strip_comments(prompt), "negative_prompt": negative, "styles": [], "compare": False}
    )


def _in_order(cells: list[Cell]) -> list[Cell]:
    """Made so that models change most rarely, then adapter files, then their strengths; else as they stand."""
    ranks: tuple[dict, ...] = ({}, {}, {})

    def key(cell: Cell) -> list[int]:
        tags = parse_tags(cell.config.prompt)[1]
        told = (cell.config.choice, tuple(tag.name for tag in tags), tuple(tag.source for tag in tags))
        return [rank.setdefault(each, len(rank)) for rank, each in zip(ranks, told, strict=True)]

    return sorted(cells, key=key)
