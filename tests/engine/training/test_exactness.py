"""A run is exact: stopped, killed, disturbed or damaged and resumed, it gives the same bytes."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.generation.studio import Studio
from engine.training import trainer as trainer_module
from engine.training.events import Done, Event, Resumed, Sample, Started, Step, Stopped, Warned
from engine.training.trainer import Trainer
from engine.workspace import Workspace
from tests.support.runs import Outcome, config_of, make_pets, train

TIMES = {"ss_training_finished_at", "modelspec.date"}
"""What may differ between a run and the same run interrupted; session and start are the first attempt's."""
NAMES = {"ss_output_name", "modelspec.title"}


@pytest.fixture
def config(random_config: TrainConfig, folder: Path) -> TrainConfig:
    config = random_config.model_copy(deep=True)
    config.output.name = folder.name
    return config


@pytest.fixture
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainer_module, "MOST_LOST", 0.0)


def stop_after(step: int) -> Callable[[Trainer, Event], None]:
    def between(trainer: Trainer, event: Event) -> None:
        if isinstance(event, Step) and event.step == step:
            trainer.stop()

    return between


def assert_same_run(outcome: Outcome, straight: Outcome) -> None:
    assert outcome.of(Done)
    assert outcome.payload == straight.payload
    one, other = outcome.metadata, straight.metadata
    different = {name for name in {*one, *other} if one.get(name) != other.get(name)}
    assert different <= TIMES | NAMES | {"ss_session_id", "ss_training_started_at", "sshs_legacy_hash"}


def test_stopped_and_resumed_is_the_same_run(workspace: Workspace, folder: Path, config: TrainConfig, straight: Outcome) -> None:
    sessions = set()
    for step in (1, 3):
        stopped = train(workspace, folder, config, stop_after(step))
        assert stopped.events[-1] == Stopped(step) and not stopped.of(Done)
        assert stopped.of(Resumed) == ([Resumed(1)] if step == 3 else [])
        sessions.add(stopped.trainer.session)
    outcome = train(workspace, folder, config, stop_after(4))
    assert [step.step for step in outcome.of(Step)] == [4], "a stop at the last step ends the run"
    assert_same_run(outcome, straight)
    assert sessions == {outcome.trainer.session}, "the metadata name the run's first session"


def test_a_run_in_a_fresh_cache_disturbed_by_pictures_is_the_same(
    workspace: Workspace, folder: Path, config: TrainConfig, straight: Outcome
) -> None:
    """Pictures with the live adapter between the steps, with another LoRA, with random seeds; and nothing cached before."""
    (workspace.root / "cache").rename(workspace.root / "cache-of-before")
    requests = [
        GenerateConfig(
            model="tiny", prompt="a cat <lora:straight:0.7>", steps=1, width=64, height=64, compare=True, live_run="x"
        ),
        GenerateConfig(model="tiny", prompt="mofumo", steps=1, width=64, height=64, batch_size=2, sampler="DDIM"),
    ]
    made = []

    def between(trainer: Trainer, event: Event) -> None:
        if isinstance(event, Step) and event.step in (2, 3):
            random.random()
            made.extend(trainer.generate(requests[event.step - 2], folder / "tried"))

    try:
        assert_same_run(train(workspace, folder, config, between), straight)
    finally:
        shutil.rmtree(workspace.root / "cache")
        (workspace.root / "cache-of-before").rename(workspace.root / "cache")
    assert [picture.without for picture in made] == [False, True, False, False]
    assert made[0].file.read_bytes() != made[1].file.read_bytes()


def test_a_picture_that_does_not_ask_for_the_run_is_made_without_it(
    workspace: Workspace, folder: Path, config: TrainConfig
) -> None:
    plain = GenerateConfig(model="tiny", prompt="a cat", seed=3, steps=1, width=64, height=64)
    made = []

    def between(trainer: Trainer, event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            made.extend(trainer.generate(plain.model_copy(update={"live_run": run}), folder / "tried")[0] for run in ("", "x"))

    train(workspace, folder, config, between)
    base = Studio(workspace).generate(plain, folder / "tried")[0]
    seen = [Image.open(picture.file).tobytes() for picture in (base, *made)]
    assert seen[0] == seen[1] != seen[2]


def test_encoded_afresh_without_a_cache_is_the_same(workspace: Workspace, folder: Path) -> None:
    before = set((workspace.root / "cache").rglob("*"))
    runs = [
        train(
            workspace,
            folder / str(cached),
            config_of(training__cache_latents=cached, dataset__flip=True, output__name=folder.name),
        )
        for cached in (False, True)
    ]
    payloads = [
        outcome.trainer.network.state_dict()["adapters.lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"]
        for outcome in runs
    ]
    assert payloads[0].equal(payloads[1]) and payloads[0].abs().max() > 0
    assert not {file for file in before ^ set((workspace.root / "cache").rglob("*")) if file.parts[-3] == "latents"}


@pytest.mark.skipif(sys.platform == "win32", reason="no fork and no SIGKILL there")
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_instant_and_resumed_is_the_same_run(
    workspace: Workspace, folder: Path, config: TrainConfig, straight: Outcome, save_always: None, kills: int
) -> None:
    """The killed process is a copy of this one, so that PyTorch is loaded already and the kills fall into the run."""
    context, rng = multiprocessing.get_context("fork"), random.Random(kills)
    one_step = statistics.mean(step.seconds for step in straight.of(Step))
    for number in range(kills):
        in_training = context.Event()

        def told(_: Trainer, event: Event, in_training: Any = in_training) -> None:
            if isinstance(event, Started):
                in_training.set()

        process = context.Process(target=train, args=(workspace, folder, config, told))
        process.start()
        if number % 5:  # every fifth is killed at its start
            assert in_training.wait(120)
        process.join(rng.uniform(0, 3) * one_step)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    assert_same_run(train(workspace, folder, config), straight)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_state_gives_way_to_the_one_before(
    workspace: Workspace, folder: Path, config: TrainConfig, straight: Outcome, save_always: None
) -> None:
    train(workspace, folder, config, stop_after(3))
    damage(folder / "state" / "adapter.safetensors")
    outcome = train(workspace, folder, config)
    (warning,) = outcome.of(Warned)
    assert warning.code == "resume.damaged" and "step 2" in warning.text
    assert outcome.of(Resumed) == [Resumed(2)] and outcome.of(Step)[0].step == 3
    assert_same_run(outcome, straight)


def test_a_run_whose_only_state_is_damaged_begins_again_and_says_so(workspace: Workspace, folder: Path) -> None:
    config = config_of(output__name=folder.name)
    train(workspace, folder, config, stop_after(1))
    damage(folder / "state" / "state.json")
    outcome = train(workspace, folder, config)
    assert outcome.of(Warned)[0].code == "resume.damaged" and outcome.of(Resumed) == [Resumed(0)]
    assert [step.step for step in outcome.of(Step)] == [1, 2]


def test_what_makes_another_run_is_refused_and_what_does_not_is_not(workspace: Workspace, folder: Path) -> None:
    pictures = make_pets(workspace.root / "datasets" / folder.name, 2)
    settings = {"dataset__folder": folder.name, "training__max_steps": 3, "output__name": folder.name}
    train(workspace, folder, config_of(**settings), stop_after(1))

    def refused(config: TrainConfig) -> EngineError:
        with pytest.raises(EngineError) as caught:
            train(workspace, folder, config)
        assert caught.value.code == "resume.changed"
        return caught.value

    assert refused(config_of(**settings, training__seed=6)).values["changed"] == "settings"
    assert refused(config_of(**settings, model__path="tiny-v")).values["changed"] == "base_model, settings"
    caption = pictures / "1_mofumo" / "0.txt"
    old = caption.read_text()
    caption.write_text("another caption")
    assert refused(config_of(**settings)).values["changed"] == "pictures"
    caption.write_text(old)
    other = train(workspace, folder, config_of(**settings, output__comment="better", samples__count=1))
    assert other.of(Resumed) == [Resumed(1)] and [sample.step for sample in other.of(Sample)] == [3, 3]
    assert other.metadata["ss_training_comment"] == "better"


def test_a_stop_while_pictures_are_encoded_tells_where_the_run_stands(workspace: Workspace, folder: Path) -> None:
    config = config_of(training__max_steps=3, output__name=folder.name)
    train(workspace, folder, config, stop_after(2))

    def at_once(trainer: Trainer, event: Event) -> None:
        if isinstance(event, Resumed):
            trainer.stop()

    assert train(workspace, folder, config, at_once).events[-1] == Stopped(2)


def test_outputs_that_a_crash_kept_from_being_made_are_made_on_resuming(
    workspace: Workspace, folder: Path, save_always: None
) -> None:
    prompt = {"samples__count": 2, "samples__prompts": ["mofumo"]}
    config = config_of(training__max_steps=2, output__name=folder.name, output__save_count=2, **prompt)
    trainer = Trainer(config, folder, workspace)
    events = trainer.run()
    while not isinstance(next(events), Step):
        pass
    trainer.save_state()  # and then the machine goes down
    del events
    again = train(workspace, folder, config)
    made = [event.type for event in again.events if event.type in ("step", "sample", "checkpoint")]
    assert made == ["checkpoint", "sample", "step", "checkpoint", "sample"]
