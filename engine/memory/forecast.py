"""The memory of a run, phase by phase, before it starts: on a graphics card parts are there only while they have their turn.

Each number is a sum of terms, and each term follows from sizes in configs; no measurement is in it but the reserve of a card's
driver. In main memory nothing moves: there every part is present in every phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.config.train import TrainConfig
from engine.fitting import DeviceProfile, automatic_precision, vae_precision
from engine.memory.activations import activations
from engine.memory.base_model import BaseModel
from engine.memory.flops import step_flops
from engine.memory.networks import TEXT_WIDTH
from engine.memory.order import largest_first, spread
from engine.memory.sketch import Sketch
from engine.memory.values import Formats
from engine.memory.walk import block_names, decode_picture, denoise, encode_picture, encode_text
from engine.memory.weights import dequantised, parameters, weight_bytes

Phase = Literal["loading", "pictures", "texts", "training", "sampling", "decoding"]
Term = Literal["base", "text_encoders", "vae", "adapter", "gradients", "optimizer", "activations"]
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
OPTIMIZER = {"adamw": 8, "adamw8bit": 2}
"""Optimizer -> bytes that it keeps for a number that learns: two moments."""
FLOAT32 = 4
LARGE = 10**9
"""Parameters from which on a text encoder is quantised with the denoiser."""
RESERVE = 600 * 2**20
"""Bytes of a card that its driver, its libraries and gaps between tensors take."""
UNKNOWN = DeviceProfile("cuda", bfloat16=True)
"""The device that is assumed where none has been seen yet."""


@dataclass(frozen=True)
class Learning:
    """What learns.

    Attributes:
        ranks: component -> path of a layer -> rank of its adapter, 0 for one that is no product of thin factors.
        parameters: numbers that learn.
    """

    ranks: Mapping[str, Mapping[str, int]]
    parameters: int


@dataclass(frozen=True)
class MemoryForecast:
    """Attributes:
    phases: phase -> term -> bytes.
    step_flops: of a training step with its whole batch; what is recomputed is not counted.
    available: bytes of the device; 0 where it has not been seen.
    """

    phases: dict[Phase, dict[Term, int]]
    step_flops: int
    available: int = 0

    @property
    def totals(self) -> dict[Phase, int]:
        return {phase: sum(terms.values()) for phase, terms in self.phases.items()}

    @property
    def largest(self) -> Phase:
        """The phase that needs most."""
        return max(self.totals, key=lambda phase: self.totals[phase])

    @property
    def peak(self) -> int:
        """Bytes; since phases follow each other it is the largest, not the sum."""
        return max(self.totals.values())

    @property
    def fits(self) -> bool:
        """Whether the device has as much, as far as that is known."""
        return not self.available or self.peak + RESERVE <= self.available


@dataclass(frozen=True)
class Sizes:
    """Attributes:
    picture, sample: width and height in px of the largest training picture, and of a sample; None where none is made.
    guided: whether samples are predicted with the prompt and without, in one batch (classifier-free guidance).
    captions: how many texts are kept encoded.
    """

    picture: tuple[int, int]
    sample: tuple[int, int] | None
    guided: bool = True
    captions: int = 0


def memory_forecast(
    base: BaseModel, learning: Learning, config: TrainConfig, sizes: Sizes, profile: DeviceProfile | None = None
) -> MemoryForecast:
    """What a run needs on a device; on a card that computes bfloat16 where the device is not known."""
    return _Run(base, learning, config, sizes, profile or UNKNOWN).forecast(profile.memory_mib * 2**20 if profile else 0)


class _Run:
    def __init__(self, base: BaseModel, learning: Learning, config: TrainConfig, sizes: Sizes, profile: DeviceProfile) -> None:
        self.base, self.learning, self.config, self.sizes = base, learning, config, sizes
        self.moves, options = profile.kind in ("cuda", "rocm"), config.model
        kind, network = base.predicting.kind, base.predicting.config
        width, height = (side // base.shrink for side in sizes.picture)
        plain = denoise(kind, network, 64, 64, base.text_tokens)
        automatic = automatic_precision(profile, parameters(plain))
        self.precision = automatic if options.precision == "auto" else options.precision
        self.width = WIDTHS[self.precision]
        compute = WIDTHS[automatic if config.training.precision == "auto" else config.training.precision]
        self.formats = Formats(compute, FLOAT32 if self.moves else compute)
        streamed = options.streamed_blocks if self.moves else 0  # main memory holds them anyway
        self.streamed = set(spread(largest_first(block_names(kind, network)), streamed))
        self.weights = self._weights(plain)
        self.step = denoise(
            kind, network, width, height, base.text_tokens, batch=config.training.batch_size, formats=self.formats,
            ranks=learning.ranks.get(base.denoiser, {}), again=self._again(base.denoiser) | self.streamed,
            text_learns=any(component != base.denoiser for component in learning.ranks),
        )  # fmt: skip

    def forecast(self, available: int) -> MemoryForecast:
        vae, encoders = self.weights["vae"], sum(self.weights[name] for name in self.base.encoders)
        told = bool(self._encoded_anew()) and encoders
        phases: dict[Phase, dict[Term, int]] = {
            "loading": self._terms(base=self.weights[self.base.denoiser], activations=self._whole_block()),
            "pictures": self._terms(vae=vae, activations=self._encoding(), base=self._visiting_base()),
            "training": self._training() | ({"text_encoders": encoders} if told else {}),
        }
        if not told:
            phases["texts"] = self._terms(text_encoders=encoders, activations=self._reading(), base=self._visiting_base())
        if self.sizes.sample:
            kept = {"optimizer": self._optimizer()}
            phases["sampling"] = self._terms(base=self.weights[self.base.denoiser], activations=self._sampling(), **kept)
            phases["decoding"] = self._terms(vae=vae, activations=self._decoding(), base=self._visiting_base(), **kept)
        if not self.moves:
            present = {"base": self.weights[self.base.denoiser], "text_encoders": encoders, "vae": vae}
            phases = {phase: terms | present for phase, terms in phases.items()}  # type: ignore[misc]
        order = ("loading", "pictures", "texts", "training", "sampling", "decoding")
        return MemoryForecast({phase: phases[phase] for phase in order if phase in phases}, step_flops(self.step), available)

    # ---- weights ----

    def _weights(self, denoiser: Sketch) -> dict[str, int]:
        """Part -> bytes of it on the device."""
        found, how = {}, self.config.model.quantization
        for name, network in self.base.networks.items():
            if name == self.base.denoiser:
                found[name] = weight_bytes(denoiser, self.width, how, self.streamed)
            elif name == "vae":
                width = WIDTHS[vae_precision(self.precision, bool(network.config.get("force_upcast", True)))]
                found[name] = sum(weight_bytes(walk(network.config, 64, 64), width) for walk in (encode_picture, decode_picture))
            else:
                walked = encode_text(network.kind, network.config, 1)
                found[name] = weight_bytes(walked, self.width, how if parameters(walked) >= LARGE else "none")
        return found

    def _visiting_base(self) -> int:
        """The denoiser where it cannot leave the device for others: some of its blocks come and go."""
        return self.weights[self.base.denoiser] if self.streamed else 0

    def _whole_block(self) -> int:
        """A block as it is brought to the device, before it is quantised."""
        if self.config.model.quantization == "none":
            return 0
        return max(sum(w.matrix + w.others for w in block.weights.values()) for block in self.step.blocks) * self.width

    def _terms(self, **terms: int) -> dict[Term, int]:
        """The terms of a phase; the adapter is there from the beginning."""
        present = {"adapter": FLOAT32 * self.learning.parameters, **terms}
        return {name: size for name, size in present.items() if size}  # type: ignore[misc]

    def _optimizer(self) -> int:
        return OPTIMIZER[self.config.training.optimizer.kind] * self.learning.parameters

    # ---- what is calculated ----

    def _again(self, component: str) -> set[str]:
        """The blocks of a part that are recomputed."""
        if not self.config.training.gradient_checkpointing:
            return set()
        network = self.base.networks[component]
        return set(largest_first(block_names(network.kind, network.config))[: self.config.training.checkpointed_blocks or None])

    def _encoded_anew(self) -> bool:
        """Whether captions are encoded at every step."""
        return any(name in self.learning.ranks for name in self.base.encoders) or self.config.dataset.shuffle_tags

    def _training(self) -> dict[Term, int]:
        gradients = FLOAT32 * self.learning.parameters
        peak = activations(self.step, gradients).peak + dequantised(
            self.step, self.formats.compute, self.config.model.quantization
        )
        for name, ranks in self.learning.ranks.items():
            if name != self.base.denoiser and ranks:
                peak += activations(self._text(name, self.config.training.batch_size, ranks)).peak
        captions = 0 if self._encoded_anew() else self.sizes.captions
        return self._terms(
            base=self.weights[self.base.denoiser], gradients=gradients, optimizer=self._optimizer(),
            activations=max(0, peak - gradients) + captions * self._caption(),
        )  # fmt: skip

    def _caption(self) -> int:
        """Bytes of an encoded caption."""
        network = self.base.predicting
        return self.base.text_tokens * network.config[TEXT_WIDTH[network.kind]] * self.width

    def _text(self, name: str, batch: int, ranks: Mapping[str, int] | None = None) -> Sketch:
        network = self.base.networks[name]
        return encode_text(
            network.kind, network.config, self.base.caption_tokens(name), batch=batch, formats=self.formats, ranks=ranks,
            again=self._again(name),
        )  # fmt: skip

    def _reading(self) -> int:
        return max((self._text(name, 1).peak for name in self.base.encoders), default=0)

    def _vae_formats(self) -> Formats:
        width = WIDTHS[vae_precision(self.precision, bool(self.base.networks["vae"].config.get("force_upcast", True)))]
        return Formats(width, width)

    def _encoding(self) -> int:
        return encode_picture(self.base.networks["vae"].config, *self.sizes.picture, self._vae_formats()).peak

    def _decoding(self) -> int:
        assert self.sizes.sample
        return decode_picture(self.base.networks["vae"].config, *self.sizes.sample, self._vae_formats()).peak

    def _sampling(self) -> int:
        assert self.sizes.sample
        width, height = (side // self.base.shrink for side in self.sizes.sample)
        network, formats = self.base.predicting, Formats(self.width, self.width)
        drawn = denoise(
            network.kind, network.config, width, height, self.base.text_tokens, batch=1 + self.sizes.guided, formats=formats
        )
        return drawn.peak + dequantised(drawn, self.width, self.config.model.quantization)
