"""The training loop as a generator of events.

Whoever drives it may, between two events, stop it (its state is saved and it can be resumed), or generate with the live
adapter. The loop knows no screen, no queue, no process. A run is exact: killed at any instant and resumed, it gives the
same tensors, because every draw depends on (seed, step) and the state holds everything else.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor

from engine.adapters.network import Network
from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.device import pick_device, pick_dtype, set_deterministic
from engine.errors import EngineError
from engine.families import load_model
from engine.families.base import Family
from engine.formats.adapter_writer import write_adapter
from engine.generation.studio import Picture, render
from engine.library import find_model
from engine.preflight import preflight
from engine.training.batches import Batch, TrainingData, step_generator
from engine.training.events import Checkpoint, Done, Event, Phase, Resumed, Sample, Started, Step, Stopped, Warned
from engine.training.objectives import TARGETS, add_noise, alphas_cumprod, squared_error
from engine.training.optimizers import OPTIMIZERS
from engine.training.record import metadata
from engine.training.schedules import factor
from engine.training.state import RunState, describe_identity, load_state, optimizer_tensors, restore_optimizer, save_state
from engine.workspace import Workspace

SAVE_SECONDS = 30.0
"""A crash loses at most this much work; saving the state of an adapter takes milliseconds."""
PATIENCE = 5
"""Steps with a loss that is not a number, in a row, before the run ends."""
MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Trainer:
    """One run.

    Args:
        config: what to do.
        folder: the run's folder: `samples/`, `checkpoints/` and `state/` are written here; a state found here is resumed.
        workspace: where models, datasets and caches are, and where the finished adapter goes.
    """

    def __init__(self, config: TrainConfig, folder: Path, workspace: Workspace) -> None:
        self.config, self.folder, self.workspace = config, folder, workspace
        self._stop = False
        self._networks: dict = {}

    @property
    def model_path(self) -> str:
        """The base model as the config names it."""
        return self.config.model.path

    def stop(self) -> None:
        """Save the state and end after the step in hand."""
        self._stop = True

    def run(self) -> Iterator[Event]:
        """Train from the saved state, or from the beginning.

        Raises:
            EngineError: the run cannot start or cannot go on.
        """
        begun = time.monotonic()
        yield Phase("scanning")
        self.ahead = preflight(self.config, self.workspace)
        yield Phase("loading")
        self._load()
        self.data = TrainingData(self.config, self.ahead, self.model, self.workspace.cache)
        for event in self.data.prepare():
            yield event
            if self._stop:
                yield Stopped(self.step)
                return
        yield from self._restore()
        yield self._facts()
        try:
            self.network.insert(self.model.components)
            yield from self._loop()
            if not self._stop:
                file = self._finish()
                yield Done(self.step, file, time.monotonic() - begun)
        finally:
            self.network.remove()

    def _load(self) -> None:
        training = self.config.training
        device = pick_device()
        set_deterministic(training.deterministic and device.type == "cuda")
        self.precision = pick_dtype(device, training.precision)
        base = pick_dtype(device, self.config.model.precision)
        self.model: Family = load_model(find_model(self.config.model.path, self.workspace), device, base)
        AcceleratorState._reset_state(True)  # a worker trains many runs, each with its own precision
        self.accelerator = Accelerator(
            cpu=device.type == "cpu", mixed_precision=MIXED[self.precision],
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )  # fmt: skip
        adapter = self.config.adapter
        components = self.model.components
        self.network = Network.create(adapter.kind, adapter, components, self.model.targets(adapter), training.seed).to(device)
        rates = {"unet": training.learning_rate, "text_encoder": training.text_encoder_learning_rate}
        groups = [
            {"params": parameters, "lr": rate, "peak": rate}
            for component, rate in rates.items()
            if (parameters := self.network.component_parameters(component))
        ]
        self.optimizer = OPTIMIZERS[training.optimizer.kind](groups, training.optimizer)
        if training.gradient_checkpointing:
            for part in components.values():
                enable = getattr(part, "enable_gradient_checkpointing", None) or part.gradient_checkpointing_enable
                enable()
        self.alphas = alphas_cumprod(self.model.scheduler_config).to(device)
        self.step, self.session, self.started = 0, time.time_ns() % 2**32, time.time()

    def _identity(self) -> dict[str, str]:
        """What must be the same for a resume to be exact."""
        config = self.config.model_dump(mode="json", exclude={"output": True, "samples": True})
        return describe_identity(
            settings=config, pictures=self.ahead.dataset.fingerprint(), base_model=self.model.weights_key,
            torch=torch.__version__, python=platform.python_version(), threads=torch.get_num_threads(), device=str(self.model.device),
        )  # fmt: skip

    def _restore(self) -> Iterator[Event]:
        state = load_state(self.folder, self._identity())
        if state is None:
            return
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(state.adapter[name])
        restore_optimizer(self.optimizer, state.optimizer, state.numbers)
        self.step = state.step
        yield Resumed(self.step)

    def save_state(self) -> None:
        tensors, numbers = optimizer_tensors(self.optimizer)
        save_state(self.folder, RunState(self.step, self._identity(), dict(self.network.named_parameters()), tensors, numbers))
        self._saved = time.monotonic()

    def _facts(self) -> Started:
        parameters = sum(p.numel() for p in self.network.parameters())
        return Started(
            self.ahead.plan.steps, self.ahead.plan.pictures, self.data.steps_per_epoch, self.network.counts(), parameters,
            str(self.model.device), MIXED[self.precision],
        )  # fmt: skip

    def _loop(self) -> Iterator[Event]:
        plan, failed = self.ahead.plan, 0
        self._saved = time.monotonic()
        if self.step == 0 and 0 in plan.sample_steps:
            yield from self._samples()
        yield Phase("training")
        while self.step < plan.steps:
            if self._stop:
                yield Phase("saving")
                self.save_state()
                yield Stopped(self.step)
                return
            event = self._one_step(self.step + 1)
            self.step += 1
            yield event
            failed = 0 if torch.isfinite(torch.tensor(event.loss)) else failed + 1
            if failed:
                yield from self._not_finite(failed)
            # The state goes first: what follows a step can be made again, the step itself is the work.
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self.save_state()
            if self.step in plan.save_steps:
                yield self._checkpoint()
            if self.step in plan.sample_steps:
                yield from self._samples()
                yield Phase("training")

    def _one_step(self, step: int) -> Step:
        began = time.monotonic()
        training, generator = self.config.training, step_generator(self.config.training.seed, step)
        self.network.train()
        self.network.begin_step(generator)
        rate = factor(training.schedule, step, self.ahead.plan.steps, training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        batches = self.data.step_batches(step)
        pictures = sum(len(batch.captions) for batch in batches)
        total = torch.zeros((), device=self.model.device)
        for batch in batches:
            loss = self._losses(batch, generator).sum() / pictures
            self.accelerator.backward(loss)
            total += loss.detach()
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = self.accelerator.clip_grad_norm_(parameters, training.max_grad_norm or float("inf"))
        value = total.item()
        if torch.isfinite(norm) and value == value:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        lead = self.optimizer.param_groups[0]["lr"]
        return Step(step, value, lead, float(norm), time.monotonic() - began)

    def _losses(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of each picture, (B,)."""
        latents, device = batch.latents, self.model.device
        noise = torch.randn(latents.shape, generator=generator).to(device)
        timesteps = torch.randint(len(self.alphas), (len(latents),), generator=generator).to(device)
        noisy = add_noise(latents, noise, self.alphas, timesteps)
        target = TARGETS[self.model.prediction_type](latents, noise, self.alphas, timesteps)
        with self.accelerator.autocast():
            prediction = self.model.predict(noisy, timesteps, self.data.encode(batch.captions))
        return squared_error(prediction, target)

    def _not_finite(self, failed: int) -> Iterator[Event]:
        """A step whose loss is no number changes nothing; too many in a row end the run before a broken file is written.

        Raises:
            EngineError: `training.diverged`.
        """
        yield Warned("training.step_skipped", f"Step {self.step}: the loss is not a number; the step was skipped.")
        if failed >= PATIENCE:
            raise EngineError(
                "training.diverged", f"The loss was not a number {failed} times in a row, the last at step {self.step}.",
                "A loss that falls or stays.", "Start again with a lower learning rate, for example a third of this one.", step=self.step,
            )  # fmt: skip

    def _epoch(self) -> int:
        return -(-self.step // self.data.steps_per_epoch)

    def _checkpoint(self) -> Checkpoint:
        file = self.folder / "checkpoints" / f"{self.config.output.name}-step{self.step:08d}.safetensors"
        self._write(file)
        return Checkpoint(self.step, self._epoch(), file.relative_to(self.folder).as_posix())

    def _write(self, file: Path) -> None:
        dtype = getattr(torch, self.config.output.precision)
        tensors = {
            name: tensor.detach().cpu() if name.endswith(".alpha") else tensor.detach().cpu().to(dtype)
            for name, tensor in self.network.tensors().items()
        }
        write_adapter(file, tensors, metadata(
            self.config, self.ahead, self.model, self.step, self._epoch(), self.started, time.time(), self.session,
            MIXED[self.precision], file.stem,
        ))  # fmt: skip

    def _finish(self) -> str:
        file = self.workspace.loras / f"{self.config.output.name}.safetensors"
        self._write(file)
        return file.name

    def sample_prompts(self) -> list[str]:
        """The user's prompts, or the first two different captions with the trigger."""
        if self.config.samples.prompts:
            return self.config.samples.prompts
        captions = dict.fromkeys(self.data.caption(picture, None) for picture in self.ahead.dataset.pictures)
        return list(captions)[:2]

    def _samples(self) -> Iterator[Event]:
        """One picture for each sample prompt, by the very code of the Generate tab."""
        samples, prompts = self.config.samples, self.sample_prompts()
        for index, prompt in enumerate(prompts):
            yield Phase("sampling", index, len(prompts))
            request = GenerateConfig(
                model=self.model_path, prompt=prompt, negative_prompt=samples.negative_prompt, sampler=samples.sampler,
                steps=samples.steps, guidance_scale=samples.guidance_scale, seed=samples.seed, clip_skip=self.config.training.clip_skip,
                width=samples.width or self.ahead.plan.resolution, height=samples.height or self.ahead.plan.resolution,
            )  # fmt: skip
            picture = self.generate(request, self.folder / "samples" / f"step{self.step:08d}")[0]
            yield Sample(self.step, index, prompt, picture.seed, picture.file.relative_to(self.folder).as_posix())

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> list[Picture]:
        """Pictures with the adapter as it is now. Call only between two events of `run`, once training has begun."""
        self.network.eval()
        with self.accelerator.autocast():
            return render(self.model, None, self.network, config, self.workspace, self._networks, out, on_progress)


def run(config: TrainConfig, folder: Path, workspace: Workspace) -> Iterator[Event]:
    """Train to the end without a driver."""
    yield from Trainer(config, folder, workspace).run()


