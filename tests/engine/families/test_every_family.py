"""Every family goes the whole road: a LoRA on all its parts, files read back, runs resumed, caches that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config.choices import SAMPLERS_FOR
from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.families import load_model
from engine.families.quantise import FORMATS
from engine.formats.models import MODELS
from engine.generation.studio import Studio
from engine.model_facts import model_facts
from engine.tiny import make_tiny
from engine.training.events import Resumed, Started, Step
from engine.workspace import Workspace
from tests.support.runs import Outcome, config_of, make_pets, train

CPU = torch.device("cpu")
VARIANTS = [(family, variant) for family, model in MODELS.items() for variant in model.variants]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Tiny models by name: `family`, or `family-variant`."""
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    for family, variant in VARIANTS:
        make_tiny(family, workspace.root / "models" / "checkpoints" / f"{family}-{variant}", variant=variant)
    make_pets(workspace.root / "datasets" / "pets", 2)
    return workspace


def name_of(family: str) -> str:
    return f"{family}-{next(iter(MODELS[family].variants))}"


def config(model: str, name: str, **settings) -> TrainConfig:
    learnt = {"adapter__train_text_encoder": True, "adapter__train_t5": True, "training__max_steps": 3}
    return config_of(model__path=model, output__name=name, **learnt, **settings)


@pytest.fixture(scope="module")
def runs(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Family -> a finished run on all its parts."""
    return {
        family: train(workspace, tmp_path_factory.mktemp("runs") / family, config(name_of(family), family)) for family in MODELS
    }


def picture(workspace: Workspace, out: Path, model: str, prompt: str) -> bytes:
    request = GenerateConfig(model=model, prompt=prompt, steps=2, seed=1, width=64, height=64)
    (made,) = Studio(workspace).generate(request, out)
    assert not made.problems
    from PIL import Image

    return Image.open(made.file).tobytes()


@pytest.mark.parametrize("family", MODELS)
def test_a_lora_of_all_parts_is_placed_whole_and_shows(
    workspace: Workspace, runs: dict[str, Outcome], tmp_path: Path, family: str
) -> None:
    (started,) = runs[family].of(Started)
    assert set(started.modules) == set(MODELS[family].trained)
    said = runs[family].trainer.ahead.trained
    assert said and (said.modules, said.parameters) == (started.modules, started.parameters)
    assert said.file_size == pytest.approx(runs[family].file.stat().st_size, rel=0.03)
    bare = picture(workspace, tmp_path, name_of(family), "mofumo, a red cat")
    adapted = picture(workspace, tmp_path, name_of(family), f"mofumo, a red cat <lora:{family}:1>")
    assert adapted != bare
    assert picture(workspace, tmp_path, name_of(family), "mofumo, a red cat") == bare


@pytest.mark.parametrize("family", MODELS)
def test_resumed_is_the_same_run(workspace: Workspace, runs: dict[str, Outcome], tmp_path: Path, family: str) -> None:
    def stop(trainer, event) -> None:
        if isinstance(event, Step) and event.step == 2:
            trainer.stop()

    train(workspace, tmp_path, config(name_of(family), "resumed"), stop)
    again = train(workspace, tmp_path, config(name_of(family), "resumed"))
    assert again.of(Resumed) and again.payload == runs[family].payload


@pytest.mark.parametrize("family", MODELS)
def test_cached_and_uncached_losses_are_the_same(workspace: Workspace, tmp_path: Path, family: str) -> None:
    plain = {"adapter__train_text_encoder": False, "adapter__train_t5": False, "training__max_steps": 2}
    losses = []
    for number, settings in enumerate(
        ({}, {"training__cache_latents": False, "dataset__shuffle_tags": True, "dataset__keep_tags": 99})
    ):
        made = train(
            workspace, tmp_path / str(number), config_of(model__path=name_of(family), output__name="x", **plain, **settings)
        )
        losses.append([step.loss for step in made.of(Step)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_every_variant_is_recognised_trains_and_draws(workspace: Workspace, tmp_path: Path, family: str, variant: str) -> None:
    name = f"{family}-{variant}"
    facts = model_facts(workspace.root / "models" / "checkpoints" / name)
    assert (facts.family, facts.variant, facts.resolution) == (family, variant, 64)
    assert facts.prediction == MODELS[family].variants[variant].prediction
    made = train(workspace, tmp_path / "run", config_of(model__path=name, output__name=name, training__max_steps=1))
    assert made.metadata["ss_base_model_version"] == MODELS[family].variants[variant].base_version
    assert picture(workspace, tmp_path, name, f"a red cat <lora:{name}:1>")


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_a_single_file_is_the_folder(workspace: Workspace, tmp_path: Path, family: str, variant: str) -> None:
    file = make_tiny(family, tmp_path / "tiny.safetensors", variant=variant, single_file=True)
    folder = workspace.root / "models" / "checkpoints" / f"{family}-{variant}"
    facts = model_facts(file)
    assert (facts.family, facts.variant) == (family, variant)
    one, other = (load_model(each, CPU, torch.float32) for each in (file, folder))
    assert one.parts.keys() == other.parts.keys()
    for name in one.parts:
        ours, theirs = one.parts[name].state_dict(), other.parts[name].state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("family", MODELS)
def test_on_a_quantised_base_the_loss_falls(workspace: Workspace, tmp_path: Path, family: str, how: str) -> None:
    settings = {
        "model__quantization": how,
        "training__max_steps": 12,
        "training__learning_rate": 2e-2,
        "training__schedule": "constant",
    }
    made = train(workspace, tmp_path, config_of(model__path=name_of(family), output__name=how, adapter__rank=4, **settings))
    losses = [step.loss for step in made.of(Step)]
    assert all(loss < float("inf") for loss in losses) and sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize("family", MODELS)
def test_every_sampler_of_the_family_draws_in_its_own_way(workspace: Workspace, tmp_path: Path, family: str) -> None:
    studio, drawn = Studio(workspace), {}
    samplers = SAMPLERS_FOR[next(iter(MODELS[family].variants.values())).prediction]
    for sampler in samplers:
        request = GenerateConfig(
            model=name_of(family), prompt="a red cat", sampler=sampler, steps=4, guidance_scale=2, seed=1, width=64, height=64
        )
        (made,) = studio.generate(request, tmp_path)
        assert not made.problems
        drawn[sampler] = made.file.read_bytes().split(b"IDAT", 1)[1]
    drawn.pop("DDIM", None)  # without fresh noise it is Euler's method in other words (Karras et al. 2022)
    assert len(set(drawn.values())) == len(drawn) > 4
