"""What will happen, before it happens: pictures, buckets, steps and everything worth knowing, without loading a model.

The page shows it, the job checks it, the trainer carries out the same plan. Imports no torch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.config.plan import Plan, plan
from engine.config.train import TrainConfig
from engine.datasets.bucket_plan import BucketOptions, fitting
from engine.datasets.buckets import BucketFit
from engine.datasets.dataset import Dataset
from engine.datasets.sampler import BucketedItem, batches_per_epoch
from engine.datasets.scan import scan
from engine.errors import ConfigError, DatasetError, EngineError
from engine.fitting import check_config, read_profile
from engine.forecast import Trained, forecast
from engine.library import choose, find_adapter_file
from engine.memory.advice import too_little
from engine.memory.base_model import BaseModel, base_model
from engine.memory.forecast import Learning, MemoryForecast, Sizes, memory_forecast
from engine.model_facts import ModelFacts
from engine.workspace import Workspace, check_name

BUCKET_FIELDS = {
    "bucket.below_minimum": "dataset.bucket_min",
    "bucket.above_maximum": "dataset.bucket_max",
    "bucket.picture_too_small": "dataset.no_upscale",
}


@dataclass(frozen=True)
class Preflight:
    """The run as planned.

    Attributes:
        fits: how each picture enters its bucket, in the order of `dataset.pictures`.
        buckets: bucket (width, height) -> pictures, without repeats.
        trained: what learns; None for a model that is not downloaded or converted yet.
        memory: what it needs, phase by phase; None likewise.
        notices: things to know that do not stop the run.
    """

    plan: Plan
    dataset: Dataset
    fits: list[BucketFit]
    buckets: dict[tuple[int, int], int]
    model: ModelFacts
    trained: Trained | None
    notices: list[EngineError]
    memory: MemoryForecast | None = None

    @property
    def items(self) -> list[BucketedItem]:
        """The pictures as the sampler sees them."""
        return sampler_items(self.fits, self.dataset)


def sampler_items(fits: list[BucketFit], dataset: Dataset) -> list[BucketedItem]:
    """The pictures that are shown at all: regularisation pictures can be left over."""
    shown = enumerate(zip(fits, dataset.repeats, strict=True))
    return [BucketedItem(index, fit.bucket, times) for index, (fit, times) in shown if times]


def preflight(config: TrainConfig, workspace: Workspace) -> Preflight:
    """Plan a run.

    Raises:
        EngineError: the run cannot start; `values["field"]` names the form field where there is one.
    """
    check_name(config.output.name)
    check_config(read_profile(workspace.root / "config"), config)
    model = choose(config.model.choice, workspace)
    dataset = scan_dataset(config, workspace)
    if not (config.adapter.train_unet or config.adapter.train_text_encoder or config.adapter.train_t5):
        raise ConfigError(
            "config.nothing_to_train", "Neither the U-Net nor the text encoder is trained.", "At least one of them.",
            "Switch one of them on.", field="adapter.train_unet",
        )  # fmt: skip
    if config.adapter.start_from:
        start_file(config, workspace)
    resolution = config.dataset.resolution or model.resolution
    check_sizes(config, resolution, model.factor)
    fits = bucket_fits(config, dataset, resolution, model.step)
    items = sampler_items(fits, dataset)
    batches = batches_per_epoch(items, config.training.batch_size)
    learnt = sum(len(concept.pictures) for concept in dataset.learnt)
    trained = forecast(config.adapter, config.output.precision, model)
    base = base_model(model) if trained and model.family else None

    def needed(changed: TrainConfig) -> MemoryForecast:
        assert base and trained
        return needed_memory(changed, model, base, trained, fits, workspace)

    memory = needed(config) if base else None
    return Preflight(
        plan=plan(config, learnt, dataset.views_per_epoch, batches, model.resolution),
        dataset=dataset,
        fits=fits,
        buckets=dict(sorted(Counter(item.bucket for item in items).items())),
        model=model,
        trained=trained,
        notices=[*notices(config, dataset, model), *too_little(config, memory, needed)],
        memory=memory,
    )


def start_file(config: TrainConfig, workspace: Workspace) -> Path:
    """The adapter that the run goes on from."""
    try:
        return find_adapter_file(config.adapter.start_from, workspace)
    except EngineError as error:
        error.values["field"] = "adapter.start_from"
        raise


def scan_dataset(config: TrainConfig, workspace: Workspace) -> Dataset:
    """Read the dataset a config names."""
    if not config.dataset.folder.strip():
        raise DatasetError(
            "dataset.none", "No dataset is chosen.", "A folder of pictures.", "Choose one, or start with the practice pictures.",
            field="dataset.folder",
        )  # fmt: skip
    try:
        return scan(workspace.dataset_folder(config.dataset.folder), config.dataset.repeats, config.dataset.trigger.strip())
    except EngineError as error:
        error.values.setdefault("field", "dataset.folder")
        raise


def check_sizes(config: TrainConfig, resolution: int, factor: int) -> None:
    """Every side of a picture, trained on or made, must be a multiple of what the VAE shrinks by.

    Raises:
        ConfigError: `config.size`.
    """
    sides = {"dataset.resolution": resolution}
    if config.dataset.enable_buckets:
        sides["dataset.bucket_step"] = config.dataset.bucket_step
    if config.samples.count:
        sides |= {"samples.width": config.samples.width, "samples.height": config.samples.height}
    for name, side in sides.items():
        if side % factor:
            raise ConfigError(
                "config.size", f"{name}: {side} px does not fit this model.", f"A multiple of {factor} px.",
                f"Choose {side - side % factor or factor}.", field=name, value=side, step=factor,
            )  # fmt: skip


def bucket_fits(config: TrainConfig, dataset: Dataset, resolution: int, step: int) -> list[BucketFit]:
    """The bucket of each picture. Sides left at 0 follow from the resolution and the model's `step`.

    Raises:
        DatasetError: codes `bucket.*`, with the field.
    """
    settings = config.dataset
    options = BucketOptions(
        resolution,
        settings.bucket_step or step,
        settings.bucket_min,
        settings.bucket_max,
        settings.no_upscale,
        settings.enable_buckets,
    )
    try:
        fit = fitting(options)
        return [fit(picture.size) for picture in dataset.pictures]
    except EngineError as error:
        error.values.setdefault("field", BUCKET_FIELDS.get(error.code, "dataset.bucket_step"))
        raise


def needed_memory(
    config: TrainConfig, model: ModelFacts, base: BaseModel, trained: Trained, fits: list[BucketFit], workspace: Workspace
) -> MemoryForecast:
    """What the run needs on the device that computed last in this workspace."""
    samples, side = config.samples, config.dataset.resolution or model.resolution
    sizes = Sizes(
        picture=max((fit.bucket for fit in fits), key=lambda size: size[0] * size[1]),
        sample=(samples.width or side, samples.height or side) if samples.count else None,
        guided=(samples.guidance_scale or model.habits.guidance_scale) != 1,
        captions=len(fits) + 1,
    )
    learning = Learning(trained.ranks, sum(trained.parameters.values()))
    return memory_forecast(base, learning, config, sizes, read_profile(workspace.root / "config"))


def notices(config: TrainConfig, dataset: Dataset, model: ModelFacts) -> list[EngineError]:
    """What the user should know before starting."""
    found = [EngineError(f.code, f.text, **{**f.values, "field": "dataset.folder"}) for f in dataset.findings]
    if not dataset.triggers(config.dataset.trigger.strip()) and config.dataset.kind != "style":
        found.append(EngineError(
            "dataset.no_trigger", "There is no trigger word.", "A word that calls what is learnt.",
            "Enter one, for example the name of the character in lower case.", field="dataset.trigger",
        ))  # fmt: skip
    if model.practice and not config.dataset.folder.startswith("practice/"):
        found.append(EngineError(
            "model.practice", "The starter is a tiny practice model.", "Good pictures of your own need a real base model.",
            "Choose a real one as the base model, for example an SDXL or Stable Diffusion 1.x checkpoint.", field="model.path",
        ))  # fmt: skip
    if config.adapter.train_text_encoder and not config.adapter.train_unet:
        found.append(
            EngineError(
                "adapter.text_only", "Only the text encoder is trained; shapes cannot be learnt.", field="adapter.train_unet"
            )
        )
    return found
