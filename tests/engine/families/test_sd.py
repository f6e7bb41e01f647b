"""Stable Diffusion 1.x: which layers are adapted, and that a folder and a single file are one model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.generate import GenerateConfig
from engine.config.targets import Target, choose
from engine.families import load_model
from engine.families.base import adaptable_layers
from engine.families.parts import build_empty
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.names import disk_names
from engine.formats.single_file import shipped_config
from engine.generation.pipeline import make_pictures
from tests.support.tiny import tiny_sd1, tiny_sd1_single_file

CPU = torch.device("cpu")

# The modules that Kohya's trainer adapts in Stable Diffusion 1.5, by its names.
TEXT = {
    f"lora_te_text_model_encoder_layers_{layer}_{part}"
    for layer in range(12)
    for part in ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
}
PLACES = [
    *(f"down_blocks_{block}_attentions_{place}" for block in (0, 1, 2) for place in (0, 1)),
    "mid_block_attentions_0",
    *(f"up_blocks_{block}_attentions_{place}" for block in (1, 2, 3) for place in (0, 1, 2)),
]
ATTENTION = {
    f"lora_unet_{place}_transformer_blocks_0_attn{number}_to_{part}"
    for place in PLACES
    for number in (1, 2)
    for part in ("q", "k", "v", "out_0")
}
MLP = {
    f"lora_unet_{place}_{part}"
    for place in PLACES
    for part in ("proj_in", "proj_out", "transformer_blocks_0_ff_net_0_proj", "transformer_blocks_0_ff_net_2")
}
RESNETS = [
    *(f"down_blocks_{block}_resnets_{place}" for block in range(4) for place in (0, 1)),
    *(f"mid_block_resnets_{place}" for place in (0, 1)),
    *(f"up_blocks_{block}_resnets_{place}" for block in range(4) for place in range(3)),
]
SHORTCUTS = [
    "down_blocks_1_resnets_0", "down_blocks_2_resnets_0",
    *(f"up_blocks_{block}_resnets_{place}" for block in range(4) for place in range(3)),
]  # fmt: skip
CONVOLUTIONS = {
    *(f"lora_unet_{place}_{part}" for place in RESNETS for part in ("conv1", "conv2", "time_emb_proj")),
    *(f"lora_unet_{place}_conv_shortcut" for place in SHORTCUTS),
    *(f"lora_unet_down_blocks_{block}_downsamplers_0_conv" for block in (0, 1, 2)),
    *(f"lora_unet_up_blocks_{block}_upsamplers_0_conv" for block in (0, 1, 2)),
}


@pytest.fixture(scope="module")
def public() -> dict[str, torch.nn.Module]:
    """The architecture of Stable Diffusion 1.5 without its weights."""
    kinds = {"text_encoder": "clip", "unet": "unet"}
    return {part: build_empty(kind, shipped_config("sd1", part)) for part, kind in kinds.items()}


def layer_paths(part: torch.nn.Module) -> list[str]:
    return [path for path, layer in part.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)]


def chosen(public, **options) -> dict[str, list[Target]]:
    return choose(adaptable_layers("sd1", public), LoraOptions(**options))


def names_of(component: str, targets: list[Target]) -> set[str]:
    return {name.name for name in disk_names("sd1", component, [target.layer.path for target in targets]).values()}


OTHER = {f"lora_unet_{path}" for path in ("conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2")}


@pytest.mark.parametrize(
    ("targets", "conv_rank", "names", "count"),
    [
        ("attention", 0, ATTENTION, 128),
        ("attention+mlp", 0, ATTENTION | MLP, 192),
        ("attention+mlp", 4, ATTENTION | MLP | CONVOLUTIONS, 278),
        ("convolutions", 0, CONVOLUTIONS, 86),
        ("full", 0, ATTENTION | MLP | CONVOLUTIONS | OTHER, 282),
    ],
)
def test_the_unet_layers_are_kohyas(public, targets: str, conv_rank: int, names: set[str], count: int) -> None:
    found = chosen(public, targets=targets, conv_rank=conv_rank)["unet"]
    assert names_of("unet", found) == names and len(found) == count


def test_the_text_encoder_layers_are_kohyas(public) -> None:
    found = chosen(public, train_text_encoder=True)["text_encoder"]
    assert names_of("text_encoder", found) == TEXT and len(found) == 72
    attention = chosen(public, train_text_encoder=True, targets="attention")["text_encoder"]
    assert names_of("text_encoder", attention) == {name for name in TEXT if "self_attn" in name}


def test_normalisation_layers_join_when_asked(public) -> None:
    plain = chosen(public, train_text_encoder=True)
    found = chosen(public, train_text_encoder=True, train_norms=True)
    norms = {part: [t for t in found[part] if t.layer.group == "norm"] for part in found}
    assert {part: len(found[part]) - len(plain[part]) for part in found} == {part: len(norms[part]) for part in found}
    assert {part: len(targets) for part, targets in norms.items()} == {"text_encoder": 25, "unet": 48 + 16 + 44 + 1}
    assert {t.options.kind for targets in norms.values() for t in targets} == {"norm"}


def test_attention_layers_tell_heads_and_shared_inputs(public) -> None:
    layers = {layer.path: layer for part in adaptable_layers("sd1", public).values() for layer in part}
    crossed, own = (f"mid_block.attentions.0.transformer_blocks.0.attn{number}" for number in (2, 1))
    assert [layers[f"{own}.to_{what}"].shared_input for what in "qkv"] == [own] * 3
    assert [layers[f"{crossed}.to_{what}"].shared_input for what in "qkv"] == ["", crossed, crossed]
    assert layers[f"{own}.to_q"].heads == 8 and layers[f"{own}.to_q"].head_axis == "outputs"
    assert layers[f"{own}.to_out.0"].heads == 8 and layers[f"{own}.to_out.0"].head_axis == "inputs"
    assert sum(layer.heads == 12 for layer in layers.values()) == 4 * 12


@pytest.mark.parametrize(("conv_rank", "total"), [(0, 264), (4, 350)])
def test_counts_of_a_whole_network(public, conv_rank: int, total: int) -> None:
    targets = chosen(public, rank=2, conv_rank=conv_rank, train_text_encoder=True)
    network = Network.create("sd1", public, targets, seed=0)
    assert network.counts() == {"text_encoder": 72, "unet": total - 72}
    tensors = network.tensors()
    assert len(tensors) == 3 * total
    assert tensors["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"].shape == (2, 1280, 1, 1)
    assert tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"].shape == (3072, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path):
    return load_model(folder, CPU, torch.float32)


def test_the_options_choose_the_targets(model) -> None:
    def counts(**options) -> dict[str, int]:
        return {component: len(paths) for component, paths in model.targets(LoraOptions(**options)).items()}

    everything = counts(train_text_encoder=True, conv_rank=4)
    assert everything["text_encoder"] == 18  # three layers
    assert counts() == {"unet": 192}  # as many attention layers as the large one
    assert everything["unet"] == 277  # and as many convolutions but for one shortcut, where no width changes
    assert counts(targets="attention") == {"unet": 128}
    assert counts(train_unet=False, train_text_encoder=True) == {"text_encoder": 18}


def test_a_loaded_model_is_frozen_and_tells_its_facts(model) -> None:
    assert model.facts.family == "sd1" and model.facts.name == "tiny" and model.facts.resolution == 64
    assert model.size_step == 8 and model.latent_shape(128, 64) == (4, 8, 16)
    assert model.prediction == "epsilon" and model.variant.base_version == "sd_v1"
    assert set(model.parts) == {"text_encoder", "unet", "vae"}
    for part in model.parts.values():
        assert not part.training and not any(parameter.requires_grad for parameter in part.parameters())


def test_what_the_model_computes_is_what_diffusers_computes(model, folder: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        latents = model.encode_pictures(pictures)
        assert latents.shape == (1, 4, 8, 8) and latents.dtype == torch.float32
        torch.testing.assert_close(latents, pipe.vae.encode(pictures).latent_dist.mean * pipe.vae.config.scaling_factor)
        decoded = model.decode_latents(latents)
        theirs = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        torch.testing.assert_close(decoded, (theirs / 2 + 0.5).clamp(0, 1))
        words, _ = pipe.encode_prompt("a photo of a red cat", CPU, 1, do_classifier_free_guidance=False)
        assert torch.equal(model.encode_tokens(["a photo of a red cat"], 1)["text"], words)
        prediction = model.predict(latents, torch.tensor([500]), {"text": words})
        torch.testing.assert_close(prediction, pipe.unet(latents, 500, words).sample)


def test_captions_are_cut_at_the_encoders_length_and_brackets_are_brackets(model) -> None:
    with torch.no_grad():
        encoded = model.encode_tokens(["cat " * 200, "a (cat:1.5)", ""], 1)["text"]
        assert encoded.shape == (3, 77, 32)
        assert not torch.equal(encoded[1], model.encode_tokens(["a cat"], 1)["text"][0])


def test_a_single_file_is_the_same_model(model, folder: Path, tmp_path: Path) -> None:
    single = load_model(tiny_sd1_single_file(tmp_path / "single.safetensors"), CPU, torch.float32)
    assert single.facts.resolution == 64 and single.facts.step == model.facts.step
    assert single.weights_key == model.weights_key
    config = GenerateConfig(steps=2, guidance_scale=5, sampler="DDIM")
    one, two = (make_pictures(each, "a red cat", "green", config, [1]) for each in (model, single))
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_v_prediction_model_is_known_as_one(tmp_path: Path, kind: str) -> None:
    make = tiny_sd1 if kind == "folder" else tiny_sd1_single_file
    loaded = load_model(
        make(tmp_path / ("v" if kind == "folder" else "v.safetensors"), prediction_type="v_prediction"), CPU, torch.float32
    )
    assert loaded.prediction == "v_prediction"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_all_parts_come_in_the_wanted_number_format(folder: Path, dtype: torch.dtype) -> None:
    loaded = load_model(folder, CPU, dtype)
    assert {parameter.dtype for part in loaded.parts.values() for parameter in part.parameters()} == {dtype}
    config = GenerateConfig(steps=1, sampler="DDIM")
    assert make_pictures(loaded, "a cat", "", config, [1]).dtype == torch.float32


def test_the_file_may_be_written_over_while_the_model_is_loaded(tmp_path: Path) -> None:
    folder = tiny_sd1(tmp_path / "m")
    loaded = load_model(folder, CPU, torch.float32)
    before = loaded.weights_key
    for file in folder.glob("*/*.safetensors"):
        half = file.stat().st_size // 2
        with file.open("r+b") as stream:
            stream.seek(half)
            stream.write(b"\x01" * half)
    assert loaded.weights_key == before


# ---- files for and from other programs ----


def perturbed(model, options: LoraOptions, seed: int = 0) -> Network:
    """A network as training leaves it: every factor away from zero."""
    network = Network.create(model.facts.family, model.components, model.targets(options), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval().requires_grad_(False)


CASES = {
    "unet": LoraOptions(rank=4, alpha=2),
    "convolutions and text encoder too": LoraOptions(rank=4, alpha=2, conv_rank=3, conv_alpha=6, train_text_encoder=True),
}
PROMPT, AGAINST, SEED = "a photo of a red cat", "a green house", 5
CONFIG = GenerateConfig(steps=3, guidance_scale=4, sampler="DDIM", width=64, height=64)


def diffusers_picture(pipe: StableDiffusionPipeline, model, text: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
    """The same picture by diffusers: its loop, our noise and our encodings. (3, H, W) in [0, 1]."""
    latents = torch.randn(model.latent_shape(64, 64), generator=torch.Generator().manual_seed(SEED))[None]
    pipe.scheduler = DDIMScheduler.from_config(model.scheduler_config, set_alpha_to_one=True)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        prompt_embeds=text, negative_prompt_embeds=against, latents=latents, num_inference_steps=CONFIG.steps,
        guidance_scale=CONFIG.guidance_scale, output_type="pt",
    )  # fmt: skip
    return made.images[0]


def our_picture(model, network: Network) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Picture, encoded prompt and encoded negative prompt with a network in the model."""
    network.insert(model.components)
    try:
        words = model.conditioning(1).encode([PROMPT, AGAINST])
        return make_pictures(model, PROMPT, AGAINST, CONFIG, [SEED])[0], words[PROMPT]["text"], words[AGAINST]["text"]
    finally:
        network.remove()


@pytest.mark.parametrize("case", CASES)
def test_a_kohya_file_gives_the_same_picture_in_diffusers(model, folder: Path, tmp_path: Path, case: str) -> None:
    network = perturbed(model, CASES[case])
    write_adapter(tmp_path / "mine.safetensors", network.tensors(), {"ss_network_module": "networks.lora"})
    ours, text, against = our_picture(model, network)
    plain = make_pictures(model, PROMPT, AGAINST, CONFIG, [SEED])[0]
    assert (ours - plain).abs().max() > 0.01  # the network does something

    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.load_lora_weights(str(tmp_path / "mine.safetensors"))
    theirs = diffusers_picture(pipe, model, text, against)
    assert (theirs - ours).abs().max() < 1e-4
    if CASES[case].train_text_encoder:
        words, _ = pipe.encode_prompt(PROMPT, CPU, 1, do_classifier_free_guidance=False)
        torch.testing.assert_close(words, text, rtol=1e-4, atol=1e-5)


def test_what_diffusers_and_peft_save_gives_the_same_picture_here(model, folder: Path, tmp_path: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    wanted = {pipe.unet: r".*(to_q|to_v|to_out\.0|proj_in|conv1|ff\.net\.2)", pipe.text_encoder: r".*(q_proj|fc1)"}
    saved = {}
    for part, targets in wanted.items():
        config = LoraConfig(r=3, lora_alpha=6, target_modules=targets, init_lora_weights=False)
        with torch.random.fork_rng():
            torch.manual_seed(4)
            part.add_adapter(config)
        name = "unet" if part is pipe.unet else "text_encoder"
        saved[f"{name}_lora_layers"] = get_peft_model_state_dict(part)
        saved[f"{name}_lora_adapter_metadata"] = config.to_dict()
    StableDiffusionPipeline.save_lora_weights(tmp_path, **saved)
    network = Network.from_file(read_adapter(tmp_path / "pytorch_lora_weights.safetensors"), model.components, "sd1")
    adapted = sum(bool(re.fullmatch(targets, path)) for part, targets in wanted.items() for path in layer_paths_below(part))
    assert network.match.matched == network.match.total == adapted
    ours, text, against = our_picture(model, network.eval())
    theirs = diffusers_picture(pipe, model, text, against)
    assert (theirs - ours).abs().max() < 1e-4
    words, _ = pipe.encode_prompt(PROMPT, CPU, 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(words, text, rtol=1e-4, atol=1e-5)


def layer_paths_below(part: torch.nn.Module) -> list[str]:
    """Paths of the layers that PEFT has wrapped, as they were before."""
    return [path.removesuffix(".base_layer") for path in layer_paths(part) if path.endswith(".base_layer")]
