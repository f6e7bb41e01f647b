from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.downloads.tokens import delete_token, save_token, token_file, token_of, tokens_of
from engine.errors import DownloadError
from engine.workspace import Workspace


def test_the_environment_goes_before_the_page_and_that_before_the_login(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_of("huggingface", workspace) == ("", "") and tokens_of(workspace) == {}
    (tmp_path / "login").write_text("hf_fromlogin")
    assert token_of("huggingface", workspace) == ("hf_fromlogin", "login")
    save_token("huggingface", "  hf_typedhere\n", workspace)
    assert token_of("huggingface", workspace) == ("hf_typedhere", "saved")
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    assert token_of("huggingface", workspace) == ("hf_environment", "environment")
    monkeypatch.setenv("HF_TOKEN", "not a\ntoken")
    assert token_of("huggingface", workspace) == ("hf_typedhere", "saved"), "it could not even be sent"
    monkeypatch.delenv("HF_TOKEN")
    delete_token("huggingface", workspace)
    delete_token("huggingface", workspace)
    assert token_of("huggingface", workspace) == ("hf_fromlogin", "login")
    monkeypatch.setenv("CIVITAI_TOKEN", "civitai0123")
    assert tokens_of(workspace) == {"huggingface": "hf_fromlogin", "civitai": "civitai0123"}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_its_owner_may_read_it(workspace: Workspace) -> None:
    before = os.umask(0)
    try:
        save_token("civitai", "secret-0123", workspace)
        save_token("civitai", "secret-4567", workspace)
    finally:
        os.umask(before)
    assert token_file("civitai", workspace).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (workspace.root / "config").iterdir()] == ["civitai.token"]


@pytest.mark.parametrize("text", ["", "short", "two words of it", "secret\r\nX-Header: 1", "ひみつのトークン", "x" * 501])
def test_what_cannot_be_a_token_is_refused_without_being_repeated(workspace: Workspace, text: str) -> None:
    with pytest.raises(DownloadError) as told:
        save_token("huggingface", text, workspace)
    assert told.value.code == "download.bad_token" and not token_file("huggingface", workspace).exists()
    assert not text or text not in str(told.value) + str(told.value.values)
