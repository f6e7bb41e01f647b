"""The place where pictures are made: one loaded base model, the adapters a prompt asks for, PNG files with their recipe.

Adapters are merged into the weights; when a live network (one in training) is in the model they stay beside them and the
base is not touched. Everything that was not done as asked is reported at the picture; nothing of one prompt stays for the next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from PIL.Image import Image
from torch import Tensor

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.generate import GenerateConfig
from engine.device import device_profile, pick_device, pick_dtype
from engine.errors import ModelError, PromptError, Skipped
from engine.families import ready_model
from engine.families.base import Family
from engine.families.shelf import ModelShelf
from engine.file_notes import FileNotes
from engine.fitting import check_config
from engine.formats.infotext import encode_picture
from engine.generation.applying import in_place, make_merger, report, resolve
from engine.generation.embeddings import Embeddings, embeddings_for
from engine.generation.pipeline import Progress, make_pictures, to_image, with_habits
from engine.generation.preview import find_taesd
from engine.generation.prompt import find_problems, parse_tags, strip_comments
from engine.generation.recipe import recipe
from engine.generation.wildcards import expand
from engine.model_facts import denoiser_parameters, note_hashes
from engine.styles import apply_styles, read_styles
from engine.workspace import Workspace, atomic_write

OnPreview = Callable[[Image], None]
"""Called with the first picture of a batch as it looks on its way, small."""


@dataclass(frozen=True)
class Picture:
    """A finished picture.

    Attributes:
        infotext: its recipe, as written into the file.
        without: made without adapters, for comparison.
        problems: what was not done as asked, as `EngineError.to_dict`.
        adapters: name, strengths and matched / unmatched / total modules of each adapter in force.
    """

    file: Path
    seed: int
    infotext: str
    without: bool = False
    problems: list[dict] = field(default_factory=list)
    adapters: list[dict] = field(default_factory=list)


OnPicture = Callable[[Picture], None]


@dataclass(frozen=True)
class Shot:
    """What one picture is made of: its texts, adapter tags still in the prompt, and its seeds."""

    prompt: str
    negative: str
    seed: int
    variation_seed: int


class Studio:
    """Makes pictures with the base model on the shelf, keeping recently used adapters loaded between requests."""

    def __init__(self, workspace: Workspace, shelf: ModelShelf | None = None) -> None:
        self.workspace, self.shelf = workspace, shelf or ModelShelf()
        self._model: Family | None = None
        self._merger: Merger | None = None
        self._networks: dict[tuple, Network] = {}

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Progress | None = None, on_preview: OnPreview | None = None,
        on_picture: OnPicture | None = None, extra: Mapping[str, Path] | None = None,
    ) -> list[Picture]:  # fmt: skip
        """Make the pictures of a request and write them below `out`; see `render`.

        Raises:
            EngineError: the request cannot be carried out at all.
        """
        model = self._take(config)
        return render(
            model, self._merger, None, config, self.workspace, self._networks, out, on_progress, on_preview, on_picture, extra
        )

    def bare(self, config: GenerateConfig) -> Family:
        """The model of a request, without any adapter. Good until the next request.

        Raises:
            EngineError: it cannot be loaded, or its file has changed.
        """
        model = self._take(config)
        if self._merger:
            self._merger.restore()
        return model

    def _take(self, config: GenerateConfig) -> Family:
        device = pick_device()
        check_config(device_profile(device), config)
        facts = ready_model(config.choice, self.workspace)
        dtype = pick_dtype(device, config.precision, denoiser_parameters(facts))
        wanted = facts, device, dtype, config.quantization, config.streamed_blocks
        if not self.shelf.holds(*wanted):
            self.release()
        model = self.shelf.take(*wanted)
        note_hashes(facts, FileNotes(self.workspace.cache))
        if model is not self._model:
            self._model = model
            # Into weights of a few bits, or that are read from main memory at every step, nothing can be merged.
            plain = config.quantization == "none" and not config.streamed_blocks
            self._merger = make_merger(model) if plain else None
            self._networks.clear()
        return model

    def release(self) -> None:
        """Leave the model as it was loaded, for whoever takes it from the shelf next."""
        if self._merger:
            try:
                self._merger.restore()
            except ModelError:  # its file has changed: whoever comes next loads it anew
                self.shelf.clear()
        self._model = self._merger = None
        self._networks.clear()


def render(
    model: Family, merger: Merger | None, live: Network | None, config: GenerateConfig, workspace: Workspace,
    networks: dict[tuple, Network], out: Path, on_progress: Progress | None = None, on_preview: OnPreview | None = None,
    on_picture: OnPicture | None = None, extra: Mapping[str, Path] | None = None,
) -> list[Picture]:  # fmt: skip
    """Pictures from a loaded model, batch by batch. Pictures of a batch with the same texts are made together.

    Args:
        merger: writes adapters into the weights; None leaves them beside the weights, which a model in training needs.
        live: a network already inserted into the model, bypassed for the comparison.
        networks: loaded adapters by file stamp; used and filled.
        on_progress: called with denoiser calls done and in all. It may raise Skipped, which leaves out the rest of the batch.
        on_picture: called with each picture when it is written.
        extra: adapters that a tag may name besides those of the library: name -> file.
    """
    config = with_habits(config, model)
    shots, problems = plan_shots(config, workspace)
    groups = [
        list(group)
        for start in range(0, len(shots), config.batch_size)
        for _, group in groupby(shots[start : start + config.batch_size], key=lambda shot: (shot.prompt, shot.negative))
    ]
    compared = config.compare and (live is not None or any(parse_tags(shot.prompt)[1] for shot in shots))
    rounds = [(group, without) for group in groups for without in ((False, True) if compared else (False,))]
    scene = _Scene(model, merger, live, config, workspace, networks, out, extra or {}, problems)
    pictures: list[Picture] = []
    for number, (group, without) in enumerate(rounds):
        if without and live is None and not any(picture.adapters for picture in pictures[-len(group) :]):
            continue  # nothing was in force, so there is nothing to compare with
        progress = (lambda done, total, n=number: on_progress(n * total + done, len(rounds) * total)) if on_progress else None
        with suppress(Skipped):
            for picture in scene.draw(group, without, progress, on_preview):
                pictures.append(picture)
                if on_picture:
                    on_picture(picture)
    return pictures


def plan_shots(config: GenerateConfig, workspace: Workspace) -> tuple[list[Shot], list[PromptError]]:
    """Every picture of a request, and what of its styles and lists is not there.

    Picture i has seed + i; with a variation all have the same seed, and the variation's seed + i (as in AUTOMATIC1111).
    """
    styles = read_styles(workspace) if config.styles else {}
    typed = strip_comments(config.prompt), strip_comments(config.negative_prompt)
    prompt, negative, problems = apply_styles(*typed, config.styles, styles)
    prompt, negative = strip_comments(prompt), strip_comments(negative)  # a style may have comments too
    seed, variation = (random.randrange(2**32) if given < 0 else given for given in (config.seed, config.variation_seed))
    varied = config.variation_strength > 0
    shots = []
    for index in range(config.batch_size * config.batch_count):
        its, own = (seed if varied else (seed + index) % 2**32), (variation + index) % 2**32
        texts = prompt, negative
        if config.wildcards:
            chosen = (seed + index) % 2**32
            texts = (expand(text, chosen, workspace.wildcards, problems.append) for text in (prompt, negative))
        shots.append(Shot(*texts, its, own))
    return shots, list({str(problem): problem for problem in problems}.values())


@dataclass(frozen=True)
class _Scene:
    """What stays the same for all pictures of a request."""

    model: Family
    merger: Merger | None
    live: Network | None
    config: GenerateConfig
    workspace: Workspace
    networks: dict[tuple, Network]
    out: Path
    extra: Mapping[str, Path]
    problems: Sequence[PromptError]

    def draw(
        self, shots: Sequence[Shot], without: bool, on_progress: Progress | None, on_preview: OnPreview | None
    ) -> Iterator[Picture]:
        """Pictures of equal texts, each written to its file."""
        config, model = self.config, self.model
        prompt, negative = shots[0].prompt, shots[0].negative
        text, tags = parse_tags(prompt)
        applied, problems = ([], []) if without else resolve(tags, model, self.workspace, self.networks, self.extra)
        unread: list[PromptError] = []
        embeddings = embeddings_for(model, self.workspace, applied)
        preview = (lambda pictures: on_preview(to_image(pictures[0]))) if on_preview and config.preview_every else None
        with in_place(model, self.merger, self.live, applied, without) as on_step:
            drawn = make_pictures(
                model, text, negative, config, [shot.seed for shot in shots], on_progress, unread.append,
                on_step=on_step, on_preview=preview, embeddings=embeddings,
                variation_seeds=[shot.variation_seed for shot in shots], taesd=find_taesd(model.facts.family, self.workspace),
            )  # fmt: skip
        told = [] if without else self._told(shots[0], unread, problems)
        for picture, shot in zip(drawn, shots, strict=True):
            yield self._keep(picture, shot, applied, embeddings, told, without)

    def _told(self, shot: Shot, unread: Sequence[PromptError], problems: list[dict]) -> list[dict]:
        """Everything that was not done as asked."""
        return [*(each.to_dict() for each in (*self.problems, *find_problems(shot.prompt, shot.negative), *unread)), *problems]

    def _keep(
        self, picture: Tensor, shot: Shot, applied: Sequence[Applied], embeddings: Embeddings, told: list[dict], without: bool
    ) -> Picture:
        """Write a picture with its recipe."""
        infotext = recipe(
            self.config, self.model, shot.prompt, shot.negative, shot.seed, variation_seed=shot.variation_seed, applied=applied,
            embeddings=embeddings.used, without=without,
        )  # fmt: skip
        content, ending = encode_picture(to_image(picture), infotext, self.config.picture_format)
        file = _write(self.out, content, ending, shot.seed)
        return Picture(file, shot.seed, infotext, without, told, [report(entry) for entry in applied])


def _write(out: Path, content: bytes, ending: str, seed: int) -> Path:
    """A file under a name that sorts by time and is never taken."""
    name = time.strftime("%H%M%S")
    numbered = (out / f"{name}-{seed}{'' if i == 0 else f'-{i}'}{ending}" for i in range(10_000))
    file = next(path for path in numbered if not path.exists())
    with atomic_write(file) as stream:
        stream.write(content)
    return file
