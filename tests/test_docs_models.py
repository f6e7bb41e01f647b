"""The tables of docs/models.md say what the registries say and what `test_every_family` shows, in both languages.

A failure shows the rows as they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file

from engine.config.adapter import LoraOptions
from engine.config.choices import SAMPLER_NAMES, SAMPLERS_FOR, Quantization
from engine.config.targets import choose
from engine.families.base import adaptable_layers
from engine.formats.compatibility import PROGRAMS, compatibility
from engine.formats.models import MODELS
from engine.formats.models.base import ModelFormat, Variant
from engine.formats.names import disk_names
from engine.formats.summary import describe
from engine.memory.walk import denoise
from engine.memory.weights import parameters, weight_bytes
from tests.support.costs import shipped
from tests.support.published import published
from webui.i18n import t

ROOT = Path(__file__).parents[1]
FILES = {"en": ROOT / "docs" / "models.md", "ja": ROOT / "docs" / "models.ja.md"}
WORDS = {
    "en": {
        "comma": ", ", "yes": "yes", "no": "no", "not yet": "not yet", "both": "read, written", "all": "all {}", "nothing": "nothing",
        "any": "any number", "of": "{}: {}", "epsilon": "noise", "v_prediction": "velocity (v)", "flow": "flow",
    },
    "ja": {
        "comma": "、", "yes": "できる", "no": "しない", "not yet": "まだ", "both": "読み書き", "all": "{} 種類すべて", "nothing": "なし",
        "any": "制限なし", "of": "{} {}", "epsilon": "ノイズ", "v_prediction": "速度 (v)", "flow": "フロー",
    },
}  # fmt: skip
LAYOUTS = {
    "sd1": "LDM", "sd2": "LDM + OpenCLIP", "sdxl": "LDM + OpenCLIP", "sd3": "Stability AI", "flux": "Black Forest Labs",
    "z_image": "Tongyi-MAI, ComfyUI",
}  # fmt: skip
EXAMPLES = {
    "unet": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "sd3": "transformer_blocks.0.attn.to_q",
    "flux": "transformer_blocks.0.attn.to_q", "z_image": "layers.0.attention.to_q",
}  # fmt: skip
"""Kind of denoiser -> a layer of it."""


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def code(words: Iterable[str], comma: str) -> str:
    return comma.join(f"`{word}`" for word in words)


def abilities(family: str, model: ModelFormat, words: dict[str, str]) -> str:
    """A row of what is there: each cell but those of methods to come has its test in `test_every_family`."""
    encoders = [model.parts[name].title.removesuffix("text encoder").strip() or words["yes"]
                for name in model.trained if name in model.text_encoders]  # fmt: skip
    able = SAMPLERS_FOR[first(model).prediction]
    return row(
        model.title, code(model.variants, words["comma"]), model.parts[model.denoiser].title,
        words["comma"].join(encoders) or words["no"], words["not yet"], words["not yet"],
        words["comma"].join(get_args(Quantization)[1:]), words["both"],
        words["all"].format(len(able)) if able == SAMPLER_NAMES[1:] else words["comma"].join(able),
    )  # fmt: skip


def habits(family: str, name: str, variant: Variant, words: dict[str, str]) -> str:
    base, likes = shipped(family, name), variant.habits
    sketch = denoise(base.predicting.kind, base.predicting.config, 64, 64, base.text_tokens)
    return row(
        variant.title, f"{parameters(sketch) / 1e9:.2f}", f"{weight_bytes(sketch, 2) / 1e9:.1f} GB",
        f"{weight_bytes(sketch, 2, 'nf4') / 1e9:.1f} GB", f"{likes.resolution} px", words["comma"].join([likes.sampler, f"{likes.steps}"]),
        f"{likes.guidance_scale:g}", f"{likes.distilled_guidance:g}" if likes.distilled_guidance else "",
        f"{likes.text_length}" if likes.text_length else words["any"], words[variant.prediction],
    )  # fmt: skip


def files(family: str, model: ModelFormat, words: dict[str, str]) -> str:
    prefixes = dict.fromkeys(prefix for part in model.parts.values() for prefix in part.prefixes if prefix)
    encoders = [model.parts[name].file for name in model.text_encoders]
    return row(
        model.title,
        LAYOUTS[family],
        code(prefixes, words["comma"]),
        code(encoders, words["comma"]),
        f"`{model.parts['vae'].file}`",
    )


def adapters(family: str, model: ModelFormat, words: dict[str, str], folder: Path) -> str:
    """A row of how a plain LoRA (attention and feed-forward, all text encoders) is written, and who reads it."""
    layers = adaptable_layers(family, published(family, first(model).configs))
    names = {name: disk_names(family, name, [layer.path for layer in listed]) for name, listed in layers.items()}
    chosen = choose(layers, LoraOptions(targets="attention+mlp", train_text_encoder=True, train_t5=True))
    counts = {name: len({names[name][each.layer.path].name for each in targets}) for name, targets in chosen.items()}
    example = names[model.denoiser][EXAMPLES[model.parts[model.denoiser].kind]].name
    encoders = {name: model.parts[name].adapter_prefix.removesuffix("text_model_") for name in counts if name != model.denoiser}
    file = folder / f"{family}.safetensors"
    metadata = {"ss_base_model_version": first(model).base_version, "modelspec.architecture": f"{first(model).architecture}/lora"}
    save_file({f"{example}.lora_down.weight": torch.ones(2, 8), f"{example}.lora_up.weight": torch.ones(8, 2)}, file, metadata)
    verdicts = compatibility(describe(file))
    readers = [t(f"text.program.{program}", "en") for program in PROGRAMS[1:] if verdicts[program].loads == "yes"]
    return row(
        model.title, f"`{example}`",
        words["comma"].join(words["of"].format(f"`{encoders[name]}`", counts[name]) for name in encoders) or words["nothing"],
        f"{counts[model.denoiser]}", words["comma"].join(name.partition(" (")[0] for name in readers),
    )  # fmt: skip


def first(model: ModelFormat) -> Variant:
    return next(iter(model.variants.values()))


def tables(language: str) -> list[list[str]]:
    """The tables of a file, without their heads."""
    found: list[list[str]] = [[]]
    for line in FILES[language].read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [lines[2:] for lines in found if lines]


@pytest.mark.parametrize("language", FILES)
def test_tables_say_what_is_there(language: str, tmp_path: Path) -> None:
    words = WORDS[language]
    say: Callable[..., list[str]] = lambda make, *more: [make(family, model, words, *more) for family, model in MODELS.items()]  # noqa: E731
    own, likes, places, written, *_ = tables(language)
    assert own == say(abilities)
    assert likes == [
        habits(family, name, each, words) for family, model in MODELS.items() for name, each in model.variants.items()
    ]
    assert places == say(files)
    assert written == say(adapters, tmp_path)


def test_methods_that_are_not_there_are_not_there() -> None:
    """DreamBooth and Textual Inversion are "not yet" in the tables."""
    assert not [
        file
        for folder in ("engine", "webui")
        for word in ("dreambooth", "inversion")
        for file in (ROOT / folder).rglob(f"*{word}*.py")
    ]
