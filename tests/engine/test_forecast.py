"""What a run is said to train and write, held against what it does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.torch import save

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions, OftOptions
from engine.config.targets import choose
from engine.errors import ConfigError, ModelError
from engine.families.base import adaptable_layers
from engine.forecast import METADATA, forecast
from engine.formats.models import MODELS
from engine.formats.models.base import PartSource
from engine.model_facts import STARTER_FOLDER, ModelFacts, model_facts
from engine.training.events import Started
from engine.workspace import Workspace
from tests.support.published import header_file, published
from tests.support.runs import config_of, make_pets, train
from tests.support.tiny import tiny_sd1_single_file

REAL = {
    "sd1": ("sd1", 0, 264),
    "sd1 with convolutions": ("sd1", 4, 350),
    "sdxl": ("sdxl", 4, 1052),
    "flux": ("flux_dev", 0, 494 + 72 + 168),
}
"""Case -> folder of configs, rank of convolutions, layers."""


@pytest.mark.parametrize("case", REAL)
def test_models_of_real_size_as_single_files(tmp_path: Path, case: str) -> None:
    """What learns is what a network of the loaded model would have, and its file is as large as was said."""
    family, (configs, conv_rank, layers) = case.split()[0], REAL[case]
    parts = published(family, configs)
    file = header_file(tmp_path / "model.safetensors", family, parts)
    prefixes = {name: MODELS[family].parts[name].prefixes[0] for name in parts}
    sources = {name: PartSource(file, prefix) for name, prefix in prefixes.items()}
    variant = next(iter(MODELS[family].variants))
    facts = ModelFacts("model", file, family, 512, 8, 64, False, variant, sources=sources)
    options = LoraOptions(rank=2, conv_rank=conv_rank, train_text_encoder=True, train_t5=True)
    found = forecast(options, "float16", facts)
    network = Network.create(family, parts, choose(adaptable_layers(family, parts), options), seed=0)
    assert found and sum(found.modules.values()) == layers
    assert (found.modules, found.parameters) == (network.counts(), network.parameter_counts())
    written = {name: tensor if name.endswith("alpha") else tensor.half() for name, tensor in network.tensors().items()}
    assert found.file_size == pytest.approx(len(save(written)) + METADATA, rel=0.001)


@pytest.mark.parametrize("model", ["starter", "file.safetensors"])
def test_a_run_trains_what_was_said(tmp_path: Path, model: str) -> None:
    workspace = Workspace(tmp_path).prepare()
    tiny_sd1_single_file(workspace.root / "models" / "checkpoints" / "file.safetensors")
    make_pets(workspace.root / "datasets" / "pets", 2)
    settings = {"adapter__conv_rank": 3, "adapter__train_text_encoder": True, "adapter__train_norms": True}
    made = train(workspace, workspace.runs / "run", config_of(model__path=model, training__max_steps=1, **settings))
    (started,), said = made.of(Started), made.trainer.ahead.trained
    assert said and (said.modules, said.parameters) == (started.modules, started.parameters)
    assert said.modules.keys() == {"unet", "text_encoder"}
    assert said.file_size == pytest.approx(made.file.stat().st_size, rel=0.02)


def test_what_does_not_fit_is_told_before() -> None:
    with pytest.raises(ConfigError) as caught:
        forecast(LoraOptions(rank=16, initial="pissa", targets="full"), "float16", model_facts(STARTER_FOLDER))
    assert (caught.value.code, caught.value.values["path"]) == ("config.layer", "conv_out")
    fitting = LoraOptions(rank=16, initial="pissa", targets="full", rules=["*.conv_out: off", "*.conv_in: off"])
    assert forecast(fitting, "float16", model_facts(STARTER_FOLDER))
    with pytest.raises(ConfigError) as caught:
        forecast(LoraOptions(rules=["*.attn3.*: rank=2"]), "float16", model_facts(STARTER_FOLDER))
    assert (caught.value.code, caught.value.values["field"]) == ("config.rule", "adapter.rules")
    with pytest.raises(ConfigError) as caught:
        forecast(
            LoraOptions(targets="convolutions", train_unet=False, train_text_encoder=True), "float16", model_facts(STARTER_FOLDER)
        )
    assert caught.value.code == "config.no_layers"


def test_rules_change_what_is_said() -> None:
    plain, ruled = (
        forecast(LoraOptions(rank=4, rules=rules), "float32", model_facts(STARTER_FOLDER)) for rules in ([], ["*.ff.*: lokr"])
    )
    assert plain and ruled and plain.modules == ruled.modules
    assert plain.parameters["unet"] > ruled.parameters["unet"] and plain.file_size > ruled.file_size
    half = forecast(LoraOptions(rank=4), "float16", model_facts(STARTER_FOLDER))
    assert half and plain.file_size - half.file_size == pytest.approx(2 * plain.parameters["unet"], rel=0.01)


def test_a_model_of_the_hub_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert forecast(LoraOptions(), "float16", model_facts("someone/starter")) is None
    repository = tmp_path / "models--someone--starter"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(STARTER_FOLDER, repository / "snapshots" / ("0" * 40))
    assert forecast(LoraOptions(), "float16", model_facts("someone/starter")) == forecast(
        LoraOptions(), "float16", model_facts(STARTER_FOLDER)
    )
    (repository / "snapshots" / ("0" * 40) / "unet" / "config.json").unlink()
    assert forecast(LoraOptions(), "float16", model_facts("someone/starter")) is None, "its download was not finished"


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        forecast(LoraOptions(), "float16", model_facts(tmp_path))
    assert caught.value.code == "model.bad_folder"


def test_it_is_quick_and_needs_no_torch() -> None:
    options = OftOptions(targets="full", train_norms=True, train_text_encoder=True)
    forecast(options, "float16", model_facts(STARTER_FOLDER))
    began = time.perf_counter()
    forecast(options, "float16", model_facts(STARTER_FOLDER))
    assert time.perf_counter() - began < 0.05
    code = "import sys, engine.preflight, engine.forecast; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
