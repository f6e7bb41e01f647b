"""`dataset export` and `dataset import`: to and from Kohya's dataset TOML."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.cli.common import dataset_folder
from engine.config.load import load, merge
from engine.config.text import dump
from engine.config.train import TrainConfig
from engine.datasets.dataset_file import NAME, read_dataset_file, write_dataset_file
from engine.datasets.journal import Journal
from engine.datasets.kohya_import import Fate, common_folder, from_kohya_toml
from engine.datasets.kohya_toml import to_kohya_toml
from engine.errors import DatasetError
from engine.workspace import atomic_write

MAX_TOML_BYTES = 1_000_000
FATES: tuple[Fate, ...] = ("translated", "ignored")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("export and import").add_argument
    add("--out", metavar="FILE", type=Path, help="export: where to write the TOML; import: where to write the training settings")
    add(
        "--config",
        metavar="FILE.yaml",
        type=Path,
        help="export: a run's settings, for resolution, batch size, buckets and captions",
    )
    add("--folder", metavar="DIR", help="import: the dataset's folder; default: the one that all folders of the file lie in")


def run(options: argparse.Namespace) -> int:
    return _export(options) if options.action == "export" else _import(options)


def _export(options: argparse.Namespace) -> int:
    settings = load(TrainConfig, options.config) if options.config else None
    _put(to_kohya_toml(dataset_folder(options.place, options), settings), options.out)
    return 0


def _import(options: argparse.Namespace) -> int:
    file = Path(options.place).expanduser()
    text = _text(file)
    folder = dataset_folder(options.folder, options) if options.folder else common_folder(text, file.absolute().parent)
    found = from_kohya_toml(text, folder)
    for option in (option for fate in FATES for option in found.of(fate)):
        print(f"{option.fate}: {option.place} = {option.value}. {option.note}", file=sys.stderr)
    Journal(folder).check_writable()
    old = read_dataset_file(folder)
    if old and old != found.file:
        raise DatasetError(
            "dataset.described", f"{folder / NAME} describes the dataset already, and differently.",
            todo="Move it away if the imported one shall take its place.", folder=folder, file=NAME,
        )  # fmt: skip
    write_dataset_file(folder, found.file)
    taken = len(found.of("taken"))
    print(f"{folder / NAME}: {len(found.file.concepts)} folders; {taken} options taken as they stand.", file=sys.stderr)
    _put(dump(merge({"dataset": {"folder": str(folder)}}, found.settings)), options.out)
    return 0


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_TOML_BYTES + 1)
        if len(data) > MAX_TOML_BYTES:
            raise ValueError("it is larger than 1 MB")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f"Kohya's dataset TOML {file.name!r} cannot be read: {reason}."
        raise DatasetError("dataset.toml", what, todo="Choose another file.", reason=reason) from None


def _put(text: str, file: Path | None) -> None:
    if file is None:
        print(text, end="")
        return
    with atomic_write(file, "w") as stream:
        stream.write(text)
