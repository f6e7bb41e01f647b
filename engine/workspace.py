"""Where things lie on disk, which paths may be touched, and the one way a file is written.

Every write of the project goes through `atomic_write`: a file with its final name is always whole.
"""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.errors import PathError

SHIPPED_DATASETS = Path(__file__).parent / "starter" / "practice"
SHIPPED_PRESETS = Path(__file__).parent.parent / "presets"
CHECKPOINT_FOLDERS = ("checkpoints", "stable-diffusion")
"""What ComfyUI and AUTOMATIC1111 call their folders of checkpoints, in lower case; of what lies beside them:"""
DENOISER_FOLDERS = ("diffusion_models", "unet")
VAE_FOLDERS = ("vae",)
TEXT_ENCODER_FOLDERS = ("text_encoders", "text_encoder", "clip")


@contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """Write a file so that a crash leaves either the old content or the new, never a part.

    The bytes go to a temporary file in the same folder, are synced, and the file is renamed over `path`.

    Args:
        mode: "wb" for bytes or "w" for UTF-8 text.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:20]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A place of the same name in a hidden folder: what is made there, a file or a folder, gets `path` when it is whole, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name[:20]}.", suffix=".tmp", dir=path.parent) as hidden:
        yield Path(hidden) / path.name
        os.replace(Path(hidden) / path.name, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable. Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def stamp(file: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns: what changes when a file does; zeros when it has gone."""
    try:
        status = file.stat()
        return status.st_size, status.st_mtime_ns
    except OSError:
        return 0, 0


def safe_join(root: Path, *parts: str) -> Path:
    """Join user-typed parts below `root`; symbolic links are followed before the check.

    Raises:
        PathError: `path.outside` when the result leaves `root`.
    """
    joined = root.joinpath(*parts)
    resolved = _resolved(joined)
    if resolved is None or not resolved.is_relative_to(root.resolve()):
        shown = "/".join(parts)
        raise PathError(
            "path.outside", f"The path {shown!r} leaves its folder.", todo="Choose a name inside the folder.", path=shown
        )
    return joined


def _resolved(path: Path) -> Path | None:
    """A path without links and dots; None for what no system can follow: NUL, half characters, loops, `~nobody`."""
    try:
        return path.expanduser().resolve()
    except (OSError, ValueError, RuntimeError):
        return None


FORBIDDEN = re.compile(r'[\\/:*?"<>|,=]')
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows keeps for itself, with any ending."""
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of control characters, marks of direction and half characters."""
NAME_BYTES = 120


def check_name(name: str, field: str = "output.name") -> str:
    """A name that is safe as a file name on every system and inside a `<lora:name:weight>` tag, in composed Unicode (NFC).

    Raises:
        PathError: `path.bad_name`.
    """
    typed, name = name, unicodedata.normalize("NFC", name.strip())
    if (
        not name
        or name[0] in ".-"
        or name[-1] == "."
        or FORBIDDEN.search(name)
        or DEVICES.fullmatch(name)
        or any(unicodedata.category(character) in INVISIBLE for character in name)
        or len(name.encode()) > NAME_BYTES
    ):
        raise PathError(
            "path.bad_name", f"{typed!r} cannot be used as a name.",
            f"Letters, digits, spaces, dots, underscores and dashes, no dot or dash first, at most {NAME_BYTES} bytes.",
            "Choose another name, for example my-mascot.", name=typed, field=field,
        )  # fmt: skip
    return name


@dataclass(frozen=True)
class Workspace:
    """The folders of one `--data-dir`, and the folders of an existing installation that are used beside them.

    Attributes:
        root: the data folder.
        checkpoint_folder, lora_folder, embedding_folder: extra folders to read (`--ckpt-dir`, `--lora-dir`, `--embeddings-dir`).
        remote: the page can be reached from other machines, so paths outside the workspace are refused.
    """

    root: Path
    checkpoint_folder: Path | None = None
    lora_folder: Path | None = None
    embedding_folder: Path | None = None
    remote: bool = False

    def prepare(self) -> Workspace:
        """Make the folders (mode 0700 on the root)."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (
            "models/checkpoints",
            "models/vae",
            "models/text_encoders",
            "models/embeddings",
            "models/taggers",
            "models/vae_approx",
            "datasets",
            "loras",
            "runs",
            "outputs",
            "wildcards",
            "config",
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        return self

    @property
    def database(self) -> Path:
        return self.root / "jobs.sqlite3"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def sources(self) -> Path:
        """Pictures to start from and their masks, named by their content."""
        return self.cache / "sources"

    @property
    def wildcards(self) -> Path:
        """Lists that prompts choose from."""
        return self.root / "wildcards"

    @property
    def loras(self) -> Path:
        """Where finished adapters are written."""
        return self.root / "loras"

    @property
    def taggers(self) -> Path:
        """Models that say what a picture shows."""
        return self.root / "models" / "taggers"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def lora_folders(self) -> list[Path]:
        return [folder for folder in (self.loras, self.lora_folder) if folder]

    @property
    def checkpoint_folders(self) -> list[Path]:
        given = [self.checkpoint_folder] if self.checkpoint_folder else []
        return [self.root / "models" / "checkpoints", *given, *self._beside(DENOISER_FOLDERS)]

    @property
    def vae_folders(self) -> list[Path]:
        return [self.root / "models" / "vae", *self._beside(VAE_FOLDERS)]

    @property
    def text_encoder_folders(self) -> list[Path]:
        return [self.root / "models" / "text_encoders", *self._beside(TEXT_ENCODER_FOLDERS)]

    def _beside(self, names: tuple[str, ...]) -> list[Path]:
        """Folders of these names beside the given folder of checkpoints, as other programs have them."""
        if self.checkpoint_folder is None or self.checkpoint_folder.name.lower() not in CHECKPOINT_FOLDERS:
            return []
        return sorted(
            folder for folder in self.checkpoint_folder.parent.glob("*") if folder.name.lower() in names and folder.is_dir()
        )

    @property
    def embedding_folders(self) -> list[Path]:
        return [folder for folder in (self.root / "models" / "embeddings", self.embedding_folder) if folder]

    @property
    def allowed_roots(self) -> list[Path]:
        """Folders the user may name a path in: the workspace, what ships, given folders; the home folder when local."""
        given = [self.checkpoint_folder, self.lora_folder, self.embedding_folder]
        beside = self._beside((*DENOISER_FOLDERS, *VAE_FOLDERS, *TEXT_ENCODER_FOLDERS))
        roots = [self.root, SHIPPED_DATASETS, *(folder for folder in given if folder), *beside]
        return roots if self.remote else [*roots, Path.home(), Path.cwd()]

    def allowed_path(self, typed: str) -> Path:
        """A user-typed path, resolved, if it lies below an allowed root and in no hidden folder of it.

        Raises:
            PathError: `path.not_allowed`; the same whether or not the path exists.
        """
        path = _resolved(Path(typed)) if typed.strip() else None
        for root in (root.resolve() for root in self.allowed_roots):
            if path and path.is_relative_to(root) and not any(part.startswith(".") for part in path.relative_to(root).parts):
                return path
        raise self.not_allowed(typed)

    def not_allowed(self, typed: str) -> PathError:
        return PathError(
            "path.not_allowed", f"The path {typed!r} cannot be used here.",
            "It must lie in the data folder" + ("." if self.remote else " or in your home folder, outside hidden folders."),
            "Move the files there, or start with --data-dir, --ckpt-dir or --lora-dir.", path=typed,
        )  # fmt: skip

    def dataset_folder(self, typed: str) -> Path:
        """The folder of a dataset: a shipped exercise (`practice/mascot`), a name below `datasets/`, or an allowed path.

        Raises:
            PathError: `path.not_allowed`.
        """
        typed = typed.strip()
        own = self.root / "datasets"
        places = [(SHIPPED_DATASETS, typed.removeprefix("practice/"))] if typed.startswith("practice/") else []
        for root, name in [*places, (own, typed)]:
            path = _resolved(root / name)
            if path and path != root.resolve() and path.is_relative_to(root.resolve()) and os.path.isdir(path):
                return root / name
        return self.allowed_path(typed)
