"""The bus over ZeroMQ in fedmsg's framing (topic frame, body frame), driven by a Twisted reactor that is passed in.

A ZeroMQ descriptor tells only *changes*: after each wake-up, and after each call that may have swallowed one, the
socket itself has to be asked for its events.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import zmq

from pushmirror.bus.connection import ConnectionWatch
from pushmirror.bus.endpoints import choose_families, explain_bad_endpoint, explain_bind_failure
from pushmirror.bus.frames import FrameAssembler
from pushmirror.bus.interface import DelayedCall, Deliver, DescriptorReactor
from pushmirror.bus.sockets import Context, Socket, open_publishing, open_subscribing
from pushmirror.errors import StateError

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 128 * 1024

FRAMES_PER_TURN = 100
TURN_SECONDS = 0.005
CHECK_SECONDS = 3.0
CHECK_MAX_SECONDS = 60.0
FAILURE_LOG_SECONDS = 60.0

# The first byte of what a subscriber sends: 1 subscribes, 0 unsubscribes (ZMTP 3.1, "SUBSCRIBE").
_SUBSCRIBE = b"\x01"


class ZeroMQSender:
    """A PUB socket bound to `endpoint`; implements `Sender`. The attribute `endpoint` is what was really bound.

    `subscribed` is called with the topic of each subscription once messages reach the one who made it: whoever wants to
    tell newcomers something does it then. What it raises is a fault of this program.
    Raises StateError when the address is taken, UsageError when this machine cannot listen there at all.
    """

    def __init__(
        self,
        reactor: DescriptorReactor,
        endpoint: str,
        context: Context | None = None,
        *,
        subscribed: Callable[[bytes], None] = lambda topic: None,
    ) -> None:
        self._reactor = reactor
        self._subscribed = subscribed
        self._reading: DelayedCall | None = None
        self._context = zmq.Context() if context is None else context
        self._owns_context = context is None
        self._socket = open_publishing(self._context)
        try:
            self.endpoint = self._bind(endpoint)
        except Exception:
            self._release()
            raise
        reactor.addReader(self)
        self._read_soon()

    def _bind(self, endpoint: str) -> str:
        *others, last = choose_families(endpoint)
        try:
            for ipv6 in others:
                with contextlib.suppress(zmq.ZMQError):
                    return self._bind_in_family(endpoint, ipv6)
            return self._bind_in_family(endpoint, last)
        except zmq.ZMQError as error:
            raise explain_bind_failure(endpoint, error.errno or 0, error.strerror or str(error)) from error

    def _bind_in_family(self, endpoint: str, ipv6: bool) -> str:
        self._socket.setsockopt(zmq.IPV6, int(ipv6))
        self._socket.bind(endpoint)
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, topic: bytes, body: bytes) -> None:
        """Queue one message for every client that subscribed to it. A client whose queue is full misses it."""
        if self._socket.closed:
            raise StateError("the publishing socket is closed; nothing can be sent on it")
        self._socket.send(topic, zmq.SNDMORE | zmq.NOBLOCK)
        self._socket.send(body, zmq.NOBLOCK)
        self._read_soon()

    def close(self) -> None:
        if self._reading is not None and self._reading.active():
            self._reading.cancel()
        if not self._socket.closed:
            self._reactor.removeReader(self)
            self._release()

    def _release(self) -> None:
        self._socket.close()
        if self._owns_context:
            # Waits for what is still queued, as long as the socket lingers.
            self._context.term()

    # What Twisted calls a read descriptor.

    def fileno(self) -> int:
        return -1 if self._socket.closed else int(self._socket.getsockopt(zmq.FD))

    def doRead(self) -> None:
        """Take in new clients and their subscriptions, up to the budget of one turn; the rest in the next turn."""
        for _ in range(FRAMES_PER_TURN):
            if self._socket.closed:
                return
            try:
                change = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if change.startswith(_SUBSCRIBE):
                self._subscribed(change[1:])
        self._read_soon()

    def _read_soon(self) -> None:
        if self._reading is None or not self._reading.active():
            self._reading = self._reactor.callLater(0, self.doRead)

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the descriptor up, at the end of the process."""

    def logPrefix(self) -> str:
        return "bus sender"


class ZeroMQReceiver:
    """A SUB socket that connects to `endpoint` and calls `deliver(topic, body)`; implements `Receiver`.

    One turn of the reactor reads a bounded number of frames for a bounded time, so that a flood delays nothing else.
    What `deliver` raises is logged. A peer that sends a frame above `max_message_bytes` is disconnected, and connected
    to again when the connection is next looked at: after `check_seconds`, later and later while there is none.
    Raises UsageError from `start` when ZeroMQ does not take the endpoint.
    """

    def __init__(
        self,
        reactor: DescriptorReactor,
        endpoint: str,
        topics: Sequence[bytes],
        deliver: Deliver,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        check_seconds: float = CHECK_SECONDS,
        context: Context | None = None,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._topics = tuple(topics)
        self._deliver = deliver
        self._max_message_bytes = max_message_bytes
        self._check_seconds = check_seconds
        self._patience_seconds = check_seconds
        self._context = zmq.Context() if context is None else context
        self._owns_context = context is None
        self._failures = 0
        self._failure_logged_seconds: float | None = None
        self._assembler = FrameAssembler()
        self._socket: Socket | None = None
        self._watch: ConnectionWatch | None = None
        self._families: Iterator[bool] = cycle(choose_families(endpoint))
        self._reading: DelayedCall | None = None
        self._checking: DelayedCall | None = None

    @property
    def dropped_frames(self) -> int:
        return self._assembler.dropped_messages

    def start(self) -> None:
        if self._socket is None:
            self._open()

    def reconnect(self) -> None:
        if self._socket is not None:
            self._shut()
            self._open()

    def close(self) -> None:
        """Deliver nothing more; this is final."""
        self._shut()
        if self._owns_context:
            self._context.term()

    def _open(self) -> None:
        socket = open_subscribing(self._context, self._topics, self._max_message_bytes, next(self._families))
        self._watch = ConnectionWatch(socket)
        self._socket = socket
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self._shut()
            raise explain_bad_endpoint(self._endpoint, error.strerror or str(error)) from error
        self._reactor.addReader(self)
        self._read_soon()
        self._checking = self._reactor.callLater(self._patience_seconds, self._check_connection)

    def _shut(self) -> None:
        for call in (self._reading, self._checking):
            if call is not None and call.active():
                call.cancel()
        self._reading = self._checking = None
        self._assembler.reset()
        if self._socket is not None:
            self._reactor.removeReader(self)
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            self._socket.close()
            self._socket = None

    def _check_connection(self) -> None:
        """Without a connection, begin again with a new socket, and with a host name in the other address family."""
        if self._watch is not None and self._watch.is_connected():
            self._patience_seconds = self._check_seconds
            self._checking = self._reactor.callLater(self._check_seconds, self._check_connection)
        else:
            self._patience_seconds = min(2 * self._patience_seconds, CHECK_MAX_SECONDS)
            self.reconnect()

    # What Twisted calls a read descriptor.

    def fileno(self) -> int:
        return -1 if self._socket is None else int(self._socket.getsockopt(zmq.FD))

    def doRead(self) -> None:
        """Deliver what is there, up to the budget of one turn; the rest in the next turn."""
        started = self._reactor.seconds()
        for _ in range(FRAMES_PER_TURN):
            if not self._read_frame():
                return
            if self._reactor.seconds() - started >= TURN_SECONDS:
                break
        if self._socket is not None and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._read_soon()

    def _read_frame(self) -> bool:
        """Take one frame; False when there is none, or `deliver` has closed this receiver."""
        if self._socket is None:
            return False
        try:
            frame = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        message = self._assembler.add(frame, bool(self._socket.getsockopt(zmq.RCVMORE)))
        if message is not None:
            self._hand_over(*message)
        return True

    def _hand_over(self, topic: bytes, body: bytes) -> None:
        try:
            self._deliver(topic, body)
        except Exception:
            self._log_failure()

    def _log_failure(self) -> None:
        """One line a minute at most: a stranger may be able to cause as many as he likes."""
        self._failures += 1
        now = self._reactor.seconds()
        if self._failure_logged_seconds is None or not 0 <= now - self._failure_logged_seconds < FAILURE_LOG_SECONDS:
            self._failure_logged_seconds = now
            _log.exception("a message could not be handled (failures so far: %d)", self._failures)

    def _read_soon(self) -> None:
        if self._reading is None or not self._reading.active():
            self._reading = self._reactor.callLater(0, self.doRead)

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the descriptor up, at the end of the process."""

    def logPrefix(self) -> str:
        return "bus receiver"
