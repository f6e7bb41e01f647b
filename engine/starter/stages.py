"""The two trainings the starter goes through, and the loop they share: first the VAE, then U-Net and text encoder together.

Knows drawn pictures as arrays and the parts as modules; where they come from and where they go is `build`'s affair.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from engine.starter.pictures import draw_scenes, tokenize
from engine.starter.world import captions, held_out_scenes
from engine.workspace import atomic_write

CHECKPOINT_SECONDS = 120


@dataclass
class Rank:
    """One of the processes that share a batch."""

    index: int
    count: int
    device: torch.device

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        if self.count == 1:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters])
        dist.all_reduce(flat)
        flat /= self.count
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad.copy_(part.view_as(parameter))

    def say(self, text: str) -> None:
        if self.index == 0:
            print(time.strftime("%H:%M:%S"), text, flush=True)


def learning_rate(step: int, steps: int, peak: float, hold: float) -> float:
    """Warm up over 100 steps, hold the peak for a fraction of the run, then fall linearly to 2 % of it."""
    if step < 100:
        return peak * (step + 1) / 100
    done = step / steps
    return peak if done < hold else peak * max(0.02, (1 - done) / (1 - hold))


def train(
    rank: Rank,
    name: str,
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    measure: Callable[[], str],
    options: argparse.Namespace,
    steps: int,
    peak: float,
    hold: float,
    ema_decay: float,
) -> None:
    """The loop both stages share. Leaves the exponential moving average in `model`."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.99), weight_decay=0.01, foreach=True)
    file, first = options.work_dir / f"{name}.pt", 0
    if file.exists():
        state = torch.load(file, map_location=rank.device, weights_only=True)
        first = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for parameter, mean, kept, kept_mean in zip(parameters, average, state["parameters"], state["average"], strict=True):
                parameter.copy_(kept)
                mean.copy_(kept_mean)

    def save(step: int) -> None:
        if rank.index == 0:
            with atomic_write(file) as stream:
                torch.save(
                    {"step": step, "optimizer": optimizer.state_dict(), "parameters": parameters, "average": average}, stream
                )

    def measured() -> str:
        """Measure with the averaged weights in place, then put the training weights back."""
        backup = [p.detach().clone() for p in parameters]
        _copy(parameters, average)
        text = measure() if rank.index == 0 else ""
        _copy(parameters, backup)
        return text

    started = saved = time.monotonic()
    recent: list[float] = []
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step * 64 + rank.index)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, hold)
        loss = loss_of(generator)
        loss.backward()
        rank.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - min(ema_decay, (step + 1) / (step + 10)))
        recent.append(loss.item())
        if step % 100 == 0 and step > first:
            left = (time.monotonic() - started) / (step - first) * (steps - step) / 60
            rank.say(f"{name} {step}/{steps}  loss {np.mean(recent):.4f}  {left:.0f} min left")
            recent.clear()
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save(step + 1)
            saved = time.monotonic()
        if (step + 1) % 500 == 0:
            rank.say(f"{name} {step + 1}/{steps}  {measured()}")
    _copy(parameters, average)
    if first < steps:
        save(steps)


@torch.no_grad()
def _copy(to: list[nn.Parameter], source: list[Tensor]) -> None:
    for parameter, value in zip(to, source, strict=True):
        parameter.copy_(value)


def _scaled(pictures: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to float in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def _edges(x: Tensor) -> Tensor:
    """Horizontal and vertical differences of (B, C, H, W), flattened together."""
    return torch.cat([(x[..., 1:] - x[..., :-1]).flatten(1), (x[..., 1:, :] - x[..., :-1, :]).flatten(1)], 1)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1], dB, averaged over pictures."""
    error = ((a.clamp(-1, 1) - b) / 2).pow(2).flatten(1).mean(1)
    return (-10 * error.log10()).mean().item()


class Autoencode(nn.Module):
    """One VAE pass: picture -> (reconstruction, KL per picture)."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.vae.quant_conv(self.vae.encoder(x)).chunk(2, 1)
        latent = mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise
        return self.vae.decoder(self.vae.post_quant_conv(latent)), mean, logvar


def train_vae(rank: Rank, vae: nn.Module, pictures: Tensor, options: argparse.Namespace) -> None:
    vae.to(rank.device, memory_format=torch.channels_last)
    nn.init.constant_(vae.quant_conv.bias[4:], -5.0)  # start nearly deterministic; at 0 the decoder sees only noise
    with torch.no_grad():
        vae.quant_conv.weight[4:] *= 0.2
    model = Autoencode(vae)
    test = _scaled(torch.from_numpy(draw_scenes(held_out_scenes()[:64], seed=1))).to(rank.device)
    batch = options.vae_batch // rank.count

    def loss_of(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(pictures), (batch,), generator=generator)
        x = _scaled(pictures[chosen]).to(rank.device, memory_format=torch.channels_last)
        noise = torch.randn(batch, 4, 16, 16, generator=generator).to(rank.device)
        with _autocast(rank):
            y, mean, logvar = model(x, noise)
        y, mean, logvar = y.float(), mean.float(), logvar.float()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        return F.l1_loss(y, x) + 2 * F.mse_loss(y, x) + 0.5 * F.l1_loss(_edges(y), _edges(x)) + 1e-3 * kl

    @torch.no_grad()
    def measure() -> str:
        return f"PSNR {psnr(vae.decode(vae.encode(test).latent_dist.mean).sample, test):.2f} dB"

    train(rank, "vae", model, loss_of, measure, options, options.vae_steps, peak=2e-3, hold=0.4, ema_decay=0.998)


@torch.no_grad()
def encode_all(vae: nn.Module, pictures: Tensor, device: torch.device) -> Tensor:
    """Latents (N, 4, 16, 16) of uint8 pictures: the mean of the posterior."""
    return torch.cat([vae.encode(_scaled(part).to(device)).latent_dist.mean.cpu() for part in pictures.split(250)])


def raw_latents(rank: Rank, vae: nn.Module, pictures: Tensor, file: Path) -> Tensor:
    """Latents before normalisation, encoded once by the first process; a finished VAE does not change any more."""
    if rank.index == 0 and not file.exists():
        latents = encode_all(vae, pictures, rank.device)
        with atomic_write(file) as stream:
            np.save(stream, latents.numpy())
    if rank.count > 1:
        dist.barrier()
    return torch.from_numpy(np.load(file))


@torch.no_grad()
def normalise_latents(vae: nn.Module, latents: Tensor) -> Tensor:
    """Fold each latent channel's mean and spread into the 1x1 convolutions, so that `scaling_factor` is 1.

    Returns:
        The latents as the changed VAE gives them.
    """
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    normal = (latents - mean[:, None, None]) / std[:, None, None]
    mean, std = mean.to(vae.device), std.to(vae.device)
    channels = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[channels:] -= 2 * std.log()  # log-variance of the rescaled latent
    return normal


class Denoise(nn.Module):
    """Text encoder and U-Net as one module: (latent, timestep, token ids) -> prediction."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, x: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        return self.unet(x, timestep, self.text_encoder(ids).last_hidden_state).sample


def train_unet(rank: Rank, parts: dict, latents: Tensor, ids: Tensor, options: argparse.Namespace) -> None:
    unet, text_encoder, scheduler = parts["unet"], parts["text_encoder"], parts["scheduler"]
    unet.set_attn_processor(AttnProcessor())  # the fused CPU backward is slower at these sizes
    model = Denoise(unet, text_encoder).to(rank.device, memory_format=torch.channels_last)
    alphas = scheduler.alphas_cumprod.to(rank.device)
    empty = torch.from_numpy(tokenize(parts["tokenizer"], [[""]])[0, 0]).long()
    batch = options.batch // rank.count

    def v_loss(x: Tensor, words: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Velocity objective (Salimans & Ho 2022): v = sqrt(a) noise - sqrt(1 - a) x."""
        a = alphas[t][:, None, None, None]
        noisy = (a.sqrt() * x + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        target = a.sqrt() * noise - (1 - a).sqrt() * x
        with _autocast(rank):
            predicted = model(noisy, t, words)
        return F.mse_loss(predicted.float(), target)

    def loss_of(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        phrase = torch.randint(ids.shape[1], (batch,), generator=generator)
        words = ids[chosen, phrase].long()
        words[torch.rand(batch, generator=generator) < 0.1] = empty
        t = torch.randint(1000, (batch,), generator=generator)
        noise = torch.randn(batch, 4, 16, 16, generator=generator)
        return v_loss(*(v.to(rank.device) for v in (latents[chosen], words, t, noise)))

    scenes = held_out_scenes()[:128]
    test = encode_all(parts["vae"], torch.from_numpy(draw_scenes(scenes, seed=2)), rank.device)
    test_words = torch.from_numpy(tokenize(parts["tokenizer"], [captions(s)[:1] for s in scenes])[:, 0]).long()
    fixed = torch.Generator().manual_seed(3)
    test_t = torch.randint(1000, (len(scenes),), generator=fixed)
    test_noise = torch.randn(test.shape, generator=fixed)

    @torch.no_grad()
    def measure() -> str:
        loss = v_loss(*(v.to(rank.device) for v in (test, test_words, test_t, test_noise)))
        return f"held-out loss {loss.item():.4f}"

    train(rank, "unet", model, loss_of, measure, options, options.unet_steps, peak=1.2e-3, hold=0.5, ema_decay=0.999)


def _autocast(rank: Rank):
    supported = rank.device.type == "cuda" or torch.backends.mkldnn.is_available()
    return torch.autocast(rank.device.type, torch.bfloat16) if supported else nullcontext()
