"""Changes to the adapter tags of a prompt: another name, other strengths, none at all. All that is not changed stays as typed."""

from __future__ import annotations

from collections.abc import Callable, Collection

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


def call(prompt: str, names: Collection[str], name: str, strength: str) -> str:
    """A prompt that calls an adapter once: in place of the first that has one of some names, or at its end.

    Args:
        names: the adapters that it takes the place of.
        strength: as in a tag, "0.8" or "0.5:1".
    """
    text_encoder, _, unet = strength.partition(":")
    called = False

    def edit(tag: AdapterTag) -> str:
        nonlocal called
        if tag.problem or tag.name not in names:
            return tag.source
        first, called = not called, True
        return retag(tag, name, text_encoder, unet or text_encoder) if first else ""

    written = rewrite(prompt, edit)
    return written if called else f"{prompt.rstrip()} <lora:{name}:{strength}>".strip()
