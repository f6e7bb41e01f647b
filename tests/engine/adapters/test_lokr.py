"""LoKr against LyCORIS and PEFT: how layers are cut, every mixture of whole and decomposed matrices, its files, its dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import base_tensors, channel_axis
from engine.adapters.lokr import Lokr
from engine.config.adapter import LokrOptions
from engine.config.sizes import factorise
from tests.support.layers import adapted, inputs_of, layer_of, randomised, with_lycoris, with_peft

OUTPUTS = 144
"""With 6 inputs: w1 is (12, 2), w2 is (12, 3), so that rank 2 decomposes either."""
FORMS: dict[str, dict[str, Any]] = {
    "thin": {"rank": 2, "alpha": 1},
    "whole by rank": {"rank": 8, "alpha": 1},
    "whole": {"rank": 2, "alpha": 1, "full_matrix": True},
    "both": {"rank": 2, "alpha": 1, "decompose_both": True},
    "tucker": {"rank": 2, "alpha": 1, "tucker": True},
    "both, tucker": {"rank": 2, "alpha": 1, "decompose_both": True, "tucker": True},
    "factor": {"rank": 2, "alpha": 1, "factor": 4},
}
HELD = {
    "thin": {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
    "whole by rank": {"lokr_w1", "lokr_w2"},
    "whole": {"lokr_w1", "lokr_w2"},
    "both": {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
    "tucker": {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"},
    "both, tucker": {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"},
    "factor": {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
}
FIELDS = {"tucker": "use_tucker", "decompose_both": "decompose_both", "full_matrix": "full_matrix", "factor": "factor"}
"""Our options -> LyCORIS'."""
CASES = [
    (form, kind) for form in FORMS for kind in ("linear", "conv 1x1", "conv 3x3") if "tucker" not in form or kind == "conv 3x3"
]
cases = pytest.mark.parametrize(("form", "kind"), CASES, ids=str)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lokr(layer: nn.Module, **options: Any) -> Lokr:
    return Lokr.create(LayerShape.of(layer), base_tensors(layer), LokrOptions(**options), generator())


def layer_and_lokr(form: str, kind: str, **options: Any) -> tuple[nn.Module, Lokr]:
    layer = layer_of(kind, outputs=OUTPUTS)
    return layer, randomised(lokr(layer, **FORMS[form] | options))


def theirs(layer: nn.Module, form: str, tensors: dict[str, Tensor]) -> Any:
    """LyCORIS' module with our numbers in it."""
    options = {FIELDS[name]: value for name, value in FORMS[form].items() if name in FIELDS}
    module = pytest.importorskip("lycoris.modules.lokr").LokrModule(
        "x", layer, 1.0, FORMS[form]["rank"], FORMS[form]["alpha"], **options
    )
    assert not module.load_state_dict(tensors, strict=False).unexpected_keys
    return module


# ---- how a layer is cut ----


@pytest.mark.parametrize(
    ("size", "by_factor"),
    [
        (320, {-1: (16, 20), 4: (4, 80), 8: (8, 40), 16: (16, 20)}),
        (640, {-1: (20, 32), 4: (4, 160), 8: (8, 80), 16: (16, 40)}),
        (1280, {-1: (32, 40), 4: (4, 320), 8: (8, 160), 16: (16, 80)}),
        (768, {-1: (24, 32)}),
        (2048, {-1: (32, 64)}),
        (3072, {-1: (48, 64)}),
        (5120, {-1: (64, 80)}),
        (10240, {-1: (80, 128)}),
        (127, {-1: (1, 127), 8: (1, 127)}),
        (250, {4: (2, 125), 8: (5, 50), 16: (10, 25), 50: (5, 50), 300: (10, 25)}),
    ],
)
def test_sizes_are_cut_as_lycoris_does(size: int, by_factor: dict[int, tuple[int, int]]) -> None:
    assert {factor: factorise(size, factor) for factor in by_factor} == by_factor


def test_every_size_is_cut_as_lycoris_does() -> None:
    general = pytest.importorskip("lycoris.functional.general")
    for factor in (-1, 1, 2, 3, 4, 8, 16, 1000):
        assert all(factorise(size, factor) == general.factorization(size, factor) for size in range(1, 400)), factor


@cases
def test_what_is_whole_and_what_decomposed(form: str, kind: str) -> None:
    layer, ours = layer_and_lokr(form, kind)
    assert ours.tensors().keys() == HELD[form] | {"alpha"}
    assert {name: tensor.shape for name, tensor in ours.tensors().items()} == {
        name: tensor.shape for name, tensor in theirs(layer, form, {}).custom_state_dict().items()
    }


@pytest.mark.parametrize(("rank", "whole"), [(5, False), (6, True), (7, True)])
def test_w2_is_whole_from_half_its_larger_side_on(rank: int, whole: bool) -> None:
    ours = lokr(layer_of("linear", outputs=OUTPUTS), rank=rank, alpha=1)
    assert ("lokr_w2" in ours.tensors()) is whole
    assert ours.scale == (1 if whole else 1 / rank) and ours.alpha == 1


# ---- the change ----


@cases
def test_lycoris_computes_the_same_and_its_files_are_read(form: str, kind: str) -> None:
    layer, ours = layer_and_lokr(form, kind)
    module = theirs(layer, form, ours.tensors())
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, module), rtol=1e-5, atol=1e-5)
    again = Lokr.from_tensors(LayerShape.of(layer), module.custom_state_dict())
    assert torch.equal(again.change(), ours.change())


@pytest.mark.parametrize(("form", "kind"), [case for case in CASES if "full_matrix" not in FORMS[case[0]]], ids=str)
def test_peft_computes_the_same_but_for_the_scale_of_whole_matrices(form: str, kind: str) -> None:
    """PEFT, which has no full_matrix, multiplies by alpha / rank always; where both are whole, files have no place for it."""
    layer, ours = layer_and_lokr(form, kind)
    options = FORMS[form]
    config = pytest.importorskip("peft").LoKrConfig(
        r=options["rank"],
        alpha=options["alpha"],
        decompose_both=options.get("decompose_both", False),
        decompose_factor=options.get("factor", -1),
        use_effective_conv2d=options.get("tucker", False),
    )
    tensors = {name: tensor for name, tensor in ours.tensors().items() if name != "alpha"}
    if form == "whole by rank":
        tensors["lokr_w2"] = tensors["lokr_w2"] * options["rank"] / options["alpha"]
    torch.testing.assert_close(with_peft(layer, config, tensors), adapted(layer, ours), rtol=1e-5, atol=1e-5)


def test_lycoris_cannot_rebuild_its_own_tucker_files_which_are_read_here() -> None:
    layer, ours = layer_and_lokr("tucker", "conv 3x3")
    module = theirs(layer, "tucker", ours.tensors())
    tensors = [module.custom_state_dict().get(name) for name in module.weight_list]
    with torch.no_grad(), pytest.raises(RuntimeError, match="size"):
        module.make_module_from_state_dict("x", layer, *tensors)
    assert torch.equal(Lokr.from_tensors(LayerShape.of(layer), module.custom_state_dict()).change(), ours.change())


def test_the_merge_of_lycoris_multiplies_by_alpha_over_rank_twice() -> None:
    layer, ours = layer_and_lokr("thin", "linear")
    torch.testing.assert_close(theirs(layer, "thin", ours.tensors()).get_diff_weight()[0], ours.change() / 2)


@cases
def test_the_change_is_the_kronecker_product(form: str, kind: str) -> None:
    _, ours = layer_and_lokr(form, kind)
    first, second = ours.matrices()
    for column in range(6):  # by the definition, entry by entry of the inputs
        group, inside = divmod(column, second.shape[1])
        wanted = torch.stack([row * second[:, inside] for row in first[:, group]]).flatten(0, 1)
        torch.testing.assert_close(ours.change()[:, column], wanted)


@cases
def test_two_small_products_are_the_wide_one(form: str, kind: str) -> None:
    """Exactly, values and gradients, in float64, with strides and dilation too."""
    layer, ours = layer_and_lokr(form, kind)
    if isinstance(layer, nn.Conv2d):
        layer.stride, layer.dilation, layer.padding = (2, 1), (1, 2), (0, 1)
    layer, ours, x = layer.double(), ours.double(), inputs_of(layer).double().requires_grad_()
    y = layer(x)
    results = []
    for change in (ours(x, y, layer), Adapter.forward(ours, x, y, layer)):
        results.append((change, *torch.autograd.grad(change.square().sum(), [x, *ours.parameters()])))
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-10)


@cases
def test_a_new_one_changes_nothing_and_can_learn(form: str, kind: str) -> None:
    layer = layer_of(kind, outputs=OUTPUTS)
    ours, x = lokr(layer, **FORMS[form]), inputs_of(layer)
    change = ours(x, layer(x), layer)
    assert not change.any()
    (change + 1).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in ours.linear_factors())


# ---- files ----


@cases
def test_what_is_saved_comes_back(form: str, kind: str) -> None:
    layer, ours = layer_and_lokr(form, kind)
    again = Lokr.from_tensors(LayerShape.of(layer), ours.tensors())
    assert again.tensors().keys() == ours.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in ours.tensors().items())
    assert torch.equal(adapted(layer, again), adapted(layer, ours))


def test_a_thin_first_matrix_beside_a_whole_second_is_read() -> None:
    tensors = {"lokr_w1_a": torch.randn(12, 2), "lokr_w1_b": torch.randn(2, 2), "lokr_w2": torch.randn(12, 3)}
    ours = Lokr.from_tensors(LayerShape(OUTPUTS, 6), tensors | {"alpha": torch.tensor(1.0)})
    wanted = torch.kron(tensors["lokr_w1_a"] @ tensors["lokr_w1_b"], tensors["lokr_w2"]) / 2
    torch.testing.assert_close(ours.change(), wanted)


@pytest.mark.parametrize("alpha", [{}, {"alpha": torch.tensor(7.0)}], ids=["none", "7"])
def test_alpha_means_nothing_where_both_are_whole(alpha: dict[str, Tensor]) -> None:
    tensors = {"lokr_w1": torch.randn(12, 2), "lokr_w2": torch.randn(12, 3)}
    ours = Lokr.from_tensors(LayerShape(OUTPUTS, 6), tensors | alpha)
    torch.testing.assert_close(ours.change(), torch.kron(tensors["lokr_w1"], tensors["lokr_w2"]))
    assert ours.tensors()["alpha"] == alpha.get("alpha", 1)


def test_without_alpha_it_is_the_rank() -> None:
    _, ours = layer_and_lokr("thin", "linear")
    tensors = {name: tensor for name, tensor in ours.tensors().items() if name != "alpha"}
    torch.testing.assert_close(Lokr.from_tensors(LayerShape(OUTPUTS, 6), tensors).change(), ours.change() * 2)


@pytest.mark.parametrize(
    ("kernel", "written"),
    [((1, 1), (12, 3)), ((), (12, 3, 1, 1)), ((3, 3), (12, 27))],
    ids=["matrix for a 1x1 convolution", "the reverse", "flat for 3x3"],
)
def test_other_shapes_of_the_same_matrix_are_understood(kernel: tuple[int, ...], written: tuple[int, ...]) -> None:
    tensors = {"lokr_w1": torch.randn(12, 2), "lokr_w2": torch.randn(written)}
    ours = Lokr.from_tensors(LayerShape(OUTPUTS, 6, kernel), tensors)
    assert ours.change().shape == (OUTPUTS, 6, *kernel)
    assert torch.equal(ours.matrices()[1].flatten(), tensors["lokr_w2"].flatten())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"lokr_w1": (12, 2)}, "lokr_w2_b is missing"),
        ({"lokr_w2": (12, 3)}, "lokr_w1_b is missing"),
        ({"lokr_w1": (5, 2), "lokr_w2": (12, 3)}, r"\(5, 2\), which does not divide \(144, 6\)"),
        ({"lokr_w1": (12, 4), "lokr_w2": (12, 3)}, r"\(12, 4\), which does not divide"),
        ({"lokr_w1": (12, 2), "lokr_w2": (12, 4)}, r"lokr_w2 is \(12, 4\) where \(12, 3\) is needed"),
        ({"lokr_w1": (12, 2), "lokr_w2_a": (12, 2), "lokr_w2_b": (3, 3)}, r"lokr_w2_a is \(12, 2\) where \(12, 3\) is needed"),
        ({"lokr_w1": (12, 2), "lokr_w2": (12, 3), "lokr_w2_a": (12, 2)}, "lokr_w2_a is one too many"),
        ({"lokr_w1": (), "lokr_w2": (12, 3)}, r"lokr_w1 is \(\)"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(tensors: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lokr.from_tensors(LayerShape(OUTPUTS, 6), {name: torch.ones(size) for name, size in tensors.items()})


@pytest.mark.parametrize(
    "options", [{"factor": 0}, {"full_matrix": True, "tucker": True}, {"full_matrix": True, "decompose_both": True}]
)
def test_contradictory_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"factor|full_matrix"):
        LokrOptions(**options)


# ---- training ----


@pytest.mark.parametrize("kind", ["linear", "conv 3x3"])
def test_rank_dropout_drops_rows_of_the_change(kind: str) -> None:
    layer, ours = layer_and_lokr("thin", kind, rank_dropout=0.5)
    x = inputs_of(layer)
    y = layer(x)
    full = ours(x, y, layer)
    ours.train().begin_step(generator(3))
    dropped = ours(x, y, layer)
    assert torch.equal(ours(x, y, layer), dropped)  # a recomputed forward drops the same
    rows, whole = (change.movedim(channel_axis(layer), 0).flatten(1) for change in (dropped, full))
    gone = rows.abs().amax(1) == 0
    assert 0.3 < gone.float().mean() < 0.7
    torch.testing.assert_close(rows[~gone], 2 * whole[~gone])


@cases
def test_the_bound_of_the_norm_holds_exactly(form: str, kind: str) -> None:
    _, ours = layer_and_lokr(form, kind, max_norm=0.5)
    direction = ours.change().detach()
    Lokr.after_step([ours], 1, 1)
    torch.testing.assert_close(ours.change(), direction * 0.5 / direction.norm())
