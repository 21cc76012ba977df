"""One connection on the control socket: reads one bounded line, has it answered, writes the answer, closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol, connectionDone

from pushmirror.control.answers import refuse
from pushmirror.control.limits import IDLE_TIMEOUT_SECONDS, MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

PIECE_BYTES = 64 * 1024
Answer = Callable[[bytes], "Deferred[bytes]"]


class ControlConnection(Protocol):
    """`answer` turns a request line into a Deferred of an answer line, which never fails.

    The time limit runs while the asker has to do something, that is to send or to read; not while it waits.
    An asker that goes away changes nothing for the work it has asked for.
    """

    def __init__(self, reactor: Any, answer: Answer, forget: Callable[[ControlConnection], None]) -> None:
        self._reactor = reactor
        self._answer = answer
        self._forget = forget
        self._received = bytearray()
        self._outgoing = memoryview(b"")
        self._limit: Any = None
        self._answering = False
        self._connected = False

    def connectionMade(self) -> None:
        self._connected = True
        self._allow_time()

    def dataReceived(self, data: bytes) -> None:
        if self._answering:
            return
        self._received += data
        line, newline, _ = self._received.partition(b"\n")
        if len(line) >= MAX_REQUEST_BYTES:
            self.reply(refuse(f"a request has at most {MAX_REQUEST_BYTES} bytes", code=2))
        elif newline:
            self._answering = True
            self._received = bytearray()
            self._stop_time()
            self._answer(bytes(line)).addCallback(self.reply)

    def reply(self, line: bytes) -> None:
        """Write `line` piece by piece, as fast as the asker reads, and close."""
        self._answering = True
        if self._connected:
            self._outgoing = memoryview(line)
            self._allow_time()
            self._stream().registerProducer(self, False)

    # What Twisted calls a pull producer.

    def resumeProducing(self) -> None:
        piece, self._outgoing = self._outgoing[:PIECE_BYTES], self._outgoing[PIECE_BYTES:]
        self._allow_time()
        if piece:
            self._stream().write(bytes(piece))
        else:
            self._stream().unregisterProducer()
            self._stream().loseConnection()

    def stopProducing(self) -> None:
        self._outgoing = memoryview(b"")

    def abort(self) -> None:
        """Close now, whatever is still to be read or written."""
        if self._connected:
            self._stream().abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        self._stop_time()
        self._forget(self)

    def _stream(self) -> Any:
        """The transport, which Twisted declares by an interface that lacks most of what a stream can do."""
        return self.transport

    def _allow_time(self) -> None:
        self._stop_time()
        self._limit = self._reactor.callLater(IDLE_TIMEOUT_SECONDS, self.abort)

    def _stop_time(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None
