from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from engine.config.adapter import FullOptions, LohaOptions, LokrOptions, LoraOptions, OftOptions
from engine.errors import AdapterError
from engine.families.base import Family
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.workspace import Workspace
from tests.engine.tools.conftest import MakeLora, Use, deltas, total


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Relative distance in the Frobenius norm; a module that one lacks counts as zero there."""
    keys = one.keys() | other.keys()
    difference = {key: one.get(key, torch.zeros(())) - other.get(key, torch.zeros(())) for key in keys}
    return total(difference) / total(other)


def expected(model: Family, *terms: tuple[object, float]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path, weight in terms:
        for key, delta in deltas(path, model).items():  # type: ignore[arg-type]
            found[key] = found.get(key, torch.zeros(())) + weight * delta
    return found


def test_merging_is_exact_for_different_ranks_alphas_and_layers(
    make_lora: MakeLora, use: Use, model: Family, workspace: Workspace
) -> None:
    a = make_lora("a", LoraOptions(rank=3, alpha=1, conv_rank=2))
    b = make_lora("b", LoraOptions(rank=5, alpha=7, targets="attention", train_text_encoder=True), seed=1)
    report = use("merge", files=["a:0.7", "b:-0.3"])
    made = workspace.loras / "made.safetensors"
    assert apart(deltas(made, model), expected(model, (a, 0.7), (b, -0.3))) < 1e-6
    assert report["error_max"] == 0 and report["rank_highest"] == 8 and report["rank_lowest"] == 2 and report["whole"] == 0
    file = read_adapter(made)
    assert all(float(parts["alpha"]) == len(parts["lora_down.weight"]) for parts in file.modules.values())
    assert file.metadata["modelspec.merged_from"] == "a, b" and file.metadata["ss_network_dim"] == "Dynamic"
    assert file.metadata["ss_base_model_version"] == "sd_v1" and file.metadata["ss_output_name"] == "made"


def test_the_usual_merge_is_far_off_and_ours_is_not(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    """sd-scripts' merge_lora scales both factors by the root of the weight and adds factors."""
    options = LoraOptions(rank=8, alpha=8)
    a, b = make_lora("a", options), make_lora("b", options, seed=1)
    exact = expected(model, (a, 0.5), (b, 0.5))
    one, other = read_adapter(a).modules, read_adapter(b).modules
    usual = {}
    for name in one:
        down, up = (
            sum(0.5**0.5 * module[name][f"lora_{side}.weight"].flatten(1) for module in (one, other)) for side in ("down", "up")
        )
        usual[f"{name}.weight"] = (up @ down).view(exact[f"{name}.weight"].shape)  # type: ignore[operator]
    use("merge", files=["a:0.5", "b:0.5"])
    assert apart(usual, exact) > 0.6
    assert apart(deltas(workspace.loras / "made.safetensors", model), exact) < 1e-6


def test_reduced_to_a_rank_with_the_error_that_is_told(
    make_lora: MakeLora, use: Use, model: Family, workspace: Workspace
) -> None:
    options = LoraOptions(rank=4, alpha=4)
    a, b = make_lora("a", options), make_lora("b", options, seed=1)
    exact = expected(model, (a, 0.5), (b, 0.5))
    assert use("merge", "enough", files=["a:0.5", "b:0.5"], svd_rank=8)["error_max"] < 1e-6
    report = use("merge", "less", files=["a:0.5", "b:0.5"], svd_rank=3)
    made = deltas(workspace.loras / "less.safetensors", model)
    errors = {key: float((made[key] - exact[key]).norm() / exact[key].norm()) for key in exact}
    assert report["rank_highest"] == 3 and 0.1 < report["error_mean"] < report["error_max"] < 1
    assert report["error_max"] == pytest.approx(max(errors.values()), rel=1e-4)
    assert errors[f"{report['worst']}.weight"] == max(errors.values())
    for key, delta in exact.items():  # Eckart and Young: nothing of this rank is nearer
        values = torch.linalg.svdvals(delta.flatten(1))
        assert errors[key] == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        LohaOptions(rank=2, alpha=1),
        LokrOptions(rank=2, alpha=1),
        OftOptions(block_size=4),
        LoraOptions(rank=2, decompose="outputs"),
    ],
)
def test_other_algorithms_go_through_the_base_model(
    options: object, make_lora: MakeLora, use: Use, model: Family, workspace: Workspace
) -> None:
    a, b = make_lora("a"), make_lora("b", options, seed=1)
    with pytest.raises(AdapterError) as told:
        use("merge", files=["a", "b"])
    assert told.value.code == "tool.needs_base" and told.value.values["field"] == "tool.model"
    exact = expected(model, (a, 0.5), (b, 1))
    report = use("merge", files=["a:0.5", "b"], model="file")
    assert apart(deltas(workspace.loras / "made.safetensors", model), exact) < 1e-6
    assert report["whole"] == len(read_adapter(b).modules)
    report = use("merge", "thin", files=["a:0.5", "b"], model="folder", svd_rank=4)
    assert report["whole"] == 0 and apart(deltas(workspace.loras / "thin.safetensors", model), exact) < report["error_max"] + 1e-6


def test_biases_stay_whole(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    a, b = make_lora("a"), make_lora("b", FullOptions(targets="attention", train_norms=True), seed=1)
    report = use("merge", files=["a", "b:-2"], svd_rank=2)
    made = deltas(workspace.loras / "made.safetensors", model)
    exact = expected(model, (a, 1), (b, -2))
    assert report["whole"] and any(key.endswith(".bias") for key in made)
    assert all(torch.allclose(made[key], exact[key], atol=1e-6) for key in exact if key.endswith(".bias") or "norm" in key)


def test_half_precision_keeps_small_weights(make_lora: MakeLora, use: Use, model: Family, workspace: Workspace) -> None:
    """Folding a small weight into one factor alone would leave nothing of it in float16."""
    a = make_lora("a", LoraOptions(rank=4, alpha=1), dtype=torch.float16)
    report = use("merge", files=["a:0.00001"])
    assert (
        next(iter(read_adapter(workspace.loras / "made.safetensors").modules.values()))["lora_up.weight"].dtype == torch.float16
    )
    assert apart(deltas(workspace.loras / "made.safetensors", model), expected(model, (a, 1e-5))) < 1e-3
    assert report["error_max"] < 1e-3


def test_the_number_format_is_the_widest_or_the_chosen_one(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    make_lora("a", dtype=torch.float16)
    make_lora("b", dtype=torch.bfloat16)
    use("merge", files=["a", "b"])
    assert (
        next(iter(read_adapter(workspace.loras / "made.safetensors").modules.values()))["lora_up.weight"].dtype == torch.float32
    )
    use("merge", "half", files=["a", "b"], precision="bfloat16")
    assert (
        next(iter(read_adapter(workspace.loras / "half.safetensors").modules.values()))["lora_up.weight"].dtype == torch.bfloat16
    )


def test_files_that_do_not_fit_together(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    def write(name: str, module: str, width: int) -> None:
        tensors = {f"{module}.lora_down.weight": torch.ones(2, width), f"{module}.lora_up.weight": torch.ones(8, 2)}
        write_adapter(workspace.loras / f"{name}.safetensors", tensors, {})

    write("a", "lora_unet_down_blocks_0_attentions_0_proj_in", 4)
    write("b", "lora_unet_down_blocks_0_attentions_0_proj_in", 6)
    write("c", "lora_unet_input_blocks_1_1_proj_in", 4)
    for files, code in ((["a", "b"], "tool.sizes_differ"), (["a", "c"], "tool.layouts_differ")):
        with pytest.raises(AdapterError) as told:
            use("merge", files=files)
        assert told.value.code == code
    assert not (workspace.loras / "made.safetensors").exists()


def test_what_the_base_model_lacks_is_not_lost_silently(make_lora: MakeLora, use: Use, workspace: Workspace) -> None:
    tensors = load_file(make_lora("a"))
    extra = {"lora_unet_nowhere.lora_down.weight": torch.ones(2, 4), "lora_unet_nowhere.lora_up.weight": torch.ones(8, 2)}
    write_adapter(workspace.loras / "b.safetensors", tensors | extra, {})
    with pytest.raises(AdapterError) as told:
        use("merge", files=["a", "b"], model="file")
    assert told.value.code == "tool.unmatched" and told.value.values["module"] == "lora_unet_nowhere"
    use("merge", files=["a", "b"])
    assert "lora_unet_nowhere" in read_adapter(workspace.loras / "made.safetensors").modules


def flux_lora(workspace: Workspace, name: str, spelling: str, rank: int) -> dict[str, torch.Tensor]:
    """A LoRA on q, k and v of FLUX as trainers on diffusers' layers write it; gives the change of each."""
    generator, changes, tensors = torch.Generator().manual_seed(rank), {}, {}
    for part in "qkv":
        down, up = torch.randn(rank, 6, generator=generator), torch.randn(8, rank, generator=generator)
        module = spelling.format(part)
        tensors |= {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up, f"{module}.alpha": torch.tensor(1.0)}
        changes[part] = up @ down / rank
    write_adapter(workspace.loras / f"{name}.safetensors", tensors, {"ss_base_model_version": "flux1"})
    return changes


FUSED = "lora_unet_double_blocks_0_img_attn_qkv"


def test_layers_that_files_have_in_one_are_merged_without_a_model(workspace: Workspace, use: Use) -> None:
    """In two spellings of the same layers; written as Kohya's trainer would, and of that again."""
    a = flux_lora(workspace, "a", "transformer.transformer_blocks.0.attn.to_{}", 2)
    b = flux_lora(workspace, "b", "lora_transformer_transformer_blocks_0_attn_to_{}", 3)
    use("merge", files=["a:0.5", "b:2"], name="first")
    use("merge", files=["first:2"], name="second")
    use("resize", file="second", rank=6, name="third")
    exact = torch.cat([a[part] + 4 * b[part] for part in "qkv"])
    for name in ("second", "third"):
        ((module, parts),) = read_adapter(workspace.loras / f"{name}.safetensors").modules.items()
        scale = parts["alpha"] / len(parts["lora_down.weight"])
        change = scale * parts["lora_up.weight"] @ parts["lora_down.weight"]
        assert module == FUSED
        if name == "second":
            torch.testing.assert_close(change, exact, rtol=1e-5, atol=1e-5)
    use("convert", file="second", format="peft", name="dotted")
    with pytest.raises(AdapterError) as told:
        use("merge", files=["second", "a"], name="mixed")
    assert told.value.code == "tool.layouts_differ"
