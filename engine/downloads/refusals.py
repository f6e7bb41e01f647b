"""What a site's refusal means, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.downloads.sites import Sites
from engine.errors import DownloadError


@dataclass(frozen=True)
class Refused:
    """An answer that is no file.

    Attributes:
        subject: what was wanted.
        site: origin of who answered.
        page: of the model at the hub.
        had_token: a token was sent.
    """

    subject: str
    site: str
    page: str
    status: int
    headers: Mapping[str, str]
    had_token: bool

    def error(self, sites: Sites) -> DownloadError:
        host = self.site.partition("://")[2]
        if self.status == 429:
            return DownloadError(
                "download.busy", f"{host} says that we ask too often.", todo="Wait some minutes; a token raises the limit.", host=host,
            )  # fmt: skip
        if self.site in sites.civitai and self.status in (401, 403):
            return needs_token(self.subject, self.had_token)
        if self.site in sites.hubs and (error := self._of_the_hub()):
            return error
        if self.status in (404, 410):
            return not_found(self.subject)
        return DownloadError(
            "download.refused", f"{host} refuses {self.subject} (status {self.status}).", todo="Try it in a browser.",
            name=self.subject, status=self.status,
        )  # fmt: skip

    def _of_the_hub(self) -> DownloadError | None:
        """The hub says in a header what is wrong; of what is private it says that it is not there."""
        code, message = self.headers.get("x-error-code", ""), self.headers.get("x-error-message", "")
        if code == "GatedRepo":
            return DownloadError(
                "download.gated", f"{self.subject} is shared only with people who accepted its terms.",
                "An account with access, and its token.",
                "Open its page, sign in and accept the terms. Then make a token of kind Read (Settings, Access Tokens), enter it in the "
                "Settings tab here and start again.",
                name=self.subject, page=self.page,
            )  # fmt: skip
        if self.status == 401 and self.had_token and "credential" in message.lower():
            return DownloadError(
                "download.token_refused", "Hugging Face does not accept the token.", "A valid token of kind Read.",
                "Delete it in Settings and enter a new one.", site="Hugging Face",
            )  # fmt: skip
        if code == "EntryNotFound":
            return DownloadError(
                "download.no_file", f"The model is there, but it has no file {self.subject}.", "A file that its page lists.",
                "Look at the files on its page.", name=self.subject,
            )  # fmt: skip
        return not_found(self.subject) if code in ("RepoNotFound", "RevisionNotFound") or self.status == 401 else None


def not_found(subject: str) -> DownloadError:
    return DownloadError(
        "download.not_found", f"There is no {subject}, or it is private.", "What stands in the address of its page.",
        "Check the spelling. For a private model enter a token in Settings.", name=subject,
    )  # fmt: skip


def needs_token(subject: str, had_token: bool) -> DownloadError:
    if had_token:
        return DownloadError(
            "download.token_refused", "Civitai does not accept the token for this file.", "A valid API key of an account that may have it.",
            "Make a new key (Account settings, API Keys), delete the old one in Settings and enter the new one.", site="Civitai",
        )  # fmt: skip
    return DownloadError(
        "download.needs_token", f"Civitai gives {subject} only to people who are signed in.", "An API key of your account.",
        "On civitai.com open Account settings, API Keys, Add API key; enter it in the Settings tab here and start again.",
        name=subject,
    )  # fmt: skip


def no_connection(subject: str, status: int) -> DownloadError:
    """Nothing came at all; `status` is what the server said, 0 when it said nothing."""
    if status:
        return DownloadError(
            "download.server", f"The server of {subject} is in trouble (status {status}).",
            todo="Try again later; what has arrived stays.", name=subject, status=status,
        )  # fmt: skip
    return DownloadError(
        "download.offline", f"There is no connection to get {subject}.", "A network connection, or the file itself.",
        "Download it in a browser on any machine, and put .safetensors files into models/checkpoints (LoRAs into loras) of the data folder.",
        name=subject,
    )  # fmt: skip


def strange_answer(host: str) -> DownloadError:
    return DownloadError(
        "download.strange_answer", f"{host} answered with something that cannot be read.",
        todo="Try again later; a proxy or a login page of the network may be in between.", host=host,
    )  # fmt: skip
