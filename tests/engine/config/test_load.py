"""Configs from files, presets and `--set`: precedence, round trip, and errors that name field, value and expectation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import load as load_module
from engine.config.field import fields
from engine.config.generate import GenerateConfig
from engine.config.load import lay_over, load, merge, nested, parse_settings, preset_path, read_yaml, save, validate
from engine.config.train import TrainConfig
from engine.errors import ConfigError, PathError
from engine.workspace import SHIPPED_PRESETS

PRESETS = sorted(path.relative_to(SHIPPED_PRESETS).with_suffix("").as_posix() for path in SHIPPED_PRESETS.rglob("*.yaml"))


def problem(data: dict[str, Any], model: Any = TrainConfig) -> tuple[str, str]:
    """(field, problem) of settings that are wrong."""
    with pytest.raises(ConfigError) as caught:
        validate(model, data)
    error = caught.value
    assert error.code == "config.invalid"
    assert str(error).startswith(f"{error.values['field']}: {error.values['problem']}")
    return error.values["field"], error.values["problem"]  # type: ignore[return-value]


# ---- wrong settings ----

KINDS = next(field.choices for field in fields(TrainConfig) if field.path == "adapter.kind")
WRONG: list[tuple[dict, str, str]] = [
    ({"adapter": {"rank": 0}}, "adapter.rank", "expected a whole number from 1 to 100000 (given: 0)"),
    ({"adapter": {"rank": 1.5}}, "adapter.rank", "expected a whole number from 1 to 100000 (given: 1.5)"),
    ({"adapter": {"rank": "many"}}, "adapter.rank", "expected a whole number from 1 to 100000 (given: 'many')"),
    ({"adapter": {"rank": None}}, "adapter.rank", "expected a whole number from 1 to 100000 (given: nothing)"),
    ({"adapter": {"kind": "loro"}}, "adapter.kind", f"expected one of: {', '.join(KINDS)} (given: 'loro')"),
    ({"adapter": {"kind": None}}, "adapter.kind", f"expected one of: {', '.join(KINDS)} (given: 'None')"),
    ({"adapter": {"kind": "lokr", "rank": 0}}, "adapter.rank", "expected a whole number from 1 to 100000 (given: 0)"),
    ({"adapter": {"kind": "boft", "block_size": 1}}, "adapter.block_size", "expected a whole number from 2 to 4096 (given: 1)"),
    ({"adapter": {"kind": "oft", "block_size": -1}}, "adapter.block_size", "expected a whole number from 0 to 4096 (given: -1)"),
    ({"adapter": {"kind": "lokr", "lokr": 1}}, "adapter.lokr", "there is no such setting; adapter.tucker is one"),
    ({"adapter": {"kind": "ia3", "blocks": 4}}, "adapter.blocks", "ia3 has no such setting; these have it: oft"),
    ({"adapter": {"blocks": 4}}, "adapter.blocks", "lora has no such setting; these have it: oft"),
    ({"adapter": {"rules": ["x"]}}, "adapter.rules", "'x' is not of the form `pattern: off` or `pattern: algorithm field=value`"),
    ({"dataset": {"character": 1}}, "dataset.character", "there is no such setting"),
    ({"training": {"max_steps": 0}}, "training.max_steps", "expected a whole number from 1 to 1000000, or nothing (given: 0)"),
    ({"training": {"learning_rate": -1}}, "training.learning_rate", "expected a number from 0 to 10 (given: -1)"),
    ({"training": {"learning_rate": float("nan")}}, "training.learning_rate", "expected a number from 0 to 10 (given: nan)"),
    ({"training": {"learning_rate": float("inf")}}, "training.learning_rate", "expected a number from 0 to 10 (given: inf)"),
    ({"training": {"seed": 2**32}}, "training.seed", "expected a whole number from 0 to 4294967295 (given: 4294967296)"),
    ({"training": {"schedule": "linear"}}, "training.schedule", "expected one of: cosine, constant (given: 'linear')"),
    ({"dataset": {"flip": "perhaps"}}, "dataset.flip", "expected true or false (given: 'perhaps')"),
    ({"dataset": {"trigger": 7}}, "dataset.trigger", "expected text (given: 7)"),
    ({"samples": {"prompts": "a cat"}}, "samples.prompts", "expected a list of texts (given: 'a cat')"),
    ({"samples": {"prompts": ["a cat", 7]}}, "samples.prompts", "expected a list of texts (given: 7)"),
    ({"training": 5}, "training", "expected named settings (given: 5)"),
    ({"training": None}, "training", "expected named settings (given: nothing)"),
    ({"training": {"learning_rat": 1}}, "training.learning_rat", "there is no such setting; training.learning_rate is one"),
    ({"trainer": {"module": "os.system"}}, "trainer", "there is no such setting"),
    ({"output": {"name": "x" * 5000 + "y", "comment": 1}}, "output.comment", "expected text (given: 1)"),
    ({"version": 0}, "version", "expected a whole number from 1 to 1 (given: 0)"),
    ({"version": "1"}, "version", "expected a whole number from 1 to 1 (given: '1')"),
    ({"version": True}, "version", "expected a whole number from 1 to 1 (given: True)"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "field", "text"), WRONG, ids=[f"{field}-{index}" for index, (_, field, _) in enumerate(WRONG)])
def test_a_wrong_setting_is_told_with_field_value_and_expectation(data: dict, field: str, text: str) -> None:
    assert problem(data) == (field, text)


def test_a_long_value_is_shown_short() -> None:
    field, text = problem({"training": {"seed": "x" * 5000}})
    assert field == "training.seed" and text.endswith("x...)") and len(text) < 150


def test_two_lengths_are_a_contradiction() -> None:
    field, text = problem({"training": {"max_steps": 10, "epochs": 2}})
    assert field == "training" and "max_steps" in text and "epochs" in text


def test_all_problems_are_told_the_first_in_the_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, {"adapter": {"rank": 0, "speed": 1}, "training": {"seed": -1}})
    assert [path for path, _ in caught.value.values["problems"]] == ["adapter.rank", "adapter.speed", "training.seed"]  # type: ignore[attr-defined]
    assert "(2 more)" in str(caught.value)


def test_settings_of_a_later_version_are_refused_politely() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, {"version": 2, "something_new": {}})
    assert caught.value.code == "config.too_new" and caught.value.values == {"field": "version", "version": 2}


def test_older_settings_go_through_every_migration_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "VERSION", 3)
    monkeypatch.setattr(load_module, "MIGRATIONS", {
        1: lambda old: {**old, "training": {"steps": old["steps"]}, "steps": None},
        2: lambda old: {"training": {"max_steps": old["training"]["steps"]}},
    })  # fmt: skip
    config = validate(TrainConfig, {"version": 1, "steps": 7})
    assert (config.training.max_steps, config.version) == (7, 3)


def test_assignments_are_checked_and_a_refused_one_changes_nothing() -> None:
    config = TrainConfig()
    for section, name, value in ((config.adapter, "rank", 0), (config.training, "seed", "x"), (config.output, "nam", "x")):
        with pytest.raises(ValueError):
            setattr(section, name, value)
    assert config == TrainConfig()


# ---- files ----


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_says_what_it_is_for(name: str) -> None:
    load(TrainConfig, preset_path(name))
    comment = preset_path(name).read_text(encoding="utf-8").partition("version:")[0]
    assert all(line.startswith("#") for line in comment.splitlines()) and comment.count("\n") >= 2


def test_there_is_a_preset_for_the_practice_run() -> None:
    assert "starter/character" in PRESETS


@pytest.mark.parametrize("name", ["../engine/config", "../../x", "/etc/passwd"])
def test_a_preset_is_named_inside_its_folder(name: str) -> None:
    with pytest.raises(PathError):
        preset_path(name)


def values(path: str, low: float | None, high: float | None, kind: type, choices: tuple) -> st.SearchStrategy:
    if choices:
        return st.sampled_from(choices)
    strategies: dict[type, st.SearchStrategy] = {
        bool: st.booleans(),
        int: st.integers(int(low or 0), int(high or 1)),
        float: st.floats(low, high, allow_nan=False),
        str: st.text(max_size=20) | st.sampled_from(["1e-4", "yes", "007", "null", "12:30", " a ", "猫: 犬", "#x"]),
        list: st.lists(st.text(max_size=20), max_size=3),
    }
    return strategies[kind]


SPECIAL = ("version", "training.epochs", "adapter.kind", "adapter.rules", "adapter.initial")
LEAVES = {f.path: values(f.path, f.minimum, f.maximum, f.type, f.choices) for f in fields(TrainConfig) if f.belongs_to("lora")}
flat = st.fixed_dictionaries({}, optional={path: value for path, value in LEAVES.items() if path not in SPECIAL})


@given(flat)
@settings(max_examples=25, deadline=None)
def test_any_config_survives_its_file(tmp_path_factory: pytest.TempPathFactory, flat: dict) -> None:
    config = validate(TrainConfig, nested(flat))
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    save(config, file)
    assert load(TrainConfig, file) == config


def test_zero_is_a_value() -> None:
    zeros = {
        "training.learning_rate": 0,
        "training.seed": 0,
        "samples.count": 0,
        "adapter.alpha": 0,
        "training.max_grad_norm": 0.0,
    }
    config = validate(TrainConfig, nested(zeros))
    assert config.training.learning_rate == config.training.seed == config.samples.count == config.training.max_grad_norm == 0
    assert validate(GenerateConfig, {"seed": 0}).seed == 0


UNREADABLE = {
    "a list": b"- 1",
    "a word": b"hello",
    "a tag": b"model: !!python/object/apply:os.system [id]",
    "no text": b"\xff\xfe\x00",
    "too large": b"#" * 1_000_001,
    "too deep": b"[" * 3_000,
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_no_settings_is_told_by_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(file)
    assert caught.value.code == "config.unreadable" and "mine.yaml" in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load(TrainConfig, path)
        assert caught.value.code == "config.unreadable"


def test_an_empty_file_is_the_defaults_and_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    for content in ("", "\ufeff# mine\n", "\ufefftraining:\n"):
        (tmp_path / "a.yaml").write_text(content, encoding="utf-8")
        if "training" not in content:
            assert load(TrainConfig, tmp_path / "a.yaml") == TrainConfig()
        else:
            assert problem(read_yaml(tmp_path / "a.yaml")) == ("training", "expected named settings (given: nothing)")


# ---- what goes over what ----


def test_settings_go_over_the_preset_and_that_over_the_defaults() -> None:
    config = load(TrainConfig, preset_path("starter/character"), parse_settings(["training.batch_size=3", "output.name=mine"]))
    assert config.training.batch_size == 3 and config.output.name == "mine"  # --set
    assert config.dataset.trigger == "mofumo"  # preset
    assert config.training.gradient_accumulation == TrainConfig().training.gradient_accumulation  # default


def test_merge_goes_section_by_section_and_leaves_both_sides_alone() -> None:
    base, over = {"a": {"x": 1, "y": [1]}, "b": 2}, {"a": {"x": 5, "z": {}}, "c": None}
    result = merge(base, over)
    assert result == {"a": {"x": 5, "y": [1], "z": {}}, "b": 2, "c": None}
    result["a"]["y"].append(2)
    assert base == {"a": {"x": 1, "y": [1]}, "b": 2} and over == {"a": {"x": 5, "z": {}}, "c": None}


@pytest.mark.parametrize(
    ("base", "over", "laid"),
    [
        ({"kind": "lora", "rank": 4}, {"kind": "lora", "alpha": 1}, {"kind": "lora", "rank": 4, "alpha": 1}),
        ({"kind": "lora", "rank": 4}, {"alpha": 1}, {"kind": "lora", "rank": 4, "alpha": 1}),
        ({"kind": "lora", "rank": 4, "dropout": 0.1}, {"kind": "loha", "alpha": 1}, {"kind": "loha", "rank": 4, "alpha": 1}),
        ({"rank": 4, "freeze_down": True}, {"kind": "ia3"}, {"kind": "ia3"}),
        ({"rank": 4}, {"kind": "lora", "alpha": 1}, {"rank": 4, "kind": "lora", "alpha": 1}),
        ({"kind": "oft", "block_size": 4, "blocks": 2}, {"kind": "boft"}, {"kind": "boft", "block_size": 4}),
    ],
)
def test_a_section_of_another_kind_keeps_what_that_kind_has_too(base: dict, over: dict, laid: dict) -> None:
    before = copy.deepcopy(base)
    assert lay_over(TrainConfig, {"adapter": base, "model": {}}, {"adapter": over}) == {"adapter": laid, "model": {}}
    assert base == before
    validate(TrainConfig, {"adapter": laid})


def test_the_algorithm_of_a_preset_can_be_changed() -> None:
    config = load(TrainConfig, preset_path("starter/character"), parse_settings(["adapter.kind=lokr"]))
    assert (config.adapter.kind, config.adapter.rank) == ("lokr", 8)  # type: ignore[union-attr]
    assert load(TrainConfig, preset_path("sd1/style"), parse_settings(["adapter.kind=ia3"])).adapter.kind == "ia3"


def test_set_reads_values_as_the_file_does() -> None:
    pairs = [
        "training.learning_rate=1e-4", "training.max_steps=null", "dataset.flip=true", "dataset.trigger=yes", "output.comment=a=b: c",
        "output.name=", "samples.prompts=[a cat, a dog]", "dataset.folder=C:\\pictures: mine", " training.seed =7",
    ]  # fmt: skip
    config = validate(TrainConfig, parse_settings(pairs))
    assert (config.training.learning_rate, config.training.max_steps, config.training.seed) == (1e-4, None, 7)
    assert (config.dataset.flip, config.dataset.trigger, config.dataset.folder) == (True, "yes", "C:\\pictures: mine")
    assert (config.output.comment, config.output.name, config.samples.prompts) == ("a=b: c", "", ["a cat", "a dog"])


def test_the_last_set_wins() -> None:
    assert parse_settings(["training.seed=1", "training.seed=2"]) == {"training": {"seed": 2}}


@pytest.mark.parametrize("pairs", [["training.seed"], ["=5"], [""], ["training=1", "training.seed=2"], ["a.b=1", "a.b.c=2"]])
def test_a_bad_set_is_told(pairs: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(pairs)
    assert caught.value.code == "config.bad_set"
