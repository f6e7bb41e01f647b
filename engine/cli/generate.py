"""Make a picture. A LoRA is named in the prompt: "a cat <lora:name:0.8>".

The picture is kept in outputs/ of the data folder; --out puts a copy where you want it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from engine.cli.common import one_line, workspace_of
from engine.cli.foreground import carry_out, exit_code
from engine.config.choices import SAMPLER_NAMES
from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.generating import ResultPicture
from engine.workspace import atomic_write

SETTINGS = {
    "model": "model", "vae": "vae", "text_encoder": "text_encoders", "prompt": "prompt", "negative": "negative_prompt", "seed": "seed", "steps": "steps", "sampler": "sampler",
    "guidance": "guidance_scale",
}  # fmt: skip
"""Option -> setting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = GenerateConfig()
    add = parser.add_argument
    add("--model", metavar="NAME_OR_PATH", default=default.model, help=f"the base model; default: {default.model}")
    add("--vae", metavar="NAME_OR_PATH", default="", help="another VAE, or the one that the model lacks")
    add(
        "--text-encoder",
        metavar="NAME_OR_PATH",
        action="append",
        default=[],
        help="another text encoder, or one that it lacks; may be given several times",
    )
    add("--prompt", required=True, help="what the picture shows")
    add("--negative", metavar="PROMPT", default="", help="what it shall not show")
    add("--seed", type=int, default=default.seed, help="the noise it starts from; default: a new one each time")
    add("--steps", type=int, default=default.steps, help=f"default: {default.steps}")
    add("--size", metavar="WxH", type=_size, default=(0, 0), help="px, for example 512x768; default: the model's own")
    add("--sampler", default=default.sampler, help=f"one of: {', '.join(SAMPLER_NAMES)}")
    add("--guidance", metavar="SCALE", type=float, default=default.guidance_scale, help=f"default: {default.guidance_scale:g}")
    add("--out", metavar="FILE.png", type=_png, help="put a copy of the picture here")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected WxH, for example 512x768")
    return int(found[1]), int(found[2])


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r}: the name of a picture ends in .png")
    return Path(text).expanduser()


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options).prepare()
    settings = {setting: getattr(options, option) for option, setting in SETTINGS.items()}
    settings["width"], settings["height"] = options.size
    job = carry_out(actions.start_generation(validate(GenerateConfig, settings), workspace), workspace)
    for picture in actions.pictures(job, workspace):
        report(picture)
        file = picture.file
        if options.out:
            file = options.out
            with atomic_write(file) as stream:
                stream.write(picture.file.read_bytes())
        print(file)
    return exit_code(job)


def report(picture: ResultPicture) -> None:
    """Say what was applied, and what was not done as asked."""
    for adapter in picture.adapters:
        print("{name}: picture {unet:g}, text {text_encoder:g}, {matched} of {total} modules".format(**adapter))
    for problem in picture.problems:
        print(one_line(EngineError.from_dict(problem)).replace("Error:", "Note:", 1), file=sys.stderr)
