"""A dataset of 10,000 pictures in the page: opened, searched, edited and drawn small, by the requests that its scripts make.

The pictures are few drawings many times over, each file with its own bytes. They have just been written, so they are read from
memory; TMPDIR says on which disk the captions are written.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import urlencode

from engine.datasets.album import open_album
from engine.datasets.caption_files import save_captions
from engine.datasets.journal import Journal
from engine.datasets.thumbnails import make_thumbnails
from engine.workspace import Workspace
from tests.benchmarks.report import Row, peak_mib, timed
from tests.benchmarks.startup import ROOT, free_port, running
from tests.support.pictures import photo

PICTURES, FEW = 10_000, 200
MOST_BYTES = 1_500_000_000
"""Of disk for the pictures."""
SHAPES = ((1024, 768), (768, 1024), (832, 1216), (1024, 1024))
FIRST = 50
TAGS = (
    "1girl", "solo", "robot", "standing", "sitting", "smile", "blue sky", "meadow", "city", "night", "looking at viewer", "long hair",
    "short hair", "hat", "sword", "armor", "simple background", "white background", "from side", "full body",
)  # fmt: skip
QUERIES = ({"text": "blue meadow"}, {"tags": ["robot"], "without": ["hat"]}, {"text": "number 77", "sort": "newest"}) * 5
LONG_AGO = 1_700_000_000


class Page:
    """The requests of the page's scripts about one dataset."""

    def __init__(self, port: int, dataset: str) -> None:
        self.address, self.dataset = f"http://127.0.0.1:{port}/atelier/datasets", dataset

    def post(self, route: str, **body: object) -> dict:
        request = urllib.request.Request(
            f"{self.address}/{route}",
            json.dumps({"dataset": self.dataset, **body}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)

    def seconds(self, route: str, **body: object) -> float:
        """How long the answer takes."""
        return timed(lambda: self.post(route, **body))

    def thumb(self, entry: dict) -> None:
        query = urlencode({"dataset": self.dataset, "name": entry["name"], "v": entry["stamp"]})
        with urllib.request.urlopen(f"{self.address}/thumb?{query}", timeout=120) as reply:
            assert len(reply.read()) > 100

    def first_look(self) -> None:
        """Open it and draw the first pictures, six at a time as browsers do."""
        total = self.post("open")["total"]
        while len(entries := self.post("page", count=FIRST)["entries"]) < min(FIRST, total):
            time.sleep(0.02)
        with ThreadPoolExecutor(6) as browser:
            list(browser.map(self.thumb, entries))

    def until_whole(self) -> None:
        while not self.post("page", count=FIRST)["whole"]:
            time.sleep(0.05)


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    options.pictures = count = options.pictures or (FEW if options.model == "tiny" else PICTURES)
    workspace = Workspace(folder / "data").prepare()
    dataset = workspace.root / "datasets" / "many"
    make_pictures(dataset, count)
    with served(workspace) as (page, _):
        began = time.perf_counter()
        page.first_look()
        first = time.perf_counter() - began
        page.until_whole()
        index = time.perf_counter() - began
        searches = [page.seconds("page", query=query, count=FIRST) for query in QUERIES]
        while not any((workspace.cache / "albums").glob("*.json")):
            time.sleep(0.1)
    with served(workspace) as (page, process):
        again = timed(lambda: (page.post("open"), page.until_whole()))
        names = page.post("names")["names"]
        edit = page.seconds("edit", names=names, edit={"kind": "add", "tags": "new"}, preview=False)
        with others_asking(page) as waits:
            thumbnails = timed(lambda: make_thumbnails([dataset / f"{n}.jpg" for n in range(count)], workspace, lambda *_: None))
        peak = peak_mib(process)
    return [
        Row(f"open, first {FIRST} thumbnails shown", (first,), goal=1.5),
        Row("open until every picture is read", (index,), goal=3.0),
        Row("open it again in a new process", (again,), goal=0.5),
        Row("a search, from request to answer", tuple(searches), goal=0.05),
        Row("edit all captions, through the journal", (edit_all(dataset, workspace),), goal=3.0),
        Row("the same from the page", (edit,), goal=3.0),
        Row("all thumbnails", (thumbnails,), goal=90.0),
        Row("other clicks meanwhile, slowest", (max(waits),), goal=0.3),
        Row("other clicks meanwhile", tuple(waits)),
        Row("most memory of the web process", (peak,), "MiB", goal=400),
    ]


def make_pictures(folder: Path, count: int) -> None:
    """Pictures and captions that nobody has touched for years."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    seeds = []
    for shape in SHAPES:
        stream = io.BytesIO()
        photo(shape, rng).save(stream, format="JPEG", quality=86)
        seeds.append(stream.getvalue())
    size = statistics.mean(map(len, seeds)) * count
    if size > min(MOST_BYTES, shutil.disk_usage(folder).free / 2):
        raise SystemExit(f"{count} pictures would take {size / 2**20:.0f} MiB of disk. Measure with fewer: --pictures N.")
    for number in range(count):
        caption = ", ".join(["mascot", *rng.sample(TAGS, 8), f"number {number}"])
        for name, data in ((f"{number}.jpg", seeds[number % len(seeds)] + b"%d" % number), (f"{number}.txt", caption.encode())):
            (folder / name).write_bytes(data)
            os.utime(folder / name, (LONG_AGO, LONG_AGO))


@contextmanager
def served(workspace: Workspace) -> Iterator[tuple[Page, int]]:
    """The page of a web process that has just begun, and its process id."""
    port = free_port()
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        "--no-venv",
        "--no-browser",
        "--data-dir",
        str(workspace.root),
        "--port",
        str(port),
    ]
    with running(command, port) as process:
        yield Page(port, "many"), process.pid


@contextmanager
def others_asking(page: Page) -> Iterator[list[float]]:
    """Somebody goes on searching, scrolling and writing captions: seconds that each answer took."""
    waits: list[float] = []
    ended = threading.Event()
    seen = page.post("page", count=FIRST)["entries"]

    def ask() -> None:
        for entry in cycle(seen):
            waits.append(page.seconds("page", query=QUERIES[0], count=FIRST))
            waits.append(page.seconds("page", start=100, count=FIRST))
            now = page.post("page", query={"text": entry["name"]}, count=1)["entries"][0]
            waits.append(page.seconds("caption", name=entry["name"], caption=f"{now['caption']}!", token=now["token"]))
            if ended.wait(0.2):
                break

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


def edit_all(dataset: Path, workspace: Workspace) -> float:
    """Seconds for a change of every caption, without the page."""
    album = open_album(dataset, workspace)
    album.read()
    captions = {name: f"{entry.caption}, newer" for name, entry in album.entries.items()}
    return timed(lambda: save_captions(Journal(dataset), captions, "benchmark"))
