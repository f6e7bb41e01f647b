"""What is known of a family of base models without loading one: its parts, their names on disk, its layers, its habits.

Plain data and functions of names and shapes; no torch. A family is one file here, one in `engine.families`, a line in either
registry and a folder of presets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from engine.config.choices import SamplerName
from engine.config.layers import Size
from engine.config.targets import Layer
from engine.formats.layouts.stored import KeyMap

CONFIGS = Path(__file__).parents[2] / "families" / "configs"
"""Diffusers folders of configs and tokenizers, without weights, of the published models."""

PartKind = Literal["unet", "vae", "clip", "clip_projected", "t5", "qwen3", "sd3", "flux", "z_image"]
"""Which network a part is; key of `engine.families.parts.PART_CLASSES`."""
Prediction = Literal["epsilon", "v_prediction", "flow"]
Shapes = Mapping[str, Size]


@dataclass(frozen=True)
class Part:
    """One network of a base model, by the name of its folder in the diffusers layout.

    Attributes:
        title: what people call it.
        kind: which network it is.
        prefixes: how its keys begin in a single file, the most usual first; "" for a file that holds nothing else.
        mark: a key (behind the prefix) that shows the part is there, as a regular expression.
        keys: its names in a single file.
        sizes: shapes of a file (behind the prefix) -> what they show of its config.
            Raises KeyError, IndexError or ValueError for shapes that fit no such network.
        layers: paths of modules with weights, config -> those that adapters may change, in the same order; None when it is
            never trained.
        adapter_prefix: how its modules begin in adapter files (Kohya's convention).
        named_as_stored: whether adapter files name its modules as single files do (`double_blocks_0_img_attn_qkv`, three in one),
            rather than by their own paths.
        dotted_prefix: how its modules begin in adapter files that leave their paths as they are (Z-Image's
            `diffusion_model.layers.0.attention.to_q`); "" where they follow Kohya's convention.
        identity: a square matrix of the network that is always the identity and that single files do not have; "" for none.
        file: what people call a file of it alone.
        alone: how such a file has it, where that is another layout than in a whole model.
    """

    title: str
    kind: PartKind
    prefixes: tuple[str, ...]
    mark: str
    keys: KeyMap
    sizes: Callable[[Shapes], dict[str, Any]]
    layers: Callable[[Iterable[str], Mapping[str, Any]], list[Layer]] | None = None
    adapter_prefix: str = ""
    named_as_stored: bool = False
    dotted_prefix: str = ""
    identity: str = ""
    file: str = ""
    alone: Part | None = None


class PartSource(NamedTuple):
    """Where the weights of a part are.

    Attributes:
        path: a folder of a diffusers model, or a file.
        prefix: how their keys begin in the file.
        alone: the file holds them in the layout of `Part.alone`.
    """

    path: Path
    prefix: str = ""
    alone: bool = False

    def form(self, part: Part) -> Part:
        """The part as it is stored there."""
        return part.alone if self.alone and part.alone else part


@dataclass(frozen=True)
class Habits:
    """How a model likes to be used where the user says nothing.

    Attributes:
        guidance_scale: classifier-free guidance; 1 is none.
        distilled_guidance: the guidance that models distilled from a guided one are told (FLUX.1 dev); 0 where there is none.
        resolution: side of the square it was made for, px.
        clip_skip: of the text encoder, where it has one that layers can be left out of; 0 where it has none.
        text_length: tokens of a prompt that it reads; 0 is any number, in chunks of 75.
    """

    sampler: SamplerName = "Euler a"
    steps: int = 20
    guidance_scale: float = 7.0
    distilled_guidance: float = 0.0
    resolution: int = 512
    clip_skip: int = 1
    text_length: int = 0


@dataclass(frozen=True)
class Variant:
    """What is special about one member of a family.

    Attributes:
        title: what people call it: "FLUX.1 schnell".
        base_version: Kohya's word for it in an adapter's metadata (`ss_base_model_version`).
        architecture: the word of the model card for a LoRA of it (`modelspec.architecture`, without "/lora").
        configs: folder below CONFIGS, whose configs hold for single files of it.
        prediction: what the denoiser predicts where the file does not say.
    """

    title: str
    base_version: str
    architecture: str
    configs: str
    habits: Habits = field(default_factory=Habits)
    prediction: Prediction = "epsilon"


@dataclass(frozen=True)
class ModelFormat:
    """A family of base models.

    Attributes:
        title: what people call it.
        pipelines: class names in a diffusers `model_index.json`.
        denoiser: name of the part that predicts: "unet" or "transformer".
        parts: name -> part, in the order in which layers are listed: text encoders, then the denoiser, then "vae".
        tokenizers: text encoder -> the folder of its tokenizer.
        variants: name -> variant.
        variant: of a model, from the shapes of its denoiser in the file's names (behind the prefix) and the file's metadata,
            in which `modelspec.prediction_type` stands for a marker tensor too.
            Raises KeyError, IndexError or ValueError for shapes of another model.
        folder_variant: the same from the configs of a diffusers folder: part -> config, with "scheduler" and "model_index".
        fits: whether networks of these configs, by part, work together; those that are not there are not asked for.
        patch: pixels of a latent side that are one token of the denoiser: sizes must be multiples of it.
        optional: parts that it also works without.
    """

    title: str
    pipelines: tuple[str, ...]
    denoiser: Literal["unet", "transformer"]
    parts: Mapping[str, Part]
    tokenizers: Mapping[str, str]
    variants: Mapping[str, Variant]
    variant: Callable[[Shapes, Mapping[str, str]], str]
    folder_variant: Callable[[Mapping[str, Mapping[str, Any]]], str]
    fits: Callable[[Mapping[str, Mapping[str, Any]]], bool]
    patch: int = 1
    optional: tuple[str, ...] = ()

    @property
    def text_encoders(self) -> list[str]:
        return list(self.tokenizers)

    @property
    def trained(self) -> list[str]:
        """The parts that adapters may change."""
        return [name for name, part in self.parts.items() if part.layers]
