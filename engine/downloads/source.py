"""What somebody means who types an id or an address: a whole model, a file, or a model of Civitai. Pure; asks nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode

from engine.downloads.sites import HUB, Sites, bad_address, origin
from engine.errors import DownloadError

ENDING = ".safetensors"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_PIECE = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_KNOWN_START = re.compile(r"(?i)(www\.)?(huggingface\.co|civitai\.(com|red))/")
CHOICES = ("type", "format", "size", "fp")
"""By these a Civitai address tells apart the files of one version."""
MOST = 2000
"""Characters of the longest address."""


@dataclass(frozen=True)
class HubModel:
    """A whole diffusers model of Hugging Face. `repo` is owner/name."""

    repo: str
    revision: str = "main"

    def __str__(self) -> str:
        plain = self.revision == "main" and not _KNOWN_START.match(self.repo) and not self.repo.lower().endswith(ENDING)
        return self.repo if plain else f"{HUB}/{self.repo}/tree/{quote(self.revision, safe='')}"


@dataclass(frozen=True)
class HubFile:
    """One file of Hugging Face; `path` is below the repository."""

    repo: str
    path: str
    revision: str = "main"

    def __str__(self) -> str:
        if self.revision == "main" and not _KNOWN_START.match(self.repo):
            return f"{self.repo}/{self.path}"
        return f"{HUB}/{self.repo}/blob/{quote(self.revision, safe='')}/{quote(self.path)}"

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class CivitaiModel:
    """A model of Civitai, or one version of it; 0 is not said. `choices` are (name, word), see CHOICES."""

    site: str
    model: int
    version: int
    choices: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.model:
            return f"{self.site}/api/download/models/{self.version}" + (f"?{urlencode(self.choices)}" if self.choices else "")
        return f"{self.site}/models/{self.model}" + (f"?modelVersionId={self.version}" if self.version else "")


@dataclass(frozen=True)
class WebFile:
    """A file at an address on the list."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return unquote(self.address.partition("?")[0].rpartition("/")[2])


Source = HubModel | HubFile | CivitaiModel | WebFile


def parse_source(text: str, sites: Sites) -> Source:
    """What a text means. `str` of the result means the same again.

    Raises:
        DownloadError: `download.address`, `download.host`, `download.secret`, `download.not_safetensors`, `download.not_a_model`.
    """
    text = text.strip()
    if len(text) > MOST or any("\ud800" <= letter <= "\udfff" for letter in text):  # halves of letters have no bytes
        raise bad_address(text)
    if _KNOWN_START.match(text):
        text = f"https://{text}"
    if re.match(r"(?i)[a-z][a-z0-9+.-]*:", text):
        return _address(re.sub(r"(?i)^https://www\.", "https://", text), sites)
    if _ID.fullmatch(text) and not text.lower().endswith(ENDING):
        return HubModel(_repo(text, *text.split("/")))
    return _hub_file(text, text.split("/"), "main")


def _address(text: str, sites: Sites) -> Source:
    parts = sites.check(text)
    pieces = [unquote(piece) for piece in parts.path.split("/") if piece]
    if origin(parts) in sites.civitai:
        return _civitai(text, parts, pieces)
    if origin(parts) not in sites.hubs:
        _check_pieces(text, pieces)
        _check_ending(text, pieces[-1])
        query = f"?{parts.query}" if parts.query else ""
        return WebFile(f"{origin(parts)}{quote('/' + '/'.join(pieces))}{query}")
    if pieces[:1] in (["datasets"], ["spaces"], ["collections"], ["papers"], ["docs"]):
        raise DownloadError(
            "download.not_a_model", f"That is no model of Hugging Face but belongs to its {pieces[0]}.", "The page of a model.",
            "Look for the model that it names.", section=pieces[0], field="source",
        )  # fmt: skip
    kind = pieces[2] if len(pieces) > 2 else ""
    if len(pieces) == 2 or (kind == "tree" and len(pieces) == 4):
        return HubModel(_repo(text, *pieces[:2]), _revision(text, pieces[3]) if kind else "main")
    if kind in ("blob", "resolve", "raw") and len(pieces) > 4:
        return _hub_file(text, [*pieces[:2], *pieces[4:]], _revision(text, pieces[3]))
    raise bad_address(text)


def _civitai(text: str, parts: SplitResult, pieces: list[str]) -> CivitaiModel:
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    site = origin(parts)
    if pieces[:1] == ["models"] and len(pieces) > 1:
        return CivitaiModel(site, _number(text, pieces[1]), _number(text, query.get("modelVersionId", "0")))
    if pieces[:3] == ["api", "download", "models"] and len(pieces) == 4:
        choices = tuple((name, query[name]) for name in CHOICES if name in query)
        return CivitaiModel(site, 0, _number(text, pieces[3]), choices)
    raise bad_address(text)


def _number(text: str, piece: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", piece):
        raise bad_address(text)
    return int(piece)


def _hub_file(text: str, pieces: list[str], revision: str) -> HubFile:
    if len(pieces) < 3:
        raise bad_address(text)
    _check_pieces(text, pieces)
    repo = _repo(text, *pieces[:2])
    _check_ending(text, pieces[-1])
    return HubFile(repo, "/".join(pieces[2:]), revision)


def _repo(text: str, owner: str, name: str) -> str:
    if not _ID.fullmatch(f"{owner}/{name}") or ".." in name + owner:
        raise bad_address(text)
    return f"{owner}/{name}"


def _revision(text: str, revision: str) -> str:
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise bad_address(text)
    return revision


def _check_pieces(text: str, pieces: list[str]) -> None:
    if not pieces or any(not _PIECE.fullmatch(piece) or piece in (".", "..") for piece in pieces):
        raise bad_address(text)


def _check_ending(text: str, name: str) -> None:
    """Formats that can run code are not even fetched."""
    ending = PurePosixPath(name).suffix.lower()
    if ending == ENDING:
        return
    if not ending or "/" in ending:
        raise bad_address(text)
    raise DownloadError(
        "download.not_safetensors", f"{name!r} is no .safetensors file.", "A .safetensors file, which cannot carry code.",
        "Look for the .safetensors version of the model.", name=name, field="source",
    )  # fmt: skip
