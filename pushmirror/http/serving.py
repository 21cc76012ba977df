"""The HTTP service at its edge: requests with bounded bodies in, headers and streamed bodies out."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.http import HTTPFactory, Request, parse_qs

from pushmirror.core.wire import MAX_INLINE_BYTES
from pushmirror.errors import StateError
from pushmirror.http.answers import NEVER, Answer, Answerer, NoContent
from pushmirror.http.channel import ServiceChannel
from pushmirror.http.door import Door
from pushmirror.http.headers import read_header
from pushmirror.http.questions import Arguments, HeaderQuestion, Refusal, parse_request
from pushmirror.http.streaming import Stream
from pushmirror.http.visitors import Visit, Visitors

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 1024
"""What is sent to the service is small: a report."""
MAX_HEADER_BYTES = MAX_INLINE_BYTES
"""A signed header is sent with the list that travels in it."""
MAX_DISCARDED_BYTES = 1024 * 1024
"""So much of a body that is too large is read and thrown away, so that its sender gets to see the answer."""
MAX_QUERY_BYTES = 2048
"""What stands behind the question mark: the longest of ours, with an epoch and 32 keys, has less than half of that."""

_REFUSED_AT_ONCE = b"HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ServiceRequest(Request):
    """One request. A body that is too large is never kept."""

    def __init__(
        self, channel: Any, reactor: Any, answers: Answerer, visitors: Visitors, door: Door | None = None
    ) -> None:
        super().__init__(channel)
        self._reactor = reactor
        self._answers = answers
        self._visitors = visitors
        self._door = door
        self._visit: Visit | None = None
        self._answering: Any = None
        self._query = b""
        self._body = BytesIO()
        self.body_bytes = 0
        self._declared_bytes = 0

    @property
    def _too_large(self) -> bool:
        # What is asked for is not known before all of the body is here.
        return max(self.body_bytes, self._declared_bytes) > MAX_HEADER_BYTES

    def gotLength(self, length: int | None) -> None:
        """In place of Twisted's, which would put a large body into a file."""
        self.content = self._body
        self._declared_bytes = length or 0
        if self._declared_bytes > MAX_DISCARDED_BYTES:
            # Not worth waiting for; whoever asks before sending (Expect: 100-continue) is told not to.
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.write(_REFUSED_AT_ONCE)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
            self.loseConnection()  # type: ignore[no-untyped-call]  # nor there

    def handleContentChunk(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if not self._too_large:
            self._body.write(data)
        elif self.body_bytes > MAX_DISCARDED_BYTES and self.transport is not None:
            self.transport.abortConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """In place of Twisted's, which takes a form in the body apart before anybody is asked: for one of 64 KiB that
        can take seconds, in which nothing else happens. Nothing that we are asked is a form."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self._query = path.partition(b"?")
        self.process()

    def process(self) -> None:
        """Called when the request is complete. It is answered in the next turn of the reactor, so that those
        who send a thousand requests in one go have one of them answered while everybody else has one."""
        self._visit = self._visitors.visit(self)
        if self._visit.wait_s:
            self._turn_away(self._visit.wait_s)
        else:
            self._answering = self._reactor.callLater(0, self._answer)

    def connectionLost(self, reason: Any) -> None:
        if self._answering is not None and self._answering.active():
            self._answering.cancel()
        self._end_visit()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def finish(self) -> None:
        self._end_visit()
        super().finish()  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def write(self, data: bytes) -> None:
        if self._visit is not None:
            self._visit.sent(len(data))
        super().write(data)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def _end_visit(self) -> None:
        if self._visit is not None:
            self._visit.end()

    def _turn_away(self, wait_s: int) -> None:
        self._set("Connection", "close")
        self.channel.persistent = False
        text = f"too much was asked from this address; try again in {wait_s} seconds"
        self._refuse(Refusal(429, text, wait_s=wait_s))

    def _answer(self) -> None:
        try:
            self._respond(self._decide())
        except StateError as error:
            if (suppressed := self._visitors.may_tell("state")) is not None:
                _log.error("a request could not be answered: %s (%d more before)", error, suppressed)
            self._refuse(Refusal(503, "the publisher cannot answer at the moment; try again later"))
        except Exception:  # the asker is told, and the others are served
            if (suppressed := self._visitors.may_tell("fault")) is not None:
                _log.exception("a request could not be answered (%d more before)", suppressed)
            self._refuse(Refusal(500, "the publisher failed to answer; its log says why"))

    def _decide(self) -> Answer | NoContent | Refusal:
        limit_bytes = MAX_HEADER_BYTES if self.path == b"/v1/headers" else MAX_BODY_BYTES
        if self._too_large or self.body_bytes > limit_bytes:
            return Refusal(413, f"a request has at most {limit_bytes} bytes")
        refusal = None if self._door is None else self._ask_in(self._door)
        if refusal is not None:
            return refusal
        if len(self._query) > MAX_QUERY_BYTES:
            return Refusal(414, f"what stands behind the question mark has at most {MAX_QUERY_BYTES} bytes")
        arguments: Arguments = parse_qs(self._query, True)  # type: ignore[no-untyped-call]  # Twisted's
        question = parse_request(self.method, self.path, arguments)
        if isinstance(question, Refusal):
            return question
        wait_s = self._visitors.show(self._visit) if self._visit and isinstance(question, HeaderQuestion) else 0
        if wait_s:
            text = f"too many headers are shown from this address; try again in {wait_s} seconds"
            return Refusal(429, text, wait_s=wait_s)
        return self._answers.answer(question, self._body.getvalue())

    def _ask_in(self, door: Door) -> Refusal | None:
        shown = read_header(self.requestHeaders, "Authorization")
        return door.admit(self.method, self.uri, shown, self._body.getvalue())

    def _respond(self, answer: Answer | NoContent | Refusal) -> None:
        if isinstance(answer, Refusal):
            self._refuse(answer)
        elif isinstance(answer, NoContent):
            self.setResponseCode(204)
            self._end(b"")
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._set("Content-Type", answer.content_type)
        # No cache on the way knows who may have it.
        self._set("Cache-Control", answer.cache_control if self._door is None else NEVER)
        if answer.length_bytes is not None:
            self._set("Content-Length", str(answer.length_bytes))
        if self.method == b"HEAD":
            self._end(b"")
        else:
            Stream(self._reactor, self, answer.chunks, self._visitors).start()

    def _refuse(self, refusal: Refusal) -> None:
        body = f"{refusal.text}\n".encode()
        self.setResponseCode(refusal.status)
        self._set("Content-Type", "text/plain; charset=utf-8")
        self._set("Cache-Control", "no-store")
        self._set("Content-Length", str(len(body)))
        if refusal.wait_s:
            self._set("Retry-After", str(refusal.wait_s))
        if refusal.challenge is not None:
            self._set("WWW-Authenticate", refusal.challenge)
        if refusal.status == 405:
            self._set("Allow", "POST" if self.path in (b"/v1/reports", b"/v1/headers") else "GET, HEAD")
        self._end(body)

    def _end(self, body: bytes) -> None:
        self.write(body)
        self.finish()

    def _set(self, name: str, value: str) -> None:
        self.responseHeaders.setRawHeaders(name, [value])


class ServiceFactory(HTTPFactory):
    """Makes a `ServiceRequest` of every request. What clients may have is for the `visitors` to say, and whether they
    get any answer for the `door`, if there is one."""

    noisy = False
    protocol = ServiceChannel  # type: ignore[assignment]  # Twisted's own would speak HTTP/2 as well

    def __init__(
        self, reactor: Any, answers: Answerer, visitors: Visitors | None = None, door: Door | None = None
    ) -> None:
        super().__init__(timeout=None, reactor=reactor)  # type: ignore[arg-type]  # None is taken: see its `timeOut`
        self.visitors = visitors or Visitors(reactor)
        self._answers = answers
        self._door = door

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel: Any = super().buildProtocol(addr)
        channel.reactor, channel.limits = self.reactor, self.visitors.limits
        channel.requestFactory = lambda channel, *_: ServiceRequest(
            channel, self.reactor, self._answers, self.visitors, self._door
        )
        return channel

    def log(self, request: Request) -> None:
        """No access log: what strangers ask for is of no use to an operator, and nothing they send gets a line."""
