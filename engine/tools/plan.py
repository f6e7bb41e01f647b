"""What a tool will read and write, found and checked before anything is computed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.choices import ModelChoice
from engine.config.tools import ToolConfig, weighted
from engine.datasets.decode import supported_extensions
from engine.errors import ConfigError, EngineError, ModelError, PathError
from engine.formats.safetensors_header import read_header
from engine.formats.summary import describe
from engine.library import choose, find_adapter_file
from engine.model_facts import ModelFacts
from engine.workspace import Workspace, check_name

IN_PLACE = ("edit",)
"""Tools that change their file where no name is given."""
MODEL_FIELDS = {"bake": ("model",), "extract": ("model", "tuned")}
"""Models that a tool cannot do without."""


@dataclass(frozen=True)
class Plan:
    """Everything found.

    Attributes:
        files: adapter files in order, with their weights.
        models: field -> facts of a base model, for those that were named.
        embeddings: name that calls it -> file.
        cover: picture, or None.
        out: the new file or folder; None for a tool that writes nothing.
    """

    files: tuple[tuple[Path, float], ...]
    models: dict[str, ModelFacts]
    embeddings: dict[str, Path]
    cover: Path | None
    out: Path | None


def plan(config: ToolConfig, workspace: Workspace) -> Plan:
    """Raises:
    EngineError: something is missing or cannot be read; `values["field"]` is the setting.
    """
    tool = config.tool
    files = _adapter_files(config, workspace)
    models = {
        field: _model(typed, field, workspace)
        for field in ("model", "tuned")
        if (typed := getattr(tool, field, "").strip()) or field in MODEL_FIELDS.get(tool.kind, ())
    }
    embeddings = _embeddings(getattr(tool, "embeddings", None), workspace)
    cover = _cover(getattr(tool, "cover", "").strip(), workspace)
    return Plan(files, models, embeddings, cover, _out(config, files, models, workspace))


def _adapter_files(config: ToolConfig, workspace: Workspace) -> tuple[tuple[Path, float], ...]:
    tool = config.tool
    if hasattr(tool, "files"):
        lines = [(*weighted(line), "tool.files") for line in tool.files]
        if tool.kind != "bake":
            lines = lines or [("", 1.0, "tool.files")]
        elif not (lines or tool.converts):
            raise ConfigError(
                "tool.nothing_to_do", "The model would stay as it is.", "A LoRA, another layout or another number format.",
                "Choose one of them.", field="tool.files",
            )  # fmt: skip
    else:
        lines = [(getattr(tool, field), 1.0, f"tool.{field}") for field in ("file", "other") if hasattr(tool, field)]
    return tuple((_adapter(typed, field, workspace), weight) for typed, weight, field in lines)


def _adapter(typed: str, field: str, workspace: Workspace) -> Path:
    """A file by its name as in a tag, or by a path."""
    typed = typed.strip()
    if not typed:
        raise ConfigError("tool.no_file", "No adapter file is named.", "Its name or path.", "Choose a file.", field=field)
    try:
        if typed.lower().endswith(".safetensors"):
            path = workspace.allowed_path(typed)
        else:
            path = find_adapter_file(typed, workspace)
        describe(path)
    except EngineError as error:
        error.values["field"] = field
        raise
    return path


def _model(typed: str, field: str, workspace: Workspace) -> ModelFacts:
    """Raises ModelError: as `choose`; `model.not_converted`."""
    try:
        facts = choose(ModelChoice(typed), workspace)
        if not facts.family and isinstance(facts.location, Path):
            raise ModelError(
                "model.not_converted", f"{facts.location.name} is a pickle that was not converted yet.", "A .safetensors file.",
                "Make a picture with it first: that converts it.", path=facts.location.name,
            )  # fmt: skip
    except EngineError as error:
        error.values["field"] = f"tool.{field}"
        raise
    return facts


def _embeddings(lines: list[str] | None, workspace: Workspace) -> dict[str, Path]:
    """Raises ConfigError: `tool.no_file`, `tool.embedding_twice`."""
    if lines is None:
        return {}
    found: dict[str, Path] = {}
    for typed in lines:
        file = _embedding(typed, workspace)
        if check_name(file.stem, "tool.embeddings") in found:
            raise ConfigError(
                "tool.embedding_twice", f"Two embeddings are called {file.stem!r}.", "The name of a file is the word that calls it.",
                "Rename one of them.", name=file.stem, field="tool.embeddings",
            )  # fmt: skip
        read_header(file)
        found[file.stem] = file
    if not found:
        raise ConfigError(
            "tool.no_file", "No embedding file is named.", "Its name or path.", "Choose a file.", field="tool.embeddings"
        )
    return found


def _embedding(typed: str, workspace: Workspace) -> Path:
    """Raises PathError: `tool.no_embedding`."""
    for folder in workspace.embedding_folders:
        for file in sorted(folder.rglob("*.safetensors")):
            if typed in (
                file.stem,
                file.name,
                file.relative_to(folder).as_posix(),
                file.relative_to(folder).with_suffix("").as_posix(),
            ):
                return file
    if typed.lower().endswith(".safetensors") and (path := workspace.allowed_path(typed)).is_file():
        return path
    raise PathError(
        "tool.no_embedding", f"There is no embedding {typed!r}.", "A .safetensors file in the embeddings folder, or its path.",
        "Put it into models/embeddings of the data folder.", name=typed, field="tool.embeddings",
    )  # fmt: skip


def _cover(typed: str, workspace: Workspace) -> Path | None:
    """Raises PathError: `tool.no_picture`."""
    if typed in ("", "-"):
        return None
    path = workspace.allowed_path(typed)
    if not path.is_file() or path.suffix.lower() not in supported_extensions():
        raise PathError(
            "tool.no_picture", f"{typed!r} is not a picture.", f"A file ending in {', '.join(supported_extensions())}.",
            "Choose another file.", path=typed, field="tool.cover",
        )  # fmt: skip
    return path


def _out(config: ToolConfig, files: tuple, models: dict[str, ModelFacts], workspace: Workspace) -> Path | None:
    kind, name = config.tool.kind, config.output.name.strip()
    if kind == "inspect":
        return None
    if changes_its_file(config):
        return files[0][0]
    if kind != "bake":
        return workspace.loras / f"{check_name(name or default_name(config, files))}.safetensors"
    return (
        workspace.checkpoint_folders[0] / f"{check_name(name or default_name(config, files))}{_ending(config, models['model'])}"
    )


def _ending(config: ToolConfig, model: ModelFacts) -> str:
    """Of the name of a new base model. A model of Hugging Face is a folder."""
    layout = getattr(config.tool, "layout", "same")
    one_file = isinstance(model.location, Path) and model.location.is_file() if layout == "same" else layout == "single_file"
    return ".safetensors" if one_file else ""


def changes_its_file(config: ToolConfig) -> bool:
    """Whether the file itself is changed, and no new one made."""
    return config.tool.kind in IN_PLACE and not config.output.name.strip()


def default_name(config: ToolConfig, files: tuple[tuple[Path, float], ...]) -> str:
    """A name that says what was done to what: `mascot-resize`."""
    model = getattr(config.tool, "tuned", "") or getattr(config.tool, "model", "")
    return f"{files[0][0].stem if files else Path(model).stem}-{config.tool.kind}"
