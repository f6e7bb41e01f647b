"""Tokens of the sites: where they come from, and how one is kept. A token is never shown, logged or told in an error.

First the environment, then what was typed into the page (a file only its owner may read), then `hf auth login`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from engine.errors import DownloadError
from engine.workspace import Workspace, atomic_write

VARIABLES = {"huggingface": "HF_TOKEN", "civitai": "CIVITAI_TOKEN"}
"""Site -> the variable of the environment."""
TITLES = {"huggingface": "Hugging Face", "civitai": "Civitai"}
PLAIN = re.compile(r"[\x21-\x7e]{8,500}")
Origin = Literal["environment", "saved", "login", ""]


def token_of(site: str, workspace: Workspace) -> tuple[str, Origin]:
    """The token of a site and where it is from; ("", "") where there is none. One that cannot be a token counts as none."""
    for text, origin in ((os.environ.get(VARIABLES[site], ""), "environment"), (_saved(site, workspace), "saved")):
        if PLAIN.fullmatch(text.strip()):
            return text.strip(), origin  # type: ignore[return-value]  # one of the two words above
    if site == "huggingface":
        from huggingface_hub import get_token

        if PLAIN.fullmatch(token := get_token() or ""):
            return token, "login"
    return "", ""


def tokens_of(workspace: Workspace) -> dict[str, str]:
    """Site -> token, of those that have one."""
    return {site: token for site in VARIABLES if (token := token_of(site, workspace)[0])}


def save_token(site: str, text: str, workspace: Workspace) -> None:
    """Keep a token in the data folder, readable for its owner alone.

    Raises:
        DownloadError: `download.bad_token`.
    """
    if not PLAIN.fullmatch(text.strip()):
        raise DownloadError(
            "download.bad_token", f"That cannot be a token of {TITLES[site]}.", "One word of at least 8 letters and digits.",
            "Copy the whole token, without spaces.", site=TITLES[site], field=site,
        )  # fmt: skip
    with atomic_write(token_file(site, workspace), "w") as stream:  # made with mode 0600
        stream.write(text.strip())


def delete_token(site: str, workspace: Workspace) -> None:
    token_file(site, workspace).unlink(missing_ok=True)


def token_file(site: str, workspace: Workspace) -> Path:
    return workspace.root / "config" / f"{site}.token"


def _saved(site: str, workspace: Workspace) -> str:
    try:
        return token_file(site, workspace).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
