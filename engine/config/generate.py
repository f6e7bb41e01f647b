"""Everything one request for pictures can be told."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import Field as PydanticField

from engine.config.choices import Attention, ModelChoice, Precision, Quantization, SamplerName
from engine.config.field import Section, Ui


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
    sampler: Annotated[SamplerName, Ui(level="basic")] = "Automatic"
    """The sampler, by AUTOMATIC1111's name; Automatic is the model's own."""
    steps: Annotated[int, Ge(0), Le(150), Ui(unit="steps", level="basic", step=1, widget="slider")] = 0
    """Steps of the sampler. 20 to 30 is plenty; 0 is the model's own number."""
    guidance_scale: Annotated[float, Ge(0), Le(50), Ui(level="basic", step=0.5, widget="slider")] = 0.0
    """How closely the picture follows the prompt (CFG scale); 0 is the model's own, 1 is none."""
    distilled_guidance: Annotated[float, Ge(0), Le(30), Ui(level="basic", step=0.5, widget="slider", needs="distilled")] = 0.0
    """How closely FLUX.1 dev follows the prompt, which it learnt in place of CFG (distilled CFG scale); 0 is the model's own."""
    seed: Annotated[int, Ge(-1), Le(2**32 - 1), Ui(level="basic", widget="seed", step=1)] = -1
    """The noise the picture starts from; -1 draws a new one each time. The same seed gives the same picture."""
    width: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="basic", step=8)] = 0
    """Width; 0 is the model's own."""
    height: Annotated[int, Ge(0), Le(4096), Ui(unit="px", level="basic", step=8)] = 0
    """Height; 0 is the model's own."""
    batch_size: Annotated[int, Ge(1), Le(16), Ui(unit="pictures", level="basic", step=1)] = 1
    """Pictures at once; picture i starts from seed + i."""
    clip_skip: Annotated[int, Ge(1), Le(12), Ui(level="advanced", step=1, needs="clip_skip")] = 1
    """Use the text encoder's layer this far from its end (2 for many anime models)."""
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
