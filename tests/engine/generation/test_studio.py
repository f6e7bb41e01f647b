"""From a request to PNG files: adapters in and out without a trace, files that change, and everything that goes wrong."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.choices import ModelChoice
from engine.config.generate import GenerateConfig
from engine.errors import ConfigError, Interrupted, ModelError, Skipped
from engine.families import ready_model
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash, model_hashes
from engine.formats.infotext import parse_infotext, read_infotext_from_image
from engine.generation.studio import Picture, Studio, render
from engine.workspace import Workspace
from tests.support.tiny import tiny_sd1, tiny_vae

CPU = torch.device("cpu")
OPTIONS = LoraOptions(rank=2, alpha=2, train_text_encoder=True)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny")
    return workspace


@pytest.fixture(scope="module")
def studio(workspace: Workspace) -> Studio:
    return Studio(workspace)


@pytest.fixture(autouse=True)
def _loras_are_gone_afterwards(workspace: Workspace) -> Iterator[None]:
    yield
    for file in workspace.loras.iterdir():
        file.unlink()


def model_in(studio: Studio):
    """The loaded model; loaded now if it was not."""
    return studio.shelf.take(ready_model(ModelChoice("tiny"), studio.workspace), CPU, torch.float32)


def network(studio: Studio, seed: int, options: LoraOptions = OPTIONS) -> Network:
    model = model_in(studio)
    made = Network.create(model.facts.family, model.components, model.targets(options), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made.eval().requires_grad_(False)


def add_lora(studio: Studio, name: str, seed: int = 1, **metadata: str) -> Path:
    file = studio.workspace.loras / f"{name}.safetensors"
    write_adapter(file, network(studio, seed).tensors(), metadata)
    return file


def request(prompt: str, **options) -> GenerateConfig:
    return GenerateConfig(
        **{"model": "tiny", "prompt": prompt, "sampler": "DDIM", "steps": 2, "guidance_scale": 3, "seed": 7, **options}
    )


def make(studio: Studio, prompt: str, **options) -> list[Picture]:
    return studio.generate(request(prompt, **options), studio.workspace.outputs)


def pixels(picture: Picture) -> np.ndarray:
    with Image.open(picture.file) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def same(one: Picture, two: Picture) -> bool:
    return np.array_equal(pixels(one), pixels(two))


# ---- bases that nothing can be merged into ----


@pytest.mark.parametrize(
    "fit", [{"quantization": "fp8"}, {"streamed_blocks": 1000}, {"quantization": "int8", "streamed_blocks": 3}]
)
def test_adapters_stay_beside_a_quantised_or_streamed_base(workspace: Workspace, fit: dict[str, Any]) -> None:
    studio = Studio(workspace)
    add_lora(studio, "mine")
    (merged,) = make(studio, "a red cat <lora:mine:0.8>")
    (plain,), (beside,), (again,) = (make(studio, f"a red cat{tag}", **fit) for tag in ("", " <lora:mine:0.8>", ""))
    assert same(plain, again) and not same(plain, beside)
    assert np.abs(pixels(beside) - pixels(merged)).mean() < (8 if "quantization" in fit else 0.01)


# ---- adapters in and out ----


def test_strength_zero_is_the_base_picture(studio: Studio) -> None:
    add_lora(studio, "mine")
    (plain,), (zero,), (full,) = (make(studio, f"a red cat{tag}") for tag in ("", "<lora:mine:0>", "<lora:mine:1>"))
    assert same(plain, zero) and not same(plain, full)


def test_after_all_adapters_are_gone_the_model_is_bit_identical(studio: Studio) -> None:
    add_lora(studio, "mine", 1)
    add_lora(studio, "other", 2)
    (plain,) = make(studio, "a red cat")
    weights = model_in(studio).weights_key, [p.clone() for p in model_in(studio).components["unet"].parameters()]
    for tags in ("<lora:mine>", "<lora:other:-2><lora:mine:0.3>", "<lora:other:0:1.5>"):
        make(studio, f"a red cat {tags}")
    (after,) = make(studio, "a red cat")
    assert same(plain, after)
    assert weights[0] == model_in(studio).weights_key
    assert all(map(torch.equal, weights[1], model_in(studio).components["unet"].parameters()))


def test_the_two_strengths_go_where_they_belong(studio: Studio) -> None:
    add_lora(studio, "mine")
    made = {tag: make(studio, f"a red cat <lora:mine:{tag}>")[0] for tag in ("0:0", "1:0", "0:1", "1:1")}
    assert len({pixels(picture).tobytes() for picture in made.values()}) == 4
    report = made["1:0"].adapters[0]
    assert (report["name"], report["text_encoder"], report["unet"]) == ("mine", 1.0, 0.0)
    assert (report["matched"], report["unmatched"], report["total"]) == (210, [], 210)


def test_the_order_of_tags_does_not_matter_and_a_tag_twice_counts_twice(studio: Studio) -> None:
    add_lora(studio, "mine", 1)
    add_lora(studio, "other", 2)
    (one,), (two,) = (
        make(studio, f"a red cat{tags}") for tags in ("<lora:mine:.5><lora:other:.8>", "<lora:other:.8><lora:mine:.5>")
    )
    assert same(one, two)
    (twice,), (whole,) = (make(studio, f"a red cat{tags}") for tags in ("<lora:mine:.5><lora:mine:.25>", "<lora:mine:.75>"))
    assert np.abs(pixels(twice) - pixels(whole)).max() <= 1


def test_a_retrained_file_under_the_same_name_is_never_stale(studio: Studio) -> None:
    file = add_lora(studio, "mine", 1)
    (first,) = make(studio, "a red cat <lora:mine>")
    size, time = file.stat().st_size, file.stat().st_mtime_ns
    add_lora(studio, "mine", 2)
    assert file.stat().st_size == size
    (second,) = make(studio, "a red cat <lora:mine>")
    assert not same(first, second)
    add_lora(studio, "mine", 1)
    (again,) = make(studio, "a red cat <lora:mine>")
    assert same(first, again) and file.stat().st_mtime_ns != time


def test_only_so_many_adapters_stay_in_memory(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.generation.applying.NETWORKS_KEPT", 2)
    file = add_lora(studio, "mine")
    for number in range(3):
        os.utime(file, ns=(number, number))
        make(studio, "a<lora:mine>", steps=1, guidance_scale=1)
    assert len(studio._networks) == 2


# ---- what cannot be honoured ----


def test_an_unknown_tag_is_reported_with_the_nearest_names_and_the_others_stay(studio: Studio) -> None:
    add_lora(studio, "my-mascot")
    (right,) = make(studio, "a red cat <lora:my-mascot:0.8>")
    (picture,) = make(studio, "a red cat <lora:my-mascto:0.5><lora:my-mascot:0.8>")
    (problem,) = picture.problems
    assert problem["code"] == "prompt.adapter_unknown" and "my-mascot" in problem["values"]["nearest"]
    assert [entry["name"] for entry in picture.adapters] == ["my-mascot"] and same(picture, right)


def test_files_that_cannot_be_used_are_problems_of_the_picture(studio: Studio) -> None:
    loras = studio.workspace.loras
    whole = add_lora(studio, "whole").read_bytes()
    (loras / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (loras / "nan.safetensors").write_bytes(whole[:-4] + b"\x00\x00\xc0\x7f")
    ones = torch.ones(2, 4)
    flux = {
        "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": ones,
        "lora_unet_double_blocks_0_img_mlp_0.lora_up.weight": ones.T,
    }
    write_adapter(loras / "flux.safetensors", {name: tensor.contiguous() for name, tensor in flux.items()}, {})
    wide = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(2, 1280, 1, 1)}
    wide["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"] = torch.ones(1280, 2, 1, 1)
    write_adapter(loras / "wide.safetensors", wide, {})
    codes = {"cut": "file.truncated", "nan": "adapter.not_finite", "flux": "adapter.other_base", "wide": "adapter.wrong_shape"}
    (plain,) = make(studio, "a red cat")
    (picture,) = make(studio, "a red cat" + "".join(f"<lora:{name}:1>" for name in codes))
    assert [problem["code"] for problem in picture.problems] == list(codes.values())
    assert picture.adapters == [] and same(picture, plain)


def test_a_partial_match_is_in_force_and_counted(studio: Studio) -> None:
    tensors = network(studio, 1).tensors()
    for suffix in ("lora_down.weight", "lora_up.weight", "alpha"):
        tensors[f"lora_unet_input_blocks_99_x.{suffix}"] = tensors[f"lora_unet_mid_block_attentions_0_proj_in.{suffix}"].clone()
    write_adapter(studio.workspace.loras / "part.safetensors", tensors, {})
    (picture,) = make(studio, "a red cat <lora:part>")
    (problem,) = picture.problems
    assert problem["code"] == "adapter.partly_matched" and problem["values"]["matched"] == "210"
    assert picture.adapters[0]["unmatched"] == ["lora_unet_input_blocks_99_x"] and picture.adapters[0]["total"] == 211


def test_what_a_tag_asks_in_vain_is_said(studio: Studio) -> None:
    add_lora(studio, "mine")
    (picture,) = make(studio, "a <lora:mine:1:1:lbw=OUTD:start=2> <lora:mine:much> <hypernet:x:1>")
    assert {problem["code"] for problem in picture.problems} == {"prompt.tag_value", "prompt.tag_kind"}
    assert len(picture.adapters) == 1


def test_a_request_that_cannot_be_made_leaves_the_studio_usable(studio: Studio) -> None:
    add_lora(studio, "mine")
    (before,) = make(studio, "a red cat <lora:mine>")
    files = sorted(studio.workspace.outputs.iterdir())
    with pytest.raises(ConfigError) as caught:
        make(studio, "a red cat", width=60)
    assert caught.value.values["field"] == "width"
    with pytest.raises(ConfigError):
        make(studio, "a red cat <lora:mine>", clip_skip=9)
    with pytest.raises(ModelError) as missing:
        make(studio, "a red cat", model="not-there.safetensors")
    assert missing.value.code == "model.not_found"
    assert sorted(studio.workspace.outputs.iterdir()) == files
    (after,) = make(studio, "a red cat <lora:mine>")
    assert same(before, after)


# ---- pictures and their recipes ----


def test_the_comparison_is_the_picture_without_tags(studio: Studio) -> None:
    add_lora(studio, "mine")
    told: list[tuple[int, int]] = []
    config = request("a red cat<lora:mine>, <lora:gone>", compare=True, batch_size=2)
    pictures = studio.generate(config, studio.workspace.outputs, lambda done, total: told.append((done, total)))
    assert [picture.without for picture in pictures] == [False, False, True, True]
    assert [picture.seed for picture in pictures] == [7, 8, 7, 8]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    plain = make(studio, "a red cat, ", batch_size=2)
    assert same(pictures[2], plain[0]) and same(pictures[3], plain[1]) and not same(pictures[0], plain[0])
    assert pictures[2].adapters == [] and pictures[2].problems == [] and "<lora" not in pictures[2].infotext
    assert len(make(studio, "a red cat <lora:gone>", compare=True)) == 1  # nothing to compare with


def test_three_at_once_are_three_singles(studio: Studio) -> None:
    together = make(studio, "a red cat", batch_size=3, sampler="Euler a")
    assert [picture.seed for picture in together] == [7, 8, 9]
    for picture in together:
        (single,) = make(studio, "a red cat", seed=picture.seed, sampler="Euler a")
        assert np.abs(pixels(single) - pixels(picture)).max() <= 1
        assert single.infotext == picture.infotext


def test_seed_minus_one_draws_and_says_what_it_drew(studio: Studio) -> None:
    one, two = (make(studio, "a", seed=-1, steps=1)[0] for _ in range(2))
    assert one.seed != two.seed and 0 <= one.seed < 2**32
    assert same(make(studio, "a", seed=one.seed, steps=1)[0], one)
    last = make(studio, "a", seed=2**32 - 1, batch_size=2, steps=1)
    assert [picture.seed for picture in last] == [2**32 - 1, 0]


def test_the_recipe_travels_in_the_file_and_reads_back(studio: Studio) -> None:
    file = add_lora(studio, "mine")
    prompt = "a (red:1.2) cat, <lora:mine:0.5:1>\nbig # and a remark"
    (picture,) = make(studio, prompt, negative_prompt="green, [house]# remark", clip_skip=2, width=72)
    assert read_infotext_from_image(picture.file) == picture.infotext
    text, negative, params = parse_infotext(picture.infotext)
    assert text == "a (red:1.2) cat, <lora:mine:0.5:1>\nbig" and negative == "green, [house]"
    expected = {
        "Steps": "2", "Sampler": "DDIM", "CFG scale": "3", "Seed": "7", "Size-1": "72", "Size-2": "64", "Model": "tiny",
        "Clip skip": "2", "RNG": "CPU", "Lora hashes": f"mine: {adapter_hash(file)[:12]}",
        "Model hash": model_hashes(model_in(studio).facts.location).short,
    }  # fmt: skip
    assert expected.items() <= params.items()
    again = request(
        text, negative_prompt=negative, steps=int(params["Steps"]), seed=int(params["Seed"]), clip_skip=int(params["Clip skip"]),
        width=int(params["Size-1"]), height=int(params["Size-2"]), guidance_scale=float(params["CFG scale"]),
        sampler=params["Sampler"], schedule=params["Schedule type"],
    )  # fmt: skip
    assert same(studio.generate(again, studio.workspace.outputs)[0], picture)


def test_two_pictures_of_one_second_get_two_files(studio: Studio) -> None:
    files = {make(studio, "a", steps=1, guidance_scale=1)[0].file for _ in range(4)}
    assert len(files) == 4 and all(file.is_file() for file in files)
    assert not list(studio.workspace.outputs.glob(".*"))


# ---- the live adapter, beside the weights ----


def test_beside_the_weights_is_like_merged(studio: Studio) -> None:
    add_lora(studio, "mine", 1)
    add_lora(studio, "other", 2)
    prompt = "a red cat <lora:mine:0.7><lora:other:0.4:1><lora:mine:0.2>"
    (merged,) = make(studio, prompt)
    (plain,) = make(studio, "a red cat")
    model, networks, out = model_in(studio), {}, studio.workspace.outputs
    before = model.weights_key
    (beside,) = render(model, None, None, request(prompt), studio.workspace, networks, out)
    assert np.abs(pixels(beside) - pixels(merged)).max() <= 1 and beside.infotext == merged.infotext
    (after,) = render(model, None, None, request("a red cat"), studio.workspace, networks, out)
    assert same(after, plain) and model.weights_key == before
    assert not any("forward" in layer.__dict__ for part in model.components.values() for layer in part.modules())


def test_a_live_network_is_in_force_stays_and_is_left_out_of_the_comparison(studio: Studio) -> None:
    add_lora(studio, "other", 2)
    live = network(studio, 1)
    add_lora(studio, "same", 1)
    model, networks, out = model_in(studio), {}, studio.workspace.outputs
    (plain,), (alone,), (both,) = (
        make(studio, f"a red cat{tags}") for tags in ("", "<lora:same>", "<lora:same><lora:other:0.5>")
    )
    make(studio, "a")  # nothing stays merged
    live.insert(model.components)
    try:
        with_live, without = render(model, None, live, request("a red cat", compare=True), studio.workspace, networks, out)
        assert np.abs(pixels(with_live) - pixels(alone)).max() <= 1 and same(without, plain) and without.without
        assert live.strengths == {"unet": 1.0, "text_encoder": 1.0}
        (stacked,) = render(model, None, live, request("a red cat<lora:other:0.5>"), studio.workspace, networks, out)
        assert np.abs(pixels(stacked) - pixels(both)).max() <= 1
        with pytest.raises(ConfigError):
            render(model, None, live, request("a<lora:other>", clip_skip=9), studio.workspace, networks, out)
        (again,) = render(model, None, live, request("a red cat"), studio.workspace, networks, out)
        assert same(again, with_live)
    finally:
        live.remove()
    assert same(make(studio, "a red cat")[0], plain)


# ---- the base model ----


def test_the_model_is_loaded_once_and_again_when_its_files_change(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path).prepare()
    folder = tiny_sd1(tmp_path / "models" / "checkpoints" / "tiny", seed=1)
    studio = Studio(workspace)
    (first,) = make(studio, "a", steps=1)
    old = weakref.ref(model_in(studio))
    make(studio, "a", steps=1)
    assert model_in(studio) is old()
    tiny_sd1(folder, seed=2)
    (second,) = make(studio, "a", steps=1)
    assert old() is None and not same(first, second)  # the old one was let go of


def test_the_number_format_is_as_asked(workspace: Workspace) -> None:
    studio = Studio(workspace)
    (plain,), (brain,) = (make(studio, "a red cat", precision=precision) for precision in ("float32", "bfloat16"))
    assert studio.shelf.holds(ready_model(ModelChoice("tiny"), workspace), CPU, torch.bfloat16) and not same(plain, brain)


def test_the_model_goes_back_as_it_was_loaded(studio: Studio) -> None:
    add_lora(studio, "mine")
    (plain,) = make(studio, "a red cat")
    before = model_in(studio).weights_key
    make(studio, "a red cat <lora:mine>")
    assert model_in(studio).weights_key != before
    studio.release()
    assert model_in(studio).weights_key == before
    assert same(make(studio, "a red cat")[0], plain)


def test_another_vae_is_used_and_named(studio: Studio) -> None:
    other = tiny_vae(studio.workspace.root / "models" / "vae" / "other.safetensors", seed=5)
    plain, changed, again = (make(studio, "a", steps=1, vae=name)[0] for name in ("", "other", ""))
    assert not same(plain, changed) and same(plain, again)
    said = parse_infotext(changed.infotext)[2]
    assert (said["VAE"], said["VAE hash"]) == (other.name, model_hashes(other).short)
    assert "VAE" not in parse_infotext(plain.infotext)[2]


# ---- batches ----


def alike(one: Picture, two: Picture) -> bool:
    """Equal but for rounding: how a matrix product is summed depends on the size of the batch."""
    return np.abs(pixels(one) - pixels(two)).max() <= 2


def test_batches_are_the_pictures_of_their_seeds(studio: Studio) -> None:
    four = make(studio, "a red cat", batch_size=2, batch_count=2)
    assert [picture.seed for picture in four] == [7, 8, 9, 10]
    assert all(alike(picture, make(studio, "a red cat", seed=picture.seed)[0]) for picture in four)


def test_a_variation_keeps_the_seed_and_counts_its_own(studio: Studio) -> None:
    plain, *varied = (
        make(studio, "a", **options)[0] for options in ({}, *({"variation_seed": n, "variation_strength": 0.5} for n in (3, 4)))
    )
    both = make(studio, "a", variation_seed=3, variation_strength=0.5, batch_size=2)
    assert [picture.seed for picture in both] == [7, 7] and all(map(alike, both, varied)) and not same(both[0], plain)
    assert "Variation seed: 4, Variation seed strength: 0.5" in both[1].infotext


def test_each_picture_of_a_batch_has_the_adapters_of_its_own_prompt(studio: Studio) -> None:
    add_lora(studio, "one", 1), add_lora(studio, "two", 2)
    pictures = make(studio, "a {<lora:one:1>|<lora:two:0.5>|cat}", wildcards=True, batch_size=4, batch_count=2)
    prompts = [picture.infotext.splitlines()[0] for picture in pictures]
    assert len(set(prompts)) > 1
    for prompt, picture in zip(prompts, pictures, strict=True):
        assert [each["name"] for each in picture.adapters] == [name for name in ("one", "two") if name in prompt]
        assert alike(picture, make(studio, prompt, seed=picture.seed)[0])


def test_a_style_is_part_of_the_prompt(studio: Studio) -> None:
    (studio.workspace.root / "styles.csv").write_text('name,prompt,negative_prompt\nsketch,"a sketch of {prompt}",blurry\n')
    (styled,) = make(studio, "a cat", negative_prompt="bad", styles=["sketch"])
    assert same(styled, make(studio, "a sketch of a cat", negative_prompt="bad, blurry")[0])
    (unknown,) = make(studio, "a cat", styles=["sketsh"])
    assert [problem["code"] for problem in unknown.problems] == ["prompt.style_unknown"] and same(
        unknown, make(studio, "a cat")[0]
    )


def test_a_skipped_batch_is_left_out_and_the_next_is_made(studio: Studio) -> None:
    def skip_the_second(done: int, total: int) -> None:
        if 2 < done < 5:
            raise Skipped("job.skipped", "Not this one.")

    pictures = studio.generate(request("a", batch_count=3), studio.workspace.outputs, skip_the_second)
    assert [picture.seed for picture in pictures] == [7, 9]


def test_what_is_finished_before_an_interruption_was_handed_on(studio: Studio) -> None:
    def stop(done: int, total: int) -> None:
        if done > 2:
            raise Interrupted("job.interrupted", "Enough.")

    kept: list[Picture] = []
    with pytest.raises(Interrupted):
        studio.generate(request("a", batch_count=3), studio.workspace.outputs, stop, on_picture=kept.append)
    assert [picture.seed for picture in kept] == [7] and kept[0].file.is_file()


def test_previews_come_on_the_way_and_change_nothing(studio: Studio) -> None:
    seen: list[Image.Image] = []
    config = request("a red cat", steps=4, preview_every=2)
    (watched,) = studio.generate(config, studio.workspace.outputs, on_preview=seen.append)
    assert seen and all(image.mode == "RGB" for image in seen)
    assert same(watched, make(studio, "a red cat", steps=4, preview_every=0)[0])


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_other_formats_carry_the_recipe_too(studio: Studio, format: str) -> None:
    (picture,) = make(studio, "a red (cat:1.2), 猫", picture_format=format)
    assert picture.file.suffix in (".jpg", ".webp") and read_infotext_from_image(picture.file) == picture.infotext
