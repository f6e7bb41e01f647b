"""Which file a page of Civitai means, asked from its public interface (`/api/v1`); no page is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from engine.downloads.refusals import not_found, strange_answer
from engine.downloads.sites import origin
from engine.downloads.source import ENDING, CivitaiModel
from engine.downloads.web import Web
from engine.errors import DownloadError


@dataclass(frozen=True)
class CivitaiFile:
    """`sha256` is "" where it is not said."""

    address: str
    name: str
    sha256: str


def find_file(web: Web, model: CivitaiModel) -> CivitaiFile:
    """The .safetensors file of a version (the newest where none is named) that the address means.

    Raises:
        DownloadError: `download.not_safetensors`, `download.not_found`, or the site cannot be asked.
    """
    try:
        version = _version(web, model)
        files = [each for each in version["files"] if str(each["name"]).lower().endswith(ENDING)]
        if not files:
            names = ", ".join(str(each["name"]) for each in version["files"])
            raise DownloadError(
                "download.not_safetensors", f"{names!r} is no .safetensors file.", "A .safetensors file, which cannot carry code.",
                "Look for the .safetensors version of the model.", name=names, field="source",
            )  # fmt: skip
        chosen = _choose(files, model.choices)
        address = str(chosen.get("downloadUrl") or f"{model.site}/api/download/models/{int(version['id'])}")
        sha256 = str((chosen.get("hashes") or {}).get("SHA256", "")).lower()
    except (KeyError, TypeError, ValueError, AttributeError):
        raise strange_answer(model.site) from None
    if origin(urlsplit(address)) not in web.sites.civitai:
        raise strange_answer(model.site)
    return CivitaiFile(address, str(chosen["name"]), sha256 if len(sha256) == 64 else "")


def _version(web: Web, model: CivitaiModel) -> Mapping[str, Any]:
    if model.version:
        return web.json(f"{model.site}/api/v1/model-versions/{model.version}")
    versions = web.json(f"{model.site}/api/v1/models/{model.model}")["modelVersions"]
    if not versions:
        raise not_found(str(model))
    return versions[0]


def _choose(files: Sequence[Mapping[str, Any]], choices: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """The file that has all that the address says; among several the site's own first choice."""

    def says(file: Mapping[str, Any], name: str) -> str:
        return str(file.get("type") if name == "type" else (file.get("metadata") or {}).get(name))

    fitting = [file for file in files if all(says(file, name).lower() == word.lower() for name, word in choices)]
    return next((file for file in fitting or files if file.get("primary")), (fitting or files)[0])
