"""The receiving end of the bus: ZeroMQ in fedmsg's framing (topic frame, body frame), driven by a Twisted reactor.

A ZeroMQ descriptor tells only *changes*: after each wake-up, and after each call that may have swallowed one, the
socket itself has to be asked for its events.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import zmq

from pushmirror.bus.connection import ConnectionWatch
from pushmirror.bus.encryption import ClientCurve
from pushmirror.bus.endpoints import choose_families, explain_bad_endpoint
from pushmirror.bus.frames import FrameAssembler
from pushmirror.bus.interface import DelayedCall, Deliver, DescriptorReactor
from pushmirror.bus.sockets import Context, Socket, check_curve, open_subscribing

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 128 * 1024

FRAMES_PER_TURN = 100
TURN_SECONDS = 0.005
CHECK_SECONDS = 3.0
CHECK_MAX_SECONDS = 60.0
FAILURE_LOG_SECONDS = 60.0
GUARD_SECONDS = 0.2
MAX_UNREADABLE_BYTES = 512 * 1024
"""Nothing is longer than two frames of the largest size; ZeroMQ would keep what comes beyond that, without a bound."""

ENDLESS = "the other side sends a message without an end"


class ZeroMQReceiver:
    """A SUB socket that connects to `endpoint` and calls `deliver(topic, body)`; implements `Receiver`.

    One turn of the reactor reads a bounded number of frames for a bounded time, so that a flood delays nothing else.
    What `deliver` raises is logged. A peer that sends a frame above `max_message_bytes`, or a message of which no end
    is to be seen, is disconnected, and connected to again when the connection is next looked at: after `check_seconds`,
    later and later while there is none. With `curve` nothing is heard but over encrypted connections to that server.
    Raises UsageError from `start` when ZeroMQ does not take the endpoint, or cannot encrypt.
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
        curve: ClientCurve | None = None,
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
        self._curve = curve
        self._fault: str | None = None
        self._failures = 0
        self._failure_logged_seconds: float | None = None
        self._assembler = FrameAssembler()
        self._started = False
        self._socket: Socket | None = None
        self._watch: ConnectionWatch | None = None
        self._families: Iterator[bool] = cycle(choose_families(endpoint))
        self._reading: DelayedCall | None = None
        self._checking: DelayedCall | None = None
        self._guarding: DelayedCall | None = None
        self._has_read = False
        self._seen_bytes = 0
        self._endless_messages = 0

    @property
    def dropped_frames(self) -> int:
        return self._assembler.dropped_messages + self._endless_messages

    @property
    def fault(self) -> str | None:
        return (self._watch.fault() if self._watch is not None else None) or self._fault

    def start(self) -> None:
        if self._curve is not None:
            check_curve(zmq.has("curve"))
        if not self._started:
            self._started = True
            self._open()

    def reconnect(self) -> None:
        if self._started:
            self._shut()
            self._open()

    def close(self) -> None:
        """Deliver nothing more; this is final."""
        self._started = False
        self._shut()
        if self._owns_context:
            self._context.term()

    def _open(self) -> None:
        family = next(self._families)
        socket = open_subscribing(self._context, self._topics, self._max_message_bytes, family, self._curve)
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
        self._has_read, self._seen_bytes = False, 0
        self._guarding = self._reactor.callLater(GUARD_SECONDS, self._guard)

    def _shut(self) -> None:
        for call in (self._reading, self._checking, self._guarding):
            if call is not None and call.active():
                call.cancel()
        self._reading = self._checking = self._guarding = None
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
            self._note_fault(None)
            self._patience_seconds = self._check_seconds
            self._checking = self._reactor.callLater(self._check_seconds, self._check_connection)
        else:
            self._note_fault(self.fault)
            self._patience_seconds = min(2 * self._patience_seconds, CHECK_MAX_SECONDS)
            self.reconnect()

    def _note_fault(self, fault: str | None) -> None:
        """Log why there is no connection when that is another reason than before."""
        if fault != self._fault and fault is not None:
            _log.warning("%s: %s", self._endpoint, fault)
        self._fault = fault

    def _guard(self) -> None:
        """Hang up on a peer of which much comes in and nothing comes out: it sends a message without an end."""
        self._guarding = self._reactor.callLater(GUARD_SECONDS, self._guard)
        if self._watch is None or self._socket is None:
            return
        received_bytes = self._watch.received_bytes()
        has_more = int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN
        if has_more:
            self._read_soon()
        if self._has_read or has_more or received_bytes < self._seen_bytes:
            self._has_read, self._seen_bytes = False, received_bytes
        elif received_bytes - self._seen_bytes > MAX_UNREADABLE_BYTES:
            self._endless_messages += 1
            self._hang_up(ENDLESS)

    def _hang_up(self, fault: str) -> None:
        """Give the connection up; another one is tried later, and later each time."""
        self._note_fault(fault)
        self._shut()
        self._patience_seconds = min(2 * self._patience_seconds, CHECK_MAX_SECONDS)
        self._checking = self._reactor.callLater(self._patience_seconds, self.reconnect)

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
        self._has_read = True
        message = self._assembler.add(frame, bool(self._socket.getsockopt(zmq.RCVMORE)))
        if message is not None:
            self._hand_over(*message)
        return True

    def _hand_over(self, topic: bytes, body: bytes) -> None:
        try:
            self._deliver(topic, body)
        except Exception:  # the bus outlives whoever listens
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
