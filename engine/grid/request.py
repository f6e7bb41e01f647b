"""The request of a cell while the axes change it: settings, and what becomes of the one adapter that the grid varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.config.generate import GenerateConfig
from engine.generation.tags import AdapterTag, parse_tags
from engine.grid.tags import retag, rewrite, without_tags

Means = Callable[[str], bool]
"""Whether a name in a tag means the adapter that is varied."""


@dataclass(frozen=True)
class Varied:
    """What the axes say of the adapter; None leaves what its tag says.

    Attributes:
        file: where it lies if `name` is no name in the LoRA folders.
        off: its tag is taken out.
    """

    name: str | None = None
    file: Path | None = None
    text_encoder: str | None = None
    unet: str | None = None
    off: bool = False


@dataclass(frozen=True)
class Request:
    """A request for pictures in the making.

    Attributes:
        base: all adapters are taken out.
    """

    config: GenerateConfig
    adapter: Varied = field(default_factory=Varied)
    base: bool = False

    def with_setting(self, path: str, value: Any) -> Request:
        """One setting changed; `hires.denoising` is one of a section."""
        section, _, name = path.rpartition(".")
        if not section:
            return replace(self, config=self.config.model_copy(update={name: value}))
        inner = getattr(self.config, section).model_copy(update={name: value})
        return replace(self, config=self.config.model_copy(update={section: inner}))

    def with_adapter(self, **changes: Any) -> Request:
        return replace(self, adapter=replace(self.adapter, **changes))

    def finish(self, target: str, means: Means) -> tuple[GenerateConfig, dict[str, Path]]:
        """The request as it is made, and name -> file of adapters outside the LoRA folders.

        Args:
            target: the name of the varied adapter, for a tag of its own where the prompt has none.
        """
        if self.base:
            return self._with_texts(without_tags), {}
        adapter = self.adapter

        def varied(tag: AdapterTag) -> str:
            return retag(tag, adapter.name, adapter.text_encoder, adapter.unet)

        def edit(tag: AdapterTag) -> str:
            if tag.problem or not means(tag.name):
                return tag.source
            return "" if adapter.off else varied(tag)

        edited = self._with_texts(lambda text: rewrite(text, edit))
        if adapter.off:
            return edited, {}
        if not any(means(tag.name) for tag in parse_tags(self.config.prompt)[1] if not tag.problem):
            # Without a space, so that the text is to the letter that of the base column.
            own = varied(AdapterTag("lora", target, source=f"<lora:{target}>"))
            edited = edited.model_copy(update={"prompt": edited.prompt + own})
        return edited, {adapter.name: adapter.file} if adapter.name and adapter.file else {}

    def _with_texts(self, change: Callable[[str], str]) -> GenerateConfig:
        """The prompts of both passes changed."""
        hires = self.config.hires.model_copy(update={"prompt": change(self.config.hires.prompt)})
        return self.config.model_copy(update={"prompt": change(self.config.prompt), "hires": hires})
