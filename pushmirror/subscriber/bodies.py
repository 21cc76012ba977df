"""Bodies of the questions to a service and of its answers: read line by line and within bounds, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from pushmirror.errors import PushmirrorError, ServiceError

SILENT_TIMEOUT_S = 60.0
"""An answer that goes on is waited for; one of which nothing more comes for so long is given up,"""
LEAST_BYTES = 64 * 1024
"""and so is one of which there comes neither a whole line nor so much of one: a byte a second is no help."""


class Lines(Protocol):
    """Hands each line of a body to `take`, to keep or to change; the last one also without its newline. `done` fires at
    the end.

    An exception of `take`, a line above `max_line_bytes`, a body above `max_bytes`, or nothing of note for
    `SILENT_TIMEOUT_S` ends the connection and `done`.
    """

    def __init__(self, reactor: Any, take: Callable[[bytearray], None], max_line_bytes: int, max_bytes: int) -> None:
        self._reactor = reactor
        self._silence: Any = None
        self._take = take
        self._max_line_bytes = max_line_bytes
        self._left_bytes = max_bytes
        self._heard_bytes = 0
        self._line = bytearray()
        self.done: Deferred[None] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        self._silence = self._reactor.callLater(SILENT_TIMEOUT_S, self._fall_silent)

    def dataReceived(self, data: bytes) -> None:
        self._watch(data)
        self._left_bytes -= len(data)
        start, end = 0, 0
        # One line after the other: a few kilobytes may unpack to millions of them, and the first bad one is the last.
        while end >= 0 and not self.done.called:
            end = data.find(b"\n", start)
            self._line += data[start:] if end < 0 else data[start:end]
            if self._left_bytes < 0 or len(self._line) > self._max_line_bytes:
                self._fail(ServiceError("the answer of the service is too long"))
            elif end >= 0:
                self._hand_over()
                start = end + 1

    def _watch(self, data: bytes) -> None:
        self._heard_bytes += len(data)
        if self._heard_bytes < LEAST_BYTES and b"\n" not in data:
            return
        self._heard_bytes = 0
        if self._silence is not None and self._silence.active():
            self._silence.reset(SILENT_TIMEOUT_S)

    def _hand_over(self) -> None:
        line, self._line = self._line, bytearray()
        try:
            self._take(line)
        except PushmirrorError as error:
            self._fail(error)

    def connectionLost(self, reason: Any = None) -> None:
        self._stop_watching()
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            if self._line:
                self._hand_over()
            if not self.done.called:
                self.done.callback(None)
        else:
            self.done.errback(ServiceError("the answer of the service broke off"))

    def _fail(self, error: Exception) -> None:
        self.done.errback(error)
        self._abort()

    def _fall_silent(self) -> None:
        self._fail(ServiceError(f"hardly anything of the answer came for {SILENT_TIMEOUT_S:g} s"))

    def _stop_watching(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def _abort(self) -> None:
        self._stop_watching()
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


class Unwanted(Protocol):
    """Ends the connection of an answer whose body is of no interest; one that is not read would stay open."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


@implementer(IBodyProducer)
class Body:
    """The body of a request, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written."""

    def resumeProducing(self) -> None:
        """All is written."""

    def stopProducing(self) -> None:
        """All is written."""
