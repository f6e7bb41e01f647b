"""What a download job is told, and the hosts that the owner trusts besides the built-in ones (`config/downloads.yaml`)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field as PydanticField
from pydantic import field_validator

from engine.config.field import Section, Ui

HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
"""A host by name, never a number; `*.` stands for everything below it."""


class DownloadConfig(Section):
    """One thing to fetch. Tokens are never part of it."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of these settings."""
    source: Annotated[str, Ui(level="basic")] = ""
    """Hugging Face id (owner/name), file on Hugging Face (owner/name/file.safetensors), or the address of a page or a file."""


class DownloadHosts(Section):
    """The settings file `config/downloads.yaml` of the data folder."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    hosts: Annotated[list[str], Ui(level="expert")] = PydanticField(default_factory=list)
    """Hosts that files may come from besides Hugging Face and Civitai: models.example.org, or *.example.org for all below it."""

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not the name of a host, for example models.example.org")
        return hosts
