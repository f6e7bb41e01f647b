"""A model is fetched from a hub on this machine: refused, stopped, gone on with, and chosen without a reload. Tokens stay unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from engine.downloads.tokens import token_file
from engine.model_facts import STARTER_FOLDER
from engine.workspace import Workspace
from tests.support.file_server import FileServer, file_server
from tests.ui.conftest import Server, start
from tests.ui.test_tools import fill, tab, until
from webui.i18n import t

MODEL = {file.relative_to(STARTER_FOLDER).as_posix(): file.read_bytes() for file in STARTER_FOLDER.rglob("*") if file.is_file()}
LARGE = "unet/diffusion_pytorch_model.safetensors"
SECRET = "hf_canary0123456789"


@pytest.fixture(scope="module")
def hub() -> Iterator[FileServer]:
    with file_server() as running:
        running.put_repository("someone/tiny", MODEL)
        running.answers[f"/someone/tiny/resolve/{'a' * 40}/{LARGE}"].pace = 500_000
        running.put("/closed/model/resolve/main/x.safetensors", b"", status=403, headers={"X-Error-Code": "GatedRepo"})
        yield running


@pytest.fixture(scope="module")
def server(hub: FileServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_ENDPOINT", hub.origin)
        running = start(tmp_path_factory.mktemp("downloads") / "data")
    yield running
    running.interrupt()


def choices(page, id: str) -> list[str]:
    """What a list offers. It closes when new choices arrive at that moment, so it is opened until it stays open."""
    field, options = page.locator(f"#{id} input").first, page.locator("[role=option]:visible")

    def opened() -> bool:
        field.blur()
        field.click()
        page.wait_for_timeout(300)
        return options.count() > 0

    until(opened)
    listed = options.all_inner_texts()
    page.keyboard.press("Escape")
    return listed


def test_the_road_of_a_download(open_page: Callable, server: Server, hub: FileServer) -> None:
    page = open_page("en-US")
    assert "tiny" not in choices(page, "train-model-path")
    tab(page, "library")
    fill(page, "download-source", "http://evil.example/x.safetensors")
    page.click("#download-start")
    until(lambda: "evil.example" in page.inner_text("#download-trouble"))
    fill(page, "download-source", "closed/model/x.safetensors")
    page.click("#download-start")
    until(lambda: "accepted its terms" in page.inner_text("#download-view"))
    assert (
        not page.is_visible("#download-trouble")
        and page.get_attribute("#download-view a", "href") == "https://huggingface.co/settings/tokens"
    )

    fill(page, "download-source", "someone/tiny")
    page.click("#download-start")
    page.wait_for_selector("#download-view [data-verb=stop]")
    until(
        lambda: (
            "10 files" in page.inner_text("#download-view") and "MB/s" in page.inner_text("#download-view").replace("KB", "MB")
        )
    )
    page.click("#download-view [data-verb=stop]")
    until(lambda: t("text.down.stopped", "en") in page.inner_text("#download-view"))
    hub.asked.clear()
    hub.answers[f"/someone/tiny/resolve/{'a' * 40}/{LARGE}"].pace = 0
    page.click("#download-view [data-verb=again]")
    until(lambda: "Saved: models/checkpoints/tiny" in page.inner_text("#download-view"))
    asked = {path.partition("?")[0].partition(f"{'a' * 40}/")[2]: headers for path, headers in hub.asked}
    assert asked[LARGE]["range"].startswith("bytes=")
    until(lambda: "tiny" in page.inner_text("#library-view"))
    tab(page, "generate")
    until(lambda: "tiny" in choices(page, "generate-model"))
    tab(page, "lora")
    until(lambda: "tiny" in choices(page, "train-model-path"))


def test_a_token_is_kept_and_never_shown(open_page: Callable, server: Server) -> None:
    page = open_page("ja-JP")
    tab(page, "settings")
    page.wait_for_selector("#settings-tokens li")
    fill(page, "settings-token-huggingface", SECRET)
    page.click("#settings-token-save")
    until(lambda: t("text.set.token_saved", "ja") in page.inner_text("#settings-tokens"))
    file = token_file("huggingface", Workspace(server.data))
    assert file.read_text() == SECRET and file.stat().st_mode & 0o077 == 0
    assert page.locator("#settings-token-huggingface input").input_value() == "" and SECRET not in page.content()
    page.reload()
    tab(page, "settings")
    page.wait_for_selector("#settings-tokens [data-site=huggingface]")
    assert SECRET not in page.content()
    page.click("#settings-tokens [data-site=huggingface]")
    until(lambda: t("text.set.token_saved", "ja") not in page.inner_text("#settings-tokens"))
    assert not file.exists()
