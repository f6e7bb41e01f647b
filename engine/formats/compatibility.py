"""Which programs can use an adapter file, and why not.

From what these programs do with adapters of the families known here: AUTOMATIC1111 1.10, Forge, ComfyUI, diffusers 0.42,
Kohya's sd-scripts with LyCORIS 4.1 (to go on training). Torch-free; the file's header tells everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.formats.models import MODELS
from engine.formats.summary import AdapterSummary

Loads = Literal["yes", "partly", "no"]

PROGRAMS = ("lora_atelier", "automatic1111", "forge", "comfyui", "diffusers", "sd_scripts")
FAMILIES = {
    "lora_atelier": tuple(MODELS), "automatic1111": ("sd1", "sd2", "sdxl", "sd3"), "forge": ("sd1", "sd2", "sdxl", "sd3", "flux"),
    "sd_scripts": ("sd1", "sd2", "sdxl", "sd3", "flux"),
}  # fmt: skip
"""Families of base models, where a program knows fewer than exist."""

REASONS: dict[str, str] = {
    "algorithm": "It does not know this algorithm and leaves the adapter out.",
    "family": "It does not know this family of base models.",
    "spelling": "It does not know these names of layers and leaves the adapter out.",
    "peft_names": "It knows some of the names only, and does not look for alpha where this form keeps it: convert to Kohya's form.",
    "t5": "It leaves out what was learnt in T5, the large text encoder.",
    "dora_axis": "It takes the norm of the weight along the other axis: the picture differs.",
    "dora_base": "It divides by the norm of the base weight alone: the picture differs slightly.",
    "dora_dropped": "It drops the magnitudes of DoRA: the picture is wrong. Convert to PEFT's form.",
    "tucker": "It cannot read convolutions of three factors (Tucker).",
    "glora_order": "It reads the order of factors of early LyCORIS only.",
    "constraint": "It bounds the rotation differently: with a constraint the picture differs.",
    "lycoris": "With the LyCORIS package installed.",
    "lycoris_reload": "LyCORIS cannot read its own files of this kind again.",
    "full_twice": "LyCORIS adds the difference twice when it goes on training.",
    "embeddings": "The embeddings in the file stay unused.",
    "bundle": "It refuses files with bundled embeddings.",
}
"""Code -> sentence."""

_Rule = tuple[Loads, str]
_YES: _Rule = ("yes", "")
_UNKNOWN: _Rule = ("no", "algorithm")
_LYCORIS: _Rule = ("partly", "lycoris")

ALGORITHMS: dict[str, dict[str, _Rule]] = {
    "automatic1111": {
        "lora": _YES, "loha": _YES, "lokr": _YES, "ia3": _YES, "oft": _YES, "boft": _YES, "full": _YES, "norm": _YES,
        "glora": ("partly", "glora_order"),
    },
    "forge": {"lora": _YES, "loha": _YES, "lokr": _YES, "full": _YES, "norm": _YES, "glora": ("partly", "glora_order")},
    "comfyui": {
        "lora": _YES, "loha": _YES, "lokr": _YES, "glora": _YES, "full": _YES, "norm": _YES,
        "oft": ("partly", "constraint"), "boft": ("partly", "constraint"),
    },
    "diffusers": {"lora": _YES},
    "sd_scripts": {
        "lora": _YES, "loha": _LYCORIS, "lokr": _LYCORIS, "glora": _LYCORIS, "oft": _LYCORIS, "boft": _LYCORIS, "norm": _LYCORIS,
        "ia3": ("no", "lycoris_reload"), "full": ("partly", "full_twice"),
    },
}  # fmt: skip
"""Program -> algorithm -> what becomes of it there; one that is missing is unknown to the program. Ours knows all."""

DORA: dict[str, _Rule] = {
    "automatic1111": ("partly", "dora_axis"), "forge": ("partly", "dora_axis"), "comfyui": ("partly", "dora_base"),
    "diffusers": ("no", "dora_dropped"), "sd_scripts": _LYCORIS,
}  # fmt: skip
"""What becomes of a weight-decomposed adapter with a magnitude per output, as ours and PEFT's have it."""
TUCKER: dict[str, _Rule] = {"diffusers": ("no", "tucker"), "sd_scripts": _LYCORIS}
PEFT: dict[str, _Rule] = {
    "automatic1111": ("no", "spelling"), "forge": ("partly", "peft_names"), "comfyui": ("partly", "peft_names"),
    "sd_scripts": ("no", "spelling"),
}  # fmt: skip
"""Dotted names, PEFT's and those that diffusers wrote before it."""
LYCORIS: dict[str, _Rule] = {
    "automatic1111": ("no", "spelling"), "forge": ("no", "spelling"), "diffusers": ("no", "spelling"), "sd_scripts": ("no", "spelling"),
}  # fmt: skip
"""Names that begin with `lycoris_`."""
SD3_KOHYA: dict[str, _Rule] = {"diffusers": ("no", "spelling")}
"""Kohya's names of SD3's transformer: diffusers loads nothing of them and says nothing."""
T5: dict[str, _Rule] = {"diffusers": ("partly", "t5")}
EMBEDDINGS: dict[str, _Rule] = {
    "forge": ("partly", "embeddings"), "comfyui": ("partly", "embeddings"), "diffusers": ("no", "bundle"),
    "sd_scripts": ("partly", "embeddings"),
}  # fmt: skip
_ORDER: tuple[Loads, ...] = ("yes", "partly", "no")


@dataclass(frozen=True)
class Verdict:
    """Whether a program uses a file as it is meant, and why not: codes of REASONS, the gravest first."""

    loads: Loads
    reasons: tuple[str, ...]


def compatibility(summary: AdapterSummary) -> dict[str, Verdict]:
    """What each of PROGRAMS makes of a file."""
    return {program: _judge(program, summary) for program in PROGRAMS}


def _judge(program: str, summary: AdapterSummary) -> Verdict:
    rules = [ALGORITHMS[program].get(each, _UNKNOWN) for each in summary.algorithms] if program in ALGORITHMS else [_YES]
    rules += [table[program] for table in _tables(program, summary) if program in table]
    if program in FAMILIES and summary.base not in ("", *FAMILIES[program]):
        rules.append(("no", "family"))
    rules.sort(key=lambda rule: _ORDER.index(rule[0]), reverse=True)
    return Verdict(rules[0][0], tuple(dict.fromkeys(reason for _, reason in rules if reason)))


def _tables(program: str, summary: AdapterSummary) -> Iterator[dict[str, _Rule]]:
    """What else than its algorithms there is to judge about a file."""
    if summary.dora and (program, summary.format) != ("diffusers", "peft"):
        yield DORA
    if summary.tucker:
        yield TUCKER
    if summary.format == "peft" or (summary.format == "diffusers" and summary.base != "z_image"):  # whose files are all dotted
        yield PEFT
    if summary.format == "kohya" and summary.base == "sd3":
        yield SD3_KOHYA
    if "text_encoder_3" in summary.modules or (summary.base == "flux" and "text_encoder_2" in summary.modules):
        yield T5
    if summary.format == "lycoris":
        yield LYCORIS
    if summary.embeddings:
        yield EMBEDDINGS
