"""The dataset TOML of Kohya's trainer as `dataset.yaml` and settings of a run, with a word on each of its options."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from engine.config.dataset_file import OWN_PICTURES, ConceptOptions, DatasetFile
from engine.config.load import nested, validate
from engine.config.train import TrainConfig
from engine.datasets.captions import CAPTION_EXTENSIONS
from engine.datasets.kohya_keys import ATTRIBUTES, CONCEPT_KEYS, LEFT_OUT, RUN_KEYS
from engine.errors import ConfigError, DatasetError

Fate = Literal["taken", "translated", "ignored"]


@dataclass(frozen=True)
class KohyaOption:
    """An option of the file: where it stands (`datasets[1].subsets[2].num_repeats`), its value, what became of it, and why."""

    place: str
    value: str
    fate: Fate
    note: str = ""


@dataclass(frozen=True)
class KohyaImport:
    """What was read.

    Attributes:
        file: the folders of the dataset and how they are trained on.
        settings: those of a run, by section, for `engine.config.train.TrainConfig`.
        options: every option of the file.
    """

    file: DatasetFile
    settings: dict[str, Any]
    options: list[KohyaOption]

    def of(self, fate: Fate) -> list[KohyaOption]:
        return [option for option in self.options if option.fate == fate]


def from_kohya_toml(text: str, folder: Path) -> KohyaImport:
    """Read a dataset TOML.

    Args:
        folder: of the dataset. Pictures in it and its sub-folders are taken; where the file was written on another machine, those
            of the same name.

    Raises:
        DatasetError: `dataset.toml`.
    """
    general, datasets = _tables(text)
    report: dict[str, KohyaOption] = {}
    _tell(report, "general", general)
    subsets: list[_Subset] = []
    for number, dataset in enumerate(datasets, 1):
        inner, shared = dataset.get("subsets", []), {key: value for key, value in dataset.items() if key != "subsets"}
        _tell(report, f"datasets[{number}]", shared)
        for place, own in ((f"datasets[{number}].subsets[{index}]", own) for index, own in enumerate(inner, 1)):
            _tell(report, place, own)
            subsets.append(_Subset(place, own, {**general, **shared, **own}))
    try:
        file, taken = _file(general, subsets, folder, report)
        given = [*(each.options for each in taken), *({**general, **dataset} for dataset in datasets), general]
        settings = nested(_settings(given, report))
        validate(TrainConfig, settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unreadable(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from None
    except ConfigError as error:
        raise _unreadable(error.what) from None
    if not taken:
        raise _unreadable(f"none of the folders of pictures that it names is {str(folder)!r} or lies in it")
    return KohyaImport(file, settings, list(report.values()))


def common_folder(text: str, beside: Path) -> Path:
    """The folder that holds all folders of pictures that a dataset TOML names; where it names one alone, that one.

    Args:
        beside: where the TOML lies; paths may be relative to it.

    Raises:
        DatasetError: `dataset.toml` when none of them is here.
    """
    _, datasets = _tables(text)
    named = [subset.get("image_dir") for dataset in datasets for subset in dataset.get("subsets", [])]
    places = [
        os.path.abspath(beside / place) for place in named if isinstance(place, str) and place and (beside / place).is_dir()
    ]
    if not places:
        raise _unreadable("none of the folders of pictures that it names is here")
    try:
        return Path(os.path.commonpath(places))
    except ValueError:
        raise _unreadable("its folders lie on different drives") from None


@dataclass(frozen=True)
class _Subset:
    """A `[[datasets.subsets]]`: what stands in it, and `options` with what it inherits."""

    place: str
    own: dict[str, Any]
    options: dict[str, Any]


def _unreadable(reason: object) -> DatasetError:
    return DatasetError(
        "dataset.toml", f"Kohya's dataset TOML cannot be read: {reason}.", "A file for --dataset_config.", "Correct the file.",
        reason=reason,
    )  # fmt: skip


def _tables(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(error) from None
    general, datasets = data.get("general", {}), data.get("datasets", [])
    if not isinstance(general, dict):
        raise _unreadable("general is not a table")
    _check_tables(datasets, "datasets")
    for number, dataset in enumerate(datasets, 1):
        _check_tables(dataset.get("subsets", []), f"datasets[{number}].subsets")
    if surplus := sorted(set(data) - {"general", "datasets"}):
        raise _unreadable(f"{surplus[0]!r} is neither general nor datasets")
    return general, datasets


def _check_tables(value: Any, place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _unreadable(f"{place} is not a list of tables")


def _tell(report: dict[str, KohyaOption], place: str, options: Mapping[str, Any]) -> None:
    """What becomes of options by their names alone."""
    for key, value in options.items():
        off = not value or (key == "caption_extension" and value in CAPTION_EXTENSIONS)
        if key in RUN_KEYS or key in CONCEPT_KEYS or (key in LEFT_OUT and off):
            _say(report, f"{place}.{key}", value, "taken")
        else:
            _say(report, f"{place}.{key}", value, "ignored", LEFT_OUT.get(key, "Kohya's trainer has no such option."))


def _say(report: dict[str, KohyaOption], place: str, value: Any, fate: Fate, note: str = "") -> None:
    report[place] = KohyaOption(place, str(value), fate, note)


def _file(
    general: Mapping[str, Any], subsets: list[_Subset], folder: Path, report: dict[str, KohyaOption]
) -> tuple[DatasetFile, list[_Subset]]:
    """The dataset's own file, and the subsets that are in it."""
    file = DatasetFile(**_attributes(general))
    concepts: dict[str, ConceptOptions] = {}
    taken = []
    for subset in subsets:
        name, note = _folder_name(subset.options.get("image_dir"), folder)
        repeats = subset.options.get("num_repeats", 1)
        if name in concepts:
            name, note = "", "The folder is named before, and is trained on once."
        elif isinstance(repeats, int) and repeats < 1:
            name, note = "", "With less than one repeat its pictures are not trained on."
        if not name:
            for key, value in subset.own.items():
                _say(report, f"{subset.place}.{key}", value, "ignored", note if key == "image_dir" else "Its folder is left out.")
            continue
        if note:
            _say(report, f"{subset.place}.image_dir", subset.options["image_dir"], "translated", note)
        concepts[name] = _concept(name, repeats, subset, file, report)
        taken.append(subset)
    return file.model_copy(update={"concepts": list(concepts.values())}), taken


def _concept(name: str, repeats: Any, subset: _Subset, file: DatasetFile, report: dict[str, KohyaOption]) -> ConceptOptions:
    options = subset.options
    concept = ConceptOptions(
        folder=name, repeats=repeats, class_tokens=options.get("class_tokens", ""), regularisation=options.get("is_reg", False),
        **{"kind": file.kind, **_attributes(subset.own)},
    )  # fmt: skip
    prefix = str(options.get("caption_prefix", "")).strip().removesuffix(",").strip()
    place = f"{subset.place}.caption_prefix"
    if prefix and not concept.regularisation and prefix != (concept.trigger or file.trigger):
        if "," in prefix or concept.trigger:
            _say(report, place, prefix, "ignored", "Only one word, the trigger, is put in front of captions.")
        else:
            concept.trigger = prefix
            _say(report, place, prefix, "translated", "It is the trigger word, put in front of captions that lack it.")
    elif prefix and concept.regularisation:
        _say(report, place, prefix, "ignored", "Regularisation pictures never get a trigger word.")
    if concept.class_tokens and concept.class_tokens == (concept.trigger or file.trigger) and not concept.regularisation:
        concept.class_tokens = ""  # pictures without a caption get the trigger word anyway
    return concept


def _attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Kind and trigger as `to_kohya_toml` writes them."""
    attributes = options.get("custom_attributes", {})
    own = attributes.get(ATTRIBUTES, {}) if isinstance(attributes, dict) else {}
    return {name: value for name, value in own.items() if name in ("kind", "trigger")} if isinstance(own, dict) else {}


def _folder_name(image_dir: Any, folder: Path) -> tuple[str, str]:
    """What `dataset.yaml` calls a folder, "" if it is not the dataset's; and a note."""
    if not isinstance(image_dir, str) or not image_dir.strip():
        return "", "It names no folder of pictures."
    typed = PurePosixPath(image_dir.replace("\\", "/"))
    base, path = (os.path.normcase(os.path.abspath(place)) for place in (folder, folder / typed))
    if path == base:
        return OWN_PICTURES, ""
    if os.path.dirname(path) != base and not (folder / typed.name).is_dir():
        own = typed.name == Path(base).name
        return (OWN_PICTURES, "It is taken for the dataset's own folder.") if own else ("", "It is not in the dataset's folder.")
    if typed.name.startswith((".", "_")):
        return "", "Folders whose name begins with . or _ are never trained on."
    return typed.name, "" if os.path.dirname(path) == base else "The folder of that name in the dataset is taken."


def _settings(given: list[dict[str, Any]], report: dict[str, KohyaOption]) -> dict[str, Any]:
    """Setting by its path -> value."""
    settings = {}
    for key, path in RUN_KEYS.items():
        values = [options[key] for options in given if key in options]
        if not values:
            continue
        settings[path], note = _side(values[0]) if key == "resolution" else (values[0], "")
        if any(value != values[0] for value in values):
            note = f"It is one setting for the whole run; {settings[path]} is taken."
        for option in list(report.values()) if note else ():
            if option.place.endswith(f".{key}") and option.fate == "taken":
                _say(report, option.place, option.value, "translated", note)
    return settings


def _side(resolution: Any) -> tuple[Any, str]:
    """Side of the square of the same area, px, on a multiple of 8; and a note where that is not what was said."""
    if not isinstance(resolution, list):
        return resolution, ""
    if len(resolution) != 2 or not all(isinstance(side, int) and side > 0 for side in resolution):
        raise _unreadable(f"resolution: {resolution} is neither a side nor two")
    width, height = resolution
    side = math.isqrt(width * height) // 8 * 8
    return (width, "") if width == height else (side, f"The square of about the same area is {side} px.")
