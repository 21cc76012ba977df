"""How a service is asked: over TCP or TLS, one connection for each request, and no endless head of an answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from pushmirror.errors import ServiceError
from pushmirror.http.trust import Introduction, Trust

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 64 * 1024
"""Status line and headers; Twisted bounds each line and not their number."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d")


def make_agent(reactor: Any, trust: Trust, clock: Callable[[], datetime]) -> Any:
    """Return Twisted's agent: it follows no redirection, unpacks nothing, and verifies by `trust` over https.

    `clock` tells the time, by which an expired certificate is named as such.
    """
    endpoints = _Endpoints(reactor, trust, clock)
    return Agent.usingEndpointFactory(reactor, endpoints)  # type: ignore[no-untyped-call]  # Twisted's


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, trust: Trust, clock: Callable[[], datetime]) -> None:
        self._reactor = reactor
        self._trust = trust
        self._clock = clock

    def endpointForURI(self, uri: URI) -> _Endpoint:
        host = uri.host.decode("ascii").strip("[]")
        endpoint = HostnameEndpoint(self._reactor, host, uri.port, CONNECT_TIMEOUT_S)
        introduction = self._trust.introduce(host) if uri.scheme == b"https" else None
        return _Endpoint(self._reactor, endpoint, introduction, self._clock)


class _Endpoint:
    def __init__(
        self, reactor: Any, endpoint: Any, introduction: Introduction | None, clock: Callable[[], datetime]
    ) -> None:
        self.reactor = reactor
        self._endpoint = endpoint
        self.introduction = introduction
        self.clock = clock

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, and return the protocol of `factory` that speaks over the connection."""
        bounded: Any = _Answers(self, factory)
        if self.introduction is None:
            connected: Deferred[Any] = self._endpoint.connect(bounded)
            return connected.addCallback(lambda answer: answer.wrappedProtocol)
        creator: Any = self.introduction
        secured: Any = TLSMemoryBIOFactory(creator, True, bounded, self.reactor)
        connected = self._endpoint.connect(secured)
        return connected.addCallback(lambda tls: tls.wrappedProtocol.wrappedProtocol)


class _Answers(WrappingFactory["_AnswerOnTheWay"]):
    noisy = False

    def __init__(self, endpoint: _Endpoint, factory: Any) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._endpoint = endpoint

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return _AnswerOnTheWay(self, self.wrappedFactory.buildProtocol(addr), self._endpoint)


class _AnswerOnTheWay(ProtocolWrapper):
    """Cuts off an answer whose head is too long, and says in plain words why TLS did not come about."""

    def __init__(self, factory: Any, wrapped: Any, endpoint: _Endpoint) -> None:
        super().__init__(factory, wrapped)
        self._endpoint = endpoint
        self._head: bytearray | None = bytearray()
        self._head_bytes = 0
        self._reason: str | None = None
        self._closing: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._head is not None:
            self._follow_head(self._head, data)
        if self._reason is not None:
            self.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def _follow_head(self, head: bytearray, data: bytes) -> None:
        searched_bytes = max(0, len(head) - 2)
        head += data
        self._head_bytes += len(data)
        while end := _END_OF_HEAD.search(head, searched_bytes):
            if not _INTERIM.match(head):  # after an interim answer (100 Continue) another head follows
                self._head = None
                return
            del head[: end.end()]
            searched_bytes = 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._reason = "the head of the answer is too long"

    def loseConnection(self) -> None:
        """Close; over TLS that takes two, and a server that does not take part is cut off."""
        super().loseConnection()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._closing is None:
            self._closing = self._endpoint.reactor.callLater(CLOSE_TIMEOUT_S, self.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        introduction = self._endpoint.introduction
        if self._reason is None and introduction is not None:
            self._reason = introduction.explain(reason.value, self._endpoint.clock())
        explained = reason
        if self._reason is not None:
            explained = Failure(ServiceError(self._reason))  # type: ignore[no-untyped-call]  # Twisted's
        super().connectionLost(explained)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
