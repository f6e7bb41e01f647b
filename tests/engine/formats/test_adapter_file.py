"""Adapters of every writer come out in one form, and broken ones are refused with the reason."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from engine.adapters.network import Network
from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from engine.formats.names import NameIndex
from engine.formats.summary import describe

MODULE = "lora_unet_mid_block_attentions_0_proj_in"


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def pair(module: str = MODULE, rank: int = 2) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_down.weight": torch.ones(rank, 6), f"{module}.lora_up.weight": torch.ones(5, rank)}


def refused(path: Path) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        read_adapter(path)
    assert path.name in caught.value.what
    return caught.value


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
    )


def test_a_kohya_file(tmp_path: Path) -> None:
    file = read_adapter(
        write(tmp_path / "x.safetensors", {**pair(), f"{MODULE}.alpha": torch.tensor(1.0).half()}, {"ss_v2": "False"})
    )
    assert file.format == "kohya" and file.metadata == {"ss_v2": "False"}
    parts = file.modules[MODULE]
    assert parts["alpha"].item() == 1 and parts["alpha"].dtype == torch.float16
    assert parts["lora_up.weight"].shape == (5, 2)


def test_a_missing_alpha_is_the_rank(tmp_path: Path) -> None:
    assert read_adapter(write(tmp_path / "x.safetensors", pair(rank=3))).modules[MODULE]["alpha"].item() == 3


def test_the_file_can_be_replaced_while_it_is_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", pair())
    down = read_adapter(path).modules[MODULE]["lora_down.weight"]
    with path.open("r+b") as stream:
        stream.write(b"\xff" * path.stat().st_size)
    assert torch.equal(down, torch.ones(2, 6))


@pytest.mark.parametrize("rslora", [False, True])
def test_what_diffusers_saves(tmp_path: Path, unet: UNet2DConditionModel, rslora: bool) -> None:
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_out.0"], alpha_pattern={"to_out.0": 8}, use_rslora=rslora)
    unet.add_adapter(config, "x")
    state = get_peft_model_state_dict(unet, adapter_name="x")
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=config.to_dict())
    file = read_adapter(tmp_path / "pytorch_lora_weights.safetensors")
    factor = 2 if rslora else 1
    assert file.format == "peft" and len(file.modules) == len(state) // 2
    for name, parts in file.modules.items():
        assert parts["alpha"].item() == (8 if name.endswith("to_out.0") else 2) * factor
    modules = {"unet": [name for name, _ in unet.named_modules()]}
    assert not NameIndex("sd1", modules).match(file.modules)[1]


def test_what_peft_saves(tmp_path: Path, unet: UNet2DConditionModel) -> None:
    model = get_peft_model(unet, LoraConfig(r=4, lora_alpha=16, target_modules=["to_k", "conv1"], use_dora=True))
    model.save_pretrained(tmp_path)
    file = read_adapter(tmp_path / "adapter_model.safetensors")
    names = [name for name, _ in unet.named_modules()]
    found, missing = NameIndex("sd1", {"unet": names}).match(file.modules)
    assert len(found) == sum(name.endswith(("to_k", "conv1")) for name in names) and not missing
    for parts in file.modules.values():
        assert parts["alpha"].item() == 16
        up = parts["lora_up.weight"]
        assert parts["dora_scale"].shape == (up.shape[0], 1, *up.shape[2:])


def test_refusals(tmp_path: Path) -> None:
    cases = {
        "adapter.not_an_adapter": {"model.diffusion_model.out.2.weight": torch.ones(2)},
        "adapter.unknown_tensor": {**pair(), f"{MODULE}.lora_left.weight": torch.ones(2)},
        "adapter.incomplete_module": {f"{MODULE}.lora_up.weight": torch.ones(5, 2)},
        "adapter.bad_shape": {**pair(), f"{MODULE}.lora_up.weight": torch.ones(5, 3)},
        "adapter.not_finite": {**pair(), f"{MODULE}.alpha": torch.tensor(float("nan"))},
        "adapter.module_twice": {**pair(), f"{MODULE}.lora_A.weight": torch.ones(2, 6)},
        "adapter.bad_dtype": {**pair(), f"{MODULE}.lora_up.weight": torch.ones(5, 2, dtype=torch.int8)},
    }
    for code, tensors in cases.items():
        assert refused(write(tmp_path / "x.safetensors", tensors)).code == code
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "much"})}
    assert refused(write(tmp_path / "x.safetensors", pair("unet.mid"), metadata)).code == "adapter.bad_peft_config"


def test_a_regular_expression_in_a_file_is_not_run(tmp_path: Path) -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 4, "unet.alpha_pattern": {".*(a+)+b": 2}})}
    assert refused(write(tmp_path / "x.safetensors", pair("unet.mid"), metadata)).code == "adapter.bad_peft_config"


def test_the_first_pattern_counts_as_in_peft(tmp_path: Path) -> None:
    pattern = {"to_q": 1, "^a.to_q": 2, "a.to_k": 3, "^to_v": 4}
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8, "unet.alpha_pattern": pattern})}
    tensors = {key: tensor for name in ("to_q", "to_k", "to_v") for key, tensor in pair(f"unet.a.{name}").items()}
    file = read_adapter(write(tmp_path / "x.safetensors", tensors, metadata))
    assert [parts["alpha"].item() for parts in file.modules.values()] == [3, 1, 8]


@pytest.mark.parametrize("part", ["string_to_param.*", "clip_l"])
def test_a_bundled_embedding_is_set_apart(tmp_path: Path, part: str) -> None:
    vectors = torch.arange(8.0).view(2, 4)
    file = read_adapter(write(tmp_path / "x.safetensors", {**pair(), f"bundle_emb.my cat.{part}": vectors}))
    assert list(file.modules) == [MODULE] and list(file.embeddings) == ["my cat"]
    assert torch.equal(file.embeddings["my cat"][part], vectors)


FOREIGN = {
    "OneTrainer": ("lora_transformer_single_transformer_blocks_0_attn_to_q", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
    "ai-toolkit": ("transformer.transformer_blocks.0.attn.to_q", "transformer.single_transformer_blocks.0.proj_mlp"),
    "BFL": ("diffusion_model.double_blocks.0.img_attn.qkv", "diffusion_model.single_blocks.0.linear1"),
    "LyCORIS": ("lycoris_transformer_blocks_0_attn_to_q", "lycoris_single_transformer_blocks_0_proj_mlp"),
}


@pytest.mark.parametrize("program", FOREIGN)
def test_files_of_other_families_are_read_and_match_nothing(tmp_path: Path, unet: UNet2DConditionModel, program: str) -> None:
    tensors = {key: tensor for name in FOREIGN[program] for key, tensor in pair(name).items()}
    path = write(tmp_path / "x.safetensors", tensors)
    assert set(read_adapter(path).modules) == set(FOREIGN[program])
    assert sum(describe(path).modules.values()) == 2
    with pytest.raises(AdapterError) as caught:
        Network.from_file(read_adapter(path), {"unet": unet}, "sd1")
    assert caught.value.code == "adapter.no_match" and caught.value.values["total"] == 2


def hostile(suffixes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{MODULE}.{suffix}": tensor for suffix, tensor in suffixes.items()}


HOSTILE = {
    "a rank of a million": hostile({"lora_down.weight": torch.ones(10**6, 8), "lora_up.weight": torch.ones(8, 10**6)}),
    "no rank": hostile({"lora_down.weight": torch.ones(0, 8), "lora_up.weight": torch.ones(8, 0)}),
    "shapes of another layer": hostile({"lora_down.weight": torch.ones(2, 320), "lora_up.weight": torch.ones(320, 2)}),
    "several alphas": {**pair(), **hostile({"alpha": torch.ones(3)})},
    "nothing but alpha": hostile({"alpha": torch.tensor(1.0)}) | pair("lora_unet_conv_in"),
    "numbers without a point": hostile({"lora_down.weight": torch.ones(2, 8, dtype=torch.int32), "lora_up.weight": torch.ones(8, 2)}),
    "infinite": hostile({"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.full((8, 2), torch.inf)}),
    "half a LoHa": hostile({"hada_w1_a": torch.ones(8, 2), "hada_w1_b": torch.ones(2, 8)}),
    "a LoKr that does not divide": hostile({"lokr_w1": torch.ones(3, 3), "lokr_w2": torch.ones(3, 3)}),
    "empty factors": hostile({"lokr_w1": torch.ones(0, 0), "lokr_w2": torch.ones(8, 8)}),
    "a flat core": hostile({"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2), "lora_mid.weight": torch.ones(2)}),
    "many inputs": hostile({"weight": torch.ones(8), "on_input": torch.ones(2)}),
    "blocks of the wrong number": hostile({"oft_blocks": torch.ones(3, 2, 2)}),
    "a DoRA of the wrong size": {
        **hostile({"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2)}), **hostile({"dora_scale": torch.ones(5, 1)})
    },
    "ten thousand modules of nowhere": {
        f"lora_unet_{number}.{side}.weight": torch.ones(1, 1) for number in range(10_000) for side in ("lora_down", "lora_up")
    },
    "ten thousand tensors of no kind": {**pair(), **{f"{number}.weight": torch.ones(1) for number in range(10_000)}},
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_adapter_is_refused_and_leaves_the_base_alone(tmp_path: Path, unet: UNet2DConditionModel, case: str) -> None:
    """Whatever is wrong is said in an error of ours, soon, and before anything is put into the model."""
    path = write(tmp_path / "x.safetensors", HOSTILE[case])
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    started = time.process_time()
    with pytest.raises(AdapterError) as caught:
        Network.from_file(read_adapter(path), {"unet": unet}, "sd1")
    assert time.process_time() - started < 3 and path.name in caught.value.what
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    assert not any("forward" in vars(layer) for layer in unet.modules())


def test_mixed_number_formats_are_fine(tmp_path: Path, unet: UNet2DConditionModel) -> None:
    tensors = hostile({
        "lora_down.weight": torch.ones(2, 8).bfloat16(), "lora_up.weight": torch.ones(8, 2).to(torch.float8_e4m3fn),
        "alpha": torch.tensor(2, dtype=torch.int64),
    })  # fmt: skip
    network = Network.from_file(read_adapter(write(tmp_path / "x.safetensors", tensors)), {"unet": unet}, "sd1")
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_a_pickle_is_read_as_weights_only(tmp_path: Path) -> None:
    torch.save(pair(), tmp_path / "x.pt")
    assert set(read_adapter(tmp_path / "x.pt").modules[MODULE]) == {"lora_down.weight", "lora_up.weight", "alpha"}

    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "canary",)

    (tmp_path / "y.pt").write_bytes(pickle.dumps(Attack(), protocol=2))
    torch.save({"a": Attack()}, tmp_path / "z.pt")
    for name in ("y.pt", "z.pt"):
        assert refused(tmp_path / name).code == "adapter.bad_pickle"
    assert not (tmp_path / "canary").exists()


def test_an_embedding_that_is_not_of_numbers_is_refused(tmp_path: Path) -> None:
    tensors = {**pair(), "bundle_emb.cat.clip_l": torch.ones(1, 4, dtype=torch.complex64)}
    assert refused(write(tmp_path / "x.safetensors", tensors)).code == "adapter.bad_dtype"
