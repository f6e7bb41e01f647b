"""Models whose parts lie in several files: found by what they hold and how large they are, chosen by name, refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.choices import ModelChoice
from engine.errors import ModelError
from engine.families import load_model
from engine.formats.models import MODELS
from engine.library import choose, models
from engine.model_facts import ModelFacts, glance, model_facts
from engine.tiny import make_tiny
from engine.workspace import Workspace

CPU = torch.device("cpu")
FAMILIES = ("sd1", "sd2", "sdxl", "sd3", "flux", "z_image")
DENOISER = "denoiser.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a whole model in one file."""
    place = tmp_path_factory.mktemp("wholes")
    variants = {"sd2": "v"}  # a U-Net without its file's card is taken for this one
    return {
        name: make_tiny(name, place / name / "whole.safetensors", variant=variants.get(name), single_file=True)
        for name in FAMILIES
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("folders")
    return {name: make_tiny(name, place / name) for name in ("sd1", "sdxl")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


def parts_of(whole: Path) -> dict[str, Tensors]:
    """Part -> its tensors without their prefix."""
    tensors = load_file(whole)
    return {
        name: {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        for name, prefix in glance(whole).prefixes.items()
    }


def in_transformers_names(folder: Path) -> Tensors:
    """SDXL's second text encoder as `clip_g.safetensors` has it."""
    return load_file(folder / "text_encoder_2" / "model.safetensors")


def save(tensors: Tensors, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def take_apart(whole: Path, workspace: Workspace, prefix: str = "", without: tuple[str, ...] = ()) -> dict[str, Path]:
    """Put a model's parts where people have them: the denoiser among the checkpoints, each other part under its usual name."""
    family, places = glance(whole).family, {}
    model, root = MODELS[family], workspace.root / "models"
    for name, tensors in parts_of(whole).items():
        if name == model.denoiser:
            places[name] = save({prefix + key: tensor for key, tensor in tensors.items()}, root / "checkpoints" / DENOISER)
        elif name not in without:
            folder = "vae" if name == "vae" else "text_encoders"
            places[name] = save(tensors, root / folder / model.parts[name].file)
    (root / "checkpoints" / "tokenizers").symlink_to(whole.parent / "tokenizers")
    return places


def chosen(workspace: Workspace, vae: str = "", *text_encoders: str, model: str = DENOISER) -> ModelFacts:
    return choose(ModelChoice(model, vae, text_encoders), workspace)


def refused(workspace: Workspace, vae: str = "", *text_encoders: str, model: str = DENOISER) -> ModelError:
    with pytest.raises(ModelError) as caught:
        chosen(workspace, vae, *text_encoders, model=model)
    return caught.value


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_found_and_the_model_is_the_same(family: str, wholes: dict[str, Path], workspace: Workspace) -> None:
    places = take_apart(wholes[family], workspace)
    wanted = {name for name in MODELS[family].parts if name not in MODELS[family].optional}
    facts = chosen(workspace)
    assert {name: source.path for name, source in facts.sources.items()} == {name: places[name] for name in wanted}
    whole = model_facts(wholes[family])
    assert (facts.variant, facts.prediction, facts.factor) == (whole.variant, whole.prediction, whole.factor)
    one, other = load_model(wholes[family], CPU, torch.float32), load_model(facts, CPU, torch.float32)
    for name in wanted:
        states = one.parts[name].state_dict(), other.parts[name].state_dict()
        assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][key], states[1][key]) for key in states[0]), (
            name
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_lacking_is_named_with_where_to_put_what(family: str, wholes: dict[str, Path], workspace: Workspace) -> None:
    take_apart(wholes[family], workspace, "model.diffusion_model.", without=("vae", *MODELS[family].tokenizers))
    error = refused(workspace)
    assert error.code == "model.incomplete" and error.values["field"] == "model.path"
    for name, part in MODELS[family].parts.items():
        wanted = name != MODELS[family].denoiser and name not in MODELS[family].optional
        place = f"models/{'vae' if name == 'vae' else 'text_encoders'}/{part.file or 'denoiser'}"
        assert wanted == (part.title in error.what) and wanted == (place in error.todo)
    card = next(card for card in models(workspace) if card.name == DENOISER)
    assert card.problem and card.problem.code == "model.incomplete"


def test_the_narrow_clip_is_never_taken_for_the_wide_one(wholes: dict[str, Path], workspace: Workspace) -> None:
    places = take_apart(wholes["sd3"], workspace)
    places["text_encoder_2"].unlink()
    assert "OpenCLIP-bigG" in refused(workspace).what and "CLIP-L" not in refused(workspace).what
    save(parts_of(wholes["sd3"])["text_encoder_2"], workspace.root / "models" / "text_encoders" / "a.safetensors")
    places["text_encoder"].rename(places["text_encoder"].with_name("b.safetensors"))
    sources = chosen(workspace).sources
    assert [sources[name].path.name for name in ("text_encoder", "text_encoder_2")] == ["b.safetensors", "a.safetensors"]


def test_t5_is_used_by_stable_diffusion_3_only_where_it_is_named(wholes: dict[str, Path], workspace: Workspace) -> None:
    places = take_apart(wholes["sd3"], workspace)
    assert "text_encoder_3" not in chosen(workspace).sources and "t5" not in chosen(workspace).traits
    named = chosen(workspace, "", places["text_encoder_3"].name)
    assert named.sources["text_encoder_3"].path == places["text_encoder_3"] and "t5" in named.traits


def test_sdxl_reads_its_second_text_encoder_in_either_layout(
    wholes: dict[str, Path], folders: dict[str, Path], workspace: Workspace
) -> None:
    places = take_apart(wholes["sdxl"], workspace)
    stored = load_model(chosen(workspace), CPU, torch.float32).parts["text_encoder_2"].state_dict()
    save(in_transformers_names(folders["sdxl"]), places["text_encoder_2"])
    facts = chosen(workspace)
    assert facts.sources["text_encoder_2"].alone
    read = load_model(facts, CPU, torch.float32).parts["text_encoder_2"].state_dict()
    assert read.keys() == stored.keys() and all(torch.equal(read[key], stored[key]) for key in read)


def test_vaes_that_differ_in_nothing_but_their_weights_are_told_apart_by_name(
    wholes: dict[str, Path], workspace: Workspace
) -> None:
    take_apart(wholes["flux"], workspace)
    vae = parts_of(wholes["flux"])["vae"]
    for name in ("sd3_vae", "sdxl_vae", "flux1-other"):
        save(vae, workspace.root / "models" / "vae" / f"{name}.safetensors")
    assert chosen(workspace).other_vae == workspace.root / "models" / "vae" / "ae.safetensors"
    (workspace.root / "models" / "vae" / "ae.safetensors").unlink()
    assert chosen(workspace).other_vae == workspace.root / "models" / "vae" / "flux1-other.safetensors"
    (workspace.root / "models" / "vae" / "flux1-other.safetensors").unlink()
    assert refused(workspace).values["missing"] == "VAE"


def test_a_vae_of_another_kind_is_passed_over(wholes: dict[str, Path], workspace: Workspace) -> None:
    take_apart(wholes["flux"], workspace, without=("vae",))
    save(parts_of(wholes["sd1"])["vae"], workspace.root / "models" / "vae" / "ae.safetensors")
    assert "VAE" in refused(workspace).what


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_chosen_vae_takes_the_place_of_the_models_own(
    kind: str, wholes: dict[str, Path], folders: dict[str, Path], workspace: Workspace
) -> None:
    model = str(wholes["sd1"] if kind == "file" else folders["sd1"])
    vae = {f"first_stage_model.{key}": tensor + 1 for key, tensor in parts_of(wholes["sd1"])["vae"].items()}
    file = save(vae, workspace.root / "models" / "vae" / "bright.safetensors")
    free = Workspace(workspace.root, checkpoint_folder=Path(model).parent)
    own, other = (choose(ModelChoice(Path(model).name, name), free) for name in ("", "bright"))
    assert own.other_vae is None and other.other_vae == file
    assert {name for name in own.sources if own.sources[name] != other.sources[name]} == {"vae"}
    loaded = [load_model(facts, CPU, torch.float32) for facts in (own, other)]
    keys = [each.weights_key for each in loaded]
    assert keys[0]["vae"] != keys[1]["vae"] and keys[0]["text"] == keys[1]["text"]
    assert torch.equal(loaded[1].vae.decoder.conv_in.bias, loaded[0].vae.decoder.conv_in.bias + 1)


def test_a_chosen_text_encoder_takes_the_place_of_the_models_own(wholes: dict[str, Path], workspace: Workspace) -> None:
    other = make_tiny("sdxl", workspace.root / "models" / "checkpoints" / "other.safetensors", single_file=True, seed=1)
    file = save(parts_of(other)["text_encoder"], workspace.root / "models" / "text_encoders" / "mine.safetensors")
    facts = chosen(workspace, "", "mine", model="other")
    assert facts.sources["text_encoder"].path == file and facts.sources["text_encoder_2"].path == other


def test_chosen_files_that_cannot_be_used_are_named_at_their_field(wholes: dict[str, Path], workspace: Workspace) -> None:
    take_apart(wholes["flux"], workspace)
    small = save(parts_of(wholes["sd1"])["vae"], workspace.root / "models" / "vae" / "small.safetensors")
    error = refused(workspace, "small")
    assert (error.code, error.values["field"], error.values["part"]) == ("model.part_does_not_fit", "model.vae", small.name)
    error = refused(workspace, "", "clip_l", "ae")
    assert error.code == "model.part_not_found" and error.values["field"] == "model.text_encoders"
    error = refused(workspace, "clip_l")
    assert error.code == "model.part_not_found" and "models/vae" in error.todo
    save(parts_of(wholes["z_image"])["text_encoder"], workspace.root / "models" / "text_encoders" / "qwen.safetensors")
    assert refused(workspace, "", "qwen").code == "model.part_does_not_fit"
    small.write_bytes(small.read_bytes()[:300])
    error = refused(workspace, "small")
    assert (error.code, error.values["field"]) == ("file.truncated", "model.vae")


def test_folders_of_other_programs_beside_the_checkpoints(wholes: dict[str, Path], tmp_path: Path) -> None:
    there = tmp_path / "ComfyUI" / "models"
    parts = parts_of(wholes["flux"])
    for name, folder, file in (("vae", "VAE", "ae"), ("text_encoder", "clip", "l"), ("text_encoder_2", "text_encoders", "t5")):
        save(parts[name], there / folder / f"{file}.safetensors")
    save(parts["transformer"], there / "diffusion_models" / "flux.safetensors")
    (there / "checkpoints").mkdir()
    workspace = Workspace(tmp_path / "data", checkpoint_folder=there / "checkpoints").prepare()
    facts = chosen(workspace, model="flux")
    assert {name: source.path.parent.name for name, source in facts.sources.items()} == {
        "text_encoder": "clip", "text_encoder_2": "text_encoders", "transformer": "diffusion_models", "vae": "VAE",
    }  # fmt: skip
    (card,) = (card for card in models(workspace) if card.name == "flux.safetensors")
    assert card.problem is None and card.parts == ("ae.safetensors", "l.safetensors", "t5.safetensors")
    assert Workspace(tmp_path / "data", checkpoint_folder=there).vae_folders == [workspace.root / "models" / "vae"]
