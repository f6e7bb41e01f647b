"""Runs of a tiny Stable Diffusion: what they learn, what they tell, what they write, and what they leave alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from engine.adapters.network import Network
from engine.config.train import TrainConfig
from engine.datasets.content import content, read_content
from engine.datasets.scan import scan
from engine.errors import ConfigError, DatasetError, EngineError
from engine.families import load_model
from engine.families.base import Family, Placing
from engine.families.checkpointing import checkpointing
from engine.fitting import DeviceError, DeviceProfile, write_profile
from engine.formats.hashes import model_hashes
from engine.sidecars import find_preview, read_sidecar
from engine.training.batches import Batch
from engine.training.events import Checkpoint, Done, Event, Phase, Sample, Started, Step, Warned
from engine.training.optimization import Optimization
from engine.training.record import DATASET_KEY
from engine.training.trainer import MOST_LOST, SAVE_SECONDS, SAVE_SHARE, Trainer, save_interval
from engine.workspace import Workspace
from tests.support.runs import Outcome, config_of, make_pets, same, train
from tests.support.tiny import tiny_parts, tiny_sd1, tiny_vae

# ---- what a run tells ----


def test_events_come_in_order(straight: Outcome) -> None:
    told = [event.name if isinstance(event, Phase) else event.type for event in straight.events]
    runs = [name for index, name in enumerate(told) if index == 0 or told[index - 1] != name]
    around = ["sampling", "sample", "training"]
    assert runs == [
        "scanning", "loading", "latents", "started", *around, "step", "checkpoint", "step", "checkpoint", *around, "done",
    ]  # fmt: skip


def test_events_hold_what_happened(straight: Outcome) -> None:
    (started,) = straight.of(Started)
    assert (started.steps, started.pictures, started.steps_per_epoch, started.device, started.precision) == (4, 3, 1, "cpu", "no")
    assert started.modules == {"unet": len(unet_modules(straight)), "text_encoder": 18}
    assert sum(started.parameters.values()) == sum(
        t.numel() for name, t in straight.tensors.items() if not name.endswith(".alpha")
    )
    steps = straight.of(Step)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert all(math.isfinite(step.loss) and step.grad_norm > 0 and step.seconds > 0 and step.learning_rate > 0 for step in steps)
    assert [checkpoint.step for checkpoint in straight.of(Checkpoint)] == [2, 4]
    assert [(sample.step, sample.index) for sample in straight.of(Sample)] == [(0, 0), (4, 0)]
    for file in [*straight.of(Sample), *straight.of(Checkpoint)]:
        assert (straight.trainer.folder / file.file).is_file()
    assert straight.of(Done) == [straight.events[-1]] and straight.events[-1].file == "straight.safetensors"  # type: ignore[attr-defined]
    for event in straight.events:
        json.dumps(event.to_dict(), allow_nan=False)


def test_the_file_is_introduced_to_other_programs(straight: Outcome) -> None:
    file = straight.trainer.workspace.loras / "straight.safetensors"
    assert read_sidecar(file).activation == straight.trainer.config.dataset.trigger != ""
    preview, last = find_preview(file), straight.trainer.folder / straight.of(Sample)[-1].file
    assert preview and preview.read_bytes() == last.read_bytes()


def test_samples_of_a_prompt_start_from_the_same_noise_and_show_the_learning(straight: Outcome) -> None:
    before, after = straight.of(Sample)
    assert before.seed == after.seed == 1
    files = [(straight.trainer.folder / sample.file).read_bytes() for sample in (before, after)]
    assert files[0] != files[1]


# ---- what it writes ----


def unet_modules(outcome: Outcome) -> set[str]:
    return {name.partition(".")[0] for name in outcome.tensors if name.startswith("lora_unet_")}


def test_the_file_holds_every_module_whole(straight: Outcome) -> None:
    modules = {name.partition(".")[0] for name in straight.tensors}
    assert {name.split("_")[1] for name in modules} == {"unet", "te"}
    suffixes = {"lora_down.weight", "lora_up.weight", "alpha"}
    assert {f"{module}.{suffix}" for module in modules for suffix in suffixes} == set(straight.tensors)
    convolutions = {name for name, tensor in straight.tensors.items() if tensor.ndim == 4 and tensor.shape[-1] == 3}
    assert convolutions and all("resnets" in name or "samplers" in name for name in convolutions)


def test_the_last_version_is_the_finished_file(straight: Outcome) -> None:
    last = straight.trainer.folder / straight.of(Checkpoint)[-1].file
    assert same(Outcome(straight.trainer, [], last).tensors, straight.tensors)


KOHYA = """
v2 base_model_version network_module network_dim network_alpha network_args
session_id training_started_at training_finished_at output_name learning_rate text_encoder_lr unet_lr num_train_images
num_validation_images num_reg_images num_batches_per_epoch num_epochs epoch steps gradient_checkpointing gradient_accumulation_steps
max_train_steps lr_warmup_steps lr_scheduler network_dropout mixed_precision full_fp16 clip_skip max_token_length cache_latents seed
lowram noise_offset multires_noise_iterations multires_noise_discount adaptive_noise_scale zero_terminal_snr training_comment
sd_scripts_commit_hash optimizer max_grad_norm caption_dropout_rate caption_dropout_every_n_epochs caption_tag_dropout_rate
face_crop_aug_range prior_loss_weight min_snr_gamma scale_weight_norms ip_noise_gamma debiased_estimation loss_type fp8_base
batch_size_per_device total_batch_size resolution color_aug flip_aug random_crop shuffle_caption enable_bucket bucket_no_upscale
min_bucket_reso max_bucket_reso keep_tokens dataset_dirs reg_dataset_dirs tag_frequency bucket_info
sd_model_name sd_model_hash new_sd_model_hash
"""
"""What Kohya's trainer writes for a folder dataset, each behind `ss_`."""


def test_metadata_has_every_key_that_kohyas_trainer_writes(straight: Outcome) -> None:
    assert {f"ss_{name}" for name in KOHYA.split()} <= set(straight.metadata)


def test_a_run_records_exactly_what_it_learns_from(straight: Outcome) -> None:
    dataset = scan(straight.trainer.workspace.root / "datasets" / "pets")
    assert read_content(straight.trainer.folder) == content(dataset)
    assert straight.metadata[DATASET_KEY] == content(dataset).fingerprint


def test_concepts_have_their_own_words_and_regularisation_none(workspace: Workspace, folder: Path) -> None:
    place = make_pets(workspace.root / "datasets" / "concepts", 2)
    (make_pets(place / "more", 3) / "1_mofumo").rename(place / "cats")
    (make_pets(place / "more", 2) / "1_mofumo").rename(place / "hats")
    (place / "dataset.yaml").write_text(
        "concepts:\n  - {folder: cats, regularisation: true}\n  - {folder: 1_mofumo}\n  - {folder: hats, repeats: 2, trigger: hatto}\n"
    )
    config = config_of(dataset__folder="concepts", dataset__trigger="fluffy", training__max_steps=1)
    outcome = train(workspace, folder, config)
    data, pictures = outcome.trainer.data, outcome.trainer.ahead.dataset.pictures
    assert [data.caption(picture, None).partition(" ")[0] for picture in pictures] == ["mofumo,"] * 3 + ["fluffy,"] * 2 + [
        "hatto,"
    ] * 2
    assert [prompt.partition(",")[0] for prompt in outcome.trainer.sample_prompts()] == ["fluffy", "fluffy"]
    told = outcome.metadata
    assert json.loads(told["ss_reg_dataset_dirs"]) == {"1_cats": {"n_repeats": 1, "img_count": 3}}
    assert json.loads(told["ss_dataset_dirs"]) == {
        "1_mofumo": {"n_repeats": 1, "img_count": 2}, "2_hats": {"n_repeats": 2, "img_count": 2},
    }  # fmt: skip
    assert (told["ss_num_train_images"], told["ss_num_reg_images"]) == ("6", "3")
    assert told["modelspec.trigger_phrase"] == "fluffy, hatto"
    config.dataset.add_trigger = False
    assert data.caption(pictures[-1], None).startswith("mofumo")


def test_metadata_tells_what_the_run_was(straight: Outcome) -> None:
    told = straight.metadata
    expected = {
        "ss_base_model_version": "sd_v1", "ss_network_module": "networks.lora", "ss_network_dim": "2", "ss_network_alpha": "2.0",
        "ss_output_name": "straight", "ss_steps": "4", "ss_max_train_steps": "4", "ss_epoch": "4", "ss_num_epochs": "4",
        "ss_num_train_images": "3", "ss_num_batches_per_epoch": "2", "ss_batch_size_per_device": "2", "ss_total_batch_size": "4",
        "ss_gradient_accumulation_steps": "2", "ss_seed": "5", "ss_learning_rate": "0.01", "ss_unet_lr": "0.01",
        "ss_text_encoder_lr": "5e-05", "ss_lr_scheduler": "cosine", "ss_mixed_precision": "no", "ss_resolution": "64,64",
        "ss_flip_aug": "True", "ss_shuffle_caption": "True", "ss_keep_tokens": "1", "ss_caption_dropout_rate": "0.3",
        "ss_network_dropout": "0.2", "ss_sd_model_name": "tiny", "ss_clip_skip": "None", "modelspec.trigger_phrase": "mofumo",
        "modelspec.architecture": "stable-diffusion-v1/lora", "modelspec.prediction_type": "epsilon", "modelspec.resolution": "64x64",
    }  # fmt: skip
    assert {name: told.get(name) for name in expected} == expected
    assert json.loads(told["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2"}
    assert json.loads(told["ss_dataset_dirs"]) == {"1_mofumo": {"n_repeats": 1, "img_count": 3}}
    assert json.loads(told["ss_tag_frequency"])["1_mofumo"]["a red cat"] == 3
    assert json.loads(told["ss_bucket_info"])["buckets"] == {"0": {"resolution": [64, 64], "count": 3}}
    assert float(told["ss_training_started_at"]) < float(told["ss_training_finished_at"])
    assert len(told["ss_new_sd_model_hash"]) == len(told["sshs_model_hash"]) == 64
    assert not any(str(straight.trainer.workspace.root) in value for value in told.values()), "no path of this machine"


# ---- what it leaves alone ----


def test_the_base_model_is_bit_identical_afterwards(straight: Outcome) -> None:
    untouched = tiny_parts()
    for name, part in straight.trainer.model.components.items():
        assert same(dict(part.state_dict()), dict(untouched[name].state_dict())), name
        assert not any("forward" in vars(layer) for layer in part.modules()), "no shadow is left"


@pytest.mark.parametrize(("unet", "text"), [(True, False), (False, True)])
def test_only_what_is_asked_for_is_trained(workspace: Workspace, folder: Path, unet: bool, text: bool) -> None:
    config = config_of(
        adapter__train_unet=unet, adapter__train_text_encoder=text, adapter__targets="attention", output__name=folder.name
    )
    outcome = train(workspace, folder, config)
    assert {name.split("_")[1] for name in outcome.tensors} == {"unet" if unet else "te"}
    ups = [tensor for name, tensor in outcome.tensors.items() if name.endswith("lora_up.weight")]
    assert any(tensor.abs().max() > 0 for tensor in ups), "something was learnt"
    assert all("attn" in name for name in outcome.tensors if unet)
    assert outcome.metadata["ss_unet_lr"] == ("0.01" if unet else "None")


# ---- what it learns ----


def denoising_loss(trainer: Trainer) -> float:
    """Mean over eight noise levels on the first picture, with whatever is in the model, by other code than the trainer's."""
    model, generator = trainer.model, torch.Generator().manual_seed(0)
    latents = trainer.data.step_batches(1)[0].encoded[:1].expand(8, -1, -1, -1)
    noise, timesteps = torch.randn(latents.shape, generator=generator), torch.linspace(50, 950, 8).long()
    scheduler = DDPMScheduler.from_config(model.scheduler_config)
    noisy = scheduler.add_noise(latents, noise, timesteps)  # type: ignore[union-attr]
    target = noise if model.prediction == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)  # type: ignore[union-attr]
    with torch.no_grad():
        prediction = model.predict(noisy, timesteps, trainer.data.encode(["mofumo, a red cat, on a blue chair, number 0"] * 8))
    return (prediction - target).pow(2).mean().item()


@pytest.mark.parametrize("model", ["tiny", "tiny-v"])
def test_it_learns_its_one_picture(workspace: Workspace, folder: Path, model: str) -> None:
    config = config_of(
        model__path=model, dataset__folder="one", training__max_steps=12, training__learning_rate=2e-2, training__schedule="constant",
        adapter__rank=4, output__name=folder.name,
    )  # fmt: skip
    outcome = train(workspace, folder, config)
    before = denoising_loss(outcome.trainer)
    outcome.trainer.network.eval().insert(outcome.trainer.model.components)
    after = denoising_loss(outcome.trainer)
    assert after < 0.9 * before
    if model == "tiny":  # with velocity the noise level of a step says more than what was learnt
        losses = [step.loss for step in outcome.of(Step)]
        assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert outcome.metadata["modelspec.prediction_type"] == ("epsilon" if model == "tiny" else "v")
    assert outcome.of(Started)[0].pictures == 1


def stepped(model: Family, config: TrainConfig, sizes: list[int], checkpointed: bool = False) -> list[tuple[float, float]]:
    """(loss, gradient norm) of three steps over the same two pictures, cut into batches of these sizes."""
    network = Network.create("sd1", model.components, model.targets(config.adapter), 0).to(model.dtype)
    optimization = Optimization(config.training, model, network, torch.float32, 3)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    parts = zip(
        latents.split(sizes),
        (["a red cat"], ["a green house"]) if len(sizes) == 2 else (["a red cat", "a green house"],),
        strict=True,
    )
    batches = [Batch(part, [Placing((64, 64), (0, 0), (64, 64))] * len(part), captions) for part, captions in parts]
    network.insert(model.components)
    with checkpointing([model.denoiser]) if checkpointed else nullcontext():
        steps = [optimization.take_step(batches, lambda captions: model.encode_tokens(captions, 1)) for _ in range(3)]
    network.remove()
    return [(step.loss, step.grad_norm) for step in steps]


def test_neither_cutting_a_batch_nor_checkpointing_changes_the_steps(workspace: Workspace) -> None:
    """In float64: an untrained U-Net makes much of the last bits, and here only the arithmetic is compared."""
    model = load_model(workspace.root / "models" / "checkpoints" / "tiny", torch.device("cpu"), torch.float64)
    for dropout, sizes in ((0.0, [1, 1]), (0.0, [2]), (0.5, [2])):
        config = config_of(adapter__conv_rank=2, adapter__dropout=dropout, training__learning_rate=1e-4)
        whole, other = stepped(model, config, [2]), stepped(model, config, sizes, checkpointed=sizes == [2])
        assert len({loss for loss, _ in whole}) == 3
        assert [value for pair in other for value in pair] == pytest.approx([value for pair in whole for value in pair], rel=1e-5)


def test_mixed_precision_runs_and_keeps_the_adapter_exact(workspace: Workspace, folder: Path) -> None:
    outcome = train(workspace, folder, config_of(training__precision="bfloat16", output__name=folder.name))
    assert outcome.of(Started)[0].precision == outcome.metadata["ss_mixed_precision"] == "bf16"
    assert all(math.isfinite(step.loss) for step in outcome.of(Step))
    coarse = [t for t in outcome.tensors.values() if torch.equal(t, t.bfloat16().float()) and t.numel() > 8 and t.abs().max() > 0]
    assert not coarse, "parameters are float32"


# ---- bad input ----


def test_a_broken_picture_is_named_and_left_out(workspace: Workspace, folder: Path) -> None:
    inside = make_pets(workspace.root / "datasets" / folder.name, 3) / "1_mofumo"
    (inside / "1.png").write_bytes((inside / "1.png").read_bytes()[:-200])
    outcome = train(
        workspace,
        folder,
        config_of(dataset__folder=folder.name, training__epochs=1, training__max_steps=None, output__name=folder.name),
    )
    (warning,) = outcome.of(Warned)
    assert "1.png" in warning.text and outcome.of(Started)[0].pictures == 2


def test_nothing_but_broken_pictures_is_an_error(workspace: Workspace, folder: Path) -> None:
    inside = make_pets(workspace.root / "datasets" / folder.name, 1) / "1_mofumo"
    (inside / "0.png").write_bytes((inside / "0.png").read_bytes()[:-200])
    with pytest.raises(DatasetError) as caught:
        train(workspace, folder, config_of(dataset__folder=folder.name, output__name=folder.name))
    assert caught.value.code == "dataset.nothing_left" and caught.value.values["field"] == "dataset.folder"


def test_a_sample_size_that_cannot_be_drawn_is_told_before_anything_is_encoded(workspace: Workspace, folder: Path) -> None:
    events: list[Event] = []
    with pytest.raises(ConfigError) as caught:
        train(workspace, folder, config_of(samples__width=100, output__name=folder.name), lambda _, event: events.append(event))
    assert caught.value.values["field"] == "samples.width" and "latents" not in [event.name for event in events]  # type: ignore[attr-defined]


def test_a_run_whose_loss_is_no_number_ends_before_a_broken_file_is_written(workspace: Workspace, folder: Path) -> None:
    parts_folder = tiny_sd1(workspace.root / "models" / "checkpoints" / "tiny-broken")
    file = parts_folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_out.bias"].fill_(math.nan)
    save_file(weights, file, {"format": "pt"})
    seen: list[Event] = []
    with pytest.raises(EngineError) as caught:
        train(
            workspace,
            folder,
            config_of(model__path="tiny-broken", training__max_steps=9, output__name=folder.name),
            lambda _, e: seen.append(e),
        )
    assert caught.value.code == "training.diverged" and caught.value.values["step"] == 5
    assert len([event for event in seen if isinstance(event, Warned)]) == 5
    assert not (workspace.loras / f"{folder.name}.safetensors").exists()


# ---- when the state is saved ----


@pytest.mark.parametrize(("cost", "seconds"), [(0.0, SAVE_SECONDS), (0.1, SAVE_SECONDS), (0.4, 40.0), (30.0, MOST_LOST)])
def test_saving_takes_little_of_the_time_and_a_crash_little_of_the_work(cost: float, seconds: float) -> None:
    assert save_interval(cost) == pytest.approx(seconds)
    assert SAVE_SHARE == 0.01 and MOST_LOST == 60


def test_an_error_between_two_steps_saves_the_steps_done(workspace: Workspace, folder: Path) -> None:
    trainer = Trainer(config_of(training__max_steps=9, output__name=folder.name), folder, workspace)
    events = trainer.run()
    while not (isinstance(event := next(events), Step) and event.step == 2):
        pass
    with pytest.raises(OSError, match="disk"):
        events.throw(OSError("the disk is full"))  # type: ignore[attr-defined]
    assert json.loads((folder / "state" / "state.json").read_text())["step"] == 2


# ---- what saves memory ----


@pytest.mark.parametrize(
    "settings",
    [
        {"model__streamed_blocks": 1000},
        {"model__streamed_blocks": 4, "training__gradient_checkpointing": True, "training__checkpointed_blocks": 3},
        {"model__streamed_blocks": 4, "model__quantization": "fp8"},
    ],
    ids=["streamed", "streamed and checkpointed", "streamed and quantised"],
)
def test_what_saves_memory_changes_no_bit(workspace: Workspace, folder: Path, settings: dict[str, Any]) -> None:
    common = {"samples__count": 1, "samples__prompts": ["a red cat"], "adapter__train_text_encoder": True}
    base = {name: value for name, value in settings.items() if name == "model__quantization"}
    plain = train(workspace, folder / "plain", config_of(output__name=f"{folder.name}-plain", **common, **base))
    saving = train(workspace, folder / "saving", config_of(output__name=f"{folder.name}-saving", **common, **settings))
    assert saving.payload == plain.payload
    one, other = (made.trainer.folder / made.of(Sample)[-1].file for made in (plain, saving))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(("shuffled", "steps_need"), [(False, {"unet"}), (True, {"unet", "text_encoder"})])
def test_parts_take_turns_on_the_device(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, shuffled: bool, steps_need: set[str]
) -> None:
    there: list[set[str]] = [set()]

    @contextmanager
    def on_device(model: Family, *names: str) -> Iterator[None]:
        there.append({*there[-1], *names})
        yield
        there.pop()

    @contextmanager
    def parked(model: Family, *names: str) -> Iterator[None]:
        there.append(there[-1] - set(names))
        yield
        there.pop()

    found: dict[str, set[str]] = {}

    def note(trainer: Trainer, event: Event) -> None:
        word = event.name if isinstance(event, Phase) else event.type
        found[word] = found.get(word, set()) | there[-1]

    monkeypatch.setattr(Family, "on_device", on_device)
    monkeypatch.setattr(Family, "parked", parked)
    train(workspace, folder, config_of(output__name=folder.name, dataset__shuffle_tags=shuffled), note)
    assert found["latents"] == {"vae"} and found["step"] == steps_need and there == [set()]
    assert found.get("text") == (None if shuffled else {"text_encoder"})


def test_a_choice_that_the_device_lacks_is_refused_before_anything_is_loaded(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        train(workspace, folder, config_of(model__attention="cudnn"))
    assert caught.value.values["field"] == "model.attention"


def test_another_vae_is_learnt_with_and_named_in_the_file(workspace: Workspace, folder: Path) -> None:
    vae, runs = tiny_vae(workspace.root / "models" / "vae" / "other.safetensors", seed=5), {}
    for name in ("", "other"):
        config = config_of(model__vae=name, training__max_steps=1, output__name=f"vae-{name or 'own'}")
        runs[name] = train(workspace, folder.with_name(f"{folder.name}-{name}"), config)
    hashes = model_hashes(vae)
    expected = {"ss_vae_name": vae.name, "ss_vae_hash": hashes.old, "ss_new_vae_hash": hashes.sha256}
    assert expected.items() <= runs["other"].metadata.items() and not expected.keys() & runs[""].metadata.keys()
    assert not same(runs[""].tensors, runs["other"].tensors)


def test_a_run_that_the_device_has_no_memory_for_is_warned_before_it_loads(workspace: Workspace, folder: Path) -> None:
    write_profile(DeviceProfile("cpu", memory_mib=1), workspace.root / "config")
    try:
        ahead = Trainer(config_of(), folder, workspace).run()
        assert isinstance(next(ahead), Phase)
        warned = next(ahead)
        assert isinstance(warned, Warned) and warned.code == "memory.too_little"
        ahead.close()
    finally:
        (workspace.root / "config" / "device.json").unlink()
