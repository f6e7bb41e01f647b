"""Scores the pictures of a grid of one run's versions: how like the training pictures they are, and how different from one another.

The base model itself looks at them, without any adapter, as squares of its own resolution; see `engine.generation.likeness`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.config.grid import GridConfig
from engine.datasets.buckets import assign
from engine.datasets.decode import fit, load_picture, to_array
from engine.datasets.scan import scan
from engine.errors import EngineError
from engine.families.base import Family
from engine.generation.likeness import AT_ONCE, Score, features, score
from engine.generation.studio import Studio
from engine.grid.axes import AXES
from engine.grid.plan import Place
from engine.grid.record import GridRecord
from engine.grid.suggest import GroupScore, Scores
from engine.grid.versions import Version, read_run
from engine.jobs import run_folder
from engine.jobs.generating import ResultPicture
from engine.jobs.store import open_store
from engine.workspace import Workspace

TRAINING_PICTURES = 32
"""The most that are looked at."""
METHOD = "features from the middle of the base model's denoiser"
OnLook = Callable[[int, int], None]
"""Called with pictures looked at and in all; may raise Interrupted."""
At = tuple[tuple[str, int], ...]
"""Where a group stands: letter of an axis of the adapter, place on it."""


def score_pictures(record: GridRecord, config: GridConfig, studio: Studio, workspace: Workspace, on_look: OnLook) -> Scores:
    """The scores of a grid whose `run` is named.

    Raises:
        EngineError: `grid.score_base`, `grid.score_models`, `grid.score_nothing`; the run or its pictures are not there any more;
            the model cannot be loaded.
    """
    base, groups = _sorted_out(record)
    if not base:
        raise EngineError(
            "grid.score_base", "Without the column without LoRA there is nothing to compare the pictures with.",
            todo="Switch it on and make the grid again.",
        )  # fmt: skip
    if any(line.kind == "model" for line in record.lines.values()):
        raise EngineError(
            "grid.score_models", "Pictures of different base models cannot be compared.", todo="Make a grid for each of them."
        )
    run = read_run(config.run, workspace)
    versions = {version.file.stem: version for version in run.versions}
    made = {at: report for at, pictures in groups.items() if (report := _of_run(pictures[0], versions))}
    if not made:
        raise EngineError(
            "grid.score_nothing", f"No picture of this grid was made with a LoRA of the run {run.name}.",
            todo="Choose the run of the LoRA that the grid is about.", name=run.name,
        )  # fmt: skip
    files = {at: [picture.file for picture in groups[at]] for at in made}
    training = training_pictures(config.run, workspace)
    wanted = dict.fromkeys([*training, *base, *(file for several in files.values() for file in several)])
    seen = look(list(wanted), studio.bare(config.picture), on_look)
    scores = score(
        _features(training, seen), _features(base, seen), {at: _features(several, seen) for at, several in files.items()}
    )
    comparable = len(base) > 1
    told = (_told(at, made[at], versions, len(files[at]), comparable, scores[at]) for at in made)
    return Scores(tuple(told), METHOD, len(training))


def _sorted_out(record: GridRecord) -> tuple[list[Path], dict[At, list[ResultPicture]]]:
    """The pictures of the base model alone, and the others by their places on the axes that vary the adapter."""
    letters = [letter for letter, line in record.lines.items() if line.kind != "none" and AXES[line.kind].of_adapter]
    based = [letter for letter, line in record.lines.items() if line.base]

    def is_base(place: Place) -> bool:
        return any(getattr(place, letter) == 0 for letter in based)

    base: list[Path] = []
    groups: dict[At, list[ResultPicture]] = {}
    for cell in record.cells:
        if any(map(is_base, cell.places)):
            base += [picture.file for picture in cell.pictures]
        elif cell.pictures:
            for at in dict.fromkeys(tuple((letter, getattr(place, letter)) for letter in letters) for place in cell.places):
                groups.setdefault(at, []).extend(cell.pictures)
    return base, groups


def _of_run(picture: ResultPicture, versions: Mapping[str, Version]) -> dict | None:
    """What a picture reports of a run's adapter; None where none was in force."""
    return next((adapter for adapter in picture.adapters if adapter["name"] in versions), None)


def training_pictures(run: str, workspace: Workspace) -> list[Path]:
    """Pictures that a run was trained on, evenly chosen where there are many.

    Raises:
        EngineError: the run, its settings or its pictures are not there.
    """
    config = run_folder.read_config(run_folder.locate(workspace, open_store(workspace.database).get(run.strip())))
    found = scan(workspace.dataset_folder(config.dataset.folder)).pictures
    count = min(len(found), TRAINING_PICTURES)
    return [found[index * len(found) // count].path for index in range(count)]


def look(files: Sequence[Path], model: Family, on_look: OnLook) -> dict[Path, Tensor]:
    """Features (D,) of each picture."""
    seen: dict[Path, Tensor] = {}
    side = model.facts.resolution - model.facts.resolution % model.size_step
    for start in range(0, len(files), AT_ONCE):
        on_look(start, len(files))
        some = files[start : start + AT_ONCE]
        squares = torch.from_numpy(np.stack([_square(file, side) for file in some]))
        seen |= zip(some, features(model, squares), strict=True)
    return seen


def _square(file: Path, side: int) -> np.ndarray:
    """The middle of a picture, (3, side, side) in [0, 1]."""
    picture = load_picture(file)
    placed = assign(picture.size, [(side, side)])
    return to_array(fit(picture, placed.resized, placed.bucket)) / 2 + 0.5


def _features(files: Sequence[Path], seen: Mapping[Path, Tensor]) -> Tensor:
    return torch.stack([seen[file] for file in files])


def _told(at: At, report: Mapping, versions: Mapping[str, Version], pictures: int, comparable: bool, found: Score) -> GroupScore:
    """A score with what it is of. Of one picture nobody can say how it differs from others."""
    version, several = versions[report["name"]], comparable and pictures > 1
    alone = min(max(found.likeness, 0.0), 1.0)
    return GroupScore(
        dict(at), report["name"], version.step, version.label, report["text_encoder"], report["unet"], pictures, found.likeness,
        found.diversity if several else None, found.total if several else alone,
    )  # fmt: skip
