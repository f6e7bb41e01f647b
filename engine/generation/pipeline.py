"""From a prompt to pictures: encode, draw noise, walk the sampler, decode.

Works on a loaded base model whose adapters are already in place; knows no adapter, no file of the library and no queue. The same
function makes the sample pictures of a training run and the pictures of the Generate tab; from noise, from a picture (img2img),
in a part of one (inpaint), and once more at a larger size (hires fix).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.config.generate import GenerateConfig
from engine.errors import ConfigError, PromptError
from engine.families.base import Conditions, Family
from engine.generation.drawing import Drawing, OnPreview, OnStep, Pass, Progress, Start, Watching
from engine.generation.guidance import Telling, plan_parts, plan_texts
from engine.generation.hires import enlarge, larger, share_of_steps
from engine.generation.pixels import Size, to_image
from engine.generation.preview import make_preview
from engine.generation.prompt import parse_tags, strip_comments
from engine.generation.sampling.walk import Walk, make_walk
from engine.generation.source import SourcePicture, load_source, source_size

if TYPE_CHECKING:
    from engine.generation.embeddings import Embeddings

__all__ = [
    "OnPreview", "OnProblem", "OnStep", "Progress", "hires_size", "make_pictures", "picture_size", "plan_parts", "plan_texts",
    "to_image", "with_habits",
]  # fmt: skip

OnProblem = Callable[[PromptError], None]
"""Called with what is not done as the prompts ask."""


def picture_size(config: GenerateConfig, model: Family) -> Size:
    """Width and height of the first pass in px; 0 is the source's, or without one the model's own.

    Raises:
        ConfigError: `config.size`.
        DatasetError: the source cannot be read.
    """
    size = config.width or model.facts.resolution, config.height or model.facts.resolution
    if config.source.picture:
        size = source_size(config.source, config.width, config.height, model)
    for name, side in zip(("width", "height"), size, strict=True):
        if side % model.size_step:
            raise ConfigError(
                "config.size", f"{name}: {side} px does not fit this model.", f"A multiple of {model.size_step} px.",
                f"Choose {side - side % model.size_step or model.size_step}.", field=name, value=side, step=model.size_step,
            )  # fmt: skip
    return size


def hires_size(config: GenerateConfig, model: Family) -> Size | None:
    """Width and height of the second pass in px; None without one.

    Raises:
        ConfigError: `config.size`; `hires.mask`, a picture whose other part shall stay as it is cannot grow.
    """
    if config.hires.scale == 1:
        return None
    if config.source.picture and config.source.mask:
        raise ConfigError(
            "hires.mask", f"A part of a picture cannot be repainted at {config.hires.scale:g} times its size.",
            "No second pass where there is a mask.", "Set the scale of the second pass to 1, or take the mask away.",
            field="hires.scale", value=f"{config.hires.scale:g}",
        )  # fmt: skip
    return larger(picture_size(config, model), config.hires.scale, model.size_step)


def with_habits(config: GenerateConfig, model: Family) -> GenerateConfig:
    """The request with the model's own sampler, steps and guidance where it leaves them open."""
    habits = model.facts.habits
    return config.model_copy(update={
        "sampler": habits.sampler if config.sampler == "Automatic" else config.sampler,
        "steps": config.steps or habits.steps,
        "guidance_scale": config.guidance_scale or habits.guidance_scale,
        "distilled_guidance": (config.distilled_guidance or habits.distilled_guidance) if habits.distilled_guidance else 0.0,
    })  # fmt: skip


@torch.no_grad()
def make_pictures(
    model: Family, text: str, negative: str, config: GenerateConfig, seeds: Sequence[int], on_progress: Progress | None = None,
    on_problem: OnProblem | None = None, *, on_step: OnStep | None = None, on_preview: OnPreview | None = None,
    embeddings: Embeddings | None = None, source: SourcePicture | None = None, variation_seeds: Sequence[int] = (),
    taesd: Path | None = None,
) -> Tensor:  # fmt: skip
    """Pictures of one prompt.

    Args:
        text: the prompt without adapter tags.
        seeds: one per picture.
        embeddings: those that the prompts may name.
        source: that of the config, where it is already loaded.
        variation_seeds: one per picture, where `config.variation_strength` asks for them.
        taesd: what shows pictures on their way in place of a matrix (`engine.generation.preview.find_taesd`).

    Returns:
        (len(seeds), 3, H, W), float32 in [0, 1]; of the source's size where only the surroundings of a mask are drawn.

    Raises:
        ConfigError: what is asked cannot be done.
        DatasetError: the source cannot be read.
    """
    config = with_habits(config, model)
    size, second_size = picture_size(config, model), hires_size(config, model)
    source = source or load_source(config.source, size)
    passes = [_first_pass(model, config, size, text, negative, source)]
    if second_size:
        passes.append(_second_pass(model, config, second_size, text, negative, on_problem))
    encoded = _encode(model, config, passes, embeddings, on_problem)
    preview = make_preview(model, taesd) if on_preview and config.preview_every else None
    watching = Watching(on_progress, on_step, on_preview, preview, config.preview_every)
    drawing = Drawing(model, config, seeds, variation_seeds, encoded, sum(each.calls for each in passes), watching)
    latents = drawing.draw(passes[0], Start.of(source, model) if source else None)
    for second in passes[1:]:
        latents = drawing.draw(second, Start(enlarge(latents, second.size, config.hires.upscaler, model)))
    with model.on_device("vae"):
        pictures = torch.cat([model.decode_latents(latent[None]).cpu() for latent in latents])
    return source.mask.put_back(pictures) if source and source.mask else pictures


def _first_pass(
    model: Family, config: GenerateConfig, size: Size, text: str, negative: str, source: SourcePicture | None
) -> Pass:
    walk = _walk(model, config, size, config.steps, source.denoising if source else None)
    return Pass(size, walk, _telling(config, walk, text, negative))


def _second_pass(
    model: Family, config: GenerateConfig, size: Size, text: str, negative: str, on_problem: OnProblem | None
) -> Pass:
    """The pass at a larger size. All the steps it is given are walked, however little it changes."""
    hires = config.hires
    if hires.prompt:
        text, tags = parse_tags(strip_comments(hires.prompt))
        if tags and on_problem:
            on_problem(_not_for_the_second_pass([tag.source for tag in tags]))
    walk = _walk(model, config, size, *share_of_steps(hires.steps or config.steps, hires.denoising))
    return Pass(size, walk, _telling(config, walk, text, hires.negative_prompt or negative, config.steps))


def _walk(model: Family, config: GenerateConfig, size: Size, steps: int, denoising: float | None) -> Walk | None:
    """The walk of a pass; None where nothing is denoised."""
    if denoising == 0:
        return None
    return make_walk(
        config.sampler, config.schedule, model.scheduler_config, model.prediction, steps, model.device, denoising=denoising,
        **model.schedule_options(*size, steps),
    )  # fmt: skip


def _telling(config: GenerateConfig, walk: Walk | None, text: str, negative: str, first_steps: int | None = None) -> Telling:
    if walk is None:
        return Telling([], (), 1.0)
    plan = walk.steps, walk.calls, first_steps
    parts = plan_parts(text, *plan)
    plain = config.guidance_scale == 1 and [part.weight for part in parts] == [1]
    return Telling(parts, () if plain else plan_texts(negative, *plan), config.guidance_scale)


def _encode(
    model: Family, config: GenerateConfig, passes: Sequence[Pass], embeddings: Embeddings | None, on_problem: OnProblem | None
) -> dict[str, Conditions]:
    """Each distinct text of the passes -> its conditions; of the same lengths, so that all go through the model together."""
    texts = dict.fromkeys(text for each in passes for text in each.telling.texts())
    if not texts:
        return {}
    with model.on_device(*model.encoders):
        words = model.conditioning(config.clip_skip, config.emphasis, embeddings)
        encoded = words.encode(texts)
    for problem in words.problems if on_problem else ():
        on_problem(problem)
    return encoded


def _not_for_the_second_pass(tags: Sequence[str]) -> PromptError:
    shown = ", ".join(tags)
    return PromptError(
        "prompt.hires_tags", f"{shown} in the prompt of the second pass is not applied.",
        "The adapters of the prompt itself act in both passes.", "Name it in the prompt itself, or leave it out.", tags=shown,
    )  # fmt: skip
