"""The training loop as a generator of events.

Whoever drives it may, between two events, stop it (its state is saved and it can be resumed), or generate with the live
adapter. The loop knows no screen, no queue, no process. A run is exact: killed at any instant and resumed, it gives the
same tensors, because every draw depends on (seed, step) and the state holds everything else.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from engine.adapters.ard_lora import head_ranks
from engine.adapters.network import Network
from engine.config.choices import ModelChoice
from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.datasets.content import content, write_content
from engine.device import device_profile, pick_device, pick_dtype, set_deterministic
from engine.errors import ConfigError, EngineError
from engine.families import ready_model
from engine.families.base import Family
from engine.families.checkpointing import checkpointing
from engine.families.shelf import ModelShelf
from engine.file_notes import FileNotes
from engine.fitting import check_config
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import model_hashes
from engine.generation.pipeline import picture_size
from engine.generation.studio import OnPicture, OnPreview, Picture, render
from engine.library import choose
from engine.model_facts import denoiser_parameters, note_hashes
from engine.preflight import preflight, start_file
from engine.sidecars import introduce
from engine.training.batches import TrainingData
from engine.training.events import Checkpoint, Done, Event, Phase, Resumed, Sample, Started, Step, Stopped, Warned
from engine.training.optimization import MIXED, Optimization
from engine.training.record import metadata
from engine.training.state import RunState, describe_identity, load_state, optimizer_tensors, restore_optimizer, save_state
from engine.workspace import Workspace

SAVE_SECONDS, SAVE_SHARE, MOST_LOST = 30.0, 0.01, 60.0
PATIENCE = 5
"""Skipped steps in a row before the run ends."""
HALVINGS = 16
"""So many more with float16, whose loss scale begins at 2^16 and is halved whenever a gradient overflows."""


def save_interval(cost: float) -> float:
    """Seconds between two saves of the state that take `cost` seconds: 1 % of the time, and at most a minute lost in a crash."""
    return min(max(SAVE_SECONDS, cost / SAVE_SHARE), MOST_LOST)


class Trainer:
    """One run.

    Args:
        config: what to do.
        folder: the run's folder: `samples/`, `checkpoints/` and `state/` are written here; a state found here is resumed.
        workspace: where models, datasets and caches are, and where the finished adapter goes.
        shelf: where the base model is taken from; it is left there as it was loaded.
    """

    def __init__(self, config: TrainConfig, folder: Path, workspace: Workspace, shelf: ModelShelf | None = None) -> None:
        self.config, self.folder, self.workspace, self.shelf = config, folder, workspace, shelf or ModelShelf()
        self._stop = False
        self._networks: dict = {}

    @property
    def choice(self) -> ModelChoice:
        """The base model as the config names it."""
        return self.config.model.choice

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.optimization.done

    def stop(self) -> None:
        """Save the state and end after the step in hand."""
        self._stop = True

    def run(self) -> Iterator[Event]:
        """Train from the saved state, or from the beginning.

        Raises:
            EngineError: the run cannot start or cannot go on. The steps done are saved.
        """
        began = time.monotonic()
        if not choose(self.choice, self.workspace).family:
            yield Phase("loading")  # only when its files can be read it is known what there is to do
            ready_model(self.choice, self.workspace)
        yield Phase("scanning")
        self.ahead = preflight(self.config, self.workspace)
        yield from (Warned(notice.code, str(notice)) for notice in self.ahead.notices if notice.code == "memory.too_little")
        yield Phase("loading")
        self._load()
        yield from self._restore()
        for event in self.data.prepare():
            yield event
            if self._stop:
                yield Stopped(self.step)
                return
        yield self._facts()
        with self._in_place():
            try:
                yield from self._loop()
                file = None if self.step < self.ahead.plan.steps else self._finish()
            except BaseException:
                if self.optimization.whole and self.step > self._saved_step:
                    with suppress(Exception):  # what went wrong first is what has to be told
                        self.save_state()
                raise
        yield Done(self.step, file, time.monotonic() - began) if file else Stopped(self.step)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """The adapter in the model, what steps need on the device, and the rest in main memory."""
        training, encoders = self.config.training, self.model.encoders
        waiting = ["vae"] if self.data.tells_anew else ["vae", *encoders]
        with ExitStack() as undo:
            undo.enter_context(self.model.parked(*waiting))
            undo.enter_context(self.model.on_device(*(name for name in self.model.parts if name not in waiting)))
            if training.gradient_checkpointing:
                undo.enter_context(checkpointing(self.model.components.values(), training.checkpointed_blocks))
            undo.callback(self.network.remove)
            self.network.insert(self.model.components)
            yield

    def _load(self) -> None:
        training, adapter, base = self.config.training, self.config.adapter, self.config.model
        device = pick_device()
        check_config(device_profile(device), self.config)
        set_deterministic(training.deterministic and device.type == "cuda")
        size = denoiser_parameters(self.ahead.model)
        self.precision = pick_dtype(device, training.precision, size)
        dtype = pick_dtype(device, base.precision, size)
        facts = self.ahead.model if self.ahead.model.family else ready_model(self.choice, self.workspace)
        self.model: Family = self.shelf.take(facts, device, dtype, base.quantization, base.streamed_blocks)
        note_hashes(facts, FileNotes(self.workspace.cache))
        self._check_sample_size()
        family, components = self.model.facts.family, self.model.components
        self.network = Network.create(family, components, self.model.targets(adapter), training.seed)
        if adapter.start_from:
            start = read_adapter(start_file(self.config, self.workspace))
            self.network.begin_from(Network.from_file(start, components, family))
        self.network.to(device)
        self.optimization = Optimization(
            training, self.model, self.network, self.precision, self.ahead.plan.steps, base.attention
        )
        self.data = TrainingData(self.config, self.ahead, self.model, self.workspace.cache)
        self.content = content(self.ahead.dataset)
        self.identity = self._identity()
        self.session, self.started = time.time_ns() % 2**32, time.time()

    def _check_sample_size(self) -> None:
        """A size that cannot be drawn is told before the pictures are encoded."""
        try:
            picture_size(self._sample_request(""), self.model)
        except ConfigError as error:
            error.values["field"] = f"samples.{error.values['field']}"
            raise

    def _identity(self) -> dict[str, str]:
        """What must be the same for a resume to be exact. Hashes the base model."""
        config = self.config.model_dump(mode="json", exclude={"output": True, "samples": True})
        model = self.data.keys | {
            "file": model_hashes(self.model.facts.location).sha256,
            "schedule": dict(self.model.scheduler_config),
        }
        return describe_identity(
            settings=config, pictures=self.content.fingerprint, base_model=model,
            torch=torch.__version__, python=platform.python_version(), threads=torch.get_num_threads(), device=str(self.model.device),
        )  # fmt: skip

    def _restore(self) -> Iterator[Event]:
        state, damaged = load_state(self.folder, self.identity)
        if state is None:
            write_content(self.content, self.folder)
        if damaged:
            instead = f"the one after step {state.step}" if state else "none: the run begins again"
            yield Warned("resume.damaged", f"The saved state in {' and '.join(damaged)} is damaged; used is {instead}.")
        if state:
            with torch.no_grad():
                for name, tensor in self.network.training_state().items():
                    tensor.copy_(state.adapter[name])
            restore_optimizer(self.optimization.optimizer, state.optimizer, state.numbers)
            if self.optimization.scaler and state.scaler:
                self.optimization.scaler.load_state_dict(state.scaler)
            self.optimization.done, self.session, self.started = state.step, state.session, state.started
        if state or damaged:
            yield Resumed(self.step)

    def save_state(self) -> None:
        """Save the run as it is between two steps."""
        began = time.monotonic()
        tensors, numbers = optimizer_tensors(self.optimization.optimizer)
        scaler = self.optimization.scaler.state_dict() if self.optimization.scaler else {}
        save_state(
            self.folder,
            RunState(
                self.step, self.identity, self.network.training_state(), tensors, numbers, scaler, self.session, self.started
            ),
        )
        self._saved, self._saved_step = time.monotonic(), self.step
        self._save_after = save_interval(self._saved - began)

    def _facts(self) -> Started:
        return Started(
            self.ahead.plan.steps, len(self.data.items), self.data.steps_per_epoch, self.network.counts(),
            self.network.parameter_counts(), str(self.model.device), MIXED[self.precision],
        )  # fmt: skip

    def _loop(self) -> Iterator[Event]:
        steps, failed = self.ahead.plan.steps, 0
        self._saved, self._saved_step, self._save_after = time.monotonic(), self.step, SAVE_SECONDS
        # The first time this makes the samples before the first step, or again what a crash may have kept from being made.
        yield from self._outputs()
        yield Phase("training")
        while self.step < steps and not self._stop:
            event = self.optimization.take_step(self.data.step_batches(self.step + 1), self.data.encode)
            yield event
            failed = 0 if math.isfinite(event.loss) and math.isfinite(event.grad_norm) else failed + 1
            if failed:
                yield from self._skipped(event, failed)
            # The state goes first: what follows a step can be made again, the step itself is the work.
            if time.monotonic() - self._saved > self._save_after:
                self.save_state()
            yield from self._outputs()
        if self._saved_step < self.step < steps:
            yield Phase("saving")
            self.save_state()

    def _skipped(self, event: Step, failed: int) -> Iterator[Event]:
        """A step whose loss or gradient is no number changed nothing; too many end the run before a broken file is written.

        Raises:
            EngineError: `training.diverged`.
        """
        scaling = self.optimization.scaler is not None
        if not (scaling and math.isfinite(event.loss)):
            yield Warned(
                "training.step_skipped", f"Step {event.step}: the loss or its gradient is not finite; the step was skipped."
            )
        if failed >= PATIENCE + scaling * HALVINGS:
            raise EngineError(
                "training.diverged", f"The loss was not a number {failed} times in a row, the last at step {event.step}.",
                "A loss that falls or stays.", "Start again with a lower learning rate, for example a third of this one.", step=event.step,
            )  # fmt: skip

    def _outputs(self) -> Iterator[Event]:
        """What is due after this many steps: a version, samples."""
        if self.step in self.ahead.plan.save_steps:
            yield self._checkpoint()
        if self.step in self.ahead.plan.sample_steps:
            yield from self._samples()
            yield Phase("training")

    def _epoch(self) -> int:
        return -(-self.step // self.data.steps_per_epoch)

    def _checkpoint(self) -> Checkpoint:
        file = self.folder / "checkpoints" / f"{self.config.output.name}-step{self.step:08d}.safetensors"
        self._write(file)
        return Checkpoint(self.step, self._epoch(), file.relative_to(self.folder).as_posix())

    def _finish(self) -> str:
        file = self.workspace.loras / f"{self.config.output.name}.safetensors"
        self._write(file)
        with suppress(EngineError, OSError):  # the adapter itself is there
            introduce(file, ", ".join(self.ahead.dataset.triggers(self.config.dataset.trigger.strip())), self.folder / "samples")
        return file.name

    def _write(self, file: Path) -> None:
        dtype = getattr(torch, self.config.output.precision)
        tensors = {
            name: tensor.detach().cpu() if name.endswith(".alpha") else tensor.detach().cpu().to(dtype)
            for name, tensor in self.network.tensors().items()
        }
        write_adapter(file, tensors, metadata(
            self.config, self.ahead, self.content, self.model, self.step, self._epoch(), self.started, time.time(), self.session,
            MIXED[self.precision], file.stem, tensors, head_ranks(self.network.adapters),  # type: ignore[arg-type]
        ))  # fmt: skip
        # A file that could not be used again is an error now, not when somebody tries.
        Network.from_file(read_adapter(file), self.model.components, self.model.facts.family)

    def sample_prompts(self) -> list[str]:
        """The user's prompts, or the first two different captions with the trigger."""
        if self.config.samples.prompts:
            return self.config.samples.prompts
        pictures = (picture for concept in self.ahead.dataset.learnt for picture in concept.pictures)
        captions = dict.fromkeys(self.data.caption(picture, None) for picture in pictures)
        return list(captions)[:2]

    def _sample_request(self, prompt: str) -> GenerateConfig:
        """Sides that are not given are the training resolution, or what the model can draw just below it."""
        samples, side = self.config.samples, self.ahead.plan.resolution
        side -= side % self.model.size_step
        return GenerateConfig(
            model=self.choice.model, prompt=prompt, negative_prompt=samples.negative_prompt, sampler=samples.sampler,
            steps=samples.steps, guidance_scale=samples.guidance_scale, seed=samples.seed, clip_skip=self.config.training.clip_skip,
            width=samples.width or side, height=samples.height or side, attention=self.config.model.attention,
        )  # fmt: skip

    def _samples(self) -> Iterator[Event]:
        """One picture for each sample prompt, by the very code of the Generate tab. A stop is obeyed between two pictures."""
        prompts = self.sample_prompts()
        for index, prompt in enumerate(prompts):
            yield Phase("sampling", index, len(prompts))
            if self._stop and self.step < self.ahead.plan.steps:
                return
            picture = self._draw(self._sample_request(prompt), self.folder / "samples" / f"step{self.step:08d}")[0]
            yield Sample(self.step, index, prompt, picture.seed, picture.file.relative_to(self.folder).as_posix())

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Callable[[int, int], None] | None = None,
        on_preview: OnPreview | None = None, on_picture: OnPicture | None = None,
    ) -> list[Picture]:  # fmt: skip
        """Pictures, with the adapter as it is now where the request names a live run. Call only between two events of `run`, once
        training has begun."""
        kept = self.network.strengths
        if not config.live_run:
            self.network.strengths = dict.fromkeys(kept, 0.0)
        try:
            return self._draw(config, out, on_progress, on_preview, on_picture, live=bool(config.live_run))
        finally:
            self.network.strengths = kept

    def _draw(self, config: GenerateConfig, out: Path, *told: Any, live: bool = True) -> list[Picture]:
        self.network.eval()
        network = self.network if live else None
        return render(self.model, None, network, config, self.workspace, self._networks, out, *told)


def run(config: TrainConfig, folder: Path, workspace: Workspace) -> Iterator[Event]:
    """Train to the end without a driver."""
    yield from Trainer(config, folder, workspace).run()
