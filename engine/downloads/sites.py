"""Who may be asked for files: the sites a user may name, and the hosts those may send us on to.

An address is compared as a whole, scheme, host and port, with a short list of origins. So everything else is refused without
a rule of its own: plain http, user names, odd ports, numbers instead of names, look-alikes. That a name leads to another machine
than yesterday needs no rule either: the certificate must be the name's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from engine.config.downloads import DownloadHosts
from engine.config.load import load
from engine.errors import DownloadError
from engine.workspace import Workspace

HUB = "https://huggingface.co"
CIVITAI = ("https://civitai.com", "https://civitai.red")
CARRIERS = (
    "https://*.huggingface.co", "https://*.hf.co", "https://*.civitai.com",
    "https://*.5ac0637cfd0766c97916cefa3764fbdf.r2.cloudflarestorage.com",  # Civitai's own storage there, nobody else's
)  # fmt: skip
SETTINGS = "downloads.yaml"
STRANGE = re.compile(r"[^\x21-\x7e]|[\\<>\"^`{|}]")
"""What no address holds unquoted; programs disagree on what it means."""
SECRET = re.compile(r"(?i)(^|[_-])(token|key|apikey|auth|authorization|password|signature|sig|credential|secret)$")
"""Names in the query of an address that carry a secret."""


@dataclass(frozen=True)
class Sites:
    """Attributes:
    hub, civitai: origins of the two sites that are known; tokens go to these alone.
    others: origins that a user may also name; `*.` stands for everything below a host.
    carriers: origins that these may send us on to.
    """

    hub: str = HUB
    civitai: tuple[str, ...] = CIVITAI
    others: tuple[str, ...] = ()
    carriers: tuple[str, ...] = CARRIERS

    @property
    def hubs(self) -> tuple[str, ...]:
        """Origins whose addresses mean the hub; a mirror is asked in its place."""
        return tuple(dict.fromkeys((self.hub, HUB)))

    @property
    def named(self) -> tuple[str, ...]:
        return (*self.hubs, *self.civitai, *self.others)

    def check(self, address: str, sent_on: bool = False) -> SplitResult:
        """An address in its pieces.

        Args:
            sent_on: a site sent us there, so that a carrier will do.

        Raises:
            DownloadError: `download.host`, `download.redirect`, `download.secret`, `download.address`.
        """
        try:
            parts = urlsplit(address)
            unreadable = bool(STRANGE.search(address)) or not parts.hostname
        except ValueError:
            unreadable = True
        if unreadable:
            raise bad_address(address)
        if not any(_is(origin(parts), known) for known in (*self.named, *(self.carriers if sent_on else ()))):
            raise self._foreign(parts, sent_on)
        if not sent_on and any(SECRET.search(pair.partition("=")[0]) for pair in parts.query.split("&")):
            raise DownloadError(
                "download.secret", "The address carries a token or a signature.", "An address that anybody may see.",
                "Take it out of the address; a token belongs into Settings.", field="source",
            )  # fmt: skip
        return parts

    def _foreign(self, parts: SplitResult, sent_on: bool) -> DownloadError:
        host = parts.hostname or ""
        if sent_on:
            return DownloadError(
                "download.redirect", f"The site sent us on to {host}, which is not known.", "Hosts of Hugging Face and Civitai.",
                f"Download the file in a browser, or add the host to config/{SETTINGS} of the data folder.",
                host=host, file=SETTINGS, field="source",
            )  # fmt: skip
        return DownloadError(
            "download.host", f"Files are not fetched from {origin(parts)}.",
            f"https and one of: {', '.join(urlsplit(each).netloc for each in self.named)}.",
            f"Download the file in a browser and put it into models/checkpoints, or add the host to config/{SETTINGS} of the data folder.",
            host=origin(parts), hosts=", ".join(urlsplit(each).netloc for each in self.named), file=SETTINGS, field="source",
        )  # fmt: skip


def origin(parts: SplitResult) -> str:
    """Scheme, host and port of an address; a user name in it is told as such, but not shown."""
    _, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'…@' if at else ''}{host}".lower()


def _is(found: str, known: str) -> bool:
    start, star, end = known.partition("*")
    return found == known if not star else found.startswith(start) and found.endswith(end) and len(found) > len(start + end)


def bad_address(text: str) -> DownloadError:
    """The error for it. What may be secret in an address is not shown: a user's password, the query."""
    shown = re.sub(r"//[^/]*@", "//…@", text.partition("?")[0])
    shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
    return DownloadError(
        "download.address", f"{shown!r} is not something that can be fetched.",
        "A Hugging Face id (owner/name), a file there (owner/name/file.safetensors), or the https address of a page or a file.",
        "Copy it from the page of the model.", text=shown, field="source",
    )  # fmt: skip


def sites_of(workspace: Workspace) -> Sites:
    """The sites of this machine: `HF_ENDPOINT` may name a mirror of the hub, `config/downloads.yaml` further hosts.

    Raises:
        ConfigError: the settings file is wrong.
    """
    file = workspace.root / "config" / SETTINGS
    hosts = load(DownloadHosts, file).hosts if file.is_file() else []
    others = tuple(f"https://{host}" for host in hosts)
    return Sites(os.environ.get("HF_ENDPOINT", HUB).rstrip("/") or HUB, others=others, carriers=(*CARRIERS, *others))
