"""What is known of a base model before it is loaded: its family and make, its sizes, where each of its parts lies.

Reads headers of weights and config files alone, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.field import TRAITS, Trait
from engine.errors import ModelError
from engine.file_notes import FileNotes
from engine.formats.checkpoint_shapes import prediction_from_header, resolution_from_header
from engine.formats.hashes import model_hashes
from engine.formats.mistaken import unknown_family
from engine.formats.models import MODELS
from engine.formats.models.base import Habits, ModelFormat, PartSource, Prediction
from engine.formats.safetensors_header import Header, kept_header
from engine.formats.sd2_prediction import sd2_prediction
from engine.formats.single_file import bad_shape, file_family, find_parts, no_denoiser, part_config, part_shapes
from engine.formats.weight_names import best_variant
from engine.spare_parts import NONE, SpareParts, complete
from engine.workspace import stamp

STARTER = "starter"
STARTER_FOLDER = Path(__file__).parent / "starter" / "weights"
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Number formats of weights that can be read."""
PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v_prediction"}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a base model before it is loaded.

    Attributes:
        location: a folder, a single file, or a Hugging Face id: what the user chose.
        family: key of `engine.formats.models.MODELS`; "" for a hub id that is not downloaded yet and for a pickle that is not converted
            yet.
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
    def other_vae(self) -> Path | None:
        """The file of a VAE that is not the model's own."""
        if not self.family:
            return None
        place, own = self.sources["vae"].path, self.sources[MODELS[self.family].denoiser].path
        return place if place.is_file() and place != own else None

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


def unread(location: Path | str) -> ModelFacts:
    """What is known of a model that is not on this disk yet, or not in a form that can be read."""
    return ModelFacts(location if isinstance(location, str) else location.stem, location, "", 512, 8, 64, False)


def model_facts(location: Path | str, spare: SpareParts = NONE) -> ModelFacts:
    """Facts of a model from its headers and config files.

    Args:
        spare: files beside its own.

    Raises:
        ModelError: it is damaged, something else, incomplete, or of a family that is not known.
    """
    if isinstance(location, str):
        return unread(location)
    try:
        return _folder_facts(location, spare) if location.is_dir() else _file_facts(location, spare)
    except ModelError as error:
        error.values.setdefault("field", "model.path")
        raise


def missing_parts(folder: Path) -> list[str]:
    """What a diffusers folder lacks, as paths below it; everything if it is of no known family."""
    try:
        model = MODELS[_folder_family(folder)]
    except (OSError, ValueError, KeyError, TypeError):
        return ["model_index.json"]
    missing = [] if (folder / "scheduler" / "scheduler_config.json").is_file() else ["scheduler/scheduler_config.json"]
    for name in model.parts:
        if name in model.optional and not (folder / name).exists():
            continue
        files = _file_names(folder / name)
        missing += [] if "config.json" in files else [f"{name}/config.json"]
        missing += [f"{name}/*.safetensors"] if best_variant(files) is None else []
        tokenizer = model.tokenizers.get(name)
        missing += [f"{tokenizer}/*"] if tokenizer and not _file_names(folder / tokenizer) else []
    return missing


def _file_names(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*") if file.is_file()}


def _folder_family(folder: Path) -> str:
    """Raises KeyError for a pipeline that is not known, ValueError where none is named."""
    pipeline = _json(folder / "model_index.json").get("_class_name")
    if not isinstance(pipeline, str):
        raise ValueError("model_index.json names no pipeline")
    found = [family for family, model in MODELS.items() if pipeline in model.pipelines]
    if not found:
        raise KeyError(pipeline)
    if len(found) == 1:
        return found[0]
    # Stable Diffusion 2.x shares its pipeline with 1.x; its attention is projected by Linear layers
    return "sd2" if _json(folder / "unet" / "config.json").get("use_linear_projection") else "sd1"


def _json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return content


def _folder_facts(folder: Path, spare: SpareParts) -> ModelFacts:
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
        schedule = _json(folder / "scheduler" / "scheduler_config.json")
        variant = model.folder_variant(configs | {"scheduler": schedule, "model_index": _json(folder / "model_index.json")})
        default = model.variants[variant]
        prediction = default.prediction
        if prediction != "flow":
            prediction = PREDICTIONS.get(schedule.get("prediction_type", "epsilon"), "epsilon")
        shrink = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
        side = configs[model.denoiser].get("sample_size")
        resolution = side * shrink if isinstance(side, int) else configs["vae"].get("sample_size", default.habits.resolution)
        sides = _sides(model, shrink, configs[model.denoiser], resolution)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_folder(folder, error) from None
    practice = folder.resolve() == STARTER_FOLDER.resolve()
    sources = {name: PartSource(folder / name) for name in here}
    if spare.chosen:
        sources = complete(folder, family, default.configs, sources, configs, spare)
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


class Glance(NamedTuple):
    """What the header of a single file tells of itself.

    Attributes:
        prefixes: part -> how its keys begin.
        resolution: side of the square it was made for, px.
    """

    family: str
    variant: str
    prediction: Prediction
    resolution: int
    prefixes: dict[str, str]

    @property
    def missing(self) -> list[str]:
        """The parts that a whole model has besides."""
        model = MODELS[self.family]
        return [name for name in model.parts if name not in self.prefixes and name not in model.optional]


def glance(file: Path) -> Glance:
    """Raises ModelError: it is damaged, something else, or of a family that is not known."""
    return _glance(file, *stamp(file))


@lru_cache(maxsize=512)
def _glance(file: Path, size: int, mtime_ns: int) -> Glance:
    header = kept_header(file)
    family = file_family(file, header)
    model = MODELS[family]
    prefixes = find_parts(header, model)
    if model.denoiser not in prefixes:
        raise no_denoiser(file, model)
    _check_numbers(file, header)
    said = prediction_from_header(header)
    if family == "sd2" and "modelspec.architecture" not in header.metadata:
        said = said or sd2_prediction(file, header)
    card = header.metadata | ({"modelspec.prediction_type": said} if said else {})
    try:
        variant = model.variant(part_shapes(header, prefixes[model.denoiser]), card)
    except (KeyError, IndexError, ValueError) as error:
        raise _no_variant(file, model, error) from error
    default = model.variants[variant]
    prediction = said or default.prediction if default.prediction != "flow" else "flow"
    return Glance(family, variant, prediction, resolution_from_header(header) or default.habits.resolution, prefixes)


def _no_variant(file: Path, model: ModelFormat, error: Exception) -> ModelError:
    """A relative that differs in what a variant is told from. A U-Net without a tensor is a damaged one: it has no relatives."""
    if isinstance(error, IndexError) or (isinstance(error, KeyError) and model.denoiser == "unet"):
        return bad_shape(file, f"the tensor {error} is missing or has an unusual shape")
    difference = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"{error}"
    return unknown_family(file, f"it resembles {model.title}, but {difference}")


def _check_numbers(file: Path, header: Header) -> None:
    """Weights in another number format are quantised in some way of another program.

    Raises:
        ModelError: `model.quantised`.
    """
    for key, info in header.tensors.items():
        if key.endswith(".weight") and len(info.shape) > 1 and info.dtype not in FLOATS:
            raise ModelError(
                "model.quantised", f"{file.name} is quantised: {key} is in {info.dtype}.", "Weights in fp32, fp16, bf16 or fp8.",
                "Download the fp16, bf16 or fp8 version; it is quantised here when you ask for it.",
                path=file.name, tensor=key, format=info.dtype,
            )  # fmt: skip


def _file_facts(file: Path, spare: SpareParts) -> ModelFacts:
    seen = glance(file)
    own = {name: PartSource(file, prefix) for name, prefix in seen.prefixes.items()}
    sources, model = own, MODELS[seen.family]
    if spare.chosen or seen.missing:
        known = {name: _config(name, seen, source) for name, source in own.items()}
        sources = complete(file, seen.family, model.variants[seen.variant].configs, own, known, spare)
    vae, denoiser = (_config(name, seen, sources[name]) for name in ("vae", model.denoiser))
    sides = _sides(model, 2 ** (len(vae["block_out_channels"]) - 1), denoiser, seen.resolution)
    ordered = {name: sources[name] for name in model.parts if name in sources}
    return ModelFacts(file.stem, file, seen.family, seen.resolution, *sides, False, seen.variant, seen.prediction, ordered)


def _config(name: str, seen: Glance, source: PartSource) -> dict[str, Any]:
    return _read_config(name, seen.family, seen.variant, source, *stamp(source.path))


@lru_cache(maxsize=1024)
def _read_config(name: str, family: str, variant: str, source: PartSource, size: int, mtime_ns: int) -> dict[str, Any]:
    model = MODELS[family]
    part, configs = source.form(model.parts[name]), model.variants[variant].configs
    return part_config(source.path, name, part, configs, kept_header(source.path), source.prefix)


def denoiser_parameters(facts: ModelFacts) -> int:
    """How many numbers the denoiser has; 0 for a hub id that is not downloaded yet."""
    if not facts.family:
        return 0
    source = facts.sources[MODELS[facts.family].denoiser]
    files = sorted(source.path.glob("*.safetensors")) if source.path.is_dir() else [source.path]
    return sum(
        prod(tensor.shape)
        for file in files
        for name, tensor in kept_header(file).tensors.items()
        if name.startswith(source.prefix)
    )


def note_hashes(facts: ModelFacts, notes: FileNotes) -> None:
    """See to it that the hashes of a model that is used are known, hashing what nobody has hashed yet."""
    for place in (facts.location, facts.other_vae):
        if isinstance(place, Path):
            model_hashes(place, notes)


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
