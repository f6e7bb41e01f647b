"""Work with datasets: check them, write captions, exchange them with Kohya's trainer.

    check DIR                       what training would take from it, and everything that is wrong
    caption DIR --tagger NAME       captions for its pictures, by a tagger
    export DIR                      Kohya's dataset TOML of it, to the screen or to --out FILE.toml
    import FILE.toml                the folders that Kohya's dataset TOML names as dataset.yaml beside the pictures, and its settings

DIR is a folder, or the name of a dataset such as practice/mascot.
"""

from __future__ import annotations

import argparse

from engine.cli import dataset_caption, dataset_check, dataset_toml

ACTIONS = {"check": dataset_check, "caption": dataset_caption, "export": dataset_toml, "import": dataset_toml}
"""Action -> the module that does it; its options are a group of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(ACTIONS), metavar="ACTION", help="what to do")
    parser.add_argument("place", metavar="DIR", help="the folder or file, as above")
    for module in dict.fromkeys(ACTIONS.values()):
        module.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    return ACTIONS[options.action].run(options)
