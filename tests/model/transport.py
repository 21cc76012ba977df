"""HTTP in the hands of the model: requests on their way, which may be answered late, in part, or never.

The network is left out and nothing else: the real client asks through an agent of Twisted's interface, and the
publisher's own answers answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from pushmirror.http.answers import Answer, NoContent
from pushmirror.http.questions import Question, Refusal, parse_request
from pushmirror.keys import PublicKey
from pushmirror.subscriber.relay.client import RelayAddress, RelayClient
from pushmirror.subscriber.service_client import ServiceClient
from tests.model.places import TIER1, service_url
from tests.model.tier1 import KEY, Killed
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER

PAGE_UPDATES = 3


@dataclass
class Response:
    """An answer as an agent hands it over; it may break off after its last line."""

    code: int
    lines: list[bytes]
    complete: bool = True
    headers: Headers = field(default_factory=Headers)

    def deliverBody(self, protocol: Any) -> None:
        transport = StringTransport()
        protocol.makeConnection(transport)
        for line in self.lines:
            if not transport.disconnecting:
                protocol.dataReceived(line)
        end: Any = Failure(ResponseDone() if self.complete else ConnectionLost())  # type: ignore[no-untyped-call]  # as below
        protocol.connectionLost(end)


@dataclass
class Exchange:
    """A request that was made, and the answer once the server has given one."""

    method: bytes
    url: bytes
    body: bytes
    ended: Deferred[Response] = field(default_factory=Deferred)
    answer: Response | None = None

    @property
    def host(self) -> str:
        """Who is asked."""
        return urlsplit(self.url).netloc.decode()

    def serve(self, give: Callable[[Question, bytes], Answer | NoContent | Refusal]) -> Response:
        """Let the server give its answer, from what it knows now."""
        parts = urlsplit(self.url)
        question = parse_request(self.method, parts.path, parse_qs(parts.query))
        answer = question if isinstance(question, Refusal) else give(question, self.body)
        if isinstance(answer, Answer):
            self.answer = Response(200, b"".join(answer.chunks).splitlines(keepends=True))
        else:
            self.answer = Response(answer.status if isinstance(answer, Refusal) else 204, [])
        return self.answer

    def hand_over(self) -> None:
        """Let the answer arrive."""
        assert self.answer is not None
        self._end(self.answer)

    def break_off(self, lines: int) -> None:
        """Let no more of the answer arrive than so many lines, if there is one yet."""
        if self.answer is None:
            self._end(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]  # Twisted has none there
        else:
            self._end(Response(self.answer.code, self.answer.lines[:lines], complete=False))

    def kill(self) -> None:
        """Let whoever asked be killed."""
        self._end(Failure(Killed()))  # type: ignore[no-untyped-call]  # Twisted has none there

    def _end(self, result: Response | Failure) -> None:
        if self.ended.called:  # whoever asked has given up
            return
        if isinstance(result, Failure):
            self.ended.errback(result)
        else:
            self.ended.callback(result)


class ModelAgent:
    """What stands for the network: every request is handed to `send`."""

    def __init__(self, send: Callable[[Exchange], None]) -> None:
        self._send = send

    def request(self, method: bytes, url: bytes, headers: Headers, producer: Any = None) -> Deferred[Response]:
        written = StringTransport()
        if producer is not None:
            producer.startProducing(written)
        exchange = Exchange(method, url, written.value())
        self._send(exchange)
        return exchange.ended


class ModelClient(ServiceClient):
    """The real client of the publisher's service over that network."""

    def __init__(self, reactor: Any, send: Callable[[Exchange], None], tell_clock: Callable[[int], None]) -> None:
        super().__init__(
            reactor, service_url(TIER1), PUBLISHER, lambda tree: [KEY.public], PREFIX, ENVIRONMENT,
            tell_clock=tell_clock, page_updates=PAGE_UPDATES,
        )  # fmt: skip
        self._agent = ModelAgent(send)


class ModelRelayClient(RelayClient):
    """The real client of a relay's service over that network."""

    def __init__(self, reactor: Any, relay: str, key: PublicKey, send: Callable[[Exchange], None]) -> None:
        address = RelayAddress(relay, service_url(relay), (key,))
        super().__init__(reactor, address, PUBLISHER, lambda tree: [KEY.public], PREFIX, ENVIRONMENT)
        self._agent = ModelAgent(send)
        self._page_updates = PAGE_UPDATES
