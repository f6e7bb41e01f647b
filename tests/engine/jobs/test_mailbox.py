"""Waking and asking to end: who knows the token may ask, everybody may wake."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.jobs.mailbox import HOST, Mailbox, ask_to_stop, send, wake

ROOT = Path(__file__).parents[3]
WAITER = """
import sys, time
from engine.jobs.mailbox import Mailbox, obey_signals
mailbox = Mailbox()
obey_signals(mailbox)
print("ready", flush=True)
mailbox.wait(30)
print("asked", flush=True)
time.sleep(30 * len(sys.argv[1:]))
"""


@pytest.fixture
def box() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    yield mailbox
    mailbox.close()


def told(box: Mailbox) -> dict:
    return {"port": box.port, "token": box.token}


def test_a_wake_ends_the_wait_at_once(box: Mailbox) -> None:
    threading.Timer(0.2, wake, [told(box)]).start()
    began = time.monotonic()
    box.wait(20)
    assert time.monotonic() - began < 5
    assert not box.stopping


def test_without_a_wake_the_wait_ends_in_time(box: Mailbox) -> None:
    began = time.monotonic()
    box.wait(0.1)
    assert 0.05 < time.monotonic() - began < 5


def test_only_the_token_asks_to_end(box: Mailbox) -> None:
    for packet in (b" stop", b"stop", b"x" * 32 + b" stop", b"", b"\xff" * 2000, box.token.encode(), "é stop".encode()):
        send(box.port, packet)
        time.sleep(0.01)
        assert not box.poll(), packet
    ask_to_stop({**told(box), "token": "é"})
    assert not box.poll()
    ask_to_stop(told(box))
    box.wait(5)
    assert box.stopping and box.poll()


def test_a_flood_does_not_hold_the_worker(box: Mailbox) -> None:
    flooding = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not flooding.is_set():
                sender.sendto(b"wake", (HOST, box.port))

    thread = threading.Thread(target=flood)
    thread.start()
    began = time.monotonic()
    box.poll()
    assert time.monotonic() - began < 5
    flooding.set()
    thread.join()


def test_nobody_there_and_strange_addresses_are_no_error() -> None:
    for strange in ({}, {"port": "x"}, {"port": 0}, {"port": 10**6}, {"port": True}):
        wake(strange)
        ask_to_stop(strange)
    box = Mailbox()
    box.close()
    wake(told(box))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITER, "long"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(number)
    assert process.wait(10) == 130
    process.stdout.close()
