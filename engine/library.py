"""What is at hand: base models, adapters and datasets, read from file headers alone.

Imports no torch, so that the page lists everything while the models sleep. Reads are cached by path, size and modification
time: a replaced file is never stale.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engine.errors import EngineError, ModelError, PathError
from engine.formats.checkpoint_shapes import resolution_from_header
from engine.formats.kinds import detect_kind, recognise
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import check_sd1_checkpoint, read_architecture
from engine.formats.summary import AdapterSummary, describe
from engine.generation.lookup import find_adapter
from engine.workspace import SHIPPED_DATASETS, Workspace

STARTER = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter" / "weights"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FAMILY_NAMES = {
    "sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "SDXL", "sd3": "Stable Diffusion 3", "flux": "FLUX",
}  # fmt: skip
SUPPORTED = ("sd1",)
FOLDER_PARTS = (
    "model_index.json", "scheduler/scheduler_config.json", "tokenizer/*.json", "text_encoder/config.json", "unet/config.json",
    "vae/config.json", "text_encoder/*.safetensors", "unet/*.safetensors", "vae/*.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a base model before it is loaded.

    Attributes:
        location: a folder, a single file, or a Hugging Face id.
        family: key of `engine.families`; "" for a hub id that is not downloaded yet.
        resolution: side of the square it was made for, px.
        factor: picture sides must be multiples of this, px: what the VAE shrinks by.
        step: they had better be multiples of this, px: what VAE and U-Net shrink by altogether.
        practice: it is the starter, good for practice only.
    """

    name: str
    location: Path | str
    family: str
    resolution: int
    factor: int
    step: int
    practice: bool


@dataclass(frozen=True)
class ModelCard:
    name: str
    path: Path
    family: str
    problem: EngineError | None = None


@dataclass(frozen=True)
class AdapterCard:
    name: str
    path: Path
    summary: AdapterSummary | None
    problem: EngineError | None = None


def adapters(workspace: Workspace) -> list[AdapterCard]:
    """All adapter files of the LoRA folders, newest first."""
    files = [file for folder in workspace.lora_folders for file in _files(folder)]
    return [_adapter_card(file, *_stamp(file)) for file in sorted(files, key=lambda file: -_stamp(file)[1])]


def adapter_names(workspace: Workspace) -> dict[str, tuple[Path, str | None]]:
    """Path below its LoRA folder without ending -> (file, name it was trained under); what a tag is looked up in."""
    names: dict[str, tuple[Path, str | None]] = {}
    for folder in workspace.lora_folders:
        for file in _files(folder):
            summary = _adapter_card(file, *_stamp(file)).summary
            names.setdefault(
                file.relative_to(folder).with_suffix("").as_posix(), (file, summary.output_name or None if summary else None)
            )
    return names


def find_adapter_file(name: str, workspace: Workspace) -> Path:
    """The adapter file a user means, named as in a tag.

    Raises:
        PromptError: `prompt.adapter_unknown` with the nearest names, `prompt.adapter_ambiguous`.
    """
    names = adapter_names(workspace)
    return names[find_adapter(name, {path: alias for path, (_, alias) in names.items()})][0]


def models(workspace: Workspace) -> list[ModelCard]:
    """The starter, then every checkpoint file and diffusers folder of the model folders."""
    cards = [ModelCard(STARTER, STARTER_FOLDER, "sd1")]
    for name, path in model_names(workspace).items():
        try:
            cards.append(ModelCard(name, path, model_facts(path).family))
        except EngineError as problem:
            cards.append(ModelCard(name, path, "", problem))
    return cards


def model_names(workspace: Workspace) -> dict[str, Path]:
    """Path below its model folder -> checkpoint file or diffusers folder; where two share a name, the workspace's own."""
    names: dict[str, Path] = {}
    for folder in workspace.checkpoint_folders:
        folders = sorted(index.parent for index in folder.glob("*/model_index.json"))
        inside = set(folders)
        for path in [*folders, *(file for file in _files(folder) if inside.isdisjoint(file.parents))]:
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
    short = {path.stem: path for path in reversed(known.values()) if path.suffix.lower() == ".safetensors"}
    if found := known.get(name) or short.get(name):
        return found
    typed = Path(name).expanduser()
    if typed.is_absolute() or name.startswith((".", "~")) or name.endswith((".safetensors", ".ckpt")):
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


def model_facts(location: Path | str) -> ModelFacts:
    """Facts of a model from its headers and config files.

    Raises:
        ModelError: it is damaged, an adapter, incomplete, or of a family that is not supported.
    """
    if isinstance(location, str):
        return ModelFacts(location, location, "", 512, 8, 64, False)
    try:
        return _folder_facts(location) if location.is_dir() else _file_facts(location, *_stamp(location))
    except ModelError as error:
        error.values.setdefault("field", "model.path")
        raise


def missing_parts(folder: Path) -> list[str]:
    """What a diffusers folder of Stable Diffusion 1.x lacks, as paths below it."""
    return [pattern for pattern in FOLDER_PARTS if not any(file.is_file() for file in folder.glob(pattern))]


def _folder_facts(folder: Path) -> ModelFacts:
    try:
        index, unet, vae = (
            json.loads((folder / file).read_text(encoding="utf-8"))
            for file in ("model_index.json", "unet/config.json", "vae/config.json")
        )
        kind = str(index["_class_name"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        step, resolution = factor * 2 ** (len(unet["block_out_channels"]) - 1), unet["sample_size"] * factor
        if missing := missing_parts(folder):
            raise FileNotFoundError(f"{', '.join(missing)} not there")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_folder(folder, error) from None
    if kind != "StableDiffusionPipeline":
        raise _unsupported(folder.name, kind)
    if unet.get("use_linear_projection"):  # what sets 2.x apart, of any size
        raise _unsupported(folder.name, FAMILY_NAMES["sd2"])
    practice = folder.resolve() == STARTER_FOLDER.resolve()
    return ModelFacts(STARTER if practice else folder.name, folder, "sd1", resolution, factor, step, practice)


@lru_cache(maxsize=512)
def _file_facts(file: Path, size: int, mtime_ns: int) -> ModelFacts:
    if file.suffix.lower() != ".safetensors":
        raise ModelError(
            "model.not_safetensors", f"{file.name} is not a .safetensors file.", "Checkpoints are read as .safetensors, which cannot carry code.",
            "Download the .safetensors version of this model.", path=file.name,
        )  # fmt: skip
    header = read_header(file)
    family = recognise(header)
    if family and family not in SUPPORTED and detect_kind(header) == "checkpoint":
        raise _unsupported(file.name, FAMILY_NAMES[family])
    check_sd1_checkpoint(file, header)
    sizes = read_architecture(file, header)
    if sizes["unet"]["in_channels"] != sizes["unet"]["out_channels"]:
        raise _unsupported(file.name, "Stable Diffusion inpainting")
    factor = 2 ** (len(sizes["vae"]["block_out_channels"]) - 1)
    step = factor * 2 ** (len(sizes["unet"]["block_out_channels"]) - 1)
    return ModelFacts(file.stem, file, "sd1", resolution_from_header(header) or 512, factor, step, False)


def bad_folder(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        "model.bad_folder", f"The folder {folder.name} is not a complete diffusers model: {error}.",
        "model_index.json with unet, vae, text_encoder, tokenizer and scheduler beside it.", "Choose another folder.",
        path=folder.name,
    )  # fmt: skip


def _unsupported(name: str, family: str) -> ModelError:
    return ModelError(
        "model.wrong_family", f"{name} is a {family} model.", "Stable Diffusion 1.x models can be trained so far.",
        "Choose a Stable Diffusion 1.x model.", path=name, family=family,
    )  # fmt: skip


@lru_cache(maxsize=8192)
def _adapter_card(file: Path, size: int, mtime_ns: int) -> AdapterCard:
    try:
        return AdapterCard(file.stem, file, describe(file))
    except EngineError as problem:
        return AdapterCard(file.stem, file, None, problem)


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*.safetensors")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
        return status.st_size, status.st_mtime_ns
    except FileNotFoundError:
        return 0, 0
