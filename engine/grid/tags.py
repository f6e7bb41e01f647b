"""Changes to the adapter tags of a prompt: another name, other strengths, none at all. All that is not changed stays as typed."""

from __future__ import annotations

from collections.abc import Callable

from engine.generation.tags import POSITIONAL, AdapterTag, parse_tags


def rewrite(prompt: str, edit: Callable[[AdapterTag], str]) -> str:
    """The prompt with each tag replaced by what `edit` makes of it."""
    pieces, position = [], 0
    for tag in parse_tags(prompt)[1]:
        start = prompt.index(tag.source, position)
        pieces += [prompt[position:start], edit(tag)]
        position = start + len(tag.source)
    return "".join([*pieces, prompt[position:]])


def without_tags(prompt: str) -> str:
    return parse_tags(prompt)[0]


def retag(tag: AdapterTag, name: str | None = None, text_encoder: str | None = None, unet: str | None = None) -> str:
    """A tag with another name or other strengths, its options kept; what is None stays."""
    typed_name, *arguments = tag.source[len(tag.kind) + 2 : -1].split(":")
    told: dict[str, str] = {}
    options: list[str] = []
    place = 0
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key.strip() in ("te", "unet"):
            told[key.strip()] = value.strip()  # a named value wins over a positional one
        elif equals or place == len(POSITIONAL):
            options.append(argument)
        else:
            key, place = POSITIONAL[place], place + 1
            if key == "dyn":
                options.append(f"dyn={argument.strip()}")
            else:
                told.setdefault(key, argument.strip())
    encoder = told.get("te", "1")
    picture = told.get("unet", encoder)
    encoder, picture = text_encoder or encoder, unet or picture
    strengths = [encoder] if encoder == picture else [encoder, picture]
    return f"<{':'.join([tag.kind, name or typed_name, *strengths, *options])}>"
