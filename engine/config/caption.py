"""What writing captions by itself is told: one model of options per kind of tagger, told apart by `kind`.

A tagger is named by "starter" (the one that ships), a folder below `models/taggers`, a path, or an id of Hugging Face.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import field_validator

from engine.config.choices import Precision
from engine.config.field import Section, Ui

WriteMode = Literal["replace", "append", "prepend", "missing"]
WRITE_MODES: tuple[WriteMode, ...] = get_args(WriteMode)
LEAST_SCORE = 0.05
"""The lowest threshold; a tag with a lower score is not even remembered."""


class Wd14Options(Section):
    """Tags as of Danbooru, by an ONNX tagger of WD14's form; fast, also without a graphics card."""

    kind: Literal["wd14"] = "wd14"
    """What looks at the pictures."""
    model: Annotated[str, Ui(level="basic", widget="tagger")] = "starter"
    """The tagger; starter knows the world of the practice pictures alone. Others are fetched from Hugging Face when they are first used."""
    general_threshold: Annotated[float, Ge(LEAST_SCORE), Le(1), Ui(level="basic", step=0.01, widget="slider")] = 0.35
    """How sure it must be of a tag. Lower gives more tags, and more wrong ones."""
    character_threshold: Annotated[float, Ge(LEAST_SCORE), Le(1), Ui(level="advanced", step=0.01, widget="slider")] = 0.85
    """How sure it must be who somebody is. High, since a wrong name does more harm than a missing one."""
    rating: Annotated[bool, Ui(level="advanced")] = False
    """Write the rating (general, sensitive, ...) as the last tag."""
    blacklist: Annotated[list[str], Ui(level="advanced", widget="lines")] = PydanticField(default_factory=list)
    """Tags that are never written, one a line."""
    spaces: Annotated[bool, Ui(level="advanced")] = True
    """Write long_hair as long hair. Emoticons such as ^_^ stay as they are."""
    characters_first: Annotated[bool, Ui(level="advanced")] = True
    """Write who somebody is before all other tags; otherwise after them."""


class CaptionerOptions(Section):
    """What all models that write sentences have."""

    max_tokens: Annotated[int, Ge(1), Le(1024), Ui(level="advanced", unit="tokens", step=1)] = 150
    """Where a caption is cut off; a word is one or two tokens. SD1.x and SDXL read 75, or a multiple of it."""
    precision: Annotated[Precision, Ui(level="expert")] = "auto"
    """Number format of the model. Auto takes what the device does best."""


class BeamOptions(CaptionerOptions):
    beams: Annotated[int, Ge(1), Le(16), Ui(level="advanced", step=1)] = 3
    """Captions that are followed at once before the best is taken (beam search). 1 is fastest."""


class BlipOptions(BeamOptions):
    """A short sentence."""

    kind: Literal["blip"] = "blip"
    """What looks at the pictures."""
    model: Annotated[str, Ui(level="basic", widget="tagger")] = "Salesforce/blip-image-captioning-base"
    """A folder below models/taggers, a path, or an id of Hugging Face, which is fetched when it is first used."""
    prompt: Annotated[str, Ui(level="advanced")] = ""
    """Words that the sentence begins with, for example: a drawing of."""


class Blip2Options(BeamOptions):
    """A short sentence by a larger model."""

    kind: Literal["blip2"] = "blip2"
    """What looks at the pictures."""
    model: Annotated[str, Ui(level="basic", widget="tagger")] = "Salesforce/blip2-opt-2.7b"
    """A folder below models/taggers, a path, or an id of Hugging Face, which is fetched when it is first used."""
    prompt: Annotated[str, Ui(level="advanced")] = ""
    """Words that the sentence begins with (a drawing of), or a question, which ends with a colon: Question: what is in the picture? Answer:"""


class Florence2Options(BeamOptions):
    """A sentence or a paragraph by a small model."""

    kind: Literal["florence2"] = "florence2"
    """What looks at the pictures."""
    model: Annotated[str, Ui(level="basic", widget="tagger")] = "florence-community/Florence-2-base"
    """A folder below models/taggers, a path, or an id of Hugging Face, which is fetched when it is first used."""
    task: Annotated[Literal["caption", "detailed_caption", "more_detailed_caption"], Ui(level="basic")] = "detailed_caption"
    """How much it tells."""


class QwenVlOptions(CaptionerOptions):
    """What you ask for, by a vision-language model of the Qwen-VL family."""

    kind: Literal["qwen_vl"] = "qwen_vl"
    """What looks at the pictures."""
    model: Annotated[str, Ui(level="basic", widget="tagger")] = "Qwen/Qwen2.5-VL-3B-Instruct"
    """A folder below models/taggers, a path, or an id of Hugging Face, which is fetched when it is first used."""
    instruction: Annotated[str, Ui(level="basic", widget="lines")] = (
        "Describe this picture in one or two plain sentences for training an image model. Name what is seen: who or what, "
        "clothes, pose, place, light and view. Do not guess, and do not begin with “The image shows”."
    )
    """What it is asked. It may be written in any language that the model knows."""


TaggerOptions = Annotated[
    Wd14Options | BlipOptions | Blip2Options | Florence2Options | QwenVlOptions, PydanticField(discriminator="kind")
]
TAGGERS: dict[str, type[Section]] = {
    "wd14": Wd14Options, "blip": BlipOptions, "blip2": Blip2Options, "florence2": Florence2Options, "qwen_vl": QwenVlOptions,
}  # fmt: skip
"""Kind of tagger -> its options."""


class CaptionConfig(Section):
    """Captions for the pictures of a dataset."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of these settings."""
    dataset: Annotated[str, Ui(level="basic", widget="dataset")] = ""
    """The folder of pictures."""
    names: Annotated[list[str], Ui(level="expert", widget="lines")] = PydanticField(default_factory=list)
    """Pictures, named below the folder. Empty: all that are trained on."""
    tagger: TaggerOptions = PydanticField(default_factory=Wd14Options)
    write: Annotated[WriteMode, Ui(level="basic")] = "missing"
    """What becomes of a caption that is there already. Append and prepend add no tag twice."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """A word that every written caption begins with. A concept's own trigger word takes its place; regularisation pictures get none."""
    device: Annotated[str, Ui(level="expert")] = "auto"
    """What computes: auto, cpu, cuda, cuda:1, mps."""
    dry_run: Annotated[bool, Ui(level="expert")] = False
    """Look and tell, but write nothing."""

    @field_validator("tagger", mode="before")
    @classmethod
    def _wd14_unless_said(cls, tagger: Any) -> Any:
        return {"kind": "wd14", **tagger} if isinstance(tagger, dict) else tagger
