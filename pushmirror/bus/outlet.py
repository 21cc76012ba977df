"""The process that holds the publishing socket: ``python -m pushmirror.bus.outlet``, started by `OutletProcess`.

libzmq sets no bound to what a client may make it keep, and goes on reading as long as a client goes on sending. So the
socket lives apart from the daemon, with a limit on its memory. It knows no signing key, decides nothing, and says
nothing on its own: what the daemon gives it goes out, and the daemon is told when somebody has subscribed.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import zmq

from pushmirror.bus.packets import MAX_PACKET_BYTES, pack_news, unpack_message
from pushmirror.bus.sockets import Context, open_door, open_publishing, serve_encrypted
from pushmirror.core.curve import encode

PACKETS_PER_TURN = 100
NEWS_MS = 50
"""What happens together is told together, so that no flood from outside becomes one of news."""
MAX_KNOWN_TOPICS = 64

_SUBSCRIBE = b"\x01"
_PR_SET_PDEATHSIG = 1
_GRANTED, _REFUSED = (b"200", b"OK"), (b"400", b"this key is not listed here")


@dataclass(frozen=True)
class OutletSettings:
    """What the process is told at its start. `curve_secret` is Z85; `allowed` are raw keys, None: everybody.

    `control` and `listening` are the numbers of inherited descriptors, `topics` those of which something was sent.
    """

    control: int
    listening: int
    endpoint: str
    memory_bytes: int
    topics: tuple[str, ...] = ()
    curve_secret: str | None = field(default=None, repr=False)
    allowed: frozenset[bytes] | None = None

    def dump(self) -> bytes:
        """Return the settings as bytes."""
        allowed = None if self.allowed is None else sorted(key.hex() for key in self.allowed)
        return json.dumps({**self.__dict__, "allowed": allowed}).encode()

    @classmethod
    def load(cls, data: bytes) -> OutletSettings:
        """Return the settings in what `dump` gave."""
        values: dict[str, Any] = json.loads(data)
        allowed = values.pop("allowed")
        return cls(**values, allowed=None if allowed is None else frozenset(map(bytes.fromhex, allowed)))


class Outlet:
    """Sends what comes over `control` to whoever subscribed; ends when that ends."""

    def __init__(self, settings: OutletSettings) -> None:
        self._control = socket.socket(fileno=settings.control)
        self._control.setblocking(False)
        self._allowed = settings.allowed
        context: Context = zmq.Context()
        self._door = None if settings.allowed is None else open_door(context)
        self._socket = open_publishing(context)
        if settings.curve_secret is not None:
            serve_encrypted(self._socket, settings.curve_secret.encode(), ask=settings.allowed is not None)
        self._events = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        self._socket.setsockopt(zmq.USE_FD, settings.listening)
        self._socket.setsockopt(zmq.IPV6, int("[" in settings.endpoint))
        self._socket.bind(settings.endpoint)
        self._taken = 0
        self._topics = {topic.encode("latin-1") for topic in settings.topics}
        self._subscribed: set[bytes] = set()
        self._refused: Counter[str] = Counter()
        self._last_refused: str | None = None
        self._told = 0.0
        self._has_news = True

    def run(self) -> None:
        """Serve until the daemon says that it is the end; not even that long when the daemon is gone."""
        poller = zmq.Poller()
        watched: Iterable[Any] = filter(None, (self._control, self._socket, self._events, self._door))
        for each in watched:
            poller.register(each, zmq.POLLIN)
        while True:
            poller.poll(NEWS_MS if self._has_news else None)
            if not self._take_packets():
                return
            self._take_subscriptions()
            self._take_events()
            self._answer_at_the_door()
            self._tell_news()

    def close(self) -> None:
        """Close the socket, and wait for what is queued as long as it may linger."""
        self._socket.disable_monitor()
        self._events.close(0)
        if self._door is not None:
            self._door.close(0)
        self._socket.close()
        self._socket.context.term()

    def _take_packets(self) -> bool:
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = self._control.recv(MAX_PACKET_BYTES)
            except BlockingIOError:
                return True
            except ConnectionError:
                packet = b""
            if not packet:
                os._exit(0)  # the daemon is gone; whoever comes next needs the address
            message = unpack_message(packet)
            if message is None:
                return False
            self._send(*message)
        return True

    def _send(self, topic: bytes, body: bytes) -> None:
        self._socket.send(topic, zmq.SNDMORE | zmq.NOBLOCK)
        self._socket.send(body, zmq.NOBLOCK)
        self._taken += 1
        self._has_news = True
        if len(self._topics) < MAX_KNOWN_TOPICS:
            self._topics.add(topic)

    def _take_subscriptions(self) -> None:
        """Note which topics somebody asked for; those of which nothing was sent yet are nobody's news."""
        for _ in range(PACKETS_PER_TURN):
            try:
                change = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if change.startswith(_SUBSCRIBE):
                self._subscribed.update(topic for topic in self._topics if topic.startswith(change[1:]))
                self._has_news = self._has_news or bool(self._subscribed)

    def _take_events(self) -> None:
        for _ in range(PACKETS_PER_TURN):
            if not self._events.poll(0):
                return
            self._events.recv_multipart()
            self._refuse("greeting", None)

    def _answer_at_the_door(self) -> None:
        """Say who may come in, as ZeroMQ asks (RFC 27)."""
        for _ in range(PACKETS_PER_TURN if self._door is not None else 0):
            assert self._door is not None and self._allowed is not None  # noqa: S101 - for the type checker
            if not self._door.poll(0):
                return
            version, number, _, address, _, _, *credentials = self._door.recv_multipart()
            listed = len(credentials) == 1 and credentials[0] in self._allowed
            verdict = _GRANTED if listed else _REFUSED
            self._door.send_multipart([version, number, *verdict, b"", b""])
            if not listed:
                self._refuse("key", " ".join((address.decode("latin-1"), *map(encode, credentials[:1]))))

    def _refuse(self, cause: str, who: str | None) -> None:
        self._refused[cause] += 1
        self._last_refused = who or self._last_refused
        self._has_news = True

    def _tell_news(self) -> None:
        now = time.monotonic()
        if not self._has_news or 0 <= now - self._told < NEWS_MS / 1000:
            return
        news = {
            "taken": self._taken,
            "subscribed": [topic.decode("latin-1") for topic in self._subscribed],
            "refused": self._refused,
            "last_refused": self._last_refused,
        }
        try:
            self._control.send(pack_news(news))
        except BlockingIOError:
            return
        except ConnectionError:
            os._exit(0)
        self._told, self._has_news = now, False
        self._subscribed.clear()


def main() -> None:
    """Run with the settings on standard input."""
    _live_within_limits()
    settings = OutletSettings.load(sys.stdin.buffer.read())
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (settings.memory_bytes, settings.memory_bytes))
        outlet = Outlet(settings)
        outlet.run()
    except MemoryError:
        os._exit(1)
    outlet.close()


def _live_within_limits() -> None:
    """Signals are the daemon's business; the process ends with it, and leaves nothing that could hold a key."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
