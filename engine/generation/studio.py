"""The place where pictures are made: one loaded base model, the adapters a prompt asks for, PNG files with their recipe.

Adapters are merged into the weights; when a live network (one in training) is in the model they stay beside them and the
base is not touched. Everything that was not done as asked is reported at the picture; nothing of one prompt stays for the next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine import __version__
from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.generate import GenerateConfig
from engine.device import device_profile, pick_device, pick_dtype
from engine.errors import EngineError, ModelError, PromptError
from engine.families import ready_model
from engine.families.base import Family
from engine.families.shelf import ModelShelf
from engine.file_notes import FileNotes
from engine.fitting import check_config
from engine.formats.adapter_file import read_adapter
from engine.formats.hashes import adapter_hash, model_hashes
from engine.formats.infotext import png_bytes, write_infotext
from engine.generation.pipeline import Progress, make_pictures, picture_size, to_image, with_habits
from engine.generation.prompt import AdapterTag, find_adapter, find_problems, parse_tags, strip_comments
from engine.generation.samplers import infotext_names
from engine.library import adapter_names
from engine.model_facts import denoiser_parameters, note_hashes
from engine.workspace import Workspace, atomic_write

NETWORKS_KEPT = 16
"""Adapter files kept in memory, the least recently used dropped first."""


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


class Studio:
    """Makes pictures with the base model on the shelf, keeping recently used adapters loaded between requests."""

    def __init__(self, workspace: Workspace, shelf: ModelShelf | None = None) -> None:
        self.workspace, self.shelf = workspace, shelf or ModelShelf()
        self._model: Family | None = None
        self._merger: Merger | None = None
        self._networks: dict[tuple, Network] = {}

    def generate(self, config: GenerateConfig, out: Path, on_progress: Progress | None = None) -> list[Picture]:
        """Make the pictures of a request and write them below `out`.

        Raises:
            EngineError: the request cannot be carried out at all.
        """
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
            self._merger = Merger(model.components) if plain else None
            self._networks.clear()
        return render(model, self._merger, None, config, self.workspace, self._networks, out, on_progress)

    def release(self) -> None:
        """Leave the model as it was loaded, for whoever takes it from the shelf next."""
        if self._merger:
            self._merger.restore()
        self._model = self._merger = None
        self._networks.clear()


def render(
    model: Family, merger: Merger | None, live: Network | None, config: GenerateConfig, workspace: Workspace,
    networks: dict[tuple, Network], out: Path, on_progress: Progress | None = None,
) -> list[Picture]:  # fmt: skip
    """Pictures from a loaded model.

    Args:
        merger: writes adapters into the weights; None leaves them beside the weights, which a model in training needs.
        live: a network already inserted into the model, bypassed for the comparison.
        networks: loaded adapters by file stamp; used and filled.
    """
    config = with_habits(config, model)
    prompt = strip_comments(config.prompt)
    text, tags = parse_tags(prompt)
    applied, problems = resolve(tags, model, workspace, networks)
    problems = [*(problem.to_dict() for problem in find_problems(prompt)), *problems]
    hashes = ", ".join(f"{entry.key[0].stem}: {adapter_hash(entry.key[0])[:12]}" for entry in applied)
    seed = random.randrange(2**32) if config.seed < 0 else config.seed
    seeds = [(seed + i) % 2**32 for i in range(config.batch_size)]
    rounds = [False, True] if config.compare and (applied or live) else [False]
    pictures = []
    for number, without in enumerate(rounds):
        progress = (lambda done, total, n=number: on_progress(n * total + done, len(rounds) * total)) if on_progress else None
        in_force = [] if without else applied
        unread: list[PromptError] = []
        with _in_place(model, merger, live, in_force, without):
            drawn = make_pictures(model, text, strip_comments(config.negative_prompt), config, seeds, progress, unread.append)
        told = [] if without else [*problems, *(problem.to_dict() for problem in unread)]
        for picture, its_seed in zip(drawn, seeds, strict=True):
            shown = (text if without else prompt).strip()
            infotext = recipe(config, model, shown, its_seed, "" if without else hashes)
            file = _write(out, to_image(picture), infotext, its_seed)
            report = [] if without else [_report(entry) for entry in applied]
            pictures.append(Picture(file, its_seed, infotext, without, told, report))
    return pictures


@contextmanager
def _in_place(
    model: Family, merger: Merger | None, live: Network | None, applied: list[Applied], without: bool
) -> Iterator[None]:
    """The adapters in force while pictures are made, merged or beside the weights; undone afterwards where that is cheap."""
    if merger:
        merger.apply(applied)
        yield
        return
    kept = live.strengths if live else {}
    if live and without:
        live.strengths = dict.fromkeys(kept, 0.0)
    try:
        for entry in applied:
            strengths = {component: entry.strength(component) for component in model.components}
            entry.network.to(model.device).insert(model.components, strengths)
        yield
    finally:
        for entry in applied:
            entry.network.remove()
        if live:
            live.strengths = kept


def resolve(
    tags: Sequence[AdapterTag], model: Family, workspace: Workspace, networks: dict[tuple, Network]
) -> tuple[list[Applied], list[dict]]:
    """The adapters that tags name, and what cannot be honoured; one bad tag never takes the others down."""
    names = adapter_names(workspace)
    applied: list[Applied] = []
    problems: list[dict] = []
    for tag in tags:
        if tag.problem:
            continue  # already told by `find_problems`
        try:
            file, _ = names[find_adapter(tag.name, {path: alias for path, (_, alias) in names.items()})]
            stamp = (file, *_stamp(file))  # taken before reading: a file replaced meanwhile is read again next time
            network = _network(stamp, model, networks)
        except EngineError as error:
            problems.append(error.to_dict())
            continue
        applied.append(Applied(network, tag.text_encoder, tag.unet, stamp))
        ignored = sorted(set(tag.options))
        if ignored:
            problems.append(PromptError(
                "prompt.option_ignored", f"{tag.source}: {', '.join(ignored)} is not applied yet.", "One strength for the whole picture.",
                "Remove the option.", tag=tag.source, options=", ".join(ignored),
            ).to_dict())  # fmt: skip
        if network.match.unmatched:
            problems.append(PromptError(
                "adapter.partly_matched", f"{tag.name}: {network.match.matched} of {network.match.total} modules exist in this base model.",
                "All of them, with the base model it was trained on.", "The rest has no effect here.",
                name=tag.name, matched=network.match.matched, total=network.match.total,
            ).to_dict())  # fmt: skip
    return applied, problems


def _network(stamp: tuple, model: Family, networks: dict[tuple, Network]) -> Network:
    """A loaded adapter, from memory if its stamp (file, size, modification time) is still the same."""
    network = networks.pop(stamp, None) or Network.from_file(
        read_adapter(stamp[0]), model.components, model.facts.family
    ).eval().requires_grad_(False)
    networks[stamp] = network
    while len(networks) > NETWORKS_KEPT:
        networks.pop(next(iter(networks)))
    return network


def recipe(config: GenerateConfig, model: Family, prompt: str, seed: int, hashes: str) -> str:
    """The infotext of a picture, in AUTOMATIC1111's layout.

    Args:
        hashes: of the adapters in force, `name: hash, ...`.
    """
    width, height = picture_size(config, model)
    location, vae = model.facts.location, model.facts.other_vae
    sampler, schedule = infotext_names(config.sampler)
    return write_infotext(prompt, strip_comments(config.negative_prompt).strip(), {
        "Steps": config.steps,
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": f"{config.guidance_scale:g}",
        "Distilled CFG Scale": f"{config.distilled_guidance:g}" if config.distilled_guidance else None,
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model hash": model_hashes(location).short if isinstance(location, Path) else None,
        "Model": model.facts.name,
        "VAE hash": model_hashes(vae).short if vae else None,
        "VAE": vae.name if vae else None,
        "Clip skip": config.clip_skip if config.clip_skip > 1 else None,
        "RNG": "CPU",
        "Lora hashes": hashes or None,
        "Version": f"LoRA Atelier {__version__}",
    })  # fmt: skip


def _report(applied: Applied) -> dict:
    match = applied.network.match
    return {
        "name": applied.key[0].stem, "text_encoder": applied.text_encoder, "unet": applied.unet,
        "matched": match.matched, "unmatched": list(match.unmatched[:20]), "total": match.total,
    }  # fmt: skip


def _write(out: Path, image, infotext: str, seed: int) -> Path:
    """The PNG under a name that sorts by time and is never taken."""
    name = time.strftime("%H%M%S")
    numbered = (out / f"{name}-{seed}{'' if i == 0 else f'-{i}'}.png" for i in range(10_000))
    file = next(path for path in numbered if not path.exists())
    with atomic_write(file) as stream:
        stream.write(png_bytes(image, infotext))
    return file


def _stamp(file: Path) -> tuple[int, int]:
    """Size and modification time.

    Raises:
        ModelError: `file.missing` when it has gone since the folder was read.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise ModelError(
            "file.missing", f"{file.name} cannot be opened: {error.strerror}.", todo="Check the path.", path=file
        ) from error
    return status.st_size, status.st_mtime_ns
