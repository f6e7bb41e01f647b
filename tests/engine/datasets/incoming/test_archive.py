"""Archives from strangers: all of one comes in or nothing, nothing lands outside, and no lie about sizes costs memory."""

from __future__ import annotations

import io
import random
import stat
import struct
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.datasets.incoming.intake import Intake, IntakeReport
from engine.errors import EngineError
from engine.workspace import Workspace
from tests.support.pictures import png_header

PNG = png_header(64, 48)


class Named(zipfile.ZipInfo):
    """An entry whose name is stored as an old packer would: in a code page, without the mark of UTF-8."""

    encoding = "cp932"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data, method)
    return stream.getvalue()


def in_code_page(encoding: str, *names: str) -> bytes:
    infos = [Named(name) for name in names]
    for info in infos:
        info.encoding = encoding
    return zipped(*((info, PNG) for info in infos))


def special(name: str, mode: int, target: bytes = b"/etc/passwd") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    return info, target


def flagged(data: bytes, flag: int) -> bytes:
    """The same archive with a flag set in both headers of its entries."""
    data = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] |= flag
    return bytes(data)


def central(name: bytes, packed: int, size: int, method: int = 8, crc: int = 0) -> bytes:
    fields = (20, 20, 0, method, 0, 33, crc, packed, size, len(name), 0, 0, 0, 0, 0, 0)
    return b"PK\x01\x02" + struct.pack("<4H2H3I5H2I", *fields) + name


def with_directory(body: bytes, directory: bytes, count: int) -> bytes:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, min(count, 65535), min(count, 65535), len(directory), len(body), 0)
    return body + directory + end


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace" / "datasets" / "robots"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def send(tmp_path: Path, dataset: Path) -> Callable[..., IntakeReport]:
    def run(*archives: bytes) -> IntakeReport:
        intake = Intake(Workspace(tmp_path / "workspace"), dataset)
        try:
            for data in archives:
                intake.receive_archive("folder/x.zip", (data[at : at + 65536] for at in range(0, len(data), 65536)))
            return intake.finish()
        finally:
            intake.cancel()

    return run


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


GOOD = ("good.png", PNG)
REFUSED = {
    "parent": ("incoming.unsafe_name", zipped(GOOD, ("../evil.png", PNG))),
    "parent, Windows": ("incoming.unsafe_name", zipped(GOOD, ("a\\..\\..\\evil.png", PNG))),
    "deep parent": ("incoming.unsafe_name", zipped(GOOD, ("a/b/../../../../evil.png", PNG))),
    "parent as folder": ("incoming.unsafe_name", zipped(GOOD, ("../evil/", b""))),
    "parent of useless file": ("incoming.unsafe_name", zipped(GOOD, ("../../.bashrc", b"x"))),
    "absolute": ("incoming.unsafe_name", zipped(GOOD, ("/tmp/evil.png", PNG))),
    "share": ("incoming.unsafe_name", zipped(GOOD, ("\\\\host\\share\\evil.png", PNG))),
    "drive": ("incoming.unsafe_name", zipped(GOOD, ("C:\\evil.png", PNG))),
    "drive, relative": ("incoming.unsafe_name", zipped(GOOD, ("c:evil.png", PNG))),
    "NUL in name": ("incoming.unsafe_name", zipped(GOOD, ("evilX.png", PNG)).replace(b"evilX", b"evil\0")),
    "link": ("archive.no_file", zipped(GOOD, special("link.png", stat.S_IFLNK))),
    "link to folder": ("archive.no_file", zipped(special("out", stat.S_IFLNK, b"/tmp"), ("out/evil.png", PNG))),
    "device": ("archive.no_file", zipped(GOOD, special("null.png", stat.S_IFCHR, b""))),
    "pipe": ("archive.no_file", zipped(GOOD, special("pipe.png", stat.S_IFIFO, b""))),
    "bomb": ("archive.ratio", zipped(GOOD, ("bomb.png", bytes(20_000_000)))),
    "useless bomb": ("archive.ratio", zipped(GOOD, ("bomb.bin", bytes(20_000_000)))),
    "encrypted": ("archive.encrypted", flagged(zipped(GOOD), 1)),
    "bzip2": ("archive.method", zipped(GOOD, method=zipfile.ZIP_BZIP2)),
    "lzma": ("archive.method", zipped(GOOD, method=zipfile.ZIP_LZMA)),
    "duplicate": ("archive.duplicate", zipped(GOOD, ("twic1.png", PNG), ("twic2.png", PNG)).replace(b"twic2", b"twic1")),
    "check sum": ("archive.unreadable", zipped(GOOD, ("bad.png", PNG + b"end"), method=0).replace(b"end", b"End")),
    "shorter than it says": (
        "archive.unreadable",
        zipped(GOOD, ("bad.txt", b"w" * 1000)).replace(struct.pack("<I", 1000), struct.pack("<I", 1001)),
    ),
    "no zip": ("archive.unreadable", PNG),
    "empty": ("archive.unreadable", b""),
    "name that is no text": ("archive.unreadable", zipped(("é.png", PNG)).replace("é".encode(), b"\xc3\xc3")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_made_to_do_harm_is_refused_as_a_whole(tmp_path: Path, dataset: Path, send, name: str) -> None:
    code, data = REFUSED[name]
    before = tree(tmp_path)
    with pytest.raises(EngineError) as caught:
        send(data)
    assert caught.value.code == code
    assert tree(tmp_path) == before
    assert code == "incoming.unsafe_name" or "'x.zip'" in caught.value.what


def test_the_entry_at_fault_is_named(send) -> None:
    with pytest.raises(EngineError, match=r"'bomb\.png'"):
        send(REFUSED["bomb"][1])
    with pytest.raises(EngineError, match=r"'bad\.png'"):
        send(REFUSED["check sum"][1])


def test_a_bad_archive_takes_nothing_from_what_came_before_it(tmp_path: Path, dataset: Path) -> None:
    intake = Intake(Workspace(tmp_path / "workspace"), dataset)
    intake.receive("a.png", [PNG])
    intake.receive_archive("first.zip", [zipped(("b.png", PNG))])
    with pytest.raises(EngineError):
        intake.receive_archive("bad.zip", [zipped(("c.png", PNG), ("../d.png", PNG))])
    with pytest.raises(EngineError):
        intake.receive_archive("broken.zip", [REFUSED["check sum"][1]])
    assert len([name for name in tree(dataset) if not name.endswith("lock")]) == 2  # nor is anything of it kept until the end
    assert intake.finish().added == ["a.png", "b.png"]
    assert tree(dataset) == {"a.png", "b.png"}


def test_harmless_strangers_are_named_and_left_out(send, dataset: Path) -> None:
    inner = zipped(("../evil.png", PNG))
    report = send(
        zipped(
            GOOD, ("good.txt", b"words"), ("train.py", b"import os"), ("inner.zip", inner), ("CON.png", PNG), ("NUL", b""),
            ("__MACOSX/._good.png", b"x"), (".DS_Store", b"x"), ("<img src=x onerror=alert(1)>.png", PNG), ("_masks/a.png", PNG),
            ("bomb of pixels.png", png_header(50_000, 50_000)), ("broken.png", b"no picture"), ("phone.heic", b"x"),
            ("long.txt", random.Random(0).randbytes(2**20 + 1)),
        )
    )  # fmt: skip
    assert set(report.added) == tree(dataset) == {"good.png", "good.txt", "broken.png", "phone.heic"}
    assert {note.name: note.reason.code.partition(".")[2] for note in report.skipped} == {
        "train.py": "not_wanted", "inner.zip": "archive_inside", "CON.png": "bad_name", "NUL": "not_wanted",
        "__MACOSX/._good.png": "hidden", ".DS_Store": "hidden", "<img src=x onerror=alert(1)>.png": "bad_name",
        "_masks/a.png": "own_folder", "bomb of pixels.png": "too_large", "long.txt": "file_too_large",
    }  # fmt: skip
    assert {note.name: note.reason.code for note in report.findings} == {
        "broken.png": "picture.unreadable",
        "phone.heic": "picture.unreadable",
    }


def test_look_alikes_get_a_number(send, dataset: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é.png")
    report = send(zipped(("A.png", PNG), ("a.png", PNG + b"1"), ("é.png", PNG), (decomposed, PNG + b"2")))
    assert tree(dataset) == {"A.png", "a (2).png", "é.png", "é (2).png"}
    assert report.renamed == [("a.png", "a (2).png"), (decomposed, "é (2).png")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["top/a.png", "top/20_x/b.png"], {"a.png", "20_x/b.png"}),
        (["top/inner/a.png", "top/inner/b.png"], {"a.png", "b.png"}),
        (["20_robot/a.png", "20_robot/b.png"], {"20_robot/a.png", "20_robot/b.png"}),
        (["top/20_robot/a.png", "__MACOSX/top/._a.png"], {"20_robot/a.png"}),
        (["top/a.png", "readme.md"], {"top/a.png"}),
        (["top\\a.png", "top\\20_x\\b.png", "top\\20_x\\"], {"a.png", "20_x/b.png"}),
    ],
)
def test_the_folder_around_everything_is_left_out(send, dataset: Path, names: list[str], expected: set[str]) -> None:
    send(zipped(*((name, b"" if name.endswith("\\") else PNG) for name in names)))
    assert tree(dataset) == expected


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp932", ["表示/ロボット.png", "表示/ソ十能.png", "表示/女の子.txt"]),
        ("cp932", ["桜.png"]),
        ("cp932", ["ﾃｽﾄ.png"]),
        ("utf-8", ["写真/日本語 🤖.png"]),
        ("gbk", ["图片/红色的机器人.png", "图片/一个女孩.png"]),
        ("cp437", ["Größe/tête à tête.png", "Größe/señor.png"]),
    ],
)
def test_names_without_the_mark_of_utf8_come_out_right(send, dataset: Path, encoding: str, names: list[str]) -> None:
    send(in_code_page(encoding, *names, "plain.png"))
    assert tree(dataset) == {*names, "plain.png"}


def test_two_archives_of_the_same_names_are_kept_both(send, dataset: Path) -> None:
    send(zipped(("a.png", PNG), ("a.txt", b"one")), zipped(("a.png", PNG + b"2"), ("a.txt", b"two")))
    assert (dataset / "a.txt").read_bytes() == b"one" and (dataset / "a (2).txt").read_bytes() == b"two"
    assert (dataset / "a (2).png").read_bytes() == PNG + b"2"


# ---- lies about sizes ----


def refused_within(send, data: bytes, code: str, megabytes: float) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EngineError) as caught:
            send(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == code
    assert peak < megabytes * 2**20, peak


def test_a_million_entries_are_not_even_listed(send) -> None:
    directory = central(b"a.png", 0, 0) * 1_000_000
    refused_within(send, with_directory(b"", directory, 1_000_000), "archive.too_many", 10)


def test_a_list_that_is_read_may_still_be_too_long(send) -> None:
    refused_within(send, with_directory(b"", central(b"a", 0, 0) * 60_000, 1), "archive.too_many", 90)


def test_entries_that_share_their_bytes_are_counted_each(send) -> None:
    packed = zipped(("a.png", bytes(1_000_000)))
    body = packed[: packed.rindex(b"PK\x01\x02")]
    names = [f"{number}.png".encode() for number in range(300)]
    directory = b"".join(central(name, len(body) - 40, 1_000_000) for name in names)
    refused_within(send, with_directory(body, directory, len(names)), "archive.ratio", 10)


def test_an_entry_larger_than_it_says_is_not_unpacked_further(send) -> None:
    data = zipped(("a.png", bytes(50_000_000)))
    lied = data.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1000))
    assert lied != data
    refused_within(send, lied, "archive.unreadable", 10)


def test_a_large_archive_costs_no_memory(send) -> None:
    noise = random.Random(0).randbytes(12_000_000)
    data = zipped(("a.png", PNG + noise), ("b.png", PNG + noise[::-1]), method=0)
    tracemalloc.start()
    try:
        assert send(data).added == ["a.png", "b.png"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * 2**20


def test_no_damage_to_an_archive_does_harm(tmp_path: Path, dataset: Path, send) -> None:
    """Whatever bytes are changed, the archive comes in whole or is refused in words."""
    whole = zipped(("a.png", PNG), ("b/ö.txt", b"words"), ("c.json", b"{}" * 200))
    rng = random.Random(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            report = send(bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]))
        except EngineError:
            assert not [name for name in tree(dataset) if name.startswith(".")]
        else:
            for name in report.added:
                (dataset / name).unlink()
        assert all(path.is_relative_to(dataset) for path in tmp_path.rglob("*") if path.is_file())
