"""Which adapter is trained: one model of options per algorithm, told apart by `kind`.

Fields that several algorithms have are declared once, in the sections they inherit.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import field_validator, model_validator

from engine.config.field import Section, Ui
from engine.config.rules import check_rules

Decomposition = Literal["off", "outputs", "inputs"]


class LayerOptions(Section):
    """What every algorithm can be told: which layers learn."""

    targets: Annotated[Literal["attention", "attention+mlp", "convolutions", "full"], Ui(level="advanced")] = "attention+mlp"
    """Which layers learn: attention only (smaller file), attention and feed-forward as Kohya does, convolutions only, or all."""
    train_unet: Annotated[bool, Ui(level="expert")] = True
    """Train the part that draws: the U-Net, or the transformer of newer models."""
    train_text_encoder: Annotated[bool, Ui(level="advanced", needs="text")] = False
    """Also train the text encoder. Helps a trigger word to stick on SD1.x; costs memory, and text can no longer be cached."""
    train_t5: Annotated[bool, Ui(level="expert", needs="t5")] = False
    """Also train the large T5 text encoder of SD3 and FLUX. Rarely worth its memory."""
    train_norms: Annotated[bool, Ui(level="expert")] = False
    """Also train the scale and shift of the normalisation layers (train_norm)."""
    rules: Annotated[list[str], Ui(level="expert", widget="lines")] = PydanticField(default_factory=list)
    """Exceptions, one a line, later ones win: a pattern of layer names, then `off`, another algorithm, or settings of this one.
    Examples: `*.attn2.*: rank=32`, `unet.down_blocks.*: off`, `*.ff.*: lokr factor=8`."""
    module_dropout: Annotated[float, Ge(0), Le(0.9), Ui(level="expert", step=0.05)] = 0.0
    """Fraction of the adapted layers left out in each step, against overfitting."""
    start_from: Annotated[str, Ui(level="expert")] = ""
    """A finished adapter of the same algorithm and rank to go on training from; empty starts afresh."""

    @field_validator("rules")
    @classmethod
    def _rules_can_be_read(cls, rules: list[str]) -> list[str]:
        check_rules(rules)
        return rules


class RankOptions(LayerOptions):
    """Algorithms whose change is a product of thin factors."""

    rank: Annotated[int, Ge(1), Le(100_000), Ui(level="basic", step=1)] = 16
    """How much the adapter can hold (network dim). 4 to 16 is enough for one character; more also learns the backgrounds."""
    alpha: Annotated[float, Ge(0), Le(100_000), Ui(level="advanced", step=1)] = 16.0
    """Strength of learning is alpha divided by rank. Keep it equal to the rank unless a recipe says otherwise; 0 means equal to the rank."""


class ConvolutionOptions(RankOptions):
    """Algorithms with a rank of their own for convolutions."""

    conv_rank: Annotated[int, Ge(0), Le(100_000), Ui(level="advanced", step=1, needs="unet")] = 0
    """Rank for the 3x3 convolutions (conv dim). 0 leaves them alone (LierLa), 4 to 16 helps styles and shapes (C3Lier). With all layers, 0 means the same rank."""
    conv_alpha: Annotated[float, Ge(0), Le(100_000), Ui(level="expert", step=1, needs="unet")] = 0.0
    """Alpha of the convolutions; 0 means equal to their rank."""
    rank_dropout: Annotated[float, Ge(0), Le(0.9), Ui(level="expert", step=0.05)] = 0.0
    """Fraction of the rank switched off in each step, against overfitting."""


class BoundedOptions(ConvolutionOptions):
    """Algorithms whose change can be scaled down."""

    max_norm: Annotated[float, Ge(0), Le(1000), Ui(level="expert", step=0.1)] = 0.0
    """Largest size (norm) of a layer's change; larger ones are scaled down after each step (scale weight norms). 0 is off; 1 is usual."""


class ThinOptions(ConvolutionOptions):
    """Plain LoRA and what is saved as plain LoRA."""

    dropout: Annotated[float, Ge(0), Le(0.9), Ui(level="expert", step=0.05)] = 0.0
    """Fraction of the adapter's inner activations dropped while training, against overfitting."""
    scaling: Annotated[Literal["rank", "root"], Ui(level="expert")] = "rank"
    """Divide alpha by the rank (LoRA) or by its square root (rsLoRA), which lets high ranks learn."""


class ExportedOptions(LayerOptions):
    """Algorithms that are saved as plain LoRA and cannot be found again in it."""

    @model_validator(mode="after")
    def _begins_afresh(self) -> Self:
        if self.start_from:
            raise ValueError(
                "A finished adapter of this kind is a plain LoRA: set kind to lora to go on from it, or empty start_from."
            )
        return self


class LoraOptions(ThinOptions, BoundedOptions):
    """Low-rank adaptation. With `conv_rank` 0 this is LoRA-LierLa, otherwise LoRA-C3Lier (LoCon)."""

    kind: Literal["lora"] = "lora"
    """The algorithm of the adapter."""
    tucker: Annotated[bool, Ui(level="expert", needs="unet")] = False
    """Split 3x3 convolutions into three factors instead of two (Tucker, CP decomposition): smaller, some programs cannot read it."""
    decompose: Annotated[Decomposition, Ui(level="advanced")] = "off"
    """Learn the size of each weight apart from its direction (DoRA): often closer at low rank, a third slower."""
    initial: Annotated[Literal["kaiming", "orthogonal", "pissa", "olora"], Ui(level="expert")] = "kaiming"
    """Where the factors begin: at random, orthogonal, or from the base weight's largest singular vectors (PiSSA) or QR (OLoRA); the last two save at twice the rank."""
    freeze_down: Annotated[bool, Ui(level="expert")] = False
    """Train only the second factor (LoRA-FA): less memory, slightly weaker."""

    @model_validator(mode="after")
    def _initial_values_fit(self) -> Self:
        if self.initial == "orthogonal" and (self.rank % 2 or self.conv_rank % 2):
            raise ValueError("Orthogonal initial values need an even rank: change rank or conv_rank, or set initial to kaiming.")
        if self.initial != "kaiming" and self.tucker:
            raise ValueError(
                f"{self.initial} gives two factors and tucker has three: turn tucker off, or set initial to kaiming."
            )
        if self.initial in ("pissa", "olora") and self.freeze_down:
            raise ValueError(f"{self.initial} trains both factors: turn freeze_down off, or set initial to kaiming.")
        if self.initial in ("pissa", "olora") and self.max_norm:
            raise ValueError(f"The change of {self.initial} cannot be scaled down: set max_norm to 0, or initial to kaiming.")
        if self.initial in ("pissa", "olora") and self.start_from:
            raise ValueError(f"{self.initial} begins from the base weight: empty start_from, or set initial to kaiming.")
        return self


class DyloraOptions(ThinOptions, BoundedOptions):
    """LoRA whose leading ranks work by themselves, so that the file can be cut to any rank afterwards."""

    kind: Literal["dylora"] = "dylora"
    """The algorithm of the adapter."""
    unit: Annotated[int, Ge(1), Le(1024), Ui(level="advanced", step=1)] = 1
    """Ranks are trained in groups of this many; the rank must be a multiple of it."""

    @model_validator(mode="after")
    def _rank_is_whole_units(self) -> Self:
        if self.rank % self.unit or self.conv_rank % self.unit:
            raise ValueError(f"rank {self.rank} and conv_rank {self.conv_rank} must be multiples of unit, which is {self.unit}.")
        return self


class AdaloraOptions(ThinOptions, BoundedOptions):
    """LoRA that moves its rank to the layers that need it."""

    kind: Literal["adalora"] = "adalora"
    """The algorithm of the adapter."""
    budget: Annotated[float, Ge(0.05), Le(1), Ui(level="advanced", step=0.05)] = 0.5
    """Share of all ranks that is kept at the end; `rank` is what each layer begins with."""
    begin: Annotated[float, Ge(0), Le(1), Ui(level="expert", step=0.05)] = 0.1
    """Share of the run before ranks are taken away."""
    end: Annotated[float, Ge(0), Le(1), Ui(level="expert", step=0.05)] = 0.7
    """Share of the run after which the ranks stay as they are."""
    orthogonality: Annotated[float, Ge(0), Le(10), Ui(level="expert", step=0.1)] = 0.1
    """Weight of the penalty that keeps the directions of a layer apart."""

    @model_validator(mode="after")
    def _ranks_are_taken_away_over_time(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(
                f"begin is {self.begin:g} and end {self.end:g}: ranks are taken away in between, so end must be later."
            )
        return self


class ArdLoraOptions(ThinOptions, BoundedOptions):
    """LoRA that finds the rank of every attention head by itself, up to `rank` (ARD-LoRA)."""

    kind: Literal["ard_lora"] = "ard_lora"
    """The algorithm of the adapter."""
    sparsity: Annotated[float, Ge(0), Le(10), Ui(level="advanced", step=0.001)] = 0.01
    """Weight of the penalty on rank: more leaves fewer ranks."""
    variation: Annotated[float, Ge(0), Le(100), Ui(level="expert", step=0.1)] = 0.1
    """Weight of the penalty on changes of the rank from step to step, relative to `sparsity`."""
    rank_rate: Annotated[float, Ge(0.01), Le(1000), Ui(level="expert", step=1)] = 10.0
    """Learning rate of the ranks, as a multiple of the learning rate."""


class TloraOptions(ThinOptions, ExportedOptions):
    """LoRA with less rank where there is more noise (T-LoRA), against overfitting on a few pictures."""

    kind: Literal["tlora"] = "tlora"
    """The algorithm of the adapter."""
    min_rank: Annotated[int, Ge(1), Le(1024), Ui(level="advanced", step=1)] = 4
    """Rank in force where the picture is pure noise; at its end it is `rank`."""
    power: Annotated[float, Ge(0.1), Le(10), Ui(level="expert", step=0.1)] = 1.0
    """How the rank grows in between; 1 is a straight line."""

    @model_validator(mode="after")
    def _rank_can_grow(self) -> Self:
        if self.min_rank > min(self.rank, self.conv_rank or self.rank):
            raise ValueError(f"min_rank {self.min_rank} must be at most rank {self.rank} and conv_rank {self.conv_rank}.")
        return self


class VeraOptions(BoundedOptions, ExportedOptions):
    """Two vectors per layer around frozen random factors (VeRA)."""

    kind: Literal["vera"] = "vera"
    """The algorithm of the adapter."""


class MissOptions(RankOptions, ExportedOptions):
    """One matrix shared by all shards of the input (MiSS, earlier Bone); fast, saved as plain LoRA."""

    kind: Literal["miss"] = "miss"
    """The algorithm of the adapter."""


class HiraOptions(ConvolutionOptions):
    """The base weight times a thin product, element by element (HiRA): a change of high rank."""

    kind: Literal["hira"] = "hira"
    """The algorithm of the adapter."""


class DeloraOptions(BoundedOptions, ExportedOptions):
    """Directions of bounded strength (DeLoRA): robust against a learning rate that is too high."""

    kind: Literal["delora"] = "delora"
    """The algorithm of the adapter."""
    strength: Annotated[float, Ge(0), Le(1000), Ui(level="expert", step=1)] = 15.0
    """Bound of the change at the start (lambda); it is learnt too."""


class LohaOptions(BoundedOptions):
    """Element-wise product of two low-rank products (LoHa). Rank at most 32; alpha at most half of it."""

    kind: Literal["loha"] = "loha"
    """The algorithm of the adapter."""
    tucker: Annotated[bool, Ui(level="expert", needs="unet")] = False
    """Split 3x3 convolutions into three factors instead of two (Tucker, CP decomposition): smaller, some programs cannot read it."""
    decompose: Annotated[Decomposition, Ui(level="advanced")] = "off"
    """Learn the size of each weight apart from its direction (DoRA): often closer at low rank, a third slower."""


class LokrOptions(BoundedOptions):
    """Kronecker product of two small matrices (LoKr)."""

    kind: Literal["lokr"] = "lokr"
    """The algorithm of the adapter."""
    factor: Annotated[int, Ge(-1), Le(1024), Ui(level="advanced", step=1)] = -1
    """Size of the first matrix: -1 makes both as square as can be (smallest file), 4 to 8 holds more."""
    decompose_both: Annotated[bool, Ui(level="expert")] = False
    """Make the first matrix a thin product as well."""
    full_matrix: Annotated[bool, Ui(level="expert")] = False
    """Keep both matrices whole, whatever the rank; alpha has no effect then."""
    tucker: Annotated[bool, Ui(level="expert", needs="unet")] = False
    """Split 3x3 convolutions into three factors instead of two (Tucker, CP decomposition): smaller, some programs cannot read it."""
    decompose: Annotated[Decomposition, Ui(level="advanced")] = "off"
    """Learn the size of each weight apart from its direction (DoRA): often closer at low rank, a third slower."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.factor == 0:
            raise ValueError("A first matrix of size 0 cannot be: set factor to -1 (as square as can be) or to 1 or more.")
        if self.full_matrix and (self.decompose_both or self.tucker):
            raise ValueError("full_matrix keeps both matrices whole: switch decompose_both and tucker off, or full_matrix.")
        return self


class GloraOptions(RankOptions):
    """The base weight times a low-rank matrix, plus another low-rank matrix (GLoRA)."""

    kind: Literal["glora"] = "glora"
    """The algorithm of the adapter."""


class Ia3Options(LayerOptions):
    """One factor per channel, (IA)³: the smallest of all. Wants a high learning rate, about 0.005 to 0.01."""

    kind: Literal["ia3"] = "ia3"
    """The algorithm of the adapter."""
    side: Annotated[Literal["output", "input"], Ui(level="advanced")] = "output"
    """Whether what comes out of a layer is scaled or what goes in."""


class RotationOptions(LayerOptions):
    """Orthogonal fine-tuning: weights are rotated, never stretched."""

    constraint: Annotated[float, Ge(0), Le(100), Ui(level="advanced", step=0.0001)] = 0.0
    """Bound of the rotation (COFT; alpha of Kohya's OFT); 0 leaves it free. About 0.001 is usual."""
    rescaled: Annotated[bool, Ui(level="expert")] = False
    """Also learn one factor per output channel."""


class OftOptions(RotationOptions):
    """Rotates the outputs of a layer in blocks (OFT, Diag-OFT; with a constraint COFT)."""

    kind: Literal["oft"] = "oft"
    """The algorithm of the adapter."""
    block_size: Annotated[int, Ge(0), Le(4096), Ui(level="basic", step=1)] = 8
    """Channels rotated together (dim of Diag-OFT); the largest divisor of the layer's width up to this is taken, or the next larger. 0: use `blocks`."""
    blocks: Annotated[int, Ge(0), Le(4096), Ui(level="advanced", step=1)] = 0
    """Number of blocks instead of their size (dim of Kohya's OFT); 0: use `block_size`."""

    @model_validator(mode="after")
    def _blocks_can_rotate(self) -> Self:
        if not self.blocks and self.block_size < 2:
            raise ValueError(
                "Blocks of fewer than two channels cannot rotate: set block_size to 2 or more, or blocks to their number."
            )
        return self


class BoftOptions(RotationOptions):
    """Rotates through a butterfly of small blocks (BOFT): every channel reaches every other."""

    kind: Literal["boft"] = "boft"
    """The algorithm of the adapter."""
    block_size: Annotated[int, Ge(2), Le(4096), Ui(level="basic", step=1)] = 8
    """Channels rotated together; the nearest size that a layer's width allows is taken, an even one."""
    factors: Annotated[int, Ge(0), Le(16), Ui(level="advanced", step=1)] = 0
    """Stages of the butterfly, fewer where a layer's width allows fewer; 0 is as many as connect all channels."""


class FullOptions(LayerOptions):
    """Every weight learns; the file holds the whole difference. The largest file and the closest fit."""

    kind: Literal["full"] = "full"
    """The algorithm of the adapter."""
    train_bias: Annotated[bool, Ui(level="advanced")] = True
    """Also train the biases."""


class NormOptions(LayerOptions):
    """Scale and shift of normalisation layers. What `train_norms` adds; has no fields of its own."""

    kind: Literal["norm"] = "norm"
    """The algorithm of the adapter."""


AdapterOptions = Annotated[
    LoraOptions
    | LohaOptions
    | LokrOptions
    | DyloraOptions
    | AdaloraOptions
    | ArdLoraOptions
    | TloraOptions
    | Ia3Options
    | OftOptions
    | BoftOptions
    | GloraOptions
    | FullOptions
    | VeraOptions
    | MissOptions
    | HiraOptions
    | DeloraOptions,
    PydanticField(discriminator="kind"),
]
OPTIONS: dict[str, type[LayerOptions]] = {
    "lora": LoraOptions, "loha": LohaOptions, "lokr": LokrOptions, "dylora": DyloraOptions, "adalora": AdaloraOptions,
    "ard_lora": ArdLoraOptions, "tlora": TloraOptions, "ia3": Ia3Options, "oft": OftOptions, "boft": BoftOptions,
    "glora": GloraOptions, "full": FullOptions, "vera": VeraOptions, "miss": MissOptions, "hira": HiraOptions,
    "delora": DeloraOptions, "norm": NormOptions,
}  # fmt: skip
"""Algorithm -> its options."""
