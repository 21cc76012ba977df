"""One connection of a client: a whole request has to arrive in time, and an answer has to be taken."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from pushmirror.core.limits import Limits

MAX_FRAME_BYTES = 8 * 1024
"""What the chunks of a body may have around them: a million chunks of a byte are work, and nothing that is needed."""


class ServiceChannel(HTTPChannel):
    """Aborts when a request is not whole in time. Twisted's own limit begins anew with every byte that trickles in."""

    reactor: Any
    limits: Limits
    timeOut = None  # Twisted's own
    whole_requests = 0
    """How many requests have arrived."""
    _body_bytes: int | None = None
    """How many bytes have come since the headers, those around chunks included; None while no body is awaited."""
    _deadline: Any = None
    _idle = False

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._wait(self.limits.request_s)

    def dataReceived(self, data: bytes) -> None:
        if self._idle:
            self._wait(self.limits.request_s)
        if self._body_bytes is not None:
            self._body_bytes += len(data)
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._body_bytes is not None and self._body_bytes - self.requests[-1].body_bytes > MAX_FRAME_BYTES:
            self._abort()

    def allHeadersReceived(self) -> None:
        self._body_bytes = 0
        super().allHeadersReceived()  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def allContentReceived(self) -> None:
        """The request is whole; from here on the answer has limits of its own."""
        self.whole_requests += 1
        self._body_bytes = None
        self._stop_waiting()
        super().allContentReceived()  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def requestDone(self, request: Request) -> None:
        """The answer is written. Whoever does not take what is left of it, or asks nothing more, is not waited for."""
        self._wait(self.limits.idle_s)
        self._idle = True
        super().requestDone(request)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.reactor.callLater(seconds, self._abort)

    def _stop_waiting(self) -> None:
        self._idle = False
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
