from __future__ import annotations

import pytest

from webui.guard import Hosts, refusal

HOSTS = Hosts(["box.local"])


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:7860", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:7860", True), ("box.local:7860", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("", False), ("192.168.1.5:7860", False), ("[bad", False),
        ("localhost@evil.example", False),
    ],
)  # fmt: skip
def test_hosts(host: str, known: bool) -> None:
    assert HOSTS.knows(host) is known


def test_addresses_are_known_where_the_page_is_open_to_the_network() -> None:
    assert Hosts([], any_address=True).knows("192.168.1.5:7860")
    assert not Hosts([], any_address=True).knows("evil.example")


def test_a_public_link_is_learnt_later() -> None:
    hosts = Hosts([])
    hosts.allow("Abc.gradio.live")
    assert hosts.knows("abc.gradio.live")


OWN = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", OWN, None),
        ("POST", "/gradio_api/run/predict", OWN, None),  # no browser: curl, a script
        ("POST", "/gradio_api/upload", {**OWN, "origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, None),
        ("GET", "/", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, None),  # a link to the page
        ("GET", "/", {"host": "evil.example"}, 421),
        ("GET", "/", {}, 421),
        ("POST", "/gradio_api/upload", {**OWN, "origin": "http://evil.example"}, 403),
        ("POST", "/gradio_api/upload", {**OWN, "origin": "null"}, 403),
        ("POST", "/gradio_api/upload", {**OWN, "origin": "http://127.0.0.1:9999"}, 403),
        ("POST", "/gradio_api/upload", {**OWN, "sec-fetch-site": "same-site"}, 403),
        ("GET", "/gradio_api/queue/data", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ("GET", "/gradio_api/file=x", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
    ],
)
def test_who_is_refused(method: str, path: str, headers: dict, status: int | None) -> None:
    refused = refusal(method, path, headers, HOSTS)
    assert (refused[0] if refused else None) == status


def test_a_socket_needs_our_origin() -> None:
    assert refusal("GET", "/ws", {**OWN, "origin": "http://evil.example"}, HOSTS, socket=True)
    assert not refusal("GET", "/ws", {**OWN, "origin": "http://127.0.0.1:7860"}, HOSTS, socket=True)
