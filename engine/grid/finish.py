"""The end of a cell's request: which adapter of its prompt the axes mean, and its tag as they want it."""

from __future__ import annotations

from pathlib import Path

from engine.config.generate import GenerateConfig
from engine.config.grid import GridConfig
from engine.errors import ConfigError
from engine.generation.prompt import parse_tags
from engine.grid.axes import AXES
from engine.grid.request import Request
from engine.grid.surroundings import Surroundings


class Finish:
    """Makes requests of cells whole.

    The adapter meant is the one the grid names, else the run's when its versions are compared, else the first of the prompt.

    Raises:
        EngineError: the adapter is unknown.
    """

    def __init__(self, config: GridConfig, around: Surroundings) -> None:
        kinds = {axis.kind for axis in (config.x, config.y, config.z)} - {"none"}
        self.around = around
        self.varies = any(AXES[kind].of_adapter for kind in kinds)
        self.named_by_axis = not kinds.isdisjoint({"adapter", "epoch"})
        self.target = config.adapter.strip() or (around.run.name if "epoch" in kinds else "")
        if self.target and not self.named_by_axis:
            around.check_adapter(self.target, "adapter")

    def __call__(self, request: Request) -> tuple[GenerateConfig, dict[str, Path]]:
        """The request as it is made, and name -> file of adapters outside the LoRA folders.

        Raises:
            EngineError: `grid.no_adapter`; the adapter is unknown.
        """
        if not self.varies and not request.base:
            return request.config, {}
        target = self.target or self._first(request.config.prompt)
        file = self.around.adapter(target) if target else None

        def means(name: str) -> bool:
            return name.casefold() == target.casefold() or (file is not None and self.around.adapter(name) == file)

        return request.finish(target, means)

    def _first(self, prompt: str) -> str:
        """The first adapter in a prompt; "" where none is needed and there is none."""
        names = [tag.name for tag in parse_tags(prompt)[1] if not tag.problem]
        if not self.varies or self.named_by_axis:
            return next(iter(names), "")
        if not names:
            raise ConfigError(
                "grid.no_adapter", "adapter: no LoRA is chosen, and the prompt names none.", "The LoRA whose strength varies.",
                "Choose one, or write <lora:name:1> into the prompt.", field="adapter",
            )  # fmt: skip
        self.around.check_adapter(names[0], "picture.prompt")
        return names[0]
