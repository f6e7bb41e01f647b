"""The command line: `python -m engine COMMAND ...`.

Finds the command and turns failures into exit codes: 0 done, 1 failed (the reason on stderr), 2 bad arguments or settings
(with the field), 130 interrupted and saved. Each command is a module of `engine.cli`, imported when it is called.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from engine import __version__
from engine.cli.common import add_folders, one_line
from engine.errors import ConfigError, EngineError

COMMANDS = {
    "train": ("engine.cli.train", "train a LoRA from a settings file"),
    "generate": ("engine.cli.generate", "make a picture from a prompt"),
    "grid": ("engine.cli.grid", "make a grid of pictures from a settings file"),
    "adapter": ("engine.cli.adapter", "look into LoRA files, convert, merge, resize, ..."),
    "model": ("engine.cli.model", "look into base models, list, download, make tiny ones for dry runs"),
    "dataset": ("engine.cli.dataset", "check folders of pictures, exchange them with Kohya's trainer"),
    "jobs": ("engine.cli.jobs", "list, show or cancel jobs"),
    "doctor": ("engine.cli.doctor", "check this machine"),
}


def usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "usage: python -m engine COMMAND ...\n\n" + "\n".join(lines) + "\n\n`python -m engine COMMAND --help` tells more."


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help", "--version"):
        print(f"LoRA Atelier {__version__}" if name == "--version" else usage())
        return 0
    if name not in COMMANDS:
        print(f"{usage()}\n\nError: " + (f"there is no command {name!r}." if name else "a command is missing."), file=sys.stderr)
        return 2
    # It says at every import that it has no faster kernel for a processor, as an error that is none.
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    command = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=f"python -m engine {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    command.add_arguments(parser)
    add_folders(parser)
    try:
        return command.run(parser.parse_args(arguments[1:]))
    except EngineError as error:
        print(one_line(error), file=sys.stderr)
        return 2 if isinstance(error, ConfigError) or error.values.get("field") else 1
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
