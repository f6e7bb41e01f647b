"""How a worker is woken and asked to end: small packets on a local socket.

The address and a token lie in the worker's lock file, which only its owner can read. A packet without the token wakes the
worker, which then finds nothing to do; only one with the token can ask it to end. A lost packet is no harm: the worker
looks by itself every few seconds.
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import socket
import time
from types import FrameType

HOST = "127.0.0.1"
LONGEST = 128
STOP = b" stop"


class Mailbox:
    """The worker's end.

    Attributes:
        stopping: this process was asked to end, by a packet or a signal.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.token = secrets.token_hex(16)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.port: int = self._socket.getsockname()[1]

    def wait(self, seconds: float) -> None:
        """Sleep until a packet comes, at most so long."""
        if self.poll():
            return
        self._socket.settimeout(seconds)
        try:
            self._take(self._socket.recv(LONGEST))
        except OSError:  # time is up, or a packet longer than any of ours
            return
        self.poll()

    def poll(self) -> bool:
        """Take what has come; whether this process was asked to end."""
        self._socket.setblocking(False)
        deadline = time.monotonic() + 0.1  # whoever floods the port must not stop the work
        while time.monotonic() < deadline:
            try:
                self._take(self._socket.recv(LONGEST))
            except OSError:
                break
        return self.stopping

    def _take(self, packet: bytes) -> None:
        if hmac.compare_digest(packet, self.token.encode() + STOP):
            self.stopping = True

    def stop(self) -> None:
        """Ask this process to end. Takes no lock, so that a signal handler may call it."""
        self.stopping = True
        send(self.port, b"")

    def close(self) -> None:
        self._socket.close()


def send(port: int, packet: bytes) -> None:
    """Send to a worker on this machine; nobody there is no error."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(packet, (HOST, port))
        except OSError:
            return


def wake(told: dict) -> None:
    """Wake the worker whose lock file says this."""
    if isinstance(told.get("port"), int) and 0 < told["port"] < 65536:
        send(told["port"], b"wake")


def ask_to_stop(told: dict) -> None:
    """Ask the worker whose lock file says this to save and end."""
    if isinstance(told.get("port"), int) and 0 < told["port"] < 65536:
        send(told["port"], str(told.get("token", "")).encode() + STOP)


def obey_signals(mailbox: Mailbox) -> None:
    """The first SIGINT or SIGTERM asks this process to save and end, the second ends it at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if mailbox.stopping:
            os._exit(130)
        mailbox.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
