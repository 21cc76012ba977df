"""What a stranger with a socket can send to either end of the bus: ZMTP written by hand, without any library."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.support.processes import REPOSITORY, clean_environment

_MORE, _LONG, _COMMAND = 1, 2, 4
_CHUNK_FRAMES = 2_000


def greet(connection: socket.socket, kind: str) -> None:
    """Greet as a peer without encryption does, and wait until the other side has."""
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\x00") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
    connection.sendall(frame(ready, _COMMAND))
    _read_exactly(connection, 64)
    _read_exactly(connection, _read_exactly(connection, 2)[1])


def frame(body: bytes, flags: int = 0) -> bytes:
    """Return one frame."""
    if len(body) > 255:
        return bytes((flags | _LONG,)) + struct.pack(">Q", len(body)) + body
    return bytes((flags, len(body))) + body


def subscriptions(count: int, topic_bytes: int) -> Iterator[bytes]:
    """Yield `count` subscriptions to random topics, in chunks."""
    for start in range(0, count, _CHUNK_FRAMES):
        chunk = min(_CHUNK_FRAMES, count - start)
        yield b"".join(frame(b"\x01" + os.urandom(topic_bytes)) for _ in range(chunk))


def endless_message(count: int, body: bytes = b"") -> Iterator[bytes]:
    """Yield `count` frames of one message that never ends, in chunks."""
    for start in range(0, count, _CHUNK_FRAMES):
        yield frame(body, _MORE) * min(_CHUNK_FRAMES, count - start)


def send_for(connection: socket.socket, chunks: Iterator[bytes], seconds: float) -> int:
    """Send until the other side ends it or the time is over; returns how many bytes were sent."""
    deadline, sent_bytes = time.monotonic() + seconds, 0
    connection.settimeout(seconds)
    with contextlib.suppress(OSError):
        for chunk in chunks:
            connection.sendall(chunk)
            sent_bytes += len(chunk)
            if time.monotonic() > deadline:
                break
    return sent_bytes


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            raise ConnectionError("the other side has hung up")
        found += more
    return found


class Attacker:
    """Attacks whoever listens at `port`, in a process of its own, for as long as the ``with`` block lasts."""

    def __init__(self, port: int, attack: str, *, count: int = 300_000, again: bool = False) -> None:
        self._arguments = [str(port), attack, str(count), str(int(again))]

    def __enter__(self) -> Attacker:
        command = [sys.executable, "-m", __name__, *self._arguments]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, env=clean_environment())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def is_done(self) -> bool:
        """Whether it has sent everything, or was thrown out."""
        return self._process.poll() is not None


def attack(port: int, kind: str, count: int) -> None:
    """Make one connection and send what there is to be sent over it."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        greet(connection, "SUB")
        chunks = subscriptions(count, 40) if kind == "subscriptions" else endless_message(30 * count)
        send_for(connection, chunks, 20)
        # What was sent counts as long as the connection stands.
        connection.settimeout(20)
        while connection.recv(4096):
            pass


def main() -> None:
    port, kind, count, again = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), bool(int(sys.argv[4]))
    deadline = time.monotonic() + 60
    attack(port, kind, count)
    while again and time.monotonic() < deadline:
        attack(port, kind, count)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
