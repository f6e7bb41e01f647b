"""Models of real size without their numbers, and what PyTorch itself says of their memory: every tensor is a fake one.

What autograd keeps, and the most that is alive at once, are counted in the storages that PyTorch makes and lets go of. Autocast
is the CPU's, with normalisation in float32 on top where CUDA's is wanted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

IN_FLOAT32 = ("layer_norm", "group_norm", "rms_norm", "interpolate")
"""What autocast on CUDA makes in float32, and the CPU's does not."""


@contextmanager
def cuda_norms() -> Iterator[None]:
    """Inside, the functions of `torch.nn.functional` do as autocast on CUDA would have them do."""
    plain = {name: getattr(F, name) for name in IN_FLOAT32}
    for name, function in plain.items():
        setattr(F, name, _in_float32(function))
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(F, name, function)


def _in_float32(function: Any) -> Any:
    def wide(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_float32, args), **{name: _float32(each) for name, each in kwargs.items()})

    return wide


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class Watch(TorchDispatchMode):
    """Counts the bytes of storages made and not let go of.

    Attributes:
        live, peak: bytes now, and the most there were at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return made

    def _see(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known[key] = weakref.finalize(storage, self._gone, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size

    def know(self, *modules: nn.Module) -> None:
        """Do not count what these hold."""
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                self._known[tensor.untyped_storage()._cdata] = tensor


def kept(run: Callable[[], Tensor], *frozen: nn.Module) -> int:
    """Bytes that autograd keeps of a forward pass beside the weights of `frozen`."""
    ours = {tensor.untyped_storage()._cdata for module in frozen for tensor in (*module.parameters(), *module.buffers())}
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in ours:
            storages[key] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@contextmanager
def unreal(compute: torch.dtype = torch.float32, cuda: bool = False) -> Iterator[None]:
    """Inside, tensors have no numbers; autocast to `compute`, with CUDA's rules if asked."""
    half = torch.autocast("cpu", compute) if compute != torch.float32 else nullcontext()
    with FakeTensorMode(), half, cuda_norms() if cuda else nullcontext():
        yield


def picture_inputs(
    kind: str, network: Any, batch: int, width: int, height: int, tokens: int, dtype: torch.dtype | None = None
) -> Tensor:
    """A prediction of a denoiser for latents of this size, whose numbers are all alike."""
    config, dtype = network.config, dtype or next(network.parameters()).dtype

    def some(*size: int) -> Tensor:
        return torch.ones(*size, dtype=dtype)

    if kind == "unet":
        told = (
            {"text_embeds": some(batch, config.projection_class_embeddings_input_dim - 1536), "time_ids": some(batch, 6)}
            if config.addition_embed_type
            else {}
        )
        latents, words = some(batch, config.in_channels, height, width), some(batch, tokens, config.cross_attention_dim)
        return network(latents, torch.ones(batch), words, added_cond_kwargs=told).sample
    if kind == "sd3":
        latents, words = some(batch, config.in_channels, height, width), some(batch, tokens, config.joint_attention_dim)
        return network(latents, words, some(batch, config.pooled_projection_dim), torch.ones(batch)).sample
    if kind == "flux":
        count = width * height // 4
        ids, guidance = (torch.ones(count, 3), torch.ones(tokens, 3)), torch.ones(batch) if config.guidance_embeds else None
        words, pooled = some(batch, tokens, config.joint_attention_dim), some(batch, config.pooled_projection_dim)
        return network(some(batch, count, config.in_channels), words, pooled, some(batch), *ids, guidance).sample
    latents = [some(config.in_channels, 1, height, width) for _ in range(batch)]
    words = [some(tokens, config.cap_feat_dim) for _ in range(batch)]
    return torch.stack(network(latents, some(batch), words, return_dict=False)[0])
