"""From tags to adapters in force: merged or beside, in some blocks or steps, from files of every make; and gone without a trace."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.adapters.ard_lora import ArdLora
from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.adapter import LayerOptions, LoraOptions
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_file import PICKLES, read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash
from engine.generation import applying
from engine.generation.applying import in_place, make_merger, report, resolve
from engine.generation.blocks import BLOCKS
from engine.generation.prompt import parse_tags
from engine.library import adapter_names, adapters
from engine.model_facts import STARTER_FOLDER
from engine.workspace import Workspace
from tests.support.adapter_cases import CASES
from tests.support.layers import randomised
from tests.support.tiny import tiny_sd1

LORA = LoraOptions(rank=2, alpha=1, train_text_encoder=True)
LOCON = LoraOptions(rank=2, alpha=1, conv_rank=2, targets="full", train_text_encoder=True)
KINDS = {options.kind: options for options in reversed(CASES.values())} | {"norm": LoraOptions(rank=2, train_norms=True)}
"""An algorithm -> one variant of it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_model(tiny_sd1(tmp_path_factory.mktemp("models") / "tiny"), torch.device("cpu"), torch.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path).prepare()


@pytest.fixture
def merger(model: Family) -> Iterator[Merger]:
    merger = make_merger(model)
    yield merger
    merger.restore()


def network(model: Family, options: LayerOptions = LORA, seed: int = 1) -> Network:
    made = Network.create(model.facts.family, model.components, model.targets(options), seed)
    randomised(made, 0.1).requires_grad_(False)
    for adapter in made.adapters.values():
        if isinstance(adapter, ArdLora):
            adapter.scales.clamp_(0, 1)  # as after a step
    return made


def add(
    workspace: Workspace, model: Family, name: str, options: LayerOptions = LORA, seed: int = 1, **metadata: str
) -> Path:  # fmt: skip
    file = workspace.loras / f"{name}.safetensors"
    write_adapter(file, network(model, options, seed).tensors(), metadata)
    return file


def tagged(prompt: str, model: Family, workspace: Workspace, networks: dict | None = None) -> tuple[list[Applied], list[dict]]:
    return resolve(parse_tags(prompt)[1], model, workspace, {} if networks is None else networks)


def weights(model: Family) -> dict[str, Tensor]:
    return {
        f"{component} {name}": tensor.clone()
        for component, part in model.components.items()
        for name, tensor in part.named_parameters()
    }


def equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@torch.no_grad()
def drawn(model: Family) -> Tensor:
    """What the model predicts for a text and a noise that are always the same."""
    told = model.encode_tokens(["a red cat"], 1)
    noise = torch.randn(1, *model.latent_shape(64, 64), generator=torch.Generator().manual_seed(5))
    return model.predict(noise, torch.tensor([500]), told)


def drawn_with(model: Family, merger: Merger | None, applied: list[Applied]) -> Tensor:
    with in_place(model, merger, None, applied) as on_step:
        assert on_step is None
        return drawn(model)


# ---- in and out ----


def test_fifty_prompts_on_the_starter_end_bit_identical(workspace: Workspace) -> None:
    model = load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)
    for seed, options in enumerate((LORA, LOCON, KINDS["loha"], KINDS["norm"])):
        add(workspace, model, f"lora{seed}", options, seed)
    merger, networks, rng = make_merger(model), dict[tuple, Network](), random.Random(7)
    before, picture = weights(model), drawn(model)
    options = ("-1", "0.3", "0.8:lbw=OUTD", "-1:lbw=MIDD", "0.8:start=2", "0.3:1.4", "0:1")
    for _ in range(50):
        tags = [f"<lora:lora{rng.randrange(4)}:{rng.choice(options)}>" for _ in range(rng.randrange(4))]
        applied, problems = tagged("".join(tags), model, workspace, networks)
        assert len(applied) == len(tags) and not problems
        with in_place(model, merger, None, applied):
            assert bool(tags) != torch.equal(drawn(model), picture)
    with in_place(model, merger, None, []):
        assert equal(weights(model), before) and torch.equal(drawn(model), picture)
    assert not any("forward" in layer.__dict__ for part in model.components.values() for layer in part.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_every_kind_merged_unmerged_and_as_it_was_made(
    model: Family, workspace: Workspace, merger: Merger, kind: str
) -> None:
    made = network(model, KINDS[kind])
    write_adapter(workspace.loras / "mine.safetensors", made.tensors(), {})
    applied, problems = tagged("<lora:mine:0.8>", model, workspace)
    assert not problems and applied[0].network.match.unmatched == ()
    plain, merged = drawn(model), drawn_with(model, merger, applied)
    assert report(applied[0])["mode"] == "merged"
    merger.restore()
    beside = drawn_with(model, None, applied)
    assert report(applied[0])["mode"] == "beside"
    made.insert(model.components, dict.fromkeys(model.components, 0.8))
    wanted = drawn(model)
    made.remove()
    assert not torch.allclose(wanted, plain, atol=1e-3)
    assert torch.allclose(merged, beside, atol=1e-5) and torch.allclose(beside, wanted, atol=1e-4)
    assert torch.equal(drawn(model), plain)


# ---- blocks ----


def changes(model: Family, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor - before[name] for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(("length", "block"), [(17, "BASE"), (17, "IN01"), (26, "MID"), (26, "OUT11")])
def test_a_block_weight_is_the_strength_of_its_layers(
    model: Family, workspace: Workspace, merger: Merger, length: int, block: str
) -> None:
    add(workspace, model, "mine", LOCON)
    before, ones = weights(model), [1.0] * length
    ones[BLOCKS[length].index(block)] = -0.5
    numbers = ",".join(map(str, ones))
    (plain,), (weighed,) = (tagged(f"<lora:mine:0.8{option}>", model, workspace)[0] for option in ("", f":lbw={numbers}"))
    merger.apply([plain])
    whole = changes(model, before)
    merger.apply([weighed])
    part = changes(model, before)
    start = {"BASE": "text_encoder ", "IN01": "unet down_blocks.0.", "MID": "unet mid_block.", "OUT11": "unet up_blocks.3."}[
        block
    ]
    number = {"IN01": r".0.", "OUT11": r".2."}.get(block, "")
    inside = {name for name in whole if name.startswith(start) and number in name[len(start) : len(start) + 14]}
    assert inside and whole.keys() == part.keys()
    for name, change in whole.items():
        assert torch.allclose(part[name], change * (-0.5 if name in inside else 1), atol=1e-6), name


@pytest.mark.parametrize(("preset", "empty"), [("NONE", True), ("ALL", False)])
def test_all_and_nothing(model: Family, workspace: Workspace, preset: str, empty: bool) -> None:
    add(workspace, model, "mine", LOCON)
    (plain,), (chosen,) = (tagged(f"<lora:mine:0.8{option}>", model, workspace)[0] for option in ("", f":lbw={preset}"))
    assert list(chosen.strengths()) == ([] if empty else list(plain.strengths()))


def test_block_weights_of_another_family_are_told_and_the_tag_is_not_in_force(model: Family, workspace: Workspace) -> None:
    add(workspace, model, "mine")
    numbers = ",".join("1" * 12)
    (entry,), (problem,) = tagged(f"<lora:mine:1:lbw={numbers}><lora:mine:0.5>", model, workspace)
    assert entry.unet == 0.5 and problem["code"] == "prompt.block_weights"
    assert "12 numbers" in problem["what"] and "17 numbers or 26 numbers" in problem["expected"]


# ---- steps ----


@pytest.mark.parametrize("options", ["1:start=2:stop=3", "0.5@0,1@3,0@4", "1:0.5@0,0@1"])
def test_a_strength_that_changes_is_that_of_a_run_driven_by_hand(
    model: Family, workspace: Workspace, merger: Merger, options: str
) -> None:
    add(workspace, model, "mine")
    add(workspace, model, "other", seed=2)
    _, tags = parse_tags(f"<lora:mine:{options}><lora:other:0.4>")
    applied, problems = resolve(tags, model, workspace, {})
    steps = 4
    merger.apply([applied[1]])  # of an earlier prompt
    with in_place(model, merger, None, applied) as on_step:
        assert on_step and [report(entry)["mode"] for entry in applied] == ["beside", "beside"]
        found = []
        for step in range(1, steps + 1):
            on_step(step, steps)
            found.append(drawn(model))
    assert not problems
    text = tags[0].options.get("text_encoder_steps", ((tags[0].text_encoder, 0),))[0][0]
    for step, picture in enumerate(found, 1):
        for entry, strengths in zip(applied, ((text, tags[0].strengths(step, steps)[1]), (0.4, 0.4)), strict=True):
            entry.network.insert(model.components, dict(zip(("text_encoder", "unet"), strengths, strict=True)))
        assert torch.equal(drawn(model), picture)
        for entry in applied:
            entry.network.remove()
    assert len({picture.numpy().tobytes() for picture in found}) > 1


# ---- ranks ----


def test_the_first_ranks_are_those_of_a_file_cut_by_hand(model: Family, workspace: Workspace) -> None:
    file = add(workspace, model, "whole", LoraOptions(rank=4, alpha=2))
    tensors = {}
    for name, parts in read_adapter(file).modules.items():
        tensors[f"{name}.lora_down.weight"] = parts["lora_down.weight"][:1].clone()
        tensors[f"{name}.lora_up.weight"] = parts["lora_up.weight"][:, :1].clone()
        tensors[f"{name}.alpha"] = torch.tensor(0.5)
    write_adapter(workspace.loras / "cut.safetensors", tensors, {})
    networks: dict[tuple, Network] = {}
    prompts = ("<lora:whole:1:1:1>", "<lora:cut>", "<lora:whole>", "<lora:whole:1:dyn=4>", "<lora:whole:1:dyn=99>")
    first, cut, whole, all_, more = (drawn_with(model, None, tagged(each, model, workspace, networks)[0]) for each in prompts)
    assert torch.allclose(first, cut, atol=1e-6) and not torch.allclose(first, whole, atol=1e-4)
    assert torch.equal(whole, all_) and torch.equal(whole, more)


def test_other_kinds_have_no_first_ranks(model: Family, workspace: Workspace) -> None:
    add(workspace, model, "mine", KINDS["loha"])
    applied, (problem,) = tagged("<lora:mine:1:dyn=1>", model, workspace)
    assert applied == [] and problem["code"] == "prompt.leading_ranks" and "<lora:mine:1:dyn=1>" in problem["what"]


# ---- files ----


def test_a_file_is_read_once_and_again_when_it_changes(model: Family, workspace: Workspace, merger: Merger) -> None:
    file, networks = add(workspace, model, "mine"), dict[tuple, Network]()
    (first,), (second,) = (tagged(f"<lora:mine:{strength}>", model, workspace, networks)[0] for strength in (1, 0.5))
    assert first.network is second.network and len(networks) == 1
    old = drawn_with(model, merger, [first])
    size = file.stat().st_size
    add(workspace, model, "mine", seed=2)
    assert file.stat().st_size == size
    (third,), _ = tagged("<lora:mine>", model, workspace, networks)
    new = drawn_with(model, merger, [third])
    assert third.network is not first.network and not torch.allclose(old, new, atol=1e-4)
    merger.restore()
    assert torch.allclose(new, drawn_with(model, None, [third]), atol=1e-5)


def test_only_so_many_files_stay_in_memory(model: Family, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "NETWORKS_KEPT", 2)
    networks: dict[tuple, Network] = {}
    for number in range(3):
        add(workspace, model, f"lora{number}")
        tagged(f"<lora:lora{number}>", model, workspace, networks)
    assert [key[0].stem for key in networks] == ["lora1", "lora2"]


@pytest.mark.parametrize("metadata", [{"ss_base_model_version": "sdxl_base_v1-0"}, {"modelspec.architecture": "flux-1-dev/lora"}])
def test_a_file_for_another_base_says_so(model: Family, workspace: Workspace, metadata: dict[str, str]) -> None:
    add(workspace, model, "mine", **metadata)
    applied, (problem,) = tagged("<lora:mine>", model, workspace)
    assert applied == [] and problem["code"] == "adapter.other_base"
    assert problem["values"]["base"] in ("SDXL", "FLUX.1") and problem["values"]["model"] == "Stable Diffusion 1.x"


def test_names_alone_tell_another_base(model: Family, workspace: Workspace) -> None:
    module = "lora_unet_double_blocks_0_img_mlp_0"
    tensors = {f"{module}.lora_down.weight": torch.ones(2, 4), f"{module}.lora_up.weight": torch.ones(4, 2)}
    write_adapter(workspace.loras / "mine.safetensors", tensors, {})
    _, (problem,) = tagged("<lora:mine>", model, workspace)
    assert problem["code"] == "adapter.other_base" and problem["values"]["base"] == "FLUX.1"


@pytest.mark.parametrize("ending", PICKLES)
def test_pickles_are_listed_and_used(model: Family, workspace: Workspace, ending: str) -> None:
    tensors = network(model).tensors()
    file = workspace.loras / f"old{ending}"
    torch.save({"state_dict": tensors} if ending == ".ckpt" else tensors, file)
    write_adapter(workspace.loras / "same.safetensors", tensors, {})
    (card,) = (card for card in adapters(workspace) if card.path == file)
    assert card.summary and card.problem is None and card.summary.base == ""
    (old,), (same,) = (tagged(f"<lora:{name}:0.8>", model, workspace)[0] for name in ("old", "same"))
    assert torch.equal(drawn_with(model, None, [old]), drawn_with(model, None, [same]))
    assert len(adapter_hash(file)) == 64 and report(old)["matched"] == report(same)["matched"]


def test_of_a_pickle_and_a_safetensors_file_the_latter_is_meant(model: Family, workspace: Workspace) -> None:
    file = add(workspace, model, "mine")
    torch.save(network(model).tensors(), workspace.loras / "mine.ckpt")
    assert adapter_names(workspace) == {"mine": (file, None)}


class Hostile:
    def __reduce__(self) -> Any:
        return print, ("code has run",)


def test_code_in_a_pickle_is_not_run(model: Family, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.loras / "evil.pt").write_bytes(pickle.dumps({"lora_unet_x.alpha": Hostile()}))
    applied, (problem,) = tagged("<lora:evil>", model, workspace)
    assert applied == [] and problem["code"] == "adapter.bad_pickle" and "code has run" not in capsys.readouterr().out


def test_embeddings_come_with_the_adapter(model: Family, workspace: Workspace) -> None:
    vectors = torch.randn(2, 32)
    tensors = network(model).tensors() | {"bundle_emb.mofumo.string_to_param.*": vectors}
    write_adapter(workspace.loras / "mine.safetensors", tensors, {})
    (entry,), problems = tagged("<lora:mine>", model, workspace)
    assert not problems and torch.equal(entry.embeddings["mofumo"]["string_to_param.*"], vectors)
