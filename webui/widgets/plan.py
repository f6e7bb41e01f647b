""" "What will happen": a planned run in plain words, each number with who decided it. And the pictures it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config.adapter import BoftOptions, ConvolutionOptions, OftOptions, RankOptions
from engine.config.field import fields
from engine.config.train import TrainConfig
from engine.datasets.dataset import Dataset
from engine.forecast import Trained
from engine.preflight import Preflight
from engine.workspace import Workspace
from webui.i18n import t, table
from webui.widgets.html import tag, text
from webui.widgets.memory import memory_html
from webui.widgets.previews import preview, url
from webui.widgets.run_view import component_words
from webui.widgets.words import megabytes, short, steps_list

SHOWN_PICTURES = 24
THUMBNAIL = 160


def source(path: str, config: TrainConfig, preset: Mapping[str, Any]) -> str:
    """Who decided a setting: "preset", "default" or "you"."""
    value = _at(config.model_dump(), path)
    if path in preset:
        return "preset" if preset[path] == value else "you"
    usual = {field.path: field.default for field in fields(TrainConfig) if field.belongs_to(config.adapter.kind)}
    return "default" if value == usual[path] else "you"


def _at(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[part]
    return data


def plan_html(found: Preflight, config: TrainConfig, preset: Mapping[str, Any], language: str) -> str:
    """The table of facts.

    Args:
        preset: the chosen preset's settings by path.
    """
    rows = [
        ("model", _model(found, language), source("model.path", config, preset)),
        ("pictures", _pictures(found, language), "data"),
        (
            "resolution",
            t("text.plan.resolution_value", language, side=found.plan.resolution),
            _resolution_from(found, config, preset),
        ),
        ("buckets", _buckets(found, language), "data"),
        ("length", _length(found, config, language), _length_from(found, config, preset)),
        ("algorithm", _algorithm(config, language), source("adapter.kind", config, preset)),
        *_size(config, preset, language),
        *([("learning", _learning(found.trained, language), "model")] if found.trained else []),
        ("rate", _rate(config, language), source("training.learning_rate", config, preset)),
        ("versions", _versions(found, language), source("output.save_count", config, preset)),
        ("samples", _samples(found, language), source("samples.count", config, preset)),
    ]
    if config.output.name.strip():
        name = config.output.name.strip()
        rows.append(
            (
                "output",
                t("text.plan.output_value", language, name=name, tag=f"<lora:{name}:0.8>"),
                source("output.name", config, preset),
            )
        )
    cells = "".join(
        text("dt", t(f"text.plan.{name}", language))
        + tag("dd", text("span", words) + text("em", t(f"text.from.{origin}", language), class_=f"from from-{origin}"))
        for name, words, origin in rows
    )
    if found.memory:
        cells += text("dt", t("text.plan.memory", language)) + tag("dd", memory_html(found.memory, language))
    return tag("dl", cells, class_="facts")


def _model(found: Preflight, language: str) -> str:
    return t("text.plan.practice", language, name=found.model.name) if found.model.practice else found.model.name


def _pictures(found: Preflight, language: str) -> str:
    repeats = [concept.repeats for concept in found.dataset.learnt]
    low, high = min(repeats), max(repeats)
    if low != high:
        times = t("text.plan.between", language, low=low, high=high)
    else:
        times = t("text.plan.once", language) if low == 1 else t("text.plan.times", language, count=low)
    return t("text.plan.pictures_value", language, pictures=found.plan.pictures, times=times)


def _buckets(found: Preflight, language: str) -> str:
    sizes = sorted(found.buckets.items(), key=lambda item: -item[1])
    if len(sizes) == 1:
        return t("text.plan.bucket_value", language, size="{}×{}".format(*sizes[0][0]))
    shown = ", ".join(f"{width}×{height} ({count})" for (width, height), count in sizes[:4])
    shown += ", " + t("text.and_more", language, count=len(sizes) - 4) if len(sizes) > 4 else ""
    return t("text.plan.buckets_value", language, count=len(sizes), list=shown)


def _length(found: Preflight, config: TrainConfig, language: str) -> str:
    batch = config.training.batch_size * config.training.gradient_accumulation
    value = t("text.plan.length_value", language, steps=f"{found.plan.steps:,}", batch=batch)
    views = round(found.plan.views / max(1, found.plan.pictures))
    return f"{value} · " + t("text.plan.length_detail", language, epochs=short(found.plan.epochs), views=views)


def _length_from(found: Preflight, config: TrainConfig, preset: Mapping[str, Any]) -> str:
    if found.plan.length_from != "you":
        return found.plan.length_from
    return source("training.max_steps" if config.training.max_steps is not None else "training.epochs", config, preset)


def _resolution_from(found: Preflight, config: TrainConfig, preset: Mapping[str, Any]) -> str:
    return source("dataset.resolution", config, preset) if found.plan.resolution_from == "you" else found.plan.resolution_from


def _algorithm(config: TrainConfig, language: str) -> str:
    return t(f"adapter.kind.choice.{config.adapter.kind}", language)


def _size(config: TrainConfig, preset: Mapping[str, Any], language: str) -> list[tuple[str, str, str]]:
    """The row that says how much the adapter holds, where its algorithm has a number for it."""
    adapter = config.adapter
    if isinstance(adapter, RankOptions):
        return [("rank", _rank(adapter, language), source("adapter.rank", config, preset))]
    if isinstance(adapter, OftOptions) and adapter.blocks:
        return [("blocks", t("text.plan.blocks_value", language, count=adapter.blocks), source("adapter.blocks", config, preset))]
    if isinstance(adapter, OftOptions | BoftOptions):
        words = t("text.plan.block_size_value", language, size=adapter.block_size)
        return [("blocks", words, source("adapter.block_size", config, preset))]
    return []


def _learning(trained: Trained, language: str) -> str:
    """How many layers and numbers will learn, and how large the file will be."""
    parts = [component_words(name, count, trained.parameters[name], language) for name, count in trained.modules.items()]
    return " · ".join([*parts, t("text.plan.file_size", language, size=megabytes(trained.file_size, language))])


def _rank(adapter: RankOptions, language: str) -> str:
    alpha = short(adapter.alpha or adapter.rank)
    if isinstance(adapter, ConvolutionOptions) and adapter.conv_rank:
        return t("text.plan.conv_value", language, rank=adapter.rank, conv=adapter.conv_rank, alpha=alpha)
    return t("text.plan.rank_value", language, rank=adapter.rank, alpha=alpha)


def _rate(config: TrainConfig, language: str) -> str:
    schedule = table(language).get(f"training.schedule.choice.{config.training.schedule}", config.training.schedule)
    return t("text.plan.rate_value", language, rate=short(config.training.learning_rate), schedule=schedule)


def _versions(found: Preflight, language: str) -> str:
    steps = found.plan.save_steps
    if len(steps) == 1:
        return t("text.plan.version_value", language)
    return t("text.plan.versions_value", language, count=len(steps), list=steps_list(steps))


def _samples(found: Preflight, language: str) -> str:
    count = len(found.plan.sample_steps)
    return t("text.plan.samples_value", language, count=count) if count else t("text.plan.samples_none", language)


def strip_html(dataset: Dataset, workspace: Workspace, language: str) -> str:
    """The first pictures of a dataset, how many there are and their sizes."""
    pictures = dataset.pictures
    sides = [side for picture in pictures for side in picture.size]
    captions = sum(picture.caption_source in ("file", "metadata") for picture in pictures)
    one_size = len({picture.size for picture in pictures}) == 1
    words = t(
        "text.strip.counts_same" if one_size else "text.strip.counts", language, pictures=len(pictures), captions=captions,
        low=min(sides), high=max(sides), size="{}×{} px".format(*pictures[0].size),
    )  # fmt: skip
    images = ""
    for picture in pictures[:SHOWN_PICTURES]:
        if copy := preview(workspace, picture.path, THUMBNAIL):
            images += tag("img", src=url(copy), alt=picture.caption, title=picture.caption or picture.path.name, loading="lazy")
    if len(pictures) > SHOWN_PICTURES:
        images += text("span", t("text.strip.more", language, count=len(pictures) - SHOWN_PICTURES), class_="more")
    return text("p", words, class_="counts") + tag("div", images, class_="strip")
