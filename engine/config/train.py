"""Everything a training run can be told: the root config and its sections.

Knows no torch and no screen. What a number left empty becomes is computed in `engine.config.plan`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import field_validator, model_validator

from engine.config.adapter import AdapterOptions, LoraOptions
from engine.config.choices import Attention, ModelChoice, Precision, Quantization, SamplerName, split_sampler
from engine.config.field import Section, Ui

Kind = Literal["character", "style", "outfit", "pose", "object", "concept"]


class ModelOptions(Section):
    path: Annotated[str, Ui(level="basic", widget="model")] = "starter"
    """The base model: `starter`, a checkpoint's file name, a folder, or a Hugging Face id. Its family is detected."""
    vae: Annotated[str, Ui(level="expert", widget="vae")] = ""
    """Another VAE in place of the model's own, or the one that it lacks. Empty: the model's own, or the one that fits in models/vae."""
    text_encoders: Annotated[list[str], Ui(level="expert", widget="lines")] = PydanticField(default_factory=list)
    """Text encoders in place of the model's own, or those that it lacks, one file a line. Empty: its own, or what fits in models/text_encoders. Stable Diffusion 3 works without T5 and uses it only where its file has it or it is named here."""
    precision: Annotated[Precision, Ui(level="expert")] = "auto"
    """Number format of the frozen base. Auto takes what the device does best; the adapter itself is always float32."""
    quantization: Annotated[Quantization, Ui(level="expert")] = "none"
    """Keep the large weights in 4 or 8 bits (QLoRA): about a quarter or half of the memory, a little slower."""
    streamed_blocks: Annotated[int, Ge(0), Le(1000), Ui(unit="blocks", level="expert", step=1)] = 0
    """So many blocks stay in main memory and visit the graphics card one after the other (block swap); more than there are is all."""
    attention: Annotated[Attention, Ui(level="expert")] = "auto"
    """The kernel that computes attention. Auto lets PyTorch choose the fastest that fits."""

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(self.path, self.vae, tuple(self.text_encoders))


class DatasetOptions(Section):
    folder: Annotated[str, Ui(level="basic", widget="dataset")] = ""
    """A folder of pictures, or of Kohya's `20_name` folders."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """The word that will call what is learnt. Choose one the model does not know, for example `mofumo`."""
    kind: Annotated[Kind, Ui(level="basic")] = "character"
    """What the pictures have in common; the length of the run follows from it."""
    add_trigger: Annotated[bool, Ui(level="advanced")] = True
    """Put the trigger word in front of captions that lack it."""
    repeats: Annotated[int, Ge(1), Le(10000), Ui(level="advanced", step=1)] = 1
    """How often each picture is shown per epoch, where the folder name does not say."""
    resolution: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="advanced", step=8)] = 0
    """Side of the square whose area pictures are resized to; 0 takes the model's own."""
    enable_buckets: Annotated[bool, Ui(level="advanced")] = True
    """Keep each picture's shape by training in several sizes of about the same area (buckets); off crops to a square."""
    bucket_min: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="expert", step=8)] = 0
    """Shortest side of a bucket; 0 is half the resolution."""
    bucket_max: Annotated[int, Ge(0), Le(8192), Ui(unit="px", level="expert", step=8)] = 0
    """Longest side of a bucket; 0 is twice the resolution."""
    bucket_step: Annotated[int, Ge(0), Le(512), Ui(unit="px", level="expert", step=8)] = 0
    """Bucket sides are multiples of this; 0 is what the model needs (64 px for Stable Diffusion 1.x)."""
    no_upscale: Annotated[bool, Ui(level="expert")] = False
    """Do not enlarge small pictures; they train at their own size."""
    shuffle_tags: Annotated[bool, Ui(level="advanced")] = False
    """Shuffle the comma-separated tags of a caption each time it is shown."""
    keep_tags: Annotated[int, Ge(0), Le(100), Ui(level="advanced", step=1)] = 1
    """How many tags at the front stay in place when shuffling."""
    caption_dropout: Annotated[float, Ge(0), Le(1), Ui(level="advanced", step=0.01)] = 0.0
    """Fraction of the times a picture is shown without its caption."""
    flip: Annotated[bool, Ui(level="advanced")] = False
    """Also show pictures mirrored. Leave off for characters, which are seldom symmetric."""


class AdamW(Section):
    kind: Literal["adamw"] = "adamw"
    """The rule that turns gradients into steps."""
    weight_decay: Annotated[float, Ge(0), Le(1), Ui(level="expert", step=0.01)] = 0.01
    """Pull of the weights towards zero."""


class AdamW8bit(AdamW):
    kind: Literal["adamw8bit"] = "adamw8bit"  # type: ignore[assignment]
    """The rule that turns gradients into steps."""


OptimizerOptions = Annotated[AdamW | AdamW8bit, PydanticField(discriminator="kind")]


class TrainingOptions(Section):
    max_steps: Annotated[int | None, Ge(1), Le(1_000_000), Ui(unit="steps", level="basic", step=1)] = None
    """Length of the run. Empty: computed from the number of pictures and what they show. Set this or `epochs`, not both."""
    epochs: Annotated[int | None, Ge(1), Le(10_000), Ui(unit="epochs", level="advanced", step=1)] = None
    """Length of the run in rounds through the pictures. Empty: computed. Set this or `max_steps`, not both."""
    batch_size: Annotated[int, Ge(1), Le(256), Ui(unit="pictures", level="advanced", step=1)] = 1
    """Pictures per step. More is smoother and needs more memory; the number of pictures seen stays the same."""
    gradient_accumulation: Annotated[int, Ge(1), Le(256), Ui(level="expert", step=1)] = 1
    """Batches added up before the weights move: a larger batch without its memory."""
    learning_rate: Annotated[float, Ge(0), Le(10), Ui(level="basic", step=0.00001)] = 3e-4
    """How far each step moves (learning rate). Too high burns the picture, too low learns nothing."""
    text_encoder_learning_rate: Annotated[float, Ge(0), Le(10), Ui(level="advanced", step=0.00001, needs="text")] = 5e-5
    """Learning rate of the text encoder, when it is trained."""
    lora_plus: Annotated[float, Ge(1), Le(1000), Ui(level="advanced", step=1)] = 1.0
    """LoRA+: how many times faster the second factor (up) of adapters in the U-Net or transformer learns; 1 is off, 4 to 16 usual."""
    text_encoder_lora_plus: Annotated[float, Ge(1), Le(1000), Ui(level="expert", step=1, needs="text")] = 1.0
    """LoRA+ for the text encoder's adapters."""
    optimizer: OptimizerOptions = PydanticField(default_factory=AdamW)
    schedule: Annotated[Literal["cosine", "constant"], Ui(level="advanced")] = "cosine"
    """How the learning rate moves after the warm-up: falling along a half cosine, or constant."""
    warmup: Annotated[float, Ge(0), Le(1), Ui(unit="fraction", level="advanced", step=0.01)] = 0.05
    """Share of the run in which the learning rate rises from zero."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Ui(level="advanced", widget="seed", step=1)] = 42
    """The same seed and settings give the same LoRA."""
    precision: Annotated[Precision, Ui(level="expert")] = "auto"
    """Number format of the calculation (mixed precision). Auto takes what the device does best."""
    gradient_checkpointing: Annotated[bool, Ui(level="advanced")] = False
    """Calculate parts twice to halve the memory; about a third slower."""
    checkpointed_blocks: Annotated[int, Ge(0), Le(1000), Ui(unit="blocks", level="expert", step=1)] = 0
    """With gradient checkpointing: only so many blocks, those that save most, and the rest at full speed; 0 is all."""
    timestep_sampling: Annotated[Literal["sigmoid", "uniform"], Ui(level="expert", needs="flow")] = "sigmoid"
    """Which noise levels are practised, for SD3, FLUX and Z-Image: mostly the middle ones, where the picture takes shape, or all alike."""
    flow_shift: Annotated[float, Ge(0), Le(100), Ui(level="expert", step=0.5, needs="flow")] = 0.0
    """Shift of the noise levels towards noise (discrete flow shift), for SD3, FLUX and Z-Image; 0 is the model's own, 1 is none."""
    distilled_guidance: Annotated[float, Ge(0), Le(30), Ui(level="expert", step=0.5, needs="distilled")] = 1.0
    """The guidance FLUX.1 dev is told while training. 1 is the usual value."""
    max_grad_norm: Annotated[float, Ge(0), Le(1000), Ui(level="expert", step=0.1)] = 1.0
    """Longer gradients are shortened to this; 0 leaves them."""
    clip_skip: Annotated[int, Ge(1), Le(12), Ui(level="expert", step=1, needs="clip_skip")] = 1
    """Use the text encoder's layer this far from its end (2 for many anime models)."""
    cache_latents: Annotated[bool, Ui(level="expert")] = True
    """Keep encoded pictures on disk, so that the next run with them starts at once. Off: they are encoded at every start."""
    deterministic: Annotated[bool, Ui(level="expert")] = False
    """On a GPU: bit-exact repeats at the price of speed. On a CPU runs are always exact."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _adamw_unless_said(cls, optimizer: Any) -> Any:
        return {"kind": "adamw", **optimizer} if isinstance(optimizer, dict) else optimizer

    @model_validator(mode="after")
    def _one_length(self) -> TrainingOptions:
        if self.max_steps is not None and self.epochs is not None:
            raise ValueError("set max_steps or epochs, not both: they are two ways to say one length")
        return self


class SampleOptions(Section):
    prompts: Annotated[list[str], Ui(level="basic", widget="lines")] = PydanticField(default_factory=list)
    """Pictures to make as it learns, one prompt a line. Empty: the trigger word and a caption of yours."""
    negative_prompt: Annotated[str, Ui(level="advanced")] = ""
    """What the sample pictures shall not show."""
    count: Annotated[int, Ge(0), Le(100), Ui(unit="times", level="advanced", step=1)] = 5
    """How often samples are made over the run, besides the ones before the first step; 0 makes none."""
    steps: Annotated[int, Ge(0), Le(150), Ui(unit="steps", level="advanced", step=1)] = 0
    """Steps of the sampler; 0 is the model's own number."""
    sampler: Annotated[SamplerName, Ui(level="advanced")] = "Automatic"
    """The sampler, by AUTOMATIC1111's name; Automatic is the model's own."""
    guidance_scale: Annotated[float, Ge(0), Le(50), Ui(level="advanced", step=0.5)] = 0.0
    """How closely the picture follows the prompt (CFG scale); 0 is the model's own, 1 is none."""
    width: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="expert", step=8)] = 0
    """Width of the samples; 0 is the training resolution."""
    height: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="expert", step=8)] = 0
    """Height of the samples; 0 is the training resolution."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Ui(level="expert", widget="seed", step=1)] = 1
    """Every sample of a prompt starts from the same noise, so that only the learning shows."""

    @field_validator("sampler", mode="before")
    @classmethod
    def _old_sampler(cls, given: Any) -> Any:
        """ "DPM++ 2M Karras" was one name once; its schedule is what Automatic means there."""
        return split_sampler(given)[0] if isinstance(given, str) else given


class OutputOptions(Section):
    name: Annotated[str, Ui(level="basic")] = ""
    """File name of the LoRA and its name in `<lora:name:1>`."""
    save_count: Annotated[int, Ge(1), Le(100), Ui(unit="files", level="advanced", step=1)] = 5
    """How many versions are kept along the way, the last included, to choose the best from."""
    precision: Annotated[Literal["float16", "bfloat16", "float32"], Ui(level="expert")] = "float16"
    """Number format of the file. float16 is what other programs expect."""
    comment: Annotated[str, Ui(level="expert")] = ""
    """A note written into the file (training comment)."""


class TrainConfig(Section):
    """One training run."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    model: ModelOptions = PydanticField(default_factory=ModelOptions)
    dataset: DatasetOptions = PydanticField(default_factory=DatasetOptions)
    adapter: AdapterOptions = PydanticField(default_factory=LoraOptions)
    training: TrainingOptions = PydanticField(default_factory=TrainingOptions)
    samples: SampleOptions = PydanticField(default_factory=SampleOptions)
    output: OutputOptions = PydanticField(default_factory=OutputOptions)

    @field_validator("adapter", mode="before")
    @classmethod
    def _lora_unless_said(cls, adapter: Any) -> Any:
        return {"kind": "lora", **adapter} if isinstance(adapter, dict) else adapter
