"""Listens to a bus without a reactor: connects to every feed and hands out each message as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from types import TracebackType

import zmq

from pushmirror.bus.connection import ConnectionWatch
from pushmirror.bus.endpoints import choose_families, explain_bad_endpoint
from pushmirror.bus.frames import FrameAssembler
from pushmirror.bus.sockets import Context, Socket, open_subscribing
from pushmirror.monitor.feeds import Feed
from pushmirror.monitor.hearing import MAX_SHOWN_BYTES, Heard, hear

CHECK_SECONDS = 3
_FRAMES_PER_TURN = 100


@dataclass(frozen=True)
class Arrival:
    """A message, and when it came in, in milliseconds since the epoch."""

    at_ms: int
    heard: Heard


class Follower:
    """Follows `feeds`, in a `with` block. Raises UsageError on entering it when ZeroMQ does not take an endpoint.

    `stop` is a descriptor that ends the following when it becomes readable; `output` one whose reader is watched: when
    that has gone, nobody wants more. Messages sent before the connection stands are missed; so it is with every bus.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        clock_ms: Callable[[], int],
        *,
        stop: int | None = None,
        output: int | None = None,
    ) -> None:
        self._feeds = tuple(feeds)
        self._clock_ms = clock_ms
        self._stop = stop
        self._output = output
        self._context: Context = zmq.Context()
        self._lines: list[_Line] = []
        self._voices = tuple(feed.voice for feed in feeds if feed.voice is not None)

    def __enter__(self) -> Follower:
        try:
            for feed in self._feeds:
                self._lines.append(_Line(self._context, feed))
        except BaseException:  # passed on
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._context.term()

    def messages(self) -> Iterator[Arrival]:
        """Yield the messages as they come, until the stop descriptor is readable or the output's reader has gone."""
        while True:
            ready = self._poll()
            if self._stop in ready or self._output in ready:
                return
            for line in self._lines:
                line.check_connection(time.monotonic())
                for topic, body in line.read():
                    yield Arrival(self._clock_ms(), hear(topic, body, self._voices))

    def _poll(self) -> set[object]:
        poller = zmq.Poller()
        for line in self._lines:
            poller.register(line.socket, zmq.POLLIN)
        if self._stop is not None:
            poller.register(self._stop, zmq.POLLIN)
        if self._output is not None:
            # Asked for nothing but errors, a pipe tells that its other end is closed, and a file tells nothing.
            poller.register(self._output, zmq.POLLERR)
        return {found for found, _ in poller.poll(CHECK_SECONDS * 1000)}


class _Line:
    """The connection to one feed. A peer that breaks the protocol is connected to again after `CHECK_SECONDS`."""

    def __init__(self, context: Context, feed: Feed) -> None:
        self._context = context
        self._feed = feed
        self._families = cycle(choose_families(feed.endpoint))
        self._assembler = FrameAssembler()
        self._open()

    def _open(self) -> None:
        topics = [self._feed.topic_start.encode()]
        family = next(self._families)
        self.socket: Socket = open_subscribing(self._context, topics, MAX_SHOWN_BYTES, family, self._feed.curve)
        self._watch = ConnectionWatch(self.socket)
        self._check_at = time.monotonic() + CHECK_SECONDS
        try:
            self.socket.connect(self._feed.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise explain_bad_endpoint(self._feed.endpoint, error.strerror or str(error)) from error

    def close(self) -> None:
        self._watch.close()
        self.socket.close(0)

    def check_connection(self, now: float) -> None:
        """Begin anew without a connection, with a host name in its other address family; `now` in seconds."""
        if now < self._check_at:
            return
        self._check_at = now + CHECK_SECONDS
        if not self._watch.is_connected():
            self.close()
            self._assembler.reset()
            self._open()

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is there, up to a bound, so that no peer keeps the others from being heard."""
        for _ in range(_FRAMES_PER_TURN):
            try:
                frame = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = self._assembler.add(frame, bool(self.socket.getsockopt(zmq.RCVMORE)))
            if message is not None:
                yield message
