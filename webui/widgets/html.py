"""The one way text gets into HTML.

Gradio runs a component's HTML through a template language, so besides the five characters of HTML the braces, the dollar
and the backtick become entities too.
"""

from __future__ import annotations

import html

_TEMPLATE = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def esc(text: object) -> str:
    """Text for an element or a quoted attribute. Half characters, which metadata can spell and nothing can send, become "?"."""
    return html.escape(str(text).encode("utf-8", "replace").decode(), quote=True).translate(_TEMPLATE)


def guarded(markup: str) -> str:
    """Markup whose text is escaped for HTML already, made safe for the template language too. It must hold no scripts or styles."""
    return markup.translate(_TEMPLATE)


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element. `content` is HTML already; attributes are escaped, `class_` is `class`, `_` becomes `-`, None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{esc(value)}"' for key, value in attributes.items() if value is not None
    )
    return f"<{name}{written}>" if name in ("img", "input", "br") else f"<{name}{written}>{content}</{name}>"


def text(name: str, words: object, **attributes: object) -> str:
    """An element that holds plain text."""
    return tag(name, esc(words), **attributes)


def plain_info(words: object) -> str:
    """Text for a component's `info`. Gradio escapes its HTML but reads emphasis, code and links, and knows no way to escape those."""
    return str(words).translate(str.maketrans("*`", "\u2217\u02cb")).replace("](", "]\u2060(")
