"""What is at hand: base models, adapters and datasets, read from file headers alone.

Imports no torch, so that the page lists everything while the models sleep. Reads are cached by path, size and modification
time: a replaced file is never stale.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.field import TRAITS, Trait
from engine.errors import EngineError, ModelError, PathError
from engine.formats.checkpoint_shapes import prediction_from_header, resolution_from_header
from engine.formats.models import MODELS
from engine.formats.models.base import Habits, ModelFormat, Prediction
from engine.formats.safetensors_header import read_header
from engine.formats.sd2_prediction import sd2_prediction
from engine.formats.single_file import bad_shape, file_family, find_parts, incomplete, part_config, part_shapes
from engine.formats.summary import AdapterSummary, describe
from engine.generation.lookup import find_adapter
from engine.workspace import SHIPPED_DATASETS, Workspace

STARTER = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter" / "weights"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v_prediction"}


class PartSource(NamedTuple):
    """Where the weights of a part are: a folder of a diffusers model, or a file and the prefix of their keys in it."""

    path: Path
    prefix: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a base model before it is loaded.

    Attributes:
        location: a folder, a single file, or a Hugging Face id.
        family: key of `engine.formats.models.MODELS`; "" for a hub id that is not downloaded yet.
        resolution: side of the square it was made for, px.
        factor: picture sides must be multiples of this, px: what the VAE shrinks by, times the denoiser's patch.
        step: they had better be multiples of this, px: what VAE and U-Net shrink by altogether.
        practice: it is the starter, good for practice only.
        variant: key of the family's `variants`.
        prediction: what the denoiser predicts.
        sources: part -> where its weights are.
    """

    name: str
    location: Path | str
    family: str
    resolution: int
    factor: int
    step: int
    practice: bool
    variant: str = ""
    prediction: Prediction = "epsilon"
    sources: Mapping[str, PartSource] = field(default_factory=dict)

    @property
    def habits(self) -> Habits:
        """How it likes to be used where the user says nothing."""
        return MODELS[self.family].variants[self.variant].habits if self.family else Habits()

    @property
    def traits(self) -> frozenset[Trait]:
        """Which settings mean something for it; all of them while it is unknown."""
        if not self.family:
            return TRAITS
        model = MODELS[self.family]
        kinds = {model.parts[name].kind for name in model.trained if name in self.sources}
        has: dict[Trait, bool] = {
            "unet": "unet" in kinds,
            "flow": self.prediction == "flow",
            "distilled": self.habits.distilled_guidance > 0,
            "text": not kinds.isdisjoint({"clip", "clip_projected"}),
            "t5": "t5" in kinds,
            "clip_skip": self.habits.clip_skip > 0,
        }
        return frozenset(trait for trait, there in has.items() if there)


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
    """What a diffusers folder lacks, as paths below it; everything if it is of no known family."""
    try:
        model = MODELS[_folder_family(folder)]
    except (OSError, ValueError, KeyError, TypeError):
        return ["model_index.json"]
    wanted = ["scheduler/scheduler_config.json"]
    for name in model.parts:
        if name not in model.optional or (folder / name).exists():
            wanted += [f"{name}/config.json", f"{name}/*.safetensors"]
            wanted += [f"{model.tokenizers[name]}/*"] if name in model.tokenizers else []
    return [pattern for pattern in wanted if not any(file.is_file() for file in folder.glob(pattern))]


def _folder_family(folder: Path) -> str:
    """Raises KeyError for a pipeline that is not known."""
    pipeline = str(_json(folder / "model_index.json")["_class_name"])
    found = [family for family, model in MODELS.items() if pipeline in model.pipelines]
    if len(found) < 2:
        return found[0] if found else _raise_key(pipeline)
    # Stable Diffusion 2.x shares its pipeline with 1.x; its attention is projected by Linear layers
    return "sd2" if _json(folder / "unet" / "config.json").get("use_linear_projection") else "sd1"


def _raise_key(pipeline: str) -> str:
    raise KeyError(pipeline)


def _json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return content


def _folder_facts(folder: Path) -> ModelFacts:
    try:
        family = _folder_family(folder)
    except KeyError as error:
        raise _unknown(folder.name, str(error).strip("'")) from None
    except (OSError, ValueError, TypeError) as error:
        raise bad_folder(folder, error) from None
    model = MODELS[family]
    try:
        if missing := missing_parts(folder):
            raise FileNotFoundError(f"{', '.join(missing)} not there")
        here = [name for name in model.parts if (folder / name).is_dir()]
        configs = {name: _json(folder / name / "config.json") for name in here}
        configs["scheduler"] = _json(folder / "scheduler" / "scheduler_config.json")
        configs["model_index"] = _json(folder / "model_index.json")
        variant = model.folder_variant(configs)
        default = model.variants[variant]
        prediction = default.prediction
        if prediction != "flow":
            prediction = PREDICTIONS.get(configs["scheduler"].get("prediction_type", "epsilon"), "epsilon")
        shrink = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
        side = configs[model.denoiser].get("sample_size")
        resolution = side * shrink if isinstance(side, int) else configs["vae"].get("sample_size", default.habits.resolution)
        sides = _sides(model, shrink, configs[model.denoiser], resolution)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_folder(folder, error) from None
    practice = folder.resolve() == STARTER_FOLDER.resolve()
    sources = {name: PartSource(folder / name) for name in here}
    return ModelFacts(
        STARTER if practice else folder.name, folder, family, resolution, *sides, practice, variant, prediction, sources
    )


def _sides(model: ModelFormat, shrink: int, denoiser: Mapping[str, Any], resolution: int) -> tuple[int, int]:
    """`factor` and `step` of the facts."""
    if model.denoiser == "unet":
        return shrink, shrink * 2 ** (len(denoiser["block_out_channels"]) - 1)
    factor = shrink * model.patch
    # A transformer takes any multiple of its patch; steps of 64 px keep the buckets of large pictures few.
    return factor, max(factor, 64) if resolution >= 512 else factor


@lru_cache(maxsize=512)
def _file_facts(file: Path, size: int, mtime_ns: int) -> ModelFacts:
    if file.suffix.lower() != ".safetensors":
        raise ModelError(
            "model.not_safetensors", f"{file.name} is not a .safetensors file.", "Checkpoints are read as .safetensors, which cannot carry code.",
            "Download the .safetensors version of this model.", path=file.name,
        )  # fmt: skip
    header = read_header(file)
    family = file_family(file, header)
    model = MODELS[family]
    parts = find_parts(header, model)
    if missing := [name for name in model.parts if name not in parts and name not in model.optional]:
        raise incomplete(file, model, missing)
    sources = {name: PartSource(file, parts[name]) for name in model.parts if name in parts}
    said = prediction_from_header(header)
    if family == "sd2" and "modelspec.architecture" not in header.metadata:
        said = said or sd2_prediction(file, header)
    card = header.metadata | ({"modelspec.prediction_type": said} if said else {})
    try:
        variant = model.variant(part_shapes(header, parts[model.denoiser]), card)
    except (KeyError, IndexError, ValueError) as error:
        raise bad_shape(file, str(error)) from error
    default = model.variants[variant]
    configs = {
        name: part_config(file, name, model.parts[name], default.configs, header, parts[name]) for name in ("vae", model.denoiser)
    }
    prediction = said or default.prediction if default.prediction != "flow" else "flow"
    resolution = resolution_from_header(header) or default.habits.resolution
    sides = _sides(model, 2 ** (len(configs["vae"]["block_out_channels"]) - 1), configs[model.denoiser], resolution)
    return ModelFacts(file.stem, file, family, resolution, *sides, False, variant, prediction, sources)


def denoiser_parameters(facts: ModelFacts) -> int:
    """How many numbers the denoiser has; 0 for a hub id that is not downloaded yet."""
    if not facts.family:
        return 0
    source = facts.sources[MODELS[facts.family].denoiser]
    files = sorted(source.path.glob("*.safetensors")) if source.path.is_dir() else [source.path]
    return sum(
        prod(tensor.shape)
        for file in files
        for name, tensor in read_header(file).tensors.items()
        if name.startswith(source.prefix)
    )


def bad_folder(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        "model.bad_folder", f"The folder {folder.name} is not a complete diffusers model: {error}.",
        "model_index.json with the model's parts, tokenizers and scheduler beside it.", "Choose another folder.",
        path=folder.name,
    )  # fmt: skip


def _unknown(name: str, pipeline: str) -> ModelError:
    titles = ", ".join(model.title for model in MODELS.values())
    return ModelError(
        "model.wrong_family", f"{name} is a {pipeline} model, which is not known here.", f"One of: {titles}.",
        "Choose another model.", path=name, family=pipeline,
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
