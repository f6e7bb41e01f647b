"""One adapter file in full: what it is, where its ranks lie, what it was taught, and everything it says about itself.

Read from the header alone. Names and metadata were written by strangers; all of it is escaped, long values are cut.
"""

from __future__ import annotations

import time
from pathlib import Path

from engine.errors import EngineError
from engine.formats.compatibility import compatibility
from engine.formats.module_facts import BlockRanks, module_facts, ranks_by_block
from engine.formats.rank_map import LayerRank, layer_ranks, rank_map_svg
from engine.formats.safetensors_header import read_header
from engine.formats.summary import AdapterSummary, describe
from webui.i18n import t, table
from webui.widgets.bars import Bar, bars_svg
from webui.widgets.html import guarded, tag, text
from webui.widgets.notices import problem
from webui.widgets.words import megabytes, short

SHOWN_VALUE = 2000
"""Characters of a metadata value."""
SHOWN_ENTRIES = 300
SIZES = (0.8, 1.5)
"""Of the words in the tag cloud, from the rarest to the most frequent, in em."""


def detail_html(name: str, file: Path, language: str) -> str:
    """Everything about a file. What is wrong with it is said instead where it cannot be read."""
    try:
        summary = describe(file)
        blocks, layers = ranks_by_block(module_facts(file)), layer_ranks(file)
        metadata = read_header(file).metadata
    except EngineError as error:
        return text("h3", name) + problem(error, language)
    parts = [
        _head(name, summary, metadata, language),
        _facts(summary, language),
        _section("ranks", bars_svg([_bar(*each) for each in blocks.items()], t("text.detail.ranks", language)), language),
        _map(layers, language),
        _section("programs", _programs(summary, language), language),
        _section("tags", _cloud(summary), language),
        _metadata(metadata, language),
    ]
    return "".join(parts)


def algorithm_words(summary: AdapterSummary, language: str) -> str:
    """The algorithms by the names that users know, and what was added to them."""
    names = [
        table(language).get(f"adapter.kind.choice.{each}") or table(language).get(f"text.detail.algorithm.{each}", each)
        for each in summary.algorithms
    ]
    more = (["DoRA"] if summary.dora else []) + (["Tucker"] if summary.tucker else [])
    return ", ".join(names + more)


def _head(name: str, summary: AdapterSummary, metadata: dict[str, str], language: str) -> str:
    family = table(language).get(f"text.family.{summary.base}", summary.base) or t("text.card.base_unknown", language)
    cover = tag("img", src=metadata["modelspec.thumbnail"], alt=name, class_="cover") if summary.cover else ""
    title = tag("h3", text("span", name) + text("span", family, class_="badge"))
    tagged = text("code", f"<lora:{name}:0.8>")
    said = text("p", summary.description, class_="said") if summary.description else ""
    return tag("div", cover + tag("div", title + tagged + said), class_="detail-head")


def _facts(summary: AdapterSummary, language: str) -> str:
    components = ", ".join(
        f"{table(language).get(f'text.component.{component}', component)} {count:,}"
        for component, count in summary.modules.items()
    )
    rows = {
        "algorithm": algorithm_words(summary, language),
        "rank": span(summary.ranks),
        "modules": components,
        "trigger": summary.trigger,
        "base": summary.base_name,
        "pictures": f"{summary.pictures:,}" if summary.pictures else "",
        "resolution": summary.resolution.replace("x", " × "),
        "embeddings": ", ".join(summary.embeddings),
        "merged_from": summary.merged_from,
        "created": summary.created.replace("T", " "),
        "format": t(f"text.detail.formats.{summary.format}", language),
        "size": megabytes(summary.size, language) + time.strftime(", %Y-%m-%d %H:%M", time.localtime(summary.mtime_ns / 1e9)),
        "hash": summary.model_hash,
    }
    return facts_html({t(f"text.detail.fact.{name}", language): words for name, words in rows.items() if words})


def facts_html(rows: dict[str, str]) -> str:
    """Names and values as a table."""
    return tag("dl", "".join(text("dt", name) + text("dd", words) for name, words in rows.items()), class_="facts")


def span(ranks: tuple[int, ...]) -> str:
    """ "4, 8" or, where there are many, "4–32"."""
    if len(ranks) <= 4:
        return ", ".join(map(str, ranks))
    return f"{ranks[0]}–{ranks[-1]}"


def _bar(block: str, ranks: BlockRanks) -> Bar:
    """ "16 × 12" is rank 16 in twelve modules; "4–16 × 12" where it varies."""
    span = str(ranks.lowest) if ranks.lowest == ranks.highest else f"{ranks.lowest}–{ranks.highest}"
    return Bar(block, ranks.mean, f"{span} × {ranks.modules}", (ranks.lowest, ranks.highest))


def _map(layers: list[LayerRank], language: str) -> str:
    """The rank of every layer and head; open at once where they differ."""
    if not any(layer.cells for layer in layers):
        return ""
    title = t("text.detail.rank_map", language)
    differ = len({cell for layer in layers for cell in layer.cells}) > 1
    drawn = tag("div", guarded(rank_map_svg(layers, title)), class_="wide")
    return tag("details", text("summary", title) + drawn, open="" if differ else None)


def _programs(summary: AdapterSummary, language: str) -> str:
    """Which programs can use the file, and why not."""
    rows = ""
    for program, verdict in compatibility(summary).items():
        head = text("strong", t(f"text.program.{program}", language)) + text(
            "span", t(f"text.loads.{verdict.loads}", language), class_=f"badge loads-{verdict.loads}"
        )
        why = " ".join(t(f"text.loads_why.{reason}", language) for reason in verdict.reasons)
        rows += tag("li", head + (text("span", why, class_="hint") if why else ""))
    return tag("ul", rows, class_="plain programs")


def _cloud(summary: AdapterSummary) -> str:
    """The training tags, the more frequent the larger."""
    counts = [count for _, count in summary.tags]
    low, high = min(counts, default=1), max(counts, default=1)
    words = ""
    for word, count in sorted(summary.tags):
        share = (count - low) / (high - low) if high > low else 0.5
        size = SIZES[0] + (SIZES[1] - SIZES[0]) * share
        words += text("span", word, title=f"{word}: {count:,}", style=f"font-size: {short(size)}em")
    return tag("p", words, class_="cloud") if words else ""


def _section(name: str, body: str, language: str) -> str:
    return text("h4", t(f"text.detail.{name}", language)) + body if body else ""


def _metadata(metadata: dict[str, str], language: str) -> str:
    rows = {
        key: value if len(value) <= SHOWN_VALUE else f"{value[:SHOWN_VALUE]}…"
        for key, value in sorted(metadata.items())[:SHOWN_ENTRIES]
        if key != "modelspec.thumbnail"
    }
    title = text("summary", t("text.detail.metadata", language, count=len(metadata)))
    return tag("details", title + facts_html(rows), class_="metadata") if rows else ""
