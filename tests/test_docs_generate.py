"""docs/generate.md says what the program does, in both languages: its tables are the program's lists, its examples are read by it.

A failure shows the cells as they should be.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from engine.__main__ import COMMANDS
from engine.config.choices import SAMPLERS_FOR, SCHEDULE_NAMES, SCHEDULES_FOR, Emphasis, Upscaler
from engine.config.generate import GenerateConfig
from engine.config.grid import GridConfig
from engine.config.load import load, parse_settings, validate
from engine.diagnosis import CERTAIN, ORDER, WEAK
from engine.formats.models import MODELS
from engine.generation.blocks import BLOCKS, LISTS, PRESETS, family_weights, presets_of
from engine.generation.likeness import LEVELS
from engine.generation.prompt import (
    AdapterTag,
    find_problems,
    parse_attention,
    parse_schedule,
    parse_tags,
    split_composable,
    strip_comments,
)
from engine.generation.sampling.course import Start
from engine.generation.sampling.samplers import FLOW_SAMPLERS, SAMPLERS
from engine.generation.scoring import TRAINING_PICTURES
from engine.generation.tags import READERS
from engine.generation.wildcards import expand
from engine.grid.axes import AXES
from engine.grid.plan import MOST_PICTURES
from engine.grid.ranges import read_numbers, shown, split_list
from engine.grid.suggest import CLOSE
from engine.grid.surroundings import Surroundings
from engine.grid.versions import Run, Version
from engine.recall.fields import READERS as FIELDS
from engine.recall.picture_text import LATE
from engine.sidecars import PICTURES
from engine.workspace import Workspace
from webui.i18n import t

ROOT = Path(__file__).parents[1]
FILES = {"en": ROOT / "docs" / "generate.md", "ja": ROOT / "docs" / "generate.ja.md"}
TABLES = (
    "keys", "doses", "attention", "schedule", "emphasis", "readers", "differences", "options", "blocks", "presets", "choices", "samplers",
    "schedules", "sidecars", "diagnosis", "axes", "values", "fields",
)  # fmt: skip
"""In the order of the page."""
WORDS = {
    "en": {"comma": ", ", "yes": "yes", "no": "no", "own": "the model's own", "all": "all", "nothing": "nothing"},
    "ja": {"comma": "、", "yes": "○", "no": "×", "own": "モデル本来のもの", "all": "すべて", "nothing": "なし"},
}
STEPS = 20
SPAN = 3
"""Changes of a schedule that the page writes out."""

Rows = list[list[str]]


@pytest.fixture(params=FILES)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@cache
def text(language: str) -> str:
    return FILES[language].read_text(encoding="utf-8")


@cache
def tables(language: str) -> dict[str, Rows]:
    """Name -> the cells of a table, without its head."""
    found: list[Rows] = [[]]
    for line in text(language).splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return dict(zip(TABLES, [rows[2:] for rows in found if rows], strict=True))


def column(rows: Rows, number: int) -> list[str]:
    return [row[number] for row in rows]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def written(rows: Rows) -> list[str]:
    """What stands as code in the first column, one a row."""
    return [codes(row[0])[0] for row in rows]


def listed(parts: Iterable[str], language: str) -> str:
    return WORDS[language]["comma"].join(parts)


# ---- the prompt ----


def test_what_attention_is_read_as(language: str) -> None:
    def told(prompt: str) -> str:
        return listed(
            ("BREAK" if (piece, weight) == ("BREAK", -1) else f"`{piece.strip()}`" + (f" × {weight:.3g}" if weight != 1 else "")
             for piece, weight in parse_attention(prompt)), language,
        )  # fmt: skip

    rows = tables(language)["attention"]
    assert column(rows, 1) == [told(prompt) for prompt in written(rows)]


def test_what_is_drawn_at_each_step(language: str) -> None:
    def told(prompt: str) -> str:
        made = [*parse_schedule(prompt, STEPS), (0, "")]
        stages = [(0, ""), *(stage for stage, after in pairwise(made) if stage[1] != after[1])]
        spans = [
            f"{start + 1}–{end} `{stage}`" if end > start + 1 else f"{end} `{stage}`"
            for (start, _), (end, stage) in pairwise(stages)
        ]
        return listed([*spans[:SPAN], *(["…"] if len(spans) > SPAN else [])], language)

    rows = tables(language)["schedule"]
    assert column(rows, 1) == [told(prompt) for prompt in written(rows)]
    assert parse_schedule("[a:b:22]", STEPS, 10)[0][0] == 2 and parse_schedule("[a:b:1.5]", STEPS, 10)[0][0] == 5


def test_every_example_is_read_without_a_problem(language: str) -> None:
    page = tables(language)
    bad = {prompt for row in page["differences"] for prompt in codes(row[0])}
    prompts = {each.replace("\\|", "|") for each in codes(re.sub(r"```.*?```", "", text(language), flags=re.DOTALL))} - bad
    prompts = {each for each in prompts if re.search(r"<\w+:|AND|BREAK|^\[|\(", each)} | {
        *written(page["attention"] + page["schedule"])
    }
    assert len(prompts) > 20
    told = {prompt: [str(problem) for problem in find_problems(strip_comments(prompt))] for prompt in prompts}
    assert {prompt: problems for prompt, problems in told.items() if problems} == {}


def test_the_parts_of_an_and_prompt(language: str) -> None:
    (prompt,) = [each for each in codes(text(language)) if " AND " in each]
    assert [weight for _, weight in split_composable(prompt)] == [1.2, 0.7, -0.3]


def weights(prompt: str) -> list[float]:
    return [tag.unet for tag in parse_tags(prompt)[1] if not tag.problem]


DIFFERENCES: dict[str, Callable[[str], bool]] = {
    "(red BREAK blue:1.2)": lambda prompt: ("BREAK", -1.0) in parse_attention(prompt),
    "(red:1.2.3)": lambda prompt: bool(find_problems(prompt)) and parse_attention(prompt)[0][0] == "red:1.2.3",
    "[a cat:a dog:8]": lambda prompt: parse_schedule(prompt, STEPS)[0] == (8, "a cat"),
    "[red|blue]": lambda prompt: [stage for _, stage in parse_schedule(prompt, 4)] == ["red", "blue", "red", "blue"],
    "[cat:dog:0.5] [red:blue:x]": lambda prompt: parse_schedule(prompt, 2) == [(1, "cat [red:blue:x]"), (2, "dog [red:blue:x]")],
    "<lora:a:0,8> <lora:b:1>": lambda prompt: weights(prompt) == [1.0] and len(find_problems(prompt)) == 1,
    "<lora:a:1><lora:a:0.5>": lambda prompt: sum(weights(prompt)) == 1.5,
    "{<lora:a:1>|<lora:b:1>}": lambda prompt: {expand(prompt, seed, ROOT) for seed in range(9)} == {"<lora:a:1>", "<lora:b:1>"},
    "<lora:Folder/a:1>": lambda prompt: weights(prompt) == [1.0],
}
"""What the page says of AUTOMATIC1111's prompts -> whether it is so. How tags act is tested where they are applied."""


def test_where_we_differ(language: str) -> None:
    prompts = written(tables(language)["differences"])
    assert prompts == [*DIFFERENCES]
    assert [prompt for prompt in prompts if not DIFFERENCES[prompt](prompt)] == []


def test_the_modes_of_emphasis(language: str) -> None:
    assert written(tables(language)["emphasis"]) == [*get_args(Emphasis)]


def test_what_models_read(language: str) -> None:
    rows = tables(language)["readers"]
    assert column(rows, 0) == [model.title for model in MODELS.values()]
    for (*_, told), model in zip(rows, MODELS.values(), strict=True):
        lengths = {variant.habits.text_length for variant in model.variants.values()} - {0}
        assert sorted(map(int, re.findall(r"\d+", told))) == sorted(lengths)


def test_choices_and_lists(language: str, tmp_path: Path) -> None:
    for name, lines in {"colours": "# a comment\n\nred\n", "clothes/hats": "top hat\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(lines)

    def drawn(prompt: str) -> list[str]:
        problems: list[Any] = []
        made = [expand(prompt, seed, tmp_path, problems.append) for seed in range(400)]
        assert not problems
        return made

    either, often, two, colour, hat = (drawn(prompt) for prompt in written(tables(language)["choices"]))
    assert {*either} == {"a red cat", "a blue cat"} and {*often} == {"red", "blue"}
    assert 0.65 < often.count("red") / len(often) < 0.85
    assert {*two} == {f"{a}, {b}" for a in ("red", "blue", "green") for b in ("red", "blue", "green") if a != b}
    assert {*colour} == {"a red cat"} and {*hat} == {"a cat in a top hat"}


# ---- tags ----


def example(cell: str) -> AdapterTag:
    left, (tag,) = parse_tags(codes(cell)[0])
    assert left == "" and not tag.problem and not tag.notes
    return tag


def test_the_options_of_a_tag(language: str) -> None:
    rows = tables(language)["options"]
    assert written(rows) == [f"{key}=" for key in READERS]
    te, unet, *others = (example(row[1]) for row in rows)
    assert (te.text_encoder, te.unet) == (0.5, 0.5) and (unet.text_encoder, unet.unet) == (1.0, 0.7)
    assert [[*tag.options] for tag in others] == [["dyn"], ["lbw"], ["start"], ["stop"]]
    start, stop = others[-2:]
    assert [step for step in range(1, STEPS + 1) if start.strengths(step, STEPS)[1]] == [*range(5, STEPS + 1)]
    assert [step for step in range(1, STEPS + 1) if stop.strengths(step, STEPS)[1]] == [*range(1, STEPS // 2 + 1)]


def test_the_other_tags_say_what_the_page_says_of_them(language: str) -> None:
    tags = {each: example(f"`{each}`") for each in codes(text(language)) if re.fullmatch("<lora:my-mascot:[^<>]*>", each)}
    pair = tags["<lora:my-mascot:0.5:1>"]
    assert (pair.text_encoder, pair.unet) == (0.5, 1.0)
    (stepwise,) = (tag for tag in tags.values() if "unet_steps" in tag.options)
    assert [stepwise.strengths(step, 11)[1] for step in (1, 4, 7, 11)] == pytest.approx([1, 0.7, 0.4, 0.4])
    (blocks,) = (tag for tag in tags.values() if isinstance(tag.options.get("lbw"), tuple))
    assert family_weights(blocks.options["lbw"], "sd1")["IN08"] == 1


def compressed(blocks: Sequence[str], language: str) -> str:
    """ "`BASE`, `IN04`–`IN05`": neighbours that count up are told as one."""
    runs: list[list[str]] = []
    for block in blocks:
        before = re.fullmatch(r"(\D+)(\d+)", runs[-1][-1]) if runs else None
        if before and block == f"{before[1]}{int(before[2]) + 1:02}":
            runs[-1].append(block)
        else:
            runs.append([block])
    return listed(("–".join(f"`{block}`" for block in dict.fromkeys((run[0], run[-1]))) for run in runs), language)


def test_the_lists_of_blocks(language: str) -> None:
    families = {length: [MODELS[name].title for name, lengths in LISTS.items() if length in lengths] for length in BLOCKS}
    wanted = [
        [str(length), listed(families[length], language), compressed(blocks, language)] for length, blocks in BLOCKS.items()
    ]
    assert tables(language)["blocks"] == wanted


def test_the_presets_of_blocks(language: str) -> None:
    def told(preset: str, family: str) -> str:
        if preset not in presets_of(family):
            return ""
        if preset in ("NONE", "ALL"):
            assert {*family_weights(preset, family).values()} == {float(preset == "ALL")}
            return WORDS[language]["all" if preset == "ALL" else "nothing"]
        return compressed([block for block, weight in family_weights(preset, family).items() if weight and block], language)

    assert tables(language)["presets"] == [
        [f"`{preset}`", *(told(preset, family) for family in ("sd1", "sdxl", "flux"))] for preset in PRESETS
    ]
    assert LISTS["sd1"] == LISTS["sd2"]


# ---- samplers, schedules, settings ----


def walked(start: Start) -> tuple[bool, bool]:
    """(whether a sampler makes two calls a step, whether it draws fresh noise)."""
    nothing, draws, calls = torch.zeros(1, 1, 1, 1), 0, 0

    def draw() -> torch.Tensor:
        nonlocal draws
        draws += 1
        return nothing

    course = start(nothing, [10.0, 5.0, 2.0, 1.0, 0.0], draw)
    next(course)
    try:
        while True:
            calls += 1
            course.send((nothing, nothing))
    except StopIteration:
        return calls > 4, draws > 0


def test_the_samplers(language: str) -> None:
    words = WORDS[language]

    def told(name: str) -> list[str]:
        sampler, flow = SAMPLERS[name], FLOW_SAMPLERS.get(name)
        twice, fresh = walked(sampler.start)
        yes = lambda is_so: words["yes" if is_so else "no"]  # noqa: E731
        return [
            "2" if twice else "1", yes(fresh), words["own"] if sampler.schedule == "Own" else sampler.schedule, yes(sampler.pure_noise),
            words["no"] if not flow else words["own"] if flow.schedule == "Uniform" else flow.schedule,
        ]  # fmt: skip

    rows = tables(language)["samplers"]
    assert column(rows, 0) == [*SAMPLERS_FOR["epsilon"]] == [*SAMPLERS]
    assert [row[2:] for row in rows] == [told(row[0]) for row in rows]


def test_the_schedules(language: str) -> None:
    rows, words = tables(language)["schedules"], WORDS[language]
    assert column(rows, 0) == [*SCHEDULES_FOR["epsilon"]] == [*SCHEDULES_FOR["v_prediction"]]
    assert [row[2:] for row in rows] == [
        [words["yes"], words["yes" if row[0] in SCHEDULES_FOR["flow"] else "no"]] for row in rows
    ]


def test_the_counts_in_the_readme(language: str) -> None:
    readme = (ROOT / ("README.md" if language == "en" else "README.ja.md")).read_text(encoding="utf-8")
    counts = [len(SAMPLERS), len(SCHEDULE_NAMES) - 1, len(AXES)]
    assert [each for each in counts if not re.search(rf"(?<!\d){each}( samplers| schedules| things| 種類)", readme)] == []


def test_words_that_can_be_chosen_are_named(language: str) -> None:
    assert [each for each in get_args(Upscaler) if f"`{each}`" not in text(language)] == []


def test_the_keys(language: str) -> None:
    script = (ROOT / "webui" / "assets" / "shortcuts.js").read_text(encoding="utf-8")
    assert re.findall(r"event\.key === '(\w+)'", script) == ["Enter", "Escape"]
    assert "event.ctrlKey || event.metaKey" in script and "event.isComposing" in script
    assert [codes(row[0]) for row in tables(language)["keys"]] == [["Ctrl+Enter", "Cmd+Enter"], ["Esc"]]


def test_strengths_are_those_of_the_page(language: str) -> None:
    doses = [t(f"text.gen.dose_{kind}", language) for kind in ("one", "strong", "several")]
    assert [re.findall(r"[\d.]+", dose) for dose in doses] == [re.findall(r"[\d.]+", row[0]) for row in tables(language)["doses"]]


def test_what_lies_beside_a_file(language: str) -> None:
    named = {each.removeprefix("name") for row in tables(language)["sidecars"] for each in codes(row[0])}
    assert named == {".json", ".preview.png", ".txt", ".description.txt", *(f".{ending}" for ending in PICTURES)}


def test_the_reasons_why_nothing_happens(language: str) -> None:
    rows, words = tables(language)["diagnosis"], WORDS[language]
    assert column(rows, 2) == [words["yes" if code in CERTAIN else "no"] for code in ORDER]
    assert f"{WEAK:g}" in rows[ORDER.index("diagnosis.weak")][0]


# ---- grids, recipes, commands ----


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """What axes look things up in: two LoRAs, and a run with a version for each of two epochs."""
    workspace = Workspace(tmp_path).prepare()
    for name in ("my-mascot", "other"):
        (workspace.loras / f"{name}.safetensors").write_bytes(b"no header is read for its name")
    picture = GenerateConfig(prompt="my-mascot on the beach", source={"picture": "any.png"})  # type: ignore[arg-type]
    around = Surroundings(GridConfig(picture=picture), workspace)
    versions = (Version(epoch, 30 * epoch, tmp_path / f"{epoch}.safetensors") for epoch in (1, 2))
    around.__dict__["run"] = Run("my-mascot", tuple(versions))
    return around


def test_the_axes(language: str, around: Surroundings) -> None:
    rows = tables(language)["axes"]
    wanted = [
        [f"`{kind}`", t(f"grid.x.kind.choice.{kind}", language), axis.name, row[3],
         listed((choice.label for choice in axis.read(codes(row[3])[0], "x.values", around)), language)]
        for (kind, axis), row in zip(AXES.items(), rows, strict=True)
    ]  # fmt: skip
    assert rows == wanted
    assert re.search(rf"\b{MOST_PICTURES}\b", text(language))


def test_the_numbers_of_the_scores(language: str) -> None:
    numbers = re.findall(r"\d+\.?\d*", re.findall(r"\n### (.*?)\n## ", text(language), re.DOTALL)[-1])
    assert {f"{number:g}" for number in (*LEVELS, TRAINING_PICTURES, CLOSE)} <= {*numbers}


def test_how_values_are_written(language: str) -> None:
    rows = tables(language)["values"]
    told = [listed(map(shown, read_numbers(split_list(each, "x.values"), "x.values")), language) for each in written(rows)]
    assert column(rows, 1) == told


def test_the_fields_of_a_recipe(language: str) -> None:
    known = dict.fromkeys(re.sub(r"-[12]$", "", re.sub(r"^Module \d$", "Module 1", name)) for name in (*FIELDS, *LATE))
    named = [field for row in tables(language)["fields"] for field in codes(row[0])]
    assert sorted(named) == sorted(known)


def test_the_commands_can_be_given(language: str) -> None:
    lines = re.findall(r"^    python -m engine (.+)$", text(language), re.MULTILINE)
    assert len(lines) == 4
    for name, *arguments in map(shlex.split, lines):
        command = importlib.import_module(COMMANDS[name][0])
        parser = argparse.ArgumentParser(allow_abbrev=False)
        command.add_arguments(parser)
        options = parser.parse_args(arguments)
        if name == "grid":
            load(GridConfig, None, parse_settings(options.set))
        else:
            validate(GenerateConfig, {setting: getattr(options, option) for option, setting in command.SETTINGS.items()})


def test_the_settings_file_of_a_grid(language: str, tmp_path: Path) -> None:
    (content,) = re.findall(r"```yaml\n(.*?)```", text(language), re.DOTALL)
    file = tmp_path / "epochs.yaml"
    file.write_text(content, encoding="utf-8")
    config = load(GridConfig, file, {})
    assert (config.x.kind, config.y.kind, len(config.prompts), config.picture.batch_size) == ("epoch", "strength", 2, 2)
