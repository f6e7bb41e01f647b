"""What a tool for adapter files can be told: one model of options per tool, told apart by `kind`.

Fields that several tools have are declared once, in the sections they inherit. Files are named as in a tag, by their path
below a LoRA folder without the ending, or by a path typed in full.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import field_validator, model_validator

from engine.config.field import Section, Ui

REMOVE = "-"
"""Written into a field of `edit`, it takes the entry out of the file."""


def weighted(line: str) -> tuple[str, float]:
    """`name:0.8` as (name, 0.8); without a number the weight is 1.

    Raises:
        ValueError: there is no name, or the number is not one.
    """
    name, colon, number = line.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        name, weight = line, 1.0
    if not name.strip() or weight != weight or abs(weight) == float("inf") or (colon and not number.strip()):
        raise ValueError(f"{line!r} is not of the form `name` or `name:weight`")
    return name.strip(), weight


class FileOptions(Section):
    file: Annotated[str, Ui(level="basic", widget="adapter")] = ""
    """The adapter file: its name as in a tag, or a path."""


class FilesOptions(Section):
    files: Annotated[list[str], Ui(level="basic", widget="lines")] = PydanticField(default_factory=list)
    """Adapter files, one a line, each with its weight: `name:0.8`. Without a number the weight is 1; it may be negative."""

    @field_validator("files")
    @classmethod
    def _lines_can_be_read(cls, files: list[str]) -> list[str]:
        for line in files:
            weighted(line)
        return files


class BaseOptions(Section):
    model: Annotated[str, Ui(level="basic", widget="model")] = ""
    """The base model. Looking, merging and comparing do without one for plain LoRA; what DoRA, LoHa, OFT and others do depends on it."""


class PrecisionOptions(Section):
    precision: Annotated[Literal["same", "float16", "bfloat16", "float32"], Ui(level="advanced")] = "same"
    """Number format of the new file; the same is that of what it is made from, the wider one where these differ."""


class TruncationOptions(PrecisionOptions):
    """How many ranks a layer keeps."""

    rank: Annotated[int, Ge(1), Le(100_000), Ui(level="basic", step=1)] = 16
    """Ranks that each layer keeps; with a mode that counts singular values, at most so many."""
    conv_rank: Annotated[int, Ge(0), Le(100_000), Ui(level="advanced", step=1)] = 0
    """The same for 3x3 convolutions; 0 is as for the other layers."""


class InspectOptions(BaseOptions, FileOptions):
    """Look at every tensor of a file: size of the change per module, broken numbers, and what fits a base model."""

    kind: Literal["inspect"] = "inspect"
    """What is done."""


class ConvertOptions(PrecisionOptions, FileOptions):
    """Write a file in another program's spelling or in another number format."""

    kind: Literal["convert"] = "convert"
    """What is done."""
    format: Annotated[Literal["kohya", "peft"], Ui(level="basic")] = "kohya"
    """Whose spelling: Kohya's, which AUTOMATIC1111, Forge and ComfyUI read, or PEFT's, which diffusers and Python code read."""


class MergeOptions(PrecisionOptions, BaseOptions, FilesOptions):
    """Add several adapters up to one."""

    kind: Literal["merge"] = "merge"
    """What is done."""
    svd_rank: Annotated[int, Ge(0), Le(100_000), Ui(level="advanced", step=1)] = 0
    """0 puts the ranks of all files side by side, which is exact; otherwise the sum is reduced to this rank and the error is told."""


class BakeOptions(PrecisionOptions, BaseOptions, FilesOptions):
    """Write a base model anew: adapters in it for good, as one file or as a folder, in another number format."""

    kind: Literal["bake"] = "bake"
    """What is done."""
    layout: Annotated[Literal["same", "single_file", "folder"], Ui(level="advanced")] = "same"
    """One .safetensors file, which AUTOMATIC1111, Forge and ComfyUI read, or a folder of diffusers; the same as the model otherwise."""

    @property
    def converts(self) -> bool:
        """Whether there is something to do without adapters."""
        return self.layout != "same" or self.precision != "same"


class ExtractOptions(TruncationOptions, BaseOptions):
    """Make a LoRA of the difference between two checkpoints."""

    kind: Literal["extract"] = "extract"
    """What is done."""
    tuned: Annotated[str, Ui(level="basic", widget="model")] = ""
    """The model that was made of it by training."""
    mode: Annotated[Literal["fixed", "ratio", "quantile", "threshold"], Ui(level="basic")] = "fixed"
    """The same rank for every layer, or by its singular values: those above a share of the largest, a share of their sum, or those above a number."""
    limit: Annotated[float, Ge(0), Le(1000), Ui(level="advanced", step=0.01)] = 0.5
    """The share or number of that mode."""
    conv_limit: Annotated[float, Ge(0), Le(1000), Ui(level="expert", step=0.01)] = 0.0
    """The same for 3x3 convolutions; 0 is as for the other layers."""
    convolutions: Annotated[bool, Ui(level="advanced")] = True
    """Also the 3x3 convolutions (LoCon); off keeps to what plain LoRA files have."""
    text_encoder: Annotated[bool, Ui(level="advanced")] = True
    """Also the text encoder."""

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        if self.mode in ("ratio", "quantile") and max(self.limit, self.conv_limit) > 1:
            raise ValueError(f"limit and conv_limit are shares with mode {self.mode}: from 0 to 1")
        return self


class ResizeOptions(TruncationOptions, FileOptions):
    """Lower the rank of a LoRA."""

    kind: Literal["resize"] = "resize"
    """What is done."""
    reduction: Annotated[Literal["fixed", "sv_ratio", "sv_fro", "sv_cumulative"], Ui(level="basic")] = "fixed"
    """The same rank for every layer, or by its singular values: the largest divided by a number, a share of their norm, or a share of their sum."""
    target: Annotated[float, Ge(0), Le(10_000), Ui(level="advanced", step=0.01)] = 0.95
    """The number or share of that way: above 1 for sv_ratio (10 keeps a tenth of the largest and more), from 0 to 1 for sv_fro and sv_cumulative."""

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        if self.reduction == "sv_ratio" and self.target <= 1:
            raise ValueError("target must be above 1 with sv_ratio: the largest singular value is divided by it")
        if self.reduction in ("sv_fro", "sv_cumulative") and not 0 < self.target <= 1:
            raise ValueError(f"target is a share with {self.reduction}: above 0, at most 1")
        return self


class CutOptions(FileOptions):
    """Keep the leading ranks of a DyLoRA."""

    kind: Literal["cut"] = "cut"
    """What is done."""
    rank: Annotated[int, Ge(1), Le(100_000), Ui(level="basic", step=1)] = 16
    """Ranks that each layer keeps; with a mode that counts singular values, at most so many."""


class BundleOptions(FileOptions):
    """Put embeddings (Textual Inversion) into a LoRA file; their names work in a prompt that applies it."""

    kind: Literal["bundle"] = "bundle"
    """What is done."""
    embeddings: Annotated[list[str], Ui(level="basic", widget="lines")] = PydanticField(default_factory=list)
    """Embedding files, one a line: names below the embeddings folder, or paths. The name of a file is the word that calls it."""


class EditOptions(FileOptions):
    """Change what a file tells about itself. Empty leaves an entry as it is, a single - removes it; the weights stay bit for bit."""

    kind: Literal["edit"] = "edit"
    """What is done."""
    title: Annotated[str, Ui(level="basic")] = ""
    """Name shown to people."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """Words that call what was learnt."""
    description: Annotated[str, Ui(level="basic", widget="lines")] = ""
    """What it is and how to use it."""
    author: Annotated[str, Ui(level="basic")] = ""
    """Who made it."""
    tags: Annotated[str, Ui(level="advanced")] = ""
    """Words to find it by, with commas between."""
    license: Annotated[str, Ui(level="advanced")] = ""
    """Under which terms it may be used, for example CC-BY-4.0."""
    cover: Annotated[str, Ui(level="basic", widget="picture")] = ""
    """Path of a picture; it is stored inside the file, at most 512 px wide."""


class DifferenceOptions(PrecisionOptions, BaseOptions, FileOptions):
    """What one adapter does more than another: the first less the second, block by block, saved as an adapter."""

    kind: Literal["difference"] = "difference"
    """What is done."""
    other: Annotated[str, Ui(level="basic", widget="adapter")] = ""
    """The adapter file that is taken away."""


ToolOptions = Annotated[
    InspectOptions
    | ConvertOptions
    | MergeOptions
    | BakeOptions
    | ExtractOptions
    | ResizeOptions
    | CutOptions
    | BundleOptions
    | EditOptions
    | DifferenceOptions,
    PydanticField(discriminator="kind"),
]
TOOLS: dict[str, type[Section]] = {
    "inspect": InspectOptions, "convert": ConvertOptions, "merge": MergeOptions, "bake": BakeOptions, "extract": ExtractOptions,
    "resize": ResizeOptions, "cut": CutOptions, "bundle": BundleOptions, "edit": EditOptions, "difference": DifferenceOptions,
}  # fmt: skip
"""Tool -> its options."""


class ToolOutput(Section):
    name: Annotated[str, Ui(level="basic")] = ""
    """Name of the new file. Empty: made from the old one's; `edit` then changes the file itself."""


class ToolConfig(Section):
    """One use of a tool."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    tool: ToolOptions = PydanticField(default_factory=InspectOptions)
    output: ToolOutput = PydanticField(default_factory=ToolOutput)

    @field_validator("tool", mode="before")
    @classmethod
    def _inspect_unless_said(cls, tool: Any) -> Any:
        return {"kind": "inspect", **tool} if isinstance(tool, dict) else tool
