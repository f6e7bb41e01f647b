"""What the axes of a grid look things up in."""

from __future__ import annotations

from functools import cached_property

from engine.config.grid import GridConfig
from engine.errors import ConfigError, PromptError
from engine.generation.lookup import find_adapter
from engine.grid.versions import Run, read_run
from engine.library import adapter_names
from engine.workspace import Workspace


class Surroundings:
    """The run and the adapter files of a grid; each is read once, when it is first needed."""

    def __init__(self, config: GridConfig, workspace: Workspace) -> None:
        self.config, self.workspace = config, workspace
        self._adapters: dict[str, str | None] = {}

    @cached_property
    def run(self) -> Run:
        """Raises ConfigError: `grid.no_run`; EngineError: see `read_run`."""
        if not self.config.run.strip():
            raise ConfigError(
                "grid.no_run", "run: no run is chosen.", "The run whose saved epochs are compared.", "Choose one.", field="run"
            )
        return read_run(self.config.run, self.workspace)

    def adapter(self, name: str) -> str | None:
        """The path below its LoRA folder of the file that a name means; None if there is no such file, or more than one."""
        if name not in self._adapters:
            try:
                self._adapters[name] = find_adapter(name, self._aliases)
            except PromptError:
                self._adapters[name] = None
        return self._adapters[name]

    def check_adapter(self, name: str, field: str) -> None:
        """Raises PromptError: `prompt.adapter_unknown`, `prompt.adapter_ambiguous`."""
        if not self.adapter(name):
            try:
                find_adapter(name, self._aliases)
            except PromptError as error:
                error.values["field"] = field
                raise

    @cached_property
    def _aliases(self) -> dict[str, str | None]:
        return {path: alias for path, (_, alias) in adapter_names(self.workspace).items()}
