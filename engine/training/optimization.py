"""One optimizer step: noise on latents, a prediction, its error, and the adapter's weights moved.

All randomness of a step comes from (seed, step) and is drawn picture by picture, so that it does not matter how a step is
cut into batches. Knows no pictures on disk, no run and no events but its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor

from engine.adapters.network import Network
from engine.config.train import TrainingOptions
from engine.families.attention import attention
from engine.families.base import Conditions, Family
from engine.training.batches import Batch
from engine.training.events import Step
from engine.training.objectives import Diffusion, Flow, squared_error
from engine.training.optimizers import OPTIMIZERS
from engine.training.schedules import factor

MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Number format -> accelerate's word for computing in it."""


class Optimization:
    """A network being trained in a frozen model.

    Args:
        precision: number format of the calculation; the network's parameters stay float32.
        steps: length of the whole run, for the schedule.
        kernel: for attention, as in `engine.families.attention`.

    Attributes:
        done: steps taken.
        whole: False only while the weights are moving; an error in between leaves them no step's weights.
    """

    def __init__(
        self, options: TrainingOptions, model: Family, network: Network, precision: torch.dtype, steps: int, kernel: str = "auto"
    ) -> None:  # fmt: skip
        self.options, self.model, self.network, self.steps = options, model, network, steps
        self.kernel, self.done, self.whole = kernel, 0, True
        AcceleratorState._reset_state(True)  # a worker trains many runs, each with its own precision
        self.accelerator = Accelerator(
            cpu=model.device.type == "cpu", mixed_precision=MIXED[precision],
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # batches are weighted by their size here
        )  # fmt: skip
        groups = parameter_groups(options, network)
        self.optimizer = self.accelerator.prepare(OPTIMIZERS[options.optimizer.kind](groups, options.optimizer))
        self.objective = (
            Flow(options.timestep_sampling)
            if model.prediction == "flow"
            else Diffusion(model.scheduler_config, model.prediction, model.device)
        )

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Loss scaling (Micikevicius et al. 2018, section 3.2), for float16 only."""
        return self.accelerator.scaler

    def take_step(self, batches: list[Batch], encode: Callable[[list[str]], Conditions]) -> Step:
        """The next step. Where the loss or its gradient is not finite, nothing is moved.

        Args:
            encode: captions to what the model is told of them.
        """
        began = time.monotonic()
        step = self.done + 1
        generator = step_generator(self.options.seed, step)
        self.network.train()
        self.network.begin_step(generator)
        rate = factor(self.options.schedule, step, self.steps, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        pictures = sum(len(batch.captions) for batch in batches)
        total = torch.zeros((), device=self.model.device)
        for batch in batches:
            loss = self._losses(batch, encode, generator).sum() / pictures
            self.accelerator.backward(loss)
            total += loss.detach()
        if (penalty := self.network.penalty()) is not None:
            self.accelerator.backward(penalty)
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = float(self.accelerator.clip_grad_norm_(parameters, self.options.max_grad_norm or math.inf))  # type: ignore
        value = total.item()
        self.whole = False
        finite = math.isfinite(value) and math.isfinite(norm)
        if finite:
            self.network.after_backward()
        if self.scaler or finite:  # a scaler skips by itself, and learns from it
            self.optimizer.step()
        if finite:
            self.network.after_step(step, self.steps)
        self.done, self.whole = step, True
        self.optimizer.zero_grad(set_to_none=True)
        return Step(step, value, self.optimizer.param_groups[0]["lr"], norm, time.monotonic() - began)

    def _losses(self, batch: Batch, encode: Callable[[list[str]], Conditions], generator: torch.Generator) -> Tensor:
        """Loss of each picture, (B,)."""
        device, shift = self.model.device, self._shift(batch)
        shown = [self.model.training_latents(encoded, generator) for encoded in batch.encoded]
        latents = torch.stack([latent for latent, _ in shown])
        draws = [
            (torch.randn(latents.shape[1:], generator=generator), self.objective.draw(generator, shift)) for _ in latents
        ]  # fmt: skip
        noise, times = (torch.stack(column).to(device) for column in zip(*draws, strict=True))
        noisy, target = self.objective.noisy(latents, noise, times), self.objective.target(latents, noise, times)
        self.network.begin_batch(self.objective.levels(times))
        conditions = self.model.picture_conditions(batch.placings)
        conditions |= {name: torch.stack([beside[name] for _, beside in shown]) for name in shown[0][1]}
        if self.model.facts.habits.distilled_guidance:
            conditions["guidance"] = torch.full((len(latents),), self.options.distilled_guidance, device=device)
        with self.accelerator.autocast():
            conditions |= encode(batch.captions)
            with attention(self.kernel):
                prediction = self.model.predict(noisy, self.objective.timesteps(times), conditions)
        return squared_error(prediction, target)

    def _shift(self, batch: Batch) -> float:
        """Shift of the noise levels: as set, or the model's own for pictures of this size. One without meaning is 1."""
        if self.options.flow_shift:
            return self.options.flow_shift
        config = self.model.scheduler_config
        if config.get("use_dynamic_shifting"):
            return math.exp(self.model.schedule_options(*batch.placings[0].frame, self.model.facts.habits.steps)["mu"])
        return float(config.get("shift", 1.0))


def parameter_groups(options: TrainingOptions, network: Network) -> list[dict[str, Any]]:
    """What learns, with its learning rate. `peak` is the rate at the schedule's height.

    LoRA+ (Hayou et al. 2024, section 4): the factor that begins at zero learns faster than the other by a fixed ratio.
    """
    denoiser = options.learning_rate, options.lora_plus
    words = options.text_encoder_learning_rate, options.text_encoder_lora_plus
    components = sorted(network.counts(), key=lambda name: name.startswith("text_encoder"))
    return [
        {"params": parameters, "lr": peak, "peak": peak}
        for component in components
        for rate, ratio in (words if component.startswith("text_encoder") else denoiser,)
        for (multiple, up), parameters in network.param_groups(component).items()
        for peak in (rate * multiple * (ratio if up else 1.0),)
    ]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random stream of one optimizer step (from 1)."""
    return torch.Generator().manual_seed((seed << 24) + step)
