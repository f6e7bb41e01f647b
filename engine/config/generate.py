"""Everything one request for pictures can be told."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import model_validator

from engine.config.choices import (
    Attention,
    Emphasis,
    MaskedContent,
    ModelChoice,
    NoiseSource,
    PictureFormat,
    Precision,
    Quantization,
    Resize,
    SamplerName,
    ScheduleName,
    Upscaler,
    split_sampler,
)
from engine.config.field import Section, Ui


class SourceOptions(Section):
    """A picture to start from (img2img), and what of it shall change (inpaint)."""

    picture: Annotated[str, Ui(level="advanced", widget="picture")] = ""
    """A picture to start from. Empty: from noise alone."""
    denoising: Annotated[float, Ge(0), Le(1), Ui(level="advanced", step=0.05, widget="slider")] = 0.75
    """How far the picture may go from it (denoising strength): 0 leaves it, 1 forgets it."""
    resize: Annotated[Resize, Ui(level="advanced")] = "crop"
    """What happens where its shape differs: cut, filled up at its edges, or stretched."""
    mask: Annotated[str, Ui(level="advanced", widget="picture")] = ""
    """A picture of the same shape, white where it shall change. Empty: everywhere."""
    invert_mask: Annotated[bool, Ui(level="expert")] = False
    """Change what is black in the mask instead."""
    mask_blur: Annotated[int, Ge(0), Le(64), Ui(unit="px", level="expert", step=1)] = 4
    """How soft the edge of the mask becomes."""
    masked_content: Annotated[MaskedContent, Ui(level="expert")] = "original"
    """What the masked part starts from: the picture, its surroundings, noise, or nothing."""
    only_masked: Annotated[bool, Ui(level="expert")] = False
    """Draw only the surroundings of the mask at full size, then put them back."""
    padding: Annotated[int, Ge(0), Le(256), Ui(unit="px", level="expert", step=4)] = 32
    """How much around the mask is drawn with it."""


class HiresOptions(Section):
    """A second pass at a larger size (hires fix)."""

    scale: Annotated[float, Ge(1), Le(4), Ui(level="advanced", step=0.05, widget="slider")] = 1.0
    """Size of the second pass, as a multiple; 1 makes none."""
    upscaler: Annotated[Upscaler, Ui(level="advanced")] = "Latent"
    """How the first picture is enlarged. Latent ones need a denoising strength above 0.5."""
    denoising: Annotated[float, Ge(0), Le(1), Ui(level="advanced", step=0.05, widget="slider")] = 0.7
    """How much is drawn anew in the second pass."""
    steps: Annotated[int, Ge(0), Le(150), Ui(unit="steps", level="advanced", step=1)] = 0
    """Steps of the second pass; 0 is as many as the first."""
    prompt: Annotated[str, Ui(level="expert", widget="lines")] = ""
    """Another prompt for the second pass. Empty: the same."""
    negative_prompt: Annotated[str, Ui(level="expert", widget="lines")] = ""
    """Another negative prompt for the second pass. Empty: the same."""


class GenerateConfig(Section):
    """Pictures from a prompt. Adapters are named in the prompt: `<lora:name:weight>`."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    model: Annotated[str, Ui(level="basic", widget="model")] = "starter"
    """The base model, as in training."""
    vae: Annotated[str, Ui(level="expert", widget="vae")] = ""
    """Another VAE in place of the model's own, or the one that it lacks. Empty: the model's own, or the one that fits in models/vae."""
    text_encoders: Annotated[list[str], Ui(level="expert", widget="lines")] = PydanticField(default_factory=list)
    """Text encoders in place of the model's own, or those that it lacks, one file a line. Empty: its own, or what fits in models/text_encoders."""
    prompt: Annotated[str, Ui(level="basic", widget="lines")] = ""
    """What the picture shows; `<lora:name:0.8>` applies a LoRA."""
    negative_prompt: Annotated[str, Ui(level="basic", widget="lines")] = ""
    """What the picture shall not show."""
    styles: Annotated[list[str], Ui(level="basic", widget="styles")] = PydanticField(default_factory=list)
    """Words kept in styles.csv that are added to both prompts; `{prompt}` in a style is where the prompt goes."""
    wildcards: Annotated[bool, Ui(level="advanced")] = False
    """Let each picture choose from `{red|blue}` and from the lines of a list: `__colours__` is colours.txt in the folder wildcards."""
    sampler: Annotated[SamplerName, Ui(level="basic")] = "Automatic"
    """The sampler, by AUTOMATIC1111's name; Automatic is the model's own."""
    schedule: Annotated[ScheduleName, Ui(level="basic")] = "Automatic"
    """How the noise falls from step to step (schedule type); Automatic is what suits the sampler."""
    steps: Annotated[int, Ge(0), Le(150), Ui(unit="steps", level="basic", step=1, widget="slider")] = 0
    """Steps of the sampler. 20 to 30 is plenty; 0 is the model's own number."""
    guidance_scale: Annotated[float, Ge(0), Le(50), Ui(level="basic", step=0.5, widget="slider")] = 0.0
    """How closely the picture follows the prompt (CFG scale); 0 is the model's own, 1 is none."""
    distilled_guidance: Annotated[float, Ge(0), Le(30), Ui(level="basic", step=0.5, widget="slider", needs="distilled")] = 0.0
    """How closely FLUX.1 dev follows the prompt, which it learnt in place of CFG (distilled CFG scale); 0 is the model's own."""
    seed: Annotated[int, Ge(-1), Le(2**32 - 1), Ui(level="basic", widget="seed", step=1)] = -1
    """The noise the picture starts from; -1 draws a new one each time. The same seed gives the same picture."""
    variation_strength: Annotated[float, Ge(0), Le(1), Ui(level="advanced", step=0.01, widget="slider")] = 0.0
    """How far the noise goes towards that of the variation seed; 0 not at all."""
    variation_seed: Annotated[int, Ge(-1), Le(2**32 - 1), Ui(level="advanced", widget="seed", step=1)] = -1
    """The seed of the variation; -1 draws a new one each time."""
    noise_source: Annotated[NoiseSource, Ui(level="expert")] = "CPU"
    """Where noise is drawn: CPU, or NV as NVIDIA cards draw it, for pictures made with AUTOMATIC1111's default."""
    eta_noise_seed_delta: Annotated[int, Ge(0), Le(2**32 - 1), Ui(level="expert", step=1)] = 0
    """Added to the seed for the noise between steps (ENSD); NovelAI uses 31337."""
    width: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="basic", step=8)] = 0
    """Width; 0 is the model's own."""
    height: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="basic", step=8)] = 0
    """Height; 0 is the model's own."""
    batch_size: Annotated[int, Ge(1), Le(16), Ui(unit="pictures", level="basic", step=1)] = 1
    """Pictures at once; picture i starts from seed + i."""
    batch_count: Annotated[int, Ge(1), Le(100), Ui(level="basic", step=1)] = 1
    """How many times so many pictures are made, one batch after the other."""
    hires: HiresOptions = PydanticField(default_factory=HiresOptions)
    source: SourceOptions = PydanticField(default_factory=SourceOptions)
    clip_skip: Annotated[int, Ge(1), Le(12), Ui(level="advanced", step=1, needs="clip_skip")] = 1
    """Use the text encoder's layer this far from its end (2 for many anime models)."""
    emphasis: Annotated[Emphasis, Ui(level="expert")] = "Original"
    """What weights such as `(word:1.2)` do: multiply and keep the mean, multiply only, nothing, or brackets are plain text."""
    preview_every: Annotated[int, Ge(0), Le(50), Ui(unit="steps", level="advanced", step=1)] = 4
    """Show the picture on its way every so many steps; 0 shows none."""
    picture_format: Annotated[PictureFormat, Ui(level="expert")] = "png"
    """How pictures are saved: PNG keeps every pixel, JPEG and WebP are smaller. All carry their settings."""
    precision: Annotated[Precision, Ui(level="expert")] = "auto"
    """Number format of the model and of the calculation. Auto takes what the device does best."""
    quantization: Annotated[Quantization, Ui(level="expert")] = "none"
    """Keep the large weights in 4 or 8 bits: about a quarter or half of the memory, a little slower."""
    streamed_blocks: Annotated[int, Ge(0), Le(1000), Ui(unit="blocks", level="expert", step=1)] = 0
    """So many blocks stay in main memory and visit the graphics card one after the other (block swap); more than there are is all."""
    attention: Annotated[Attention, Ui(level="expert")] = "auto"
    """The kernel that computes attention. Auto lets PyTorch choose the fastest that fits."""
    compare: Annotated[bool, Ui(level="basic")] = False
    """Also make each picture without any adapter, from the same noise."""
    live_run: Annotated[str, Ui(level="expert")] = ""
    """Id of a run in training whose unfinished adapter is applied, at full strength."""

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(self.model, self.vae, tuple(self.text_encoders))

    @model_validator(mode="before")
    @classmethod
    def _old_sampler(cls, given: Any) -> Any:
        """ "DPM++ 2M Karras" was one name once, and is in many pictures and scripts."""
        if isinstance(given, dict) and isinstance(given.get("sampler"), str):
            sampler, schedule = split_sampler(given["sampler"])
            return {**given, "sampler": sampler, "schedule": schedule or given.get("schedule", "Automatic")}
        return given
