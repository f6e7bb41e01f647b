from __future__ import annotations

from typing import Annotated, Any, Literal

import gradio as gr
import pytest
from annotated_types import Ge, Le
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field as PydanticField

from engine.config.field import Field, Section, Ui
from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.fitting import FIELDS, DeviceProfile, check_config, refusals
from webui import i18n
from webui.forms import INVALID, Form, from_widget, keyed, to_widget
from webui.i18n import LANGUAGES
from webui.widgets.device import SIGN


def whole(name: str, model: type, scope: str = "", **options: Any) -> Form:
    """A form with every field placed."""
    form = Form(name, model, scope, **options)
    with gr.Blocks():
        for key in form.fields:
            form.place(key)
    return form


@pytest.fixture(scope="module")
def train() -> Form[TrainConfig]:
    return whole("train", TrainConfig)


def value_of(field: Field) -> st.SearchStrategy:
    """Values a field allows."""
    if field.choices:
        return st.sampled_from(field.choices)
    if field.type is bool:
        return st.booleans()
    if field.type is list:
        return st.lists(st.text("abc 日本", min_size=1).map(str.strip).filter(bool), max_size=3)
    if field.type is str:
        return st.text("abc/日本 -", max_size=20)
    low, high = field.minimum or 0, field.maximum or 10
    number = st.integers(int(low), int(high)) if field.type is int else st.floats(low, high, allow_nan=False)
    return st.none() | number if field.optional else number


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_field_comes_back_from_its_component(data: st.DataObject) -> None:
    for model in (TrainConfig, GenerateConfig):
        for field in keyed(model).values():
            value = data.draw(value_of(field))
            assert from_widget(field, to_widget(field, value)) == value


def test_defaults_survive_the_form(train: Form[TrainConfig]) -> None:
    values = train.values(TrainConfig())
    assert train.check(values, "en").config == TrainConfig()


def test_a_config_survives_the_form(train: Form[TrainConfig]) -> None:
    data = {"training": {"max_steps": 150, "learning_rate": 2e-3}, "samples": {"prompts": ["a", "b"]}, "output": {"name": "x"}}
    config = validate(TrainConfig, data)
    assert train.check(train.values(config), "en").config == config


def test_every_field_but_the_version_has_a_component(train: Form[TrainConfig]) -> None:
    paths = {field.path for field in train.fields.values()}
    assert {"model.path", "dataset.kind", "adapter.rank", "training.optimizer.weight_decay", "output.comment"} <= paths
    assert "version" not in paths
    assert {component.elem_id for component in train.inputs} >= {
        "train-training-learning_rate",
        "train-training-optimizer-weight_decay",
    }


@pytest.mark.parametrize("code", ["en", "ja"])
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training.learning_rate", 99, "10"),
        ("training.batch_size", 1.5, "256"),
        ("training.batch_size", None, "1"),
        ("training.max_steps", "many", "1,000,000"),
    ],
)
def test_a_wrong_value_is_told_at_its_field(train: Form[TrainConfig], code: str, key: str, value: Any, expected: str) -> None:
    values = train.values(TrainConfig())
    values[train.keys.index(key)] = value
    checked = train.check(values, code)
    assert checked.config is None
    assert list(checked.problems) == [key]
    assert expected in checked.problems[key]
    updates = dict(zip(train.keys, train.mark(checked.problems, [], code), strict=True))
    assert updates[key]["elem_classes"] == [INVALID]
    assert expected in updates[key]["info"]
    assert [name for name, update in updates.items() if "info" in update] == [key]


def test_a_contradiction_is_told_at_all_its_fields(train: Form[TrainConfig]) -> None:
    values = train.values(TrainConfig())
    values[train.keys.index("training.max_steps")] = "10"
    values[train.keys.index("training.epochs")] = "2"
    problems = train.check(values, "ja").problems
    assert set(problems) == {"training.max_steps", "training.epochs"}
    assert "どちらか一方" in problems["training.epochs"]


def test_help_comes_back_when_a_problem_is_gone(train: Form[TrainConfig]) -> None:
    updates = dict(zip(train.keys, train.mark({}, ["training.seed"], "en"), strict=True))
    assert updates["training.seed"]["elem_classes"] == []
    assert updates["training.seed"]["info"].key == "training.seed.help"
    assert "info" not in updates["training.epochs"]


def test_an_engine_error_finds_its_field(train: Form[TrainConfig]) -> None:
    error = EngineError("model.not_found", "There is no base model 'x'.", field="model.path", name="x")
    assert list(train.problem_of(error, "en")) == ["model.path"]
    assert list(train.problem_of(EngineError("disk.full", "The disk is full."), "en")) == [None]
    assert train.headline({"model.path": "gone"}, "ja") == "ベースモデル (base model): gone"


def test_empty_numbers_are_empty() -> None:
    field = keyed(TrainConfig)["training.max_steps"]
    assert to_widget(field, None) == ""
    assert from_widget(field, " ") is None
    assert from_widget(field, "12") == 12
    assert from_widget(field, "1.5") == "1.5"


# ---- what the device cannot do ----

M3, P100 = DeviceProfile("mps", "M3"), DeviceProfile("cuda", "P100", (6, 0))
EVERYTHING = DeviceProfile("cuda", "H100", (9, 0), bfloat16=True, bitsandbytes=True)


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("device", [M3, P100, EVERYTHING, None], ids=lambda each: each.name if each else "unknown")
def test_what_the_device_refuses_is_told_in_choices_and_help(device: DeviceProfile | None, code: str) -> None:
    for model, scope in ((TrainConfig, ""), (GenerateConfig, "generate.")):
        form = whole("x", model, scope, device=lambda: device)
        keys = [key for key in form.keys if form.components[key] in form.fitted]
        assert {form.fields[key].path for key in keys} == FIELDS.keys() & {field.path for field in form.fields.values()}
        for key, update in zip(keys, form.fit(code), strict=True):
            refused = refusals(device, FIELDS[form.fields[key].path]) if device else {}
            choices = update.get("choices", [])
            assert tuple(value for _, value in choices) == form.fields[key].choices
            assert {value for name, value in choices if name.startswith(SIGN)} == refused.keys() & set(form.fields[key].choices)
            if refused:
                help, *lines = update["info"].split("\n")
                assert help == i18n.t(f"{scope}{key}.help", code)
                assert [line.rpartition(": ")[2].removeprefix(f"{SIGN} ") for line in lines] == [
                    i18n.t(f"text.device.why.{reason}", code) for reason in dict.fromkeys(refused.values())
                ]
            else:
                assert update["info"].key == f"{scope}{key}.help"


def test_a_refused_choice_is_told_at_its_field_and_the_help_comes_back() -> None:
    form = whole("train", TrainConfig, device=lambda: M3)
    values = form.values({"model": {"quantization": "nf4"}})
    config = form.check(values, "en").config
    assert config, "what was chosen elsewhere can be shown"
    with pytest.raises(EngineError) as refused:
        check_config(M3, config)
    problems = form.problem_of(refused.value, "ja")
    why = i18n.t("text.device.why.mps_bitsandbytes", "ja")
    assert list(problems) == ["model.quantization"] and why in problems["model.quantization"]
    keys = [key for key in form.keys if form.components[key] in form.fitted]
    kept = dict(zip(keys, form.fit("ja", marked=list(problems)), strict=True))
    assert [key for key, update in kept.items() if "info" not in update] == ["model.quantization"]
    restored = dict(zip(form.keys, form.mark({}, list(problems), "ja"), strict=True))["model.quantization"]["info"]
    assert why in restored


# ---- several kinds in one section ----


class Plain(Section):
    kind: Literal["plain"] = "plain"
    """How."""
    depth: Annotated[int, Ge(0), Le(9), Ui()] = 1
    """Depth."""
    rank: Annotated[int, Ge(1), Le(64), Ui()] = 4
    """Size."""


class Fancy(Section):
    kind: Literal["fancy"] = "fancy"
    """How."""
    depth: Annotated[int, Ge(0), Le(9), Ui()] = 1
    """Depth."""
    rank: Annotated[int, Ge(1), Le(8), Ui()] = 2
    """Size."""
    blocks: Annotated[int, Ge(1), Ui()] = 3
    """Number."""


class Choice(Section):
    version: int = 1
    """Format."""
    way: Annotated[Plain | Fancy, PydanticField(discriminator="kind")] = PydanticField(default_factory=Plain)
    seed: Annotated[int, Ge(0), Ui()] = 1
    """Noise."""


@pytest.fixture()
def union(monkeypatch: pytest.MonkeyPatch) -> Form[Choice]:
    known = dict(i18n.table("en"))
    for path in ("way.kind", "way.depth", "way.rank@plain", "way.rank@fancy", "way.blocks", "seed"):
        known |= {f"{path}.label": path, f"{path}.help": path}
    monkeypatch.setattr(i18n, "table", lambda language: known)
    monkeypatch.setattr("webui.forms.table", lambda language: known)
    return whole("choice", Choice)


KEYS = ["way.kind", "way.depth", "way.rank@plain", "way.rank@fancy", "way.blocks", "seed"]


def test_a_union_has_one_kind_and_one_field_for_what_its_members_share(union: Form[Choice]) -> None:
    assert union.keys == KEYS
    assert union.fields["way.kind"].choices == ("plain", "fancy")


def test_only_the_chosen_kind_is_read(union: Form[Choice]) -> None:
    config = union.check(["fancy", 3, 60, 7, 5, 2], "en").config
    assert config == Choice(way=Fancy(depth=3, rank=7, blocks=5), seed=2)
    assert config
    assert union.values(config) == ["fancy", 3, 4, 7, 5, 2]
    assert union.check(["plain", 3, 60, 99, 5, 2], "en").config == Choice(way=Plain(depth=3, rank=60), seed=2)


def test_only_the_chosen_kind_is_seen_and_the_rest_keeps_its_value(union: Form[Choice]) -> None:
    assert [component.visible for component in union.inputs] == [True, True, True, False, False, True]
    assert [component.elem_id for component in union.deciding] == ["choice-way-kind"]
    updates = dict(zip(KEYS, union.seen("fancy", 3, 60, 7, 5, 2), strict=True))
    seen = {key: update.get("visible") for key, update in updates.items()}
    assert seen == dict(zip(KEYS, [None, True, False, True, True, None], strict=True))
    assert not any("value" in update for update in updates.values())


def test_a_problem_of_a_kind_is_told_at_its_own_field(union: Form[Choice]) -> None:
    assert list(union.check(["fancy", 3, 60, 99, 5, 2], "en").problems) == ["way.rank@fancy"]
    assert list(union.check(["fancy", 99, 60, 7, 5, 2], "en").problems) == ["way.depth"]


# ---- base models ----


def test_only_what_means_something_for_the_model_is_seen_and_read() -> None:
    with gr.Blocks():
        form = Form("traits", TrainConfig, traits=lambda given: {"flow", "t5"} if given["model.path"] == "other" else {"unet"})
        for section in ("model", "adapter", "training", "dataset", "samples", "output"):
            for level in ("basic", "advanced", "expert"):
                form.place_level(f"{section}.", level)
    values = dict(zip(form.keys, form.values(TrainConfig()), strict=True)) | {"adapter.train_t5": True, "adapter.conv_rank": 3}
    for model, seen, hidden in (
        ("starter", "adapter.conv_rank", "adapter.train_t5"),
        ("other", "adapter.train_t5", "adapter.conv_rank"),
    ):
        given = list((values | {"model.path": model}).values())
        updates = dict(zip(form.keys, form.seen(*given), strict=True))
        assert updates[seen]["visible"] and not updates[hidden]["visible"]
        config = form.check(given, "en").config
        assert (
            config
            and config.adapter.train_t5 == (model == "other")
            and config.adapter.conv_rank == (3 if model == "starter" else 0)
        )
    assert form.components["model.path"] in form.deciding


# ---- algorithms ----


def given_kind(train: Form[TrainConfig], kind: str, **values: Any) -> list[Any]:
    """The form's values after choosing an algorithm and typing into some of its fields."""
    chosen = dict(zip(train.keys, train.values(TrainConfig()), strict=True)) | {"adapter.kind": kind}
    return list((chosen | {f"adapter.{name}": value for name, value in values.items()}).values())


@pytest.mark.parametrize("kind", keyed(TrainConfig)["adapter.kind"].choices)
def test_every_algorithm_goes_through_the_form(train: Form[TrainConfig], kind: str) -> None:
    config = validate(TrainConfig, {"adapter": {"kind": kind, "train_text_encoder": True}})
    assert train.check(train.values(config), "en").config == config
    updates = dict(zip(train.keys, train.seen(*train.values(config)), strict=True))
    shown = {key for key, update in updates.items() if update.get("visible") and key.startswith("adapter.")}
    assert {train.fields[key].path.removeprefix("adapter.") for key in shown} == set(type(config.adapter).model_fields) - {"kind"}


def test_what_two_algorithms_share_stays_when_the_algorithm_changes(train: Form[TrainConfig]) -> None:
    assert train.check(given_kind(train, "lokr", rank=6), "en").config == validate(
        TrainConfig, {"adapter": {"kind": "lokr", "rank": 6}}
    )
    assert [key for key in train.keys if key.startswith("adapter.rank")] == [
        "adapter.rank",
        "adapter.rank_dropout",
        "adapter.rank_rate",
    ]


@pytest.mark.parametrize("code", ["en", "ja"])
def test_contradictions_of_an_algorithm_are_told_at_what_they_name(train: Form[TrainConfig], code: str) -> None:
    problems = train.check(given_kind(train, "lokr", full_matrix=True, tucker=True), code).problems
    assert set(problems) == {"adapter.full_matrix", "adapter.tucker", "adapter.decompose_both"}
    assert set(problems.values()) == {i18n.table(code)["text.contradiction.adapter.full_matrix"]}
    problems = train.check(given_kind(train, "oft", **{"block_size@oft": 1}), code).problems
    assert set(problems) == {"adapter.block_size@oft", "adapter.blocks"}


@pytest.mark.parametrize("code", ["en", "ja"])
def test_a_line_that_is_no_rule_is_told_at_the_rules(train: Form[TrainConfig], code: str) -> None:
    assert train.check(given_kind(train, "lora", rules="what"), code).problems == {
        "adapter.rules": i18n.table(code)["text.problem.adapter.rules"]
    }
