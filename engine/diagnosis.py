"""Why an adapter may do nothing: what a prompt, a file's metadata and the model tell without making a picture.

Imports no torch. Each finding is an `EngineError` as a notice: what is so, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.adapter_library import AdapterCard
from engine.config.generate import GenerateConfig
from engine.errors import AdapterError, EngineError, PromptError
from engine.formats.models import MODELS
from engine.formats.summary import AdapterSummary
from engine.generation.lookup import AdapterNames
from engine.generation.prompt import AdapterTag, parse_tags, strip_comments
from engine.model_facts import ModelFacts
from engine.sidecars import read_sidecar

CERTAIN = frozenset({"diagnosis.strength_zero", "diagnosis.trigger_missing", "diagnosis.in_negative"})
"""What is worth saying before any picture is made."""
WEAK = 0.3
"""A strength below which most adapters cannot be seen."""
NAMED_TAGS = 3


def diagnose(
    config: GenerateConfig, cards: Mapping[str, AdapterCard], facts: ModelFacts | None, applied: Sequence[Mapping[str, Any]] = ()
) -> list[EngineError]:
    """What may be the reason, the likeliest first; nothing where no adapter is asked for.

    Args:
        config: of the pictures, with the prompt as it was drawn.
        cards: what a tag may call each adapter at hand.
        facts: of the base model; None while it is unknown.
        applied: what the pictures report of each adapter in force: name, matched and total modules.
    """
    words, tags = parse_tags(strip_comments(config.prompt))
    tags = [tag for tag in tags if not tag.problem]
    found = [*_of_negative(config.negative_prompt), *(each for entry in applied for each in _of_report(entry))]
    for tag, card in _known(tags, cards) if tags else ():
        found += _of_strength(tag)
        if card.summary and (tag.text_encoder or tag.unet):
            found += _of_words(tag.name, card, card.summary, words)
            found += _of_model(tag.name, card.summary, config, facts)
    if tags and words.strip() and words.split() == parse_tags(strip_comments(config.negative_prompt))[0].split():
        found.append(PromptError(
            "diagnosis.same_as_negative", "The prompt and the negative prompt say the same.", "They cancel each other out.",
            "Change the negative prompt.",
        ))  # fmt: skip
    return sorted(found, key=lambda each: ORDER.index(each.code))


def _known(tags: Sequence[AdapterTag], cards: Mapping[str, AdapterCard]) -> Iterator[tuple[AdapterTag, AdapterCard]]:
    """The tags whose adapter there is; the others are told as problems of the prompt."""
    names = AdapterNames({name: card.summary.output_name or None if card.summary else None for name, card in cards.items()})
    for tag in tags:
        try:
            yield tag, cards[names.find(tag.name)]
        except PromptError:
            continue


def _of_negative(negative: str) -> Iterator[EngineError]:
    for tag in parse_tags(strip_comments(negative))[1]:
        if not tag.problem:
            yield PromptError(
                "diagnosis.in_negative", f"The tag {tag.source} stands in the negative prompt, where it does nothing.",
                todo="Move it to the prompt.", tag=tag.source,
            )  # fmt: skip


def _of_report(entry: Mapping[str, Any]) -> Iterator[EngineError]:
    name, matched, total = str(entry.get("name", "")), int(entry.get("matched", 0)), int(entry.get("total", 0))
    if matched < total:
        yield AdapterError(
            "diagnosis.unmatched", f"{name}: {total - matched} of {total} modules have no place in this base model.",
            todo="Use a base model of the kind it was trained on.", name=name, missing=total - matched, total=total,
        )  # fmt: skip


def _of_strength(tag: AdapterTag) -> Iterator[EngineError]:
    strongest = max(abs(tag.text_encoder), abs(tag.unet))
    if not strongest:
        yield PromptError(
            "diagnosis.strength_zero", f"{tag.name} has the strength 0, which switches it off.", todo="Try 0.8.", name=tag.name
        )
    elif strongest < WEAK:
        yield PromptError(
            "diagnosis.weak", f"{tag.name} has the strength {strongest:g}; most LoRAs cannot be seen below {WEAK}.",
            todo="Try 0.8.", name=tag.name, strength=f"{strongest:g}", least=WEAK,
        )  # fmt: skip


def _of_words(name: str, card: AdapterCard, summary: AdapterSummary, words: str) -> Iterator[EngineError]:
    trigger = read_sidecar(card.path).activation or summary.trigger
    often = [tag for tag, _ in summary.tags[:NAMED_TAGS]]
    if trigger and not _any_of(trigger.split(","), words):
        yield PromptError(
            "diagnosis.trigger_missing", f"{name} was taught to answer to “{trigger[:200]}”, which is not in the prompt.",
            todo="Write it into the prompt.", name=name, trigger=trigger[:200],
        )  # fmt: skip
    elif not trigger and often and not _any_of((tag for tag, _ in summary.tags), words):
        shown = ", ".join(often)[:200]
        yield PromptError(
            "diagnosis.words_missing", f"The prompt has none of the words {name} was trained with most often: {shown}.",
            todo="Try one of them.", name=name, words=shown,
        )  # fmt: skip
    if summary.modules and not any(component.startswith("text_encoder") for component in summary.modules):
        yield AdapterError(
            "diagnosis.no_text_encoder", f"{name} was trained without the text encoder, so that a new word alone changes little.",
            todo="Describe what it shall show as well, or raise the strength.", name=name,
        )  # fmt: skip


def _any_of(phrases: Iterable[str], words: str) -> bool:
    """Whether one of the phrases stands in a prompt as words of its own. Japanese has no spaces between words."""
    plain = " ".join(re.sub(r"\\([()\[\]])", r"\1", words).casefold().replace("_", " ").split())
    for phrase in phrases:
        wanted = " ".join(phrase.replace("_", " ").casefold().split())
        spaced = rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])"
        if wanted and re.search(spaced, plain):
            return True
    return False


def _of_model(name: str, summary: AdapterSummary, config: GenerateConfig, facts: ModelFacts | None) -> Iterator[EngineError]:
    if not facts or not facts.family:
        return
    if summary.base in MODELS and summary.base != facts.family:
        made, here = MODELS[summary.base].title, MODELS[facts.family].title
        yield AdapterError(
            "diagnosis.other_base", f"{name} was made for {made}; the chosen model is {here}.",
            todo="Choose a base model of its kind.", name=name, base=made, model=here,
        )  # fmt: skip
        return
    if summary.prediction and facts.prediction in ("epsilon", "v_prediction") and summary.prediction != facts.prediction:
        yield AdapterError(
            "diagnosis.other_prediction", f"{name} was trained on a model that predicts {summary.prediction}; this one predicts "
            f"{facts.prediction}.", todo="Choose a base model that predicts the same.", name=name, trained=summary.prediction,
            model=facts.prediction,
        )  # fmt: skip
    if "clip_skip" in facts.traits and summary.clip_skip and summary.clip_skip != config.clip_skip:
        yield AdapterError(
            "diagnosis.clip_skip", f"{name} was trained with clip skip {summary.clip_skip}; the pictures use {config.clip_skip}.",
            todo=f"Set clip skip to {summary.clip_skip}.", name=name, trained=summary.clip_skip, used=config.clip_skip,
        )  # fmt: skip


ORDER = (
    "diagnosis.in_negative", "diagnosis.strength_zero", "diagnosis.trigger_missing", "diagnosis.unmatched", "diagnosis.other_base",
    "diagnosis.same_as_negative", "diagnosis.other_prediction", "diagnosis.words_missing", "diagnosis.weak", "diagnosis.clip_skip",
    "diagnosis.no_text_encoder",
)  # fmt: skip
"""The likeliest first."""
