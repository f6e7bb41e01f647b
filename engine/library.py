"""What is at hand: base models, adapters and datasets, read from file headers alone.

Imports no torch, so that the page lists everything while the models sleep. Reads are cached by path, size and modification
time: a replaced file is never stale.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic

from engine.adapter_library import AdapterCard, adapter_names, adapters, find_adapter_file, named_adapters
from engine.config.choices import ModelChoice
from engine.errors import EngineError, ModelError, PathError
from engine.file_notes import FileNotes
from engine.formats.hashes import known_hashes
from engine.formats.models import MODELS
from engine.formats.number_formats import numbers_by_format
from engine.formats.pickled import PICKLED, converted_file, is_pickled
from engine.formats.safetensors_header import kept_header
from engine.model_facts import STARTER, STARTER_FOLDER, ModelFacts, glance, missing_parts, model_facts, unread
from engine.spare_parts import SpareParts
from engine.workspace import SHIPPED_DATASETS, Workspace, stamp

__all__ = [
    "STARTER", "AdapterCard", "ModelCard", "adapter_names", "adapters", "choose", "datasets", "downloaded", "facts_in",
    "find_adapter_file", "find_model", "model_names", "models", "named_adapters", "part_names", "pickles",
]  # fmt: skip
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WEIGHTS = ".safetensors"
NOTE, KEPT = "card", ("family", "title", "size", "format")
"""Kind of the notes on single files, and what they hold of a card."""


@dataclass(frozen=True)
class ModelCard:
    """A base model in the list.

    Attributes:
        family: "" when it is not known.
        title: of its variant: "SDXL v-prediction".
        size: bytes on the disk.
        format: the number format of most of the denoiser: "fp16".
        sha256: of the file, or of the denoiser's file in a folder; "" until it is known.
        pickled: it is converted when it is first used.
        parts: files beside its own that it takes parts from.
        unread: nobody has looked into it yet.
    """

    name: str
    path: Path
    family: str
    problem: EngineError | None = None
    title: str = ""
    size: int = 0
    format: str = ""
    sha256: str = ""
    pickled: bool = False
    parts: tuple[str, ...] = ()
    unread: bool = False


def models(workspace: Workspace, seconds: float = inf) -> list[ModelCard]:
    """The starter, then every checkpoint file and diffusers folder of the model folders.

    What a header told is kept, so that the next list reads only what is new. Problems are looked at again each time.

    Args:
        seconds: after so long what is new is listed unread.
    """
    names = {STARTER: STARTER_FOLDER, **model_names(workspace)}
    notes, until = FileNotes(workspace.cache), monotonic() + seconds
    told, hashes = notes.read_all(NOTE, list(names.values())), known_hashes(names.values(), notes)
    spare, new, cards = _spare_parts(ModelChoice(""), workspace), {}, []
    for name, path in names.items():
        seen = stamp(path)
        if path in told:
            card = ModelCard(name, path, **json.loads(told[path]))
        elif monotonic() > until:
            card = ModelCard(name, path, "", size=_size(path), unread=True)
        else:
            card = _model_card(name, path, spare, workspace)
            if path.is_file() and not (card.problem or card.pickled or card.parts):
                new[path] = json.dumps({key: getattr(card, key) for key in KEPT}), seen
        cards.append(replace(card, sha256=hashes[path].sha256 if path in hashes else ""))
    notes.write_all(NOTE, new)
    return cards


def _model_card(name: str, path: Path, spare: SpareParts, workspace: Workspace) -> ModelCard:
    try:
        facts, size = _facts_of(path, spare, workspace), _size(path)
    except EngineError as problem:
        return _troubled(ModelCard(name, path, "", problem, size=_size(path)))
    if not facts.family:
        return ModelCard(name, path, "", size=size, pickled=True)
    model = MODELS[facts.family]
    source = facts.sources[model.denoiser]
    file = min(source.path.glob(f"*{WEIGHTS}")) if source.path.is_dir() else source.path
    try:
        formats = numbers_by_format(info for key, info in kept_header(file).tensors.items() if key.startswith(source.prefix))
    except EngineError as problem:
        return ModelCard(name, path, facts.family, problem, size=size)
    beside = {each.path.name for each in facts.sources.values() if each.path.is_file() and each.path != source.path}
    return ModelCard(
        name, path, facts.family, None, model.variants[facts.variant].title, size, next(iter(formats), ""),
        pickled=is_pickled(path), parts=tuple(sorted(beside)),
    )  # fmt: skip


def _troubled(card: ModelCard) -> ModelCard:
    """A model that cannot be used, with its family where its file tells that."""
    with suppress(EngineError):
        if card.path.suffix == WEIGHTS:
            seen = glance(card.path)
            return replace(card, family=seen.family, title=MODELS[seen.family].variants[seen.variant].title)
    return card


def _size(path: Path) -> int:
    files = path.rglob(f"*{WEIGHTS}") if path.is_dir() else [path]
    return sum(stamp(file)[0] for file in files)


def model_names(workspace: Workspace) -> dict[str, Path]:
    """Path below its model folder -> checkpoint file or diffusers folder; where two share a name, the workspace's own."""
    names: dict[str, Path] = {}
    for folder in workspace.checkpoint_folders:
        folders = sorted(index.parent for index in folder.glob("*/model_index.json"))
        inside = set(folders)
        for path in [*folders, *(file for file in _files(folder, (WEIGHTS, *PICKLED)) if inside.isdisjoint(file.parents))]:
            names.setdefault(path.relative_to(folder).as_posix(), path)
    return names


def datasets(workspace: Workspace) -> list[str]:
    """Names that `Workspace.dataset_folder` understands: the shipped exercises, then the user's own."""
    shipped = sorted(f"practice/{folder.name}" for folder in SHIPPED_DATASETS.glob("*") if folder.is_dir())
    own = sorted(
        folder.name for folder in (workspace.root / "datasets").glob("*") if folder.is_dir() and folder.name[0] not in "._"
    )
    return [*shipped, *own]


def find_model(name: str, workspace: Workspace) -> Path | str:
    """The folder or file a user means, or a Hugging Face id.

    Raises:
        ModelError: `model.not_found`.
        PathError: a path outside the allowed folders.
    """
    name = name.strip()
    if name == STARTER:
        return STARTER_FOLDER
    known = model_names(workspace)
    short = {
        path.stem: path
        for ending in (PICKLED, WEIGHTS)
        for path in reversed(known.values())
        if path.name.lower().endswith(ending)
    }
    if found := known.get(name) or short.get(name):
        return found
    typed = Path(name).expanduser()
    if typed.is_absolute() or name.startswith((".", "~")) or name.lower().endswith((WEIGHTS, *PICKLED)):
        try:
            path = workspace.allowed_path(name)
        except PathError as error:
            error.values.setdefault("field", "model.path")
            raise
        if path.exists():
            return path
    elif HUB_ID.fullmatch(name):
        return name
    raise ModelError(
        "model.not_found", f"There is no base model {name!r}.", "A file or folder in the model folder, a path, or a Hugging Face id.",
        "Put the .safetensors file into models/checkpoints of the data folder.", name=name, field="model.path",
    )  # fmt: skip


def choose(choice: ModelChoice, workspace: Workspace) -> ModelFacts:
    """Facts of a chosen base model, each of its parts taken from wherever it lies.

    Nothing is known (`family` is "") of a Hugging Face id that is not downloaded, nor while a chosen file is a pickle that is not
    converted.

    Raises:
        ModelError: `model.not_found`, `model.part_not_found`, and what `model_facts` raises.
        PathError: a path outside the allowed folders.
    """
    location = find_model(choice.model, workspace)
    spare = _spare_parts(choice, workspace)
    if isinstance(location, Path):
        return _facts_of(location, spare, workspace)
    folder = downloaded(location)
    return facts_in(folder, choice, workspace, location) if folder else unread(location)


def facts_in(folder: Path, choice: ModelChoice, workspace: Workspace, name: str) -> ModelFacts:
    """Facts of a chosen model that was downloaded into a folder, which is named by a hash."""
    return replace(_facts_of(folder, _spare_parts(choice, workspace), workspace), name=name)


def pickles(choice: ModelChoice, workspace: Workspace) -> list[Path]:
    """The files of a choice that must be converted before they can be read."""
    location = find_model(choice.model, workspace)
    files = [*([location] if isinstance(location, Path) else []), *_spare_parts(choice, workspace).chosen]
    return [file for file in files if is_pickled(file) and not converted_file(file, workspace.cache).is_file()]


def _facts_of(location: Path, spare: SpareParts, workspace: Workspace) -> ModelFacts:
    def readable(file: Path) -> Path:
        return converted_file(file, workspace.cache) if is_pickled(file) else file

    if not all(readable(file).exists() for file in (location, *spare.chosen)):
        return unread(location)
    chosen = replace(
        spare, vae=readable(spare.vae) if spare.vae else None, text_encoders=tuple(map(readable, spare.text_encoders))
    )
    facts = model_facts(readable(location), chosen)
    return replace(facts, name=location.stem, location=location) if is_pickled(location) else facts


def downloaded(hub_id: str) -> Path | None:
    """The folder of a model of Hugging Face that lies in its cache, whole."""
    from huggingface_hub import try_to_load_from_cache

    try:
        index = try_to_load_from_cache(hub_id, "model_index.json")
    except ValueError:  # it is no id
        return None
    folder = Path(index).parent if isinstance(index, str) else None
    return None if folder is None or missing_parts(folder) else folder


def part_names(folders: list[Path]) -> dict[str, Path]:
    """Path below its folder -> file of one part of a model; where two share a name, that of the first folder."""
    names: dict[str, Path] = {}
    for folder in folders:
        for file in _files(folder, (WEIGHTS, *PICKLED)):
            names.setdefault(file.relative_to(folder).as_posix(), file)
    return names


def _spare_parts(choice: ModelChoice, workspace: Workspace) -> SpareParts:
    """Raises ModelError: `model.part_not_found`; PathError."""
    vaes, encoders = part_names(workspace.vae_folders), part_names(workspace.text_encoder_folders)
    found = tuple(file for file in dict.fromkeys([*vaes.values(), *encoders.values()]) if not is_pickled(file))
    vae = _find_part(choice.vae, vaes, "model.vae", workspace) if choice.vae.strip() else None
    chosen = tuple(_find_part(name, encoders, "model.text_encoders", workspace) for name in choice.text_encoders if name.strip())
    return SpareParts(vae, chosen, found)


def _find_part(name: str, known: dict[str, Path], field: str, workspace: Workspace) -> Path:
    name = name.strip()
    short = {path.stem: path for path in reversed(known.values())}
    if found := known.get(name) or short.get(name):
        return found
    if name.lower().endswith((WEIGHTS, *PICKLED)):
        try:
            path = workspace.allowed_path(name)
        except PathError as error:
            error.values.setdefault("field", field)
            raise
        if path.is_file():
            return path
    folder = "models/vae" if field == "model.vae" else "models/text_encoders"
    raise ModelError(
        "model.part_not_found", f"There is no file {name!r} for a part of a model.", f"The name of a file in {folder}, or a path.",
        f"Put the .safetensors file into {folder} of the data folder.", name=name, folder=folder, field=field,
    )  # fmt: skip


def _files(folder: Path, endings: tuple[str, ...] = (WEIGHTS,)) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in endings and not hidden and file.is_file():
            yield file
