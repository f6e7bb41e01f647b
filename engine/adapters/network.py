"""All adapters of one LoRA, and their place in a model: `lora_unet_mid_block_...` -> the layer it changes.

Each layer has an adapter of its own; where files have several layers in one, `engine.formats.fused` goes between.

A network is made from options or from a file. It is put into a model unmerged (`insert`, for training and for trying it
while it trains) or merged by `engine.adapters.merge`. Layers keep their class, their name and their weights; `forward` is
shadowed on the instance while there are adapters and comes back when the last one leaves, so that nothing remains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.adapters import ADAPTERS
from engine.adapters.base import Adapter, LayerShape
from engine.adapters.beside import Beside, Entry
from engine.adapters.layers import base_tensors
from engine.adapters.siblings import Siblings
from engine.adapters.thin import Thin
from engine.config.targets import Target, does_not_fit
from engine.errors import AdapterError
from engine.formats.adapter_file import AdapterFile
from engine.formats.fused import Parts, assembled, fuse, split
from engine.formats.kohya_tensors import by_key
from engine.formats.names import DiskName, ModuleRef, NameIndex, Rows, disk_names, own_name
from engine.formats.suffixes import algorithm_of

ADAPTABLE = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
Components = Mapping[str, nn.Module]
"""The adaptable parts of a model by name: "text_encoder", "unet", "transformer"."""


@dataclass(frozen=True)
class Match:
    """How much of a file found its place in a model, in modules as the file counts them."""

    matched: int
    unmatched: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.matched + len(self.unmatched)


class Network(nn.Module):
    """Adapters by the names of their layers' own paths, Kohya's prefix before them.

    Attributes:
        refs: name -> the layer it belongs to.
        names: name -> what the layer is called on disk.
        strengths: component -> factor on everything the network does there, wherever `insert` was not given others; 1 for those
            it does not name; 0 bypasses it.
        match: for a network from a file, how much of it was placed.
        embeddings: those bundled in that file, see `engine.formats.adapter_file`.
    """

    def __init__(
        self, adapters: Mapping[str, Adapter], refs: Mapping[str, ModuleRef], names: Mapping[str, DiskName], match: Match | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self.adapters = nn.ModuleDict(adapters)
        self.refs, self.names = dict(refs), dict(names)
        self.strengths = dict.fromkeys((ref.component for ref in refs.values()), 1.0)
        self.match = match or Match(len({name.name for name in names.values()}), ())
        self.embeddings: dict[str, dict[str, Tensor]] = {}
        self.siblings: list[Siblings] = []
        self._places: list[tuple[Beside, Entry]] = []

    @classmethod
    def create(cls, family: str, components: Components, targets: Mapping[str, Iterable[Target]], seed: int) -> Network:
        """A fresh network that changes nothing.

        Args:
            family: of the model; key of `engine.formats.models.MODELS`.
            targets: component -> the layers to adapt, each with the options of its algorithm.
            seed: of the initial values; they do not depend on the device.

        Raises:
            ConfigError: `config.layer` where the options do not fit a layer.
        """
        generator = torch.Generator().manual_seed(seed)
        adapters: dict[str, Adapter] = {}
        refs, names, sharing = {}, {}, dict[tuple[str, str], list[Thin]]()
        for component, chosen in targets.items():
            written = disk_names(family, component, layer_paths(components[component]))
            for target in chosen:
                path = target.layer.path
                name = own_name(family, component, path)
                adapters[name] = adapter = _new(components[component].get_submodule(path), target, generator)
                refs[name], names[name] = ModuleRef(component, path), written[path]
                if target.layer.shared_input and isinstance(adapter, Thin):
                    sharing.setdefault((component, target.layer.shared_input), []).append(adapter)
        network = cls(adapters, refs, names)
        network.siblings = [Siblings(members) for members in sharing.values() if len(members) > 1]
        return network

    @classmethod
    def from_file(cls, file: AdapterFile, components: Components, family: str) -> Network:
        """The network in a file, placed into a model. Modules the model lacks are counted in `match`.

        Raises:
            AdapterError: `adapter.no_match`, `adapter.wrong_shape`, `adapter.algorithm`, `adapter.cannot_split` or
                `adapter.module_twice`.
        """
        paths = {component: layer_paths(part) for component, part in components.items()}
        found, unmatched = NameIndex(family, paths).match(file.modules)
        if not found:
            raise AdapterError(
                "adapter.no_match", f"None of the {len(unmatched)} modules of {file.path.name} exists in this base model.",
                "A LoRA made for this family of models.", "Choose the base model it was trained on.",
                path=file.path.name, total=len(unmatched), example=unmatched[0],
            )  # fmt: skip
        written = {component: disk_names(family, component, paths[component]) for component in components}
        adapters, refs, names = {}, {}, {}
        for module, places in found.items():
            for ref, tensors in split_module(file, module, places).items():
                name = own_name(family, ref.component, ref.path)
                if name in refs:
                    raise AdapterError(
                        "adapter.module_twice", f"{file.path.name} holds the module {name} under two names, one of them {module}.",
                        "Each module once.", "Save it again with the program that made it.", path=file.path.name, module=name,
                    )  # fmt: skip
                shape = LayerShape.of(components[ref.component].get_submodule(ref.path))
                adapters[name] = read_module(file, module, tensors, shape)
                refs[name], names[name] = ref, written[ref.component][ref.path]
        network = cls(adapters, refs, names, Match(len(found), tuple(unmatched)))
        network.embeddings = file.embeddings
        return network

    @torch.no_grad()
    def begin_from(self, finished: Network) -> None:
        """Take the weights of a finished network of the very same make, to train on from there.

        Raises:
            AdapterError: `adapter.start_differs`, naming the first module that is missing, left over or different.
        """
        mine, theirs = ({name: network.adapters[name].state_dict() for name in network.refs} for network in (self, finished))
        left_over = [*finished.match.unmatched, *(name for name in theirs if name not in mine)]
        different = [name for name, tensors in mine.items() if _make(tensors) != _make(theirs.get(name, {}))]
        if different or left_over:
            name = (different or left_over)[0]
            raise AdapterError(
                "adapter.start_differs", f"The run cannot go on from this adapter: {name} differs.",
                "The same algorithm, rank, alpha and layers.", "Set them as in the adapter, or begin afresh.",
                field="adapter.start_from", module=name, count=len(different) + len(left_over),
            )  # fmt: skip
        for name in mine:
            self.adapters[name].load_state_dict(theirs[name])

    def counts(self) -> dict[str, int]:
        """Adapted modules per component."""
        return dict(Counter(ref.component for ref in self.refs.values()))

    def parameter_counts(self) -> dict[str, int]:
        """Numbers that learn, per component."""
        counts: Counter[str] = Counter()
        for name, ref in self.refs.items():
            counts[ref.component] += sum(p.numel() for p in self._adapter(name).parameters() if p.requires_grad)
        return dict(counts)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is saved, as it lies on disk: `module.suffix` -> tensor."""
        return by_key(assembled(((self.names[name], self._adapter(name).tensors()) for name in self.refs), fuse))

    def training_state(self) -> dict[str, Tensor]:
        """Everything that changes in training, to go on exactly: parameters, and what algorithms keep beside them."""
        return dict(self.named_parameters()) | dict(self.named_buffers())

    def param_groups(self, component: str) -> dict[tuple[float, bool], list[nn.Parameter]]:
        """The parameters of a component that learn, by (multiple of the learning rate, whether LoRA+ speeds them up)."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, ref in self.refs.items():
            for group in self._adapter(name).param_groups() if ref.component == component else ():
                groups.setdefault((group.rate, group.up), []).extend(group.parameters)
        return groups

    def begin_step(self, generator: torch.Generator) -> None:
        self._forget()
        for kind, adapters in self._by_class().items():
            kind.begin_together(adapters, generator)

    def begin_batch(self, times: Tensor) -> None:
        """How noisy each picture of the batch is: (B,), from 0 (clean) to 1 (noise)."""
        for name in self.refs:
            self._adapter(name).begin_batch(times)

    def penalty(self) -> Tensor | None:
        """What the algorithms add to the loss of a step, or None: a mean, so that its weight means the same for any number of layers."""
        penalties = [penalty for name in self.refs if (penalty := self._adapter(name).penalty()) is not None]
        return torch.stack(penalties).mean() if penalties else None

    def after_backward(self) -> None:
        for name in self.refs:
            self._adapter(name).after_backward()

    def after_step(self, step: int, steps: int) -> None:
        """Let each algorithm act on all its adapters at once; `step` from 1."""
        for kind, adapters in self._by_class().items():
            kind.after_step(adapters, step, steps)

    def _by_class(self) -> dict[type[Adapter], list[Adapter]]:
        found: dict[type[Adapter], list[Adapter]] = {}
        for name in self.refs:
            found.setdefault(type(self._adapter(name)), []).append(self._adapter(name))
        return found

    def _adapter(self, name: str) -> Adapter:
        return self.adapters[name]  # type: ignore[return-value]

    def insert(
        self, components: Components, strengths: Mapping[str, float] | None = None, factors: Mapping[str, float] | None = None
    ) -> None:
        """Put the adapters beside their layers' weights, unmerged.

        Any number of networks may be in one model, the same one twice too; what they change adds up in any order.

        Args:
            strengths: by component, for this insertion only; the network's own `strengths` when not given.
            factors: by name, on the strength in one layer; 1 where it is missing, and 0 leaves the layer alone.
        """
        factors = factors or {}
        for name, ref in self.refs.items():
            if not (factor := factors.get(name, 1.0)):
                continue
            layer = components[ref.component].get_submodule(ref.path)
            beside = layer.__dict__.get("forward") or Beside(layer)
            entry = Entry(self, self.adapters[name], ref.component, strengths, factor)  # type: ignore[arg-type]
            beside.entries.append(entry)
            self._places.append((beside, entry))

    def remove(self) -> None:
        """Take the adapters out again, wherever and however often they were inserted."""
        self._forget()
        while self._places:
            beside, entry = self._places.pop()
            beside.take_out(entry)

    def _forget(self) -> None:
        for group in self.siblings:
            group.forget()


def _make(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """What must be the same for weights to be exchanged: names, shapes and alpha."""
    return {name: f"{float(tensor):.6g}" if name == "alpha" else tensor.shape for name, tensor in tensors.items()}


def _new(layer: nn.Module, target: Target, generator: torch.Generator) -> Adapter:
    shape = LayerShape.of(layer, target.layer.heads, target.layer.head_axis)
    algorithm = ADAPTERS[target.options.kind]
    try:
        if not algorithm.adapts(shape):
            raise ValueError(f"{target.options.kind} does not exist for such a layer")
        adapter = algorithm.create(shape, base_tensors(layer), target.options, generator)
        # Decompositions give columns; a state that is read again has rows, and rounds otherwise.
        for parameter in adapter.parameters():
            parameter.data = parameter.data.contiguous()
        return adapter
    except ValueError as error:
        raise does_not_fit(target.layer.path, str(error)) from None


def layer_paths(part: nn.Module) -> list[str]:
    """The paths of all layers that could be adapted, in the model's order."""
    return [path for path, layer in part.named_modules() if isinstance(layer, ADAPTABLE)]


def split_module(file: AdapterFile, name: str, places: Mapping[ModuleRef, Rows]) -> dict[ModuleRef, dict[str, Tensor]]:
    """The tensors of one module of a file, for each layer that has some of its rows.

    Raises:
        AdapterError: `adapter.cannot_split`.
    """
    try:
        return split(file.modules[name], places)
    except ValueError as error:
        algorithm = algorithm_of({suffix: tensor.shape for suffix, tensor in file.modules[name].items()})
        raise AdapterError(
            "adapter.cannot_split", f"{file.path.name}: the {algorithm} of {name} cannot be taken apart into its "
            f"{len(places)} layers: {error}.",
            "LoRA, or another algorithm that goes row by row.", "Train it on separate layers, or extract a LoRA of it.",
            path=file.path.name, module=name, algorithm=algorithm, reason=str(error),
        ) from None  # fmt: skip


def read_module(file: AdapterFile, name: str, tensors: Parts, shape: LayerShape) -> Adapter:
    """The adapter of one module of a file, for a layer of this shape.

    Raises:
        AdapterError: `adapter.algorithm`, `adapter.wrong_shape`.
    """
    algorithm = algorithm_of({suffix: tensor.shape for suffix, tensor in tensors.items()}) or "unknown"
    known = ADAPTERS.get(algorithm)
    extra = sorted(set(tensors) - set(known.suffixes)) if known else []
    if not known or extra:
        raise AdapterError(
            "adapter.algorithm",
            f"{file.path.name}: module {name} uses {extra[0] if extra else algorithm}, which is not applied yet.",
            f"Algorithms known so far: {', '.join(ADAPTERS)}.", "Use a LoRA or LoCon file.",
            path=file.path.name, algorithm=algorithm,
        )  # fmt: skip
    try:
        return known.from_tensors(shape, tensors)
    except ValueError as error:
        raise AdapterError(
            "adapter.wrong_shape", f"{file.path.name}: in {name} {error}.", "A LoRA made for this family of models.",
            "Choose the base model it was trained on.", path=file.path.name, module=name,
        ) from None  # fmt: skip
