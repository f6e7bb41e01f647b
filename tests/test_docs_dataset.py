"""docs/dataset.md says what the program does, in both languages: its tables are the program's lists, its examples are read by it.

A failure shows the cells as they should be.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import yaml
from PIL import Image

from engine.cli import dataset as command
from engine.cli import dataset_caption
from engine.config.caption import TAGGERS, WRITE_MODES
from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.config.edits import EDITS, EditConfig
from engine.config.train import Kind
from engine.datasets.album_files import EXCLUDED
from engine.datasets.companions import ORIGINALS
from engine.datasets.dataset_file import NAME, read_dataset_file, write_dataset_file
from engine.datasets.decode import MAX_BYTES as PICTURE_BYTES
from engine.datasets.decode import MAX_PIXELS
from engine.datasets.doctor import amounts, blur, files, sizes
from engine.datasets.doctor.bars import LEAST
from engine.datasets.doctor.blur import MAX_BLUR
from engine.datasets.doctor.finding import FINDINGS
from engine.datasets.doctor.likeness import BITS, MAX_DISTANCE
from engine.datasets.doctor.report import Verdict
from engine.datasets.doctor.writing import MAX_TEXT
from engine.datasets.edits import edited
from engine.datasets.expression import SECONDS
from engine.datasets.incoming import archive, copying, names, placing, staging
from engine.datasets.kohya_import import from_kohya_toml
from engine.datasets.kohya_keys import CONCEPT_KEYS, LEFT_OUT, RUN_KEYS
from engine.datasets.kohya_toml import to_kohya_toml
from engine.datasets.masks import MASKS
from engine.datasets.metadata_captions import metadata_files
from engine.datasets.scan import scan
from engine.datasets.steps import HISTORY
from engine.datasets.tag_words import REASONS, reason_of
from engine.datasets.taggers.place import STARTER, SUGGESTED
from engine.datasets.write_modes import written as caption_after
from engine.formats.models import MODELS
from engine.starter import tagging
from tests.benchmarks import datasets as benchmark
from webui.i18n import t, table

ROOT = Path(__file__).parents[1]
FILES = {"en": ROOT / "docs" / "dataset.md", "ja": ROOT / "docs" / "dataset.ja.md"}
READMES = {"en": ROOT / "README.md", "ja": ROOT / "README.ja.md"}
SCRIPTS = ROOT / "webui" / "assets" / "datasets"
TABLES = (
    "folders", "fields", "precedence", "edits", "prune", "taggers", "writes", "f1", "verdicts", "findings", "amounts", "resolutions",
    "measures", "left_outside", "refused", "keys", "kohya", "speed",
)  # fmt: skip
"""In the order of the page."""
WORDS = {
    "en": {
        "comma": ", ", "error": "error", "warning": "warning", "advice": "advice", "blocks": "error, blocks", "none": "none", "no": "no",
        "the dataset's": "the dataset's", "or named": "{}, or from the folder's name",
    },
    "ja": {
        "comma": "、", "error": "エラー", "warning": "警告", "advice": "参考", "blocks": "エラー（学習不可）", "none": "なし", "no": "いいえ",
        "the dataset's": "データセットと同じ", "or named": "{}、またはフォルダ名から",
    },
}  # fmt: skip
KEYS = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓", "' '": "Space", "v": "V", "Escape": "Esc"}
"""What scripts call a key -> what the page does; the others have one name."""

Rows = list[list[str]]


@pytest.fixture(params=FILES)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@cache
def text(language: str) -> str:
    return FILES[language].read_text(encoding="utf-8")


@cache
def tables(language: str) -> dict[str, Rows]:
    """Name -> the cells of a table, without its head."""
    found: list[Rows] = [[]]
    for line in text(language).splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return dict(zip(TABLES, [rows[2:] for rows in found if rows], strict=True))


def column(rows: Rows, number: int) -> list[str]:
    return [row[number] for row in rows]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def written(rows: Rows) -> list[str]:
    """What stands as code in the first column, one a row."""
    return [codes(row[0])[0] for row in rows]


def listed(parts: Iterable[str], language: str) -> str:
    return WORDS[language]["comma"].join(parts)


def drawn(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)


def test_both_pages_have_the_same_sections() -> None:
    def shape(language: str) -> list[int]:
        prose = re.sub(r"```.*?```", "", text(language), flags=re.DOTALL)
        return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]

    assert shape("en") == shape("ja")


# ---- on disk ----


def test_the_folders_of_a_dataset(language: str) -> None:
    assert written(tables(language)["folders"]) == [NAME, EXCLUDED, ORIGINALS, MASKS, HISTORY]


def test_the_fields_of_dataset_yaml(language: str) -> None:
    words = WORDS[language]

    def usual(value: Any) -> str:
        return words["no"] if value is False else f"`{value}`" if value == "." else str(value) if value else words["none"]

    concept = {name: usual(field.default) for name, field in ConceptOptions.model_fields.items()}
    concept |= {name: words["or named"].format(concept[name]) for name in ("repeats", "class_tokens")}
    concept |= dict.fromkeys(("kind", "trigger"), words["the dataset's"])
    wanted = [
        *([f"`{name}`", usual(field.get_default(call_default_factory=True))] for name, field in DatasetFile.model_fields.items()),
        *([f"`concepts` `{name}`", shown] for name, shown in concept.items()),
    ]
    rows = tables(language)["fields"]
    assert [row[:2] for row in rows] == wanted
    assert all(kind in next(row[2] for row in rows if row[0] == "`kind`") for kind in get_args(Kind))


def test_the_example_of_a_dataset_yaml(language: str, tmp_path: Path) -> None:
    (content,) = re.findall(r"```yaml\n(.*?)```", text(language), re.DOTALL)
    (tmp_path / NAME).write_text(content, encoding="utf-8")
    drawn(tmp_path, *(f"{each['folder']}/a.png" for each in yaml.safe_load(content)["concepts"]))
    file = read_dataset_file(tmp_path)
    assert file and [each.repeats for each in file.concepts] == [20, 10, 1]
    assert {each.kind for each in file.concepts} == {file.kind}
    assert [each.regularisation for each in scan(tmp_path).concepts] == [False, False, True]


def test_where_a_caption_comes_from(language: str, tmp_path: Path) -> None:
    """Each row of the table, once what stands above it has gone."""
    rows = tables(language)["precedence"]
    folder = tmp_path / "20_robot"
    drawn(tmp_path, "20_robot/name.png", "20_robot/other.png")
    (folder / "name.txt").write_text("one")
    (folder / "name.caption").write_text("two")
    (folder / "metadata.jsonl").write_text('{"file_name": "name.png", "text": "three"}\n')

    def caption() -> str:
        return scan(tmp_path, trigger="mofumo").pictures[0].caption

    found = [caption()]
    for file in [*codes(rows[0][1]), *codes(rows[1][1]), codes(rows[2][1])[0]]:
        (folder / file).unlink()
        found.append(caption())
    folder.rename(tmp_path / "robots")
    assert [*found, scan(tmp_path / "robots", trigger="mofumo").pictures[0].caption] == ["one", "two", "three", "robot", "mofumo"]
    (tmp_path / codes(rows[2][1])[3].replace("*", "_cap")).write_text("{}")
    assert metadata_files([tmp_path])
    assert len(rows) == len(found) + 1


# ---- captions ----


def test_the_edits(language: str) -> None:
    rows = tables(language)["edits"]
    assert written(rows) == [*EDITS]
    assert column(rows, 1) == [t(f"edits.edit.kind.choice.{kind}", language) for kind in EDITS]
    for kind, row in zip(EDITS, rows, strict=True):
        settings = dict(setting.split("=", 1) for setting in codes(row[2]))
        edit = EditConfig.model_validate({"edit": {"kind": kind, **settings}}).edit
        assert row[4] == f"`{edited(codes(row[3])[0], edit)}`"
    assert f"{SECONDS:g}" in text(language)


def test_the_tags_to_leave_out(language: str) -> None:
    rows = tables(language)["prune"]
    assert written(rows) == [*REASONS]
    for (_, suggested, others), (kind, reasons) in zip(rows, REASONS.items(), strict=True):
        assert {reason_of(tag, kind) for tag in codes(suggested)} == {*reasons}
        assert codes(others) and {reason_of(tag, kind) for tag in codes(others)} == {None}


# ---- taggers ----


def test_the_taggers(language: str) -> None:
    def shown(name: str, size: int) -> str:
        return f"`{name}`" + (f" {size / 1000:.1f} GB" if size >= 1000 else f" {size} MB" if size else "")

    rows = tables(language)["taggers"]
    wanted = [
        [f"`{kind}`", t(f"caption.tagger.kind.choice.{kind}", language),
         listed([*([f"`{STARTER}`"] if kind == "wd14" else []), *(shown(*each) for each in SUGGESTED[kind].items())], language)]
        for kind in TAGGERS
    ]  # fmt: skip
    assert [row[:3] for row in rows] == wanted


def test_the_write_modes(language: str) -> None:
    (before, trigger, told), *_ = re.findall(r"`([^`]+)`[^`]*`(mofumo)`[^`]*`(smile, robot)`", text(language))
    wanted = [
        [f"`{mode}`", t(f"caption.write.choice.{mode}", language), f"`{caption_after(before, told.split(', '), mode, trigger)}`"]
        for mode in WRITE_MODES
    ]
    assert tables(language)["writes"] == wanted


@cache
def scores() -> list[tuple[int, float, float]]:
    """Tags, lowest and mean F1 of each kind."""
    found = [list(tags.values()) for tags in tagging.score().values()]
    return [(len(values), min(values), sum(values) / len(values)) for values in found]


def test_the_scores_of_the_tagger_that_ships(language: str) -> None:
    told = [tuple(map(float, row[1:])) for row in tables(language)["f1"]]
    assert told == [pytest.approx(row, abs=0.003) for row in scores()]
    size = sum(file.stat().st_size for file in tagging.FOLDER.iterdir())
    assert f"{size / 1e6:.1f} MB" in text(language)


# ---- the check ----


def test_the_verdicts(language: str) -> None:
    wanted = [[f"`{each}`", t(f"text.dataset.check.verdict.{each}", language)] for each in get_args(Verdict)]
    assert [row[:2] for row in tables(language)["verdicts"]] == wanted


def test_the_findings(language: str) -> None:
    rows, words = tables(language)["findings"], WORDS[language]
    wanted = [
        [f"`{code}`", t(f"text.dataset.finding.{code}", language), words["blocks" if kind.blocks else kind.severity],
         t(f"text.dataset.remedy.{kind.remedy.replace(':', '_')}", language) if kind.remedy else ""]
        for code, kind in FINDINGS.items()
    ]  # fmt: skip
    assert [[*row[:3], row[4]] for row in rows] == wanted
    assert all(row[3] for row in rows)


def test_how_many_pictures(language: str) -> None:
    def span(kind: Any, family: str) -> str:
        return "–".join(map(str, amounts.recommended(kind, family)))

    wanted = [
        [f"`{kind}`", span(kind, "sdxl"), span(kind, "flux") if span(kind, "flux") != span(kind, "sdxl") else ""]
        for kind in get_args(Kind)
    ]
    assert tables(language)["amounts"] == wanted
    assert amounts.TRANSFORMERS == ("sd3", "flux", "z_image")


def test_the_usual_resolutions(language: str) -> None:
    wanted = [[MODELS[family].title, f"{low}–{high} px"] for family, (low, high) in sizes.FAMILY_RESOLUTION.items()]
    assert tables(language)["resolutions"] == wanted


def test_the_thresholds_of_what_is_measured(language: str) -> None:
    rows = tables(language)["measures"]
    wanted = [
        ["picture.blurred", f"{MAX_BLUR:g}", f"{blur.SIDE}"], ["picture.text", f"{100 * MAX_TEXT:g}"], ["picture.bordered", f"{100 * LEAST:g}"],
        ["picture.near_duplicate", f"{MAX_DISTANCE}", f"{BITS}"],
    ]  # fmt: skip
    assert [[codes(row[0])[0], *re.findall(r"\d+\.?\d*", row[1])] for row in rows] == wanted
    said = {row[0].strip("`"): row[3] for row in tables(language)["findings"]}
    assert f"{sizes.LEAST_ENLARGEMENT:g}" in said["picture.too_small"]
    assert f"{sizes.EXTREME_ASPECT:g}" in said["picture.extreme_aspect"]


# ---- files that come in ----


def numbers(cell: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", re.sub("`.*?`", "", cell))]


def refusals(*modules: ModuleType) -> set[str]:
    """Codes of the errors in the source."""
    return {code for module in modules for code in re.findall(r'"((?:incoming|archive)\.\w+)"', inspect.getsource(module))}


def test_what_stays_outside(language: str) -> None:
    one, whole = (tables(language)[name] for name in ("left_outside", "refused"))
    assert {*written(one), *written(whole)} == refusals(names, archive, placing, staging, copying)
    cells = {row[0].strip("`"): numbers(row[1]) for row in one + whole}
    limits = {
        "incoming.bad_name": [names.NAME_BYTES],
        "incoming.file_too_large": [PICTURE_BYTES >> 20, names.MAX_CAPTION_BYTES >> 20, names.MAX_METADATA_BYTES >> 20],
        "incoming.too_many": [staging.MAX_FILES],
        "incoming.too_much": [staging.MAX_BYTES >> 30],
        "incoming.disk_full": [staging.RESERVE >> 20],
        "archive.too_many": [archive.MAX_ENTRIES, archive.MAX_DIRECTORY >> 20],
        "archive.ratio": [archive.MAX_RATIO, archive.SMALL >> 20],
    }
    assert {code: cells[code] for code in limits} == limits
    assert f"{MAX_PIXELS:,}" in text(language)
    assert listed(("png", "jpg", "webp", "bmp", "gif", "tiff"), language) in text(language)
    assert {*files.PLAIN_EXTENSIONS.values()} == {".png", ".jpg", ".webp", ".bmp", ".gif", ".tif", ".avif"}


# ---- keys ----


def script(name: str, start: str = "", end: str = "") -> str:
    """A script of the page from one word to another."""
    source = (SCRIPTS / f"{name}.js").read_text(encoding="utf-8").partition(start)[2]
    return source.partition(end)[0] if end else source


def test_the_keys(language: str) -> None:
    held = re.findall(r"(?:[{,]|^)\s*(' '|\w+): ", script("grid", "const target = ", "if (target"), re.MULTILINE)
    with_control = {key.upper() for key in re.findall(r"=== '(\w)'", script("grid", "const target = ", "else return"))}
    editing = re.findall(r"event\.key === '(\w+)'", script("caption", "'keydown'", "});"))
    control = {key.upper() for key in re.findall(r"toLowerCase\(\) === '(\w)'", script("caption", "'keydown'", "});"))}
    anywhere = {key.upper() for key in re.findall(r"key === '(\w)'", script("app", "function keys"))}
    viewing = re.findall(r"event\.key !== '(\w+)'", script("viewer", "    key(event)", "this.step"))
    cropping = re.findall(r"(\w+): \[", script("crop_frame", "const KEYS", ";"))
    wanted = [
        {*held, *(f"Ctrl+{key}" for key in with_control)},
        {*editing, *(f"Ctrl+{key}" for key in control)},
        {*(f"Ctrl+{key}" for key in anywhere), "Ctrl+Shift+Z"},
        {*viewing},
        {*cropping},
    ]
    groups = groupby(tables(language)["keys"], lambda row: row[0])
    found = [{key for row in rows for key in codes(row[1])} for _, rows in groups]
    assert found == [{KEYS.get(key, key) for key in keys} for keys in wanted]


# ---- commands, Kohya, speed ----


def test_the_commands_can_be_given(language: str) -> None:
    lines = re.findall(r"^    python -m engine dataset (.+)$", text(language), re.MULTILINE)
    assert {line.split()[0] for line in lines} == {*command.ACTIONS}
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_arguments(parser)
    for line in lines:
        options = parser.parse_args(shlex.split(line))
        if options.action == "caption":
            dataset_caption.config_of(options)
    readme = READMES[language].read_text(encoding="utf-8")
    assert {*re.findall(r"^    python -m engine dataset (\w+)", readme, re.MULTILINE)} == {*command.ACTIONS}


def test_what_of_kohyas_options_is_what_here(language: str, tmp_path: Path) -> None:
    rows = tables(language)["kohya"]
    assert written(rows) == [*RUN_KEYS, *CONCEPT_KEYS]
    assert {row[0].strip("`"): codes(row[1])[0] for row in rows[: len(RUN_KEYS)]} == RUN_KEYS
    drawn(tmp_path, "a/1.png")
    subset = (
        'image_dir = "a"\nnum_repeats = 7\nclass_tokens = "robot"\nis_reg = false\ncaption_prefix = "mofumo,"\n'
        'custom_attributes = { lora_atelier = { kind = "pose" } }\n'
    )
    found = from_kohya_toml(f"[[datasets]]\n[[datasets.subsets]]\n{subset}", tmp_path)
    (concept,) = found.file.concepts
    assert not found.of("ignored")
    read = ConceptOptions(folder="a", repeats=7, class_tokens="robot", regularisation=False, trigger="mofumo", kind="pose")
    assert concept == read
    fields = [codes(row[1])[1:] for row in rows[len(RUN_KEYS) :]]
    assert fields == [["folder"], ["repeats"], ["class_tokens"], ["regularisation"], ["trigger"], ["kind", "trigger"]]
    write_dataset_file(tmp_path, found.file)
    exported = tomllib.loads(to_kohya_toml(tmp_path))
    (dataset,) = exported["datasets"]
    known = {*written(rows), "subsets", "caption_extension"}
    assert {*exported["general"], *dataset, *dataset["subsets"][0]} <= known
    (left_out,) = [codes(part) for part in text(language).split("\n\n") if "`caption_extension`" in part]
    assert {*left_out} == {*LEFT_OUT, "custom_attributes"}


def test_the_rows_of_the_benchmark(language: str) -> None:
    source = inspect.getsource(benchmark.measure)
    goals = [float(goal) if goal else None for goal in re.findall(r"Row\(.*?(?:goal=([\d.]+))?\),?$", source, re.MULTILINE)]
    readme = READMES[language].read_text(encoding="utf-8")
    rows = tables(language)["speed"]
    assert [float(re.findall(r"[\d.]+", row[2])[0]) if row[2] else None for row in rows] == goals
    assert all(float(re.findall(r"[\d.]+", row[1])[0]) > 0 for row in rows)  # measured, not to be filled in
    assert all(f"| {' | '.join(row)} |".replace("|  |", "| |") in readme for row in rows)


def test_what_is_to_be_pressed_stands_on_the_page(language: str) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`|\*\*.+?\*\*", "", text(language).replace("***", "*"), flags=re.DOTALL)
    pressed = {" ".join(words.split()) for words in re.findall(r"(?<![\w*])\*([^*\s][^*|]*?)\*", prose)}
    assert len(pressed) > 20 and pressed <= {*map(str, table(language).values())}


def test_links_lead_somewhere(language: str) -> None:
    def anchors(file: Path) -> set[str]:
        heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

    for file in (FILES[language], READMES[language]):
        for place, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", file.read_text(encoding="utf-8")):
            target = (file.parent / place) if place else file
            assert target.exists(), (file.name, place)
            assert not anchor or anchor in anchors(target), (file.name, place, anchor)
