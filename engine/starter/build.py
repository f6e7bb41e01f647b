"""Train the starter from nothing: draw the world, train the VAE, then U-Net and text encoder together, then export.

    python -m engine.starter.build --work-dir DIR [--processes 2] [--device cuda]

Seeded and resumable: every stage continues from its newest checkpoint in the work folder. On a CPU two single-thread
processes share each batch and average their gradients (one process with two threads stalls whenever a core is busy).
The exported folder is an ordinary Stable Diffusion pipeline in float16.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from engine.starter import WEIGHTS
from engine.starter.architecture import make_scheduler, make_text_encoder, make_tokenizer, make_unet, make_vae
from engine.starter.pictures import draw_generic, draw_world, tokenize
from engine.starter.stages import Rank, normalise_latents, raw_latents, train_unet, train_vae
from engine.starter.world import NEON, TRIGGER
from engine.workspace import atomic_write


def draw_data(options: argparse.Namespace) -> None:
    """Draw pictures and captions and learn the tokenizer, once."""
    if (options.work_dir / "world.npz").exists():
        return
    pictures, words = draw_world(options.pictures, options.seed)
    # Trigger words stay spelt in pieces, as an unknown word is for any real tokenizer.
    lessons = [phrase for phrasings in words for phrase in phrasings if TRIGGER not in phrase and NEON not in phrase]
    tokenizer = make_tokenizer(lessons)
    tokenizer.save_pretrained(options.work_dir / "tokenizer")
    with atomic_write(options.work_dir / "generic.npy") as stream:
        np.save(stream, draw_generic(options.pictures // 4, options.seed + 7))
    with atomic_write(options.work_dir / "world.npz") as stream:
        np.savez(stream, pictures=pictures, ids=tokenize(tokenizer, words))


def load_parts(options: argparse.Namespace) -> dict:
    tokenizer = CLIPTokenizer.from_pretrained(options.work_dir / "tokenizer")
    torch.manual_seed(options.seed)
    return {
        "tokenizer": tokenizer,
        "vae": make_vae(),
        "text_encoder": make_text_encoder(tokenizer),
        "unet": make_unet(),
        "scheduler": make_scheduler(),
    }


def export(parts: dict, folder: Path) -> None:
    """Write the pipeline in float16, in the layout diffusers loads."""
    pipeline = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.to("cpu", torch.float16).save_pretrained(folder)


def run_rank(index: int, options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    rank = Rank(index, options.processes, device)
    if options.processes > 1:
        torch.set_num_threads(1)
        store = f"file://{(options.work_dir / f'rendezvous-{options.launched}').resolve()}"
        dist.init_process_group("gloo", init_method=store, rank=index, world_size=options.processes)
    world = np.load(options.work_dir / "world.npz")
    pictures, ids = torch.from_numpy(world["pictures"]), torch.from_numpy(world["ids"])
    generic = torch.from_numpy(np.load(options.work_dir / "generic.npy"))
    parts = load_parts(options)
    train_vae(rank, parts["vae"], torch.cat([pictures, generic]), options)
    vae = parts["vae"].eval().requires_grad_(False)
    latents = normalise_latents(vae, raw_latents(rank, vae, pictures, options.work_dir / "latents.npy"))
    rank.say(f"latents: mean {latents.mean():.3f}, spread {latents.std():.3f}")
    train_unet(rank, parts, latents, ids, options)
    if index == 0:
        export(parts, options.out)
        rank.say(f"exported to {options.out}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.build", description=__doc__.split("\n")[0])
    parser.add_argument("--work-dir", type=Path, required=True, help="pictures and checkpoints; the build continues from here")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the finished pipeline goes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=None, help="processes that share a batch (2 on a CPU, 1 on a GPU)")
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--vae-batch", type=int, default=16, help="pictures a VAE step, over all processes")
    parser.add_argument("--batch", type=int, default=32, help="pictures a U-Net step, over all processes")
    parser.add_argument("--vae-steps", type=int, default=3_000)
    parser.add_argument("--unet-steps", type=int, default=4_200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.processes = options.processes or (2 if options.device == "cpu" else 1)
    options.launched = f"{os.getpid()}-{time.time_ns()}"
    return options


def main() -> None:
    options = parse()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    draw_data(options)
    if options.processes == 1:
        run_rank(0, options)
    else:
        torch.multiprocessing.spawn(run_rank, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
