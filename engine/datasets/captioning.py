"""Captions for a dataset by a tagger: every picture is looked at, then all captions are written as one operation that can be undone.

The result, also of work that was ended early, is
`{"dataset", "dry_run", "changes": [{"name", "before", "after"}], "skipped": [{"name", "code", "message", "values"}]}`: captions that
were changed (of a dry run all that were looked at), and pictures that were passed over with the reason. Knows no kind of tagger and
no job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.caption import CaptionConfig
from engine.datasets.caption_files import caption_names, save_captions, token, with_caption
from engine.datasets.captions import caption_bytes, parse_caption
from engine.datasets.decode import read_bytes
from engine.datasets.journal import Journal
from engine.datasets.scan import scan
from engine.datasets.steps import Tree
from engine.datasets.taggers.looking import Looking
from engine.datasets.taggers.place import fetch_tagger, find_tagger
from engine.datasets.taggers.tag_list import pieces
from engine.datasets.write_modes import written
from engine.errors import DatasetError, EngineError, Interrupted, PathError
from engine.workspace import Workspace

LABEL = "tagged"
"""What the operation is called in the history of the dataset."""
LOADING = {"phase": "loading", "done": 0, "total": 0}
Tell = Callable[[dict[str, Any]], None]
"""Takes `phase` ("fetch", "loading", "captioning"), `done` and `total` (bytes of "fetch", else pictures) and `name`, the picture."""


def caption_pictures(config: CaptionConfig, workspace: Workspace, on_progress: Tell) -> dict[str, Any]:
    """Caption pictures as `Captioning` does, and write what is done also when `on_progress` raises Interrupted, which is raised on.

    Returns:
        The result, see above.
    """
    work = Captioning(config, workspace)
    try:
        work.look(on_progress)
    except Interrupted:
        work.write()
        raise
    return work.write()


def check_captioning(config: CaptionConfig, workspace: Workspace) -> None:
    """A quick look whether the dataset and the tagger can be used.

    Raises:
        EngineError: the dataset is not there or cannot be written (`dataset.read_only`), or `find_tagger` raises.
    """
    journal = Journal(workspace.dataset_folder(config.dataset))
    if not config.dry_run:
        journal.check_writable()
    find_tagger(config.tagger, workspace)


@dataclass(frozen=True)
class Picture:
    """A picture of the dataset: its name below the folder, the trigger word that belongs to it, and a caption from metadata."""

    name: str
    trigger: str
    metadata: str = ""


@dataclass(frozen=True)
class Proposal:
    """A caption for a picture. `token` is of the caption file as it was when the picture was looked at."""

    before: str
    after: str
    token: str


class Captioning:
    """One pass over a dataset.

    Attributes:
        result: what has come out, once `write` was called.

    Raises:
        EngineError: as `check_captioning`, and what `scan` raises.
    """

    def __init__(self, config: CaptionConfig, workspace: Workspace) -> None:
        check_captioning(config, workspace)
        self.config, self.workspace, self.folder = config, workspace, workspace.dataset_folder(config.dataset)
        self._tree = Tree(self.folder)
        self.result: dict[str, Any] | None = None
        self._proposals: dict[str, Proposal] = {}
        self._skipped: dict[str, EngineError] = {}

    def look(self, on_progress: Tell) -> None:
        """Look at every picture that is not remembered. What `on_progress` raises ends it; what was seen stays.

        Raises:
            EngineError: the tagger cannot be fetched or loaded.
        """
        options, cache = self.config.tagger, self.workspace.cache / "captions"
        place = find_tagger(options, self.workspace)
        if place is None:
            place = fetch_tagger(options, self.workspace, lambda progress: on_progress({**progress, "phase": "fetch"}))
        pictures = list(self._pictures())
        files = caption_names(self.folder, [picture.name for picture in pictures])
        owners: dict[str, str] = {}
        with Looking(options, place, self.config.device, cache, lambda: on_progress(LOADING)) as looking:
            for done, picture in enumerate(pictures):
                on_progress({"phase": "captioning", "done": done, "total": len(pictures), "name": picture.name})
                file = files[picture.name]
                try:
                    if owners.setdefault(file, picture.name) != picture.name:
                        raise _same_stem(picture.name, owners[file])
                    self._proposals[picture.name] = self._propose(picture, file, looking)
                except (DatasetError, PathError) as error:
                    self._skipped[picture.name] = error
            on_progress({"phase": "captioning", "done": len(pictures), "total": len(pictures)})

    def write(self) -> dict[str, Any]:
        """Write what was proposed so far, unless it is a dry run; a caption that somebody changed meanwhile is passed over.

        Raises:
            DatasetError: `dataset.write_failed`, `dataset.busy`; then nothing is written.
        """
        changed = {name: each for name, each in self._proposals.items() if each.before != each.after}
        if not self.config.dry_run:
            self._save(changed)
        shown = self._proposals if self.config.dry_run else changed
        self.result = {
            "dataset": self.config.dataset,
            "dry_run": self.config.dry_run,
            "changes": [{"name": name, "before": each.before, "after": each.after} for name, each in shown.items()],
            "skipped": [_told(name, error) for name, error in self._skipped.items()],
        }
        return self.result

    def _pictures(self) -> Iterator[Picture]:
        """Those that are named, or all that are trained on. What cannot be opened is among the skipped."""
        dataset, word = scan(self.folder, trigger=self.config.trigger), self.config.trigger.strip()
        known = {}
        for each in dataset.pictures:
            name = each.path.relative_to(dataset.folder).as_posix()
            trigger = word if each.trigger is None or not word else each.trigger
            known[name] = Picture(name, trigger, each.caption if each.caption_source == "metadata" else "")
        if self.config.names:
            yield from (known.get(name) or Picture(name, word) for name in dict.fromkeys(self.config.names))
            return
        yield from known.values()
        for finding in dataset.findings:
            if finding.code in ("picture.unreadable", "picture.too_large"):
                yield Picture(finding.path.relative_to(dataset.folder).as_posix(), word)

    def _propose(self, picture: Picture, file: str, looking: Looking) -> Proposal:
        """Raises DatasetError, PathError: the picture or its caption cannot be read, or the caption cannot be written."""
        path, caption_file = (Path(self._tree.path(name)) for name in (picture.name, file))
        old = caption_bytes(caption_file) if caption_file.exists() else None
        before = (parse_caption(old).text if old is not None else "") or picture.metadata
        if self.config.write == "missing" and before:
            return Proposal(before, before, token(old))
        told = pieces(looking.told(read_bytes(path), picture.name), self.config.tagger)
        after = written(before, told, self.config.write, picture.trigger)
        with_caption(old, after)
        return Proposal(before, after, token(old))

    def _save(self, changed: dict[str, Proposal]) -> None:
        """Those that cannot be written any more become skipped ones."""
        journal = Journal(self.folder)
        while changed:
            captions, tokens = (
                {name: each.after for name, each in changed.items()},
                {name: each.token for name, each in changed.items()},
            )
            try:
                save_captions(journal, captions, LABEL, {"count": len(changed), "tagger": self.config.tagger.model}, tokens)
                return
            except DatasetError as error:
                name = str(error.values.get("name"))
                if name not in changed:
                    raise
                del changed[name]
                self._skipped[name] = error


def _same_stem(name: str, other: str) -> DatasetError:
    return DatasetError(
        "picture.same_stem", f"{name!r} and {other!r} share one name, so they share one caption file.", "A name for each picture.",
        "Rename one of them.", name=name, other=other,
    )  # fmt: skip


def _told(name: str, error: EngineError) -> dict[str, Any]:
    told = error.to_dict()
    return {"name": name, "code": error.code, "message": str(error), "values": told["values"]}
