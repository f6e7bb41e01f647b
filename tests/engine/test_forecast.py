"""What a run is said to train and write, held against what it does."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions, OftOptions
from engine.config.targets import choose
from engine.errors import ConfigError, ModelError
from engine.families.sd_layers import text_layers, unet_layers
from engine.forecast import forecast
from engine.formats.single_file import SD1_CONFIGS, ldm_keys
from engine.library import STARTER_FOLDER
from engine.training.events import Started
from engine.workspace import Workspace
from tests.support.runs import config_of, make_pets, train
from tests.support.tiny import tiny_sd1_single_file


@pytest.fixture(scope="module")
def public() -> dict[str, torch.nn.Module]:
    """The architecture of Stable Diffusion 1.5 without its weights."""
    configs = {part: json.loads((SD1_CONFIGS / part / "config.json").read_text()) for part in ("unet", "text_encoder")}
    with torch.device("meta"):
        return {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }


@pytest.fixture(scope="module")
def checkpoint(public, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its header as a single file would have it, and a hole where the weights would be."""
    header, position = {}, 0
    for component, part in public.items():
        state = part.state_dict()
        for key, name in ldm_keys(component, state).items():
            end = position + math.prod(state[key].shape)
            header[name] = {"dtype": "F8_E4M3", "shape": list(state[key].shape), "data_offsets": [position, end]}
            position = end
    text = json.dumps(header).encode()
    file = tmp_path_factory.mktemp("public") / "sd15.safetensors"
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + position)
    return file


@pytest.mark.parametrize(("conv_rank", "modules"), [(0, 264), (4, 350)])
def test_stable_diffusion_as_a_single_file(public, checkpoint: Path, conv_rank: int, modules: int) -> None:
    options = LoraOptions(rank=2, conv_rank=conv_rank, train_text_encoder=True)
    found = forecast(options, "float16", checkpoint)
    layers = {"text_encoder": text_layers(public["text_encoder"]), "unet": unet_layers(public["unet"])}
    network = Network.create("sd1", public, choose(layers, options), seed=0)
    assert found and sum(found.modules.values()) == modules
    assert (found.modules, found.parameters) == (network.counts(), network.parameter_counts())


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
        forecast(LoraOptions(rank=16, initial="pissa", targets="full"), "float16", STARTER_FOLDER)
    assert (caught.value.code, caught.value.values["path"]) == ("config.layer", "conv_out")
    fitting = LoraOptions(rank=16, initial="pissa", targets="full", rules=["*.conv_out: off", "*.conv_in: off"])
    assert forecast(fitting, "float16", STARTER_FOLDER)
    with pytest.raises(ConfigError) as caught:
        forecast(LoraOptions(rules=["*.attn3.*: rank=2"]), "float16", STARTER_FOLDER)
    assert (caught.value.code, caught.value.values["field"]) == ("config.rule", "adapter.rules")
    with pytest.raises(ConfigError) as caught:
        forecast(LoraOptions(targets="convolutions", train_unet=False, train_text_encoder=True), "float16", STARTER_FOLDER)
    assert caught.value.code == "config.no_layers"


def test_rules_change_what_is_said() -> None:
    plain, ruled = (forecast(LoraOptions(rank=4, rules=rules), "float32", STARTER_FOLDER) for rules in ([], ["*.ff.*: lokr"]))
    assert plain and ruled and plain.modules == ruled.modules
    assert plain.parameters["unet"] > ruled.parameters["unet"] and plain.file_size > ruled.file_size
    half = forecast(LoraOptions(rank=4), "float16", STARTER_FOLDER)
    assert half and plain.file_size - half.file_size == pytest.approx(2 * plain.parameters["unet"], rel=0.01)


def test_a_model_of_the_hub_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert forecast(LoraOptions(), "float16", "someone/starter") is None
    repository = tmp_path / "models--someone--starter"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(STARTER_FOLDER, repository / "snapshots" / ("0" * 40))
    assert forecast(LoraOptions(), "float16", "someone/starter") == forecast(LoraOptions(), "float16", STARTER_FOLDER)
    (repository / "snapshots" / ("0" * 40) / "unet" / "config.json").unlink()
    assert forecast(LoraOptions(), "float16", "someone/starter") is None, "its download was not finished"


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        forecast(LoraOptions(), "float16", tmp_path)
    assert caught.value.code == "model.bad_folder"


def test_it_is_quick_and_needs_no_torch() -> None:
    options = OftOptions(targets="full", train_norms=True, train_text_encoder=True)
    forecast(options, "float16", STARTER_FOLDER)
    began = time.perf_counter()
    forecast(options, "float16", STARTER_FOLDER)
    assert time.perf_counter() - began < 0.05
    code = "import sys, engine.preflight, engine.forecast; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
