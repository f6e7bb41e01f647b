"""What a typed text means: the forms people paste, and everything that must not be fetched."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.downloads.sites import Sites
from engine.downloads.source import CivitaiModel, HubFile, HubModel, Source, WebFile, parse_source
from engine.errors import DownloadError

SITES = Sites(others=("https://models.example.org", "https://*.example.net"))
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (SDXL, HubModel(SDXL)),
        (f"  {SDXL}\n", HubModel(SDXL)),
        (f"https://huggingface.co/{SDXL}", HubModel(SDXL)),
        (f"huggingface.co/{SDXL}/", HubModel(SDXL)),
        (f"https://www.huggingface.co/{SDXL}?library=diffusers#usage", HubModel(SDXL)),
        (f"HTTPS://HuggingFace.co/{SDXL}/tree/main", HubModel(SDXL)),
        (f"https://huggingface.co/{SDXL}/tree/refs%2Fpr%2F12", HubModel(SDXL, "refs/pr/12")),
        (f"{SDXL}/sd_xl_base_1.0.safetensors", HubFile(SDXL, "sd_xl_base_1.0.safetensors")),
        ("a/b/sub folder/日本.safetensors", HubFile("a/b", "sub folder/日本.safetensors")),
        ("https://huggingface.co/a/b/blob/main/x/y.safetensors", HubFile("a/b", "x/y.safetensors")),
        ("https://huggingface.co/a/b/resolve/v1.0/y%20z.safetensors?download=true", HubFile("a/b", "y z.safetensors", "v1.0")),
        ("https://huggingface.co/a/x.safetensors", HubModel("a/x.safetensors")),
        ("https://civitai.com/models/123", CivitaiModel("https://civitai.com", 123, 0)),
        ("civitai.com/models/123/some-slug?modelVersionId=456", CivitaiModel("https://civitai.com", 123, 456)),
        ("https://civitai.red/models/123", CivitaiModel("https://civitai.red", 123, 0)),
        (
            "https://civitai.com/api/download/models/456?type=Model&format=SafeTensor&size=pruned&fp=fp16",
            CivitaiModel(
                "https://civitai.com", 0, 456, (("type", "Model"), ("format", "SafeTensor"), ("size", "pruned"), ("fp", "fp16"))
            ),
        ),
        ("https://models.example.org/a//b.safetensors?x=1", WebFile("https://models.example.org/a/b.safetensors?x=1")),
        ("https://a.b.example.net/c.SAFETENSORS", WebFile("https://a.b.example.net/c.SAFETENSORS")),
    ],
)
def test_what_people_paste(text: str, meant: Source) -> None:
    assert parse_source(text, SITES) == meant
    assert parse_source(str(meant), SITES) == meant


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "download.address"),
        ("gpt2", "download.address"),
        ("a/b.safetensors", "download.address"),
        ("a/b/c", "download.address"),
        ("a/../c.safetensors", "download.address"),
        ("a/b/../../x.safetensors", "download.address"),
        ("a/b/c\\x.safetensors", "download.address"),
        ("../../x.safetensors", "download.address"),
        ("/etc/x.safetensors", "download.address"),
        ("C:\\models\\x.safetensors", "download.address"),
        ("file:///etc/passwd", "download.address"),
        ("https://", "download.address"),
        ("https://[::1/x.safetensors", "download.address"),
        ("https://huggingface.co/", "download.address"),
        ("https://huggingface.co/a/b/blob/main", "download.address"),
        ("https://huggingface.co/a/b/blob/..%2F..%2Fapi/x.safetensors", "download.address"),
        ("https://huggingface.co/a/b/blob/main/..%2F..%2Fx.safetensors", "download.address"),
        ("https://huggingface.co/a/b/blob/main/%2e%2e/x.safetensors", "download.address"),
        ("https://civitai.com/user/somebody", "download.address"),
        ("https://civitai.com/models/1x", "download.address"),
        ("https://huggingface.co/datasets/a/b", "download.not_a_model"),
        ("a/b/model.ckpt", "download.not_safetensors"),
        ("https://huggingface.co/a/b/resolve/main/pytorch_model.bin", "download.not_safetensors"),
        ("https://models.example.org/x.pt", "download.not_safetensors"),
        ("http://huggingface.co/a/b", "download.host"),
        ("ftp://huggingface.co/a/b", "download.host"),
        ("https://huggingface.co:8443/a/b", "download.host"),
        ("https://huggingface.co.evil.example/a/b", "download.host"),
        ("https://evil.example/huggingface.co/x.safetensors", "download.host"),
        ("https://huggingface.co@evil.example/x.safetensors", "download.host"),
        ("https://me:secret@huggingface.co/a/b", "download.host"),
        ("https://127.0.0.1/x.safetensors", "download.host"),
        ("https://[::1]/x.safetensors", "download.host"),
        ("https://2130706433/x.safetensors", "download.host"),
        ("https://169.254.169.254/x.safetensors", "download.host"),
        ("https://localhost/x.safetensors", "download.host"),
        ("https://example.net/x.safetensors", "download.host"),
        ("https://notexample.net/x.safetensors", "download.host"),
        ("https://cdn-lfs.hf.co/x.safetensors", "download.host"),
        ("https://huggingface.co\\@evil.example/a/b", "download.address"),
        ("https://hugging\tface.co/a/b", "download.address"),
        ("https://ｈuggingface.co/a/b", "download.address"),
        ("https://civitai.com/api/download/models/1?token=secret", "download.secret"),
        ("https://models.example.org/x.safetensors?X-Amz-Signature=secret", "download.secret"),
        ("https://models.example.org/x.safetensors?api_key=secret", "download.secret"),
    ],
)
def test_what_is_not_fetched(text: str, code: str) -> None:
    with pytest.raises(DownloadError) as told:
        parse_source(text, SITES)
    assert told.value.code == code and told.value.values["field"] == "source"
    assert "secret" not in str(told.value) + str(told.value.values)


PIECES = st.text(max_size=12) | st.sampled_from(
    ["..", ".", "", "a", "main", "blob", "resolve", "tree", "models", "x.safetensors"]
)
HOSTS = st.sampled_from(["huggingface.co", "civitai.com", "models.example.org", "evil.example", "127.0.0.1", "a@b", "x:1"])
ADDRESSES = st.builds(
    lambda scheme, host, pieces, query: f"{scheme}://{host}/{'/'.join(pieces)}?{query}",
    st.sampled_from(["https", "http", "HTTPS", "file"]), HOSTS, st.lists(PIECES, max_size=6), st.text(max_size=12),
)  # fmt: skip


@given(st.text(max_size=80) | ADDRESSES | st.lists(PIECES, max_size=5).map("/".join))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        meant = parse_source(text, SITES)
    except DownloadError:
        return
    assert parse_source(str(meant), SITES) == meant, "its own spelling means the same"
    for name in (getattr(meant, "path", ""), getattr(meant, "repo", "")):
        assert not {"..", "."} & set(name.split("/")) and "\\" not in name and "\0" not in name
    if isinstance(meant, WebFile):
        assert any(urlsplit(meant.address)[:2] == urlsplit(each)[:2] for each in SITES.others[:1])
    if isinstance(meant, WebFile | HubFile):
        assert meant.name.lower().endswith(".safetensors") and "/" not in meant.name


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://us.aws.cdn.hf.co/xet-bridge-us/1?Signature=abc", True),
        ("https://cdn-lfs.huggingface.co/1", True),
        ("https://b2.civitai.com/file/1", True),
        (
            "https://civitai-delivery-worker-prod.5ac0637cfd0766c97916cefa3764fbdf.r2.cloudflarestorage.com/1?X-Amz-Signature=a",
            True,
        ),
        ("https://stranger.r2.cloudflarestorage.com/1", False),
        ("https://hf.co/1", False),
        ("https://.hf.co/1", False),
        ("https://evilhf.co/1", False),
        ("http://cdn-lfs.hf.co/1", False),
        ("https://cdn-lfs.hf.co:444/1", False),
        ("https://10.0.0.1/1", False),
    ],
)
def test_where_a_site_may_send_us_on_to(address: str, allowed: bool) -> None:
    if allowed:
        assert Sites().check(address, sent_on=True).geturl() == address
        return
    with pytest.raises(DownloadError) as told:
        Sites().check(address, sent_on=True)
    assert told.value.code in ("download.redirect", "download.address")
