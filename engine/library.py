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

from engine.errors import EngineError, ModelError
from engine.formats.checkpoint_shapes import architecture_from_header, resolution_from_header
from engine.formats.kinds import detect_kind, recognise
from engine.formats.safetensors_header import read_header
from engine.formats.summary import AdapterSummary, describe
from engine.workspace import SHIPPED_DATASETS, Workspace

STARTER = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter" / "weights"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FAMILY_NAMES = {
    "sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "SDXL", "sd3": "Stable Diffusion 3", "flux": "FLUX",
}  # fmt: skip
SUPPORTED = ("sd1",)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a base model before it is loaded.

    Attributes:
        location: a folder, a single file, or a Hugging Face id.
        family: key of `engine.families`; "" for a hub id that is not downloaded yet.
        resolution: side of the square it was made for, px.
        step: picture sides are multiples of this, px: what VAE and U-Net halve altogether.
        practice: it is the starter, good for practice only.
    """

    name: str
    location: Path | str
    family: str
    resolution: int
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
            names.setdefault(file.relative_to(folder).with_suffix("").as_posix(), (file, summary.output_name or None if summary else None))
    return names


def models(workspace: Workspace) -> list[ModelCard]:
    """The starter, then every checkpoint file and diffusers folder of the model folders."""
    cards = [ModelCard(STARTER, STARTER_FOLDER, "sd1")]
    for folder in workspace.checkpoint_folders:
        folders = sorted(index.parent for index in folder.glob("*/model_index.json"))
        inside = tuple(folders)
        for path in [*folders, *(file for file in _files(folder) if not any(file.is_relative_to(f) for f in inside))]:
            name = path.relative_to(folder).as_posix()
            try:
                cards.append(ModelCard(name, path, model_facts(path).family))
            except EngineError as problem:
                cards.append(ModelCard(name, path, "", problem))
    return cards


def datasets(workspace: Workspace) -> list[str]:
    """Names that `Workspace.dataset_folder` understands: the shipped exercises, then the user's own."""
    shipped = sorted(f"practice/{folder.name}" for folder in SHIPPED_DATASETS.glob("*") if folder.is_dir())
    own = sorted(folder.name for folder in (workspace.root / "datasets").glob("*") if folder.is_dir() and folder.name[0] not in "._")
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
    known = {card.name: card.path for card in models(workspace)}
    found = known.get(name) or {Path(each).stem: path for each, path in known.items()}.get(name)
    if found:
        return found
    typed = Path(name).expanduser()
    if typed.is_absolute() or name.startswith((".", "~")) or name.endswith((".safetensors", ".ckpt")):
        path = workspace.allowed_path(name)
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
        return ModelFacts(location, location, "", 512, 64, False)
    if location.is_dir():
        return _folder_facts(location)
    if location.suffix.lower() != ".safetensors":
        raise ModelError(
            "model.not_safetensors", f"{location.name} is not a .safetensors file.", "Checkpoints are read as .safetensors, which cannot carry code.",
            "Download the .safetensors version of this model.", path=location.name, field="model.path",
        )  # fmt: skip
    return _file_facts(location, *_stamp(location))


def _folder_facts(folder: Path) -> ModelFacts:
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        vae = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
        whole = index["_class_name"] == "StableDiffusionPipeline"
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        step, resolution = factor * 2 ** (len(unet["block_out_channels"]) - 1), unet["sample_size"] * factor
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "model.bad_folder", f"The folder {folder.name} is not a complete diffusers model: {error}.",
            "model_index.json with unet, vae, text_encoder, tokenizer and scheduler beside it.", "Choose another folder.",
            path=folder.name, field="model.path",
        ) from None  # fmt: skip
    if not whole:
        raise _unsupported(folder.name, str(index["_class_name"]))
    practice = folder.resolve() == STARTER_FOLDER.resolve()
    return ModelFacts(STARTER if practice else folder.name, folder, "sd1", resolution, step, practice)


@lru_cache(maxsize=512)
def _file_facts(file: Path, size: int, mtime_ns: int) -> ModelFacts:
    header = read_header(file)
    kind, family = detect_kind(header), recognise(header)
    if kind == "adapter":
        raise ModelError(
            "model.is_adapter", f"{file.name} is a LoRA, not a base model.", "A checkpoint was expected.",
            "Put it into the LoRA folder and use it in a prompt: <lora:name:0.8>.", path=file.name, field="model.path",
        )  # fmt: skip
    if kind != "checkpoint" or not family:
        raise ModelError(
            "model.not_a_checkpoint", f"{file.name} holds no image model that is known here ({kind}).", "A Stable Diffusion 1.x checkpoint.",
            "Choose another file.", path=file.name, kind=kind, field="model.path",
        )  # fmt: skip
    if family not in SUPPORTED:
        raise _unsupported(file.name, FAMILY_NAMES[family])
    sizes = architecture_from_header(header)
    factor = 2 ** (len(sizes["vae"]["block_out_channels"]) - 1)  # type: ignore[arg-type]
    step = factor * 2 ** (len(sizes["unet"]["block_out_channels"]) - 1)  # type: ignore[arg-type]
    return ModelFacts(file.stem, file, family, resolution_from_header(header) or 512, step, False)


def _unsupported(name: str, family: str) -> ModelError:
    return ModelError(
        "model.wrong_family", f"{name} is a {family} model.", "Stable Diffusion 1.x models can be trained so far.",
        "Choose a Stable Diffusion 1.x model.", path=name, family=family, field="model.path",
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
