"""Clients that mean harm, as a program: ``python -m tests.http.attacks NAME PORT SECONDS PATH``.

Each goes on from one address for that long. Prints how many times it did what it does.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable

SOURCE = "127.0.0.3"
SLOW_CONNECTIONS = 500

Attack = Callable[[int, float, bytes], int]


def connect(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.settimeout(5)
    connection.bind((SOURCE, 0))
    connection.connect(("127.0.0.1", port))
    return connection


def again_and_again(send: Callable[[socket.socket], object]) -> Attack:
    """Return an attack that makes a connection and does one thing with it, until its time is over."""

    def attack(port: int, end_s: float, path: bytes) -> int:
        count = 0
        while time.monotonic() < end_s:
            with contextlib.suppress(OSError), contextlib.closing(connect(port)) as connection:
                send(connection)
            count += 1
        return count

    return attack


def slowloris(port: int, end_s: float, path: bytes) -> int:
    """Hundreds of connections, each of which sends a little of a header now and then, and is made anew when it ends."""
    with selectors.DefaultSelector() as selector:
        opened = 0
        while time.monotonic() < end_s:
            while len(selector.get_map()) < SLOW_CONNECTIONS and time.monotonic() < end_s:
                with contextlib.suppress(OSError):
                    connection = connect(port)
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
                    selector.register(connection, selectors.EVENT_READ)
                    opened += 1
            for key, _ in selector.select(0.1):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
            for key in tuple(selector.get_map().values()):
                with contextlib.suppress(OSError):
                    key.fileobj.send(b"x")  # type: ignore[union-attr]  # a socket
    return opened


def flood(piece: bytes, head: bytes = b"") -> Callable[[socket.socket], None]:
    """Send `head` and then `piece` for as long as it is taken."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(2000):
            connection.sendall(piece)

    return send


def read_a_byte_a_second(port: int, end_s: float, path: bytes) -> int:
    """Ask for a long answer on every connection that is to be had, and read a byte of each now and then."""
    connections = []
    for _ in range(90):
        with contextlib.suppress(OSError):
            connection = connect(port)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.settimeout(0.01)
            connections.append(connection)
    while time.monotonic() < end_s:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.recv(1)
    return len(connections)


def abort_in_the_middle(port: int, end_s: float, path: bytes) -> int:
    """Ask for a long answer, read a little of it, and reset the connection."""

    def leave(connection: socket.socket) -> None:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return again_and_again(leave)(port, end_s, path)


ATTACKS: dict[str, Attack] = {
    "slowloris": slowloris,
    "garbage": again_and_again(lambda connection: connection.sendall(os.urandom(65536))),
    "endless line": again_and_again(flood(b"x" * 65536, b"GET /")),
    "endless headers": again_and_again(flood(b"X-A: " + b"x" * 1000 + b"\r\n", b"GET / HTTP/1.1\r\n")),
    "many headers": again_and_again(flood(b"a:b\r\n" * 1000, b"GET / HTTP/1.1\r\n")),
    "endless chunks": again_and_again(
        flood(
            b"10000\r\n" + b"x" * 65536 + b"\r\n",
            b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
    ),
    "chunks of a byte": again_and_again(
        flood(b"1\r\nx\r\n" * 5000, b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    ),
    "pipelined": again_and_again(flood(b"GET /v1/trees/debian?nonce=12345678 HTTP/1.1\r\nHost: x\r\n\r\n" * 500)),
    "requests": again_and_again(
        lambda connection: (connection.sendall(b"GET / HTTP/1.0\r\n\r\n"), connection.recv(65536))
    ),
    "a byte a second": read_a_byte_a_second,
    "abort": abort_in_the_middle,
}

if __name__ == "__main__":
    print(ATTACKS[sys.argv[1]](int(sys.argv[2]), time.monotonic() + float(sys.argv[3]), sys.argv[4].encode()))
