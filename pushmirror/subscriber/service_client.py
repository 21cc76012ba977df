"""Asks a publisher's HTTP service: tree states, missed updates with their lists; hands reports in.

Everything that comes back is bounded in bytes and time, and believed only when it verifies by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from pushmirror.core.lists import MAX_LIST_BYTES, parse_changes
from pushmirror.core.messages import STATE, UPDATED, parse_state, parse_update, topic
from pushmirror.core.model import ChangeList, TreeState, Update
from pushmirror.core.wire import (
    MAX_MESSAGE_BYTES,
    Fields,
    canonical,
    digest,
    open_envelope,
    open_envelope_object,
    parse_object,
)
from pushmirror.errors import MalformedMessage, PushmirrorError, ServiceError
from pushmirror.keys import PublicKey, verify_envelope

PAGE_UPDATES = 200
MAX_LINE_BYTES = MAX_LIST_BYTES + MAX_MESSAGE_BYTES
MAX_ANSWER_BYTES = 16 * MAX_LIST_BYTES
_CONNECT_TIMEOUT_S = 10.0
_HISTORY_TIMEOUT_S = 600.0
_STATE_TIMEOUT_S = 20.0
_GONE = 410
_OK = 200
_NO_CONTENT = 204


@dataclass(frozen=True)
class FetchedUpdate:
    """An update out of the history, verified; `changes` None: the whole tree."""

    update: Update
    digest: str
    changes: ChangeList | None


class HistoryGone(ServiceError):
    """The service does not have the updates that were asked for; its signed state tells what it has."""


class ServiceClient:
    """The service at `url` of the upstream `publisher`, which signs with one of `keys`."""

    def __init__(
        self, reactor: Any, url: str, publisher: str, keys: Sequence[PublicKey], prefix: str, environment: str
    ) -> None:
        self._reactor = reactor
        self._url = url.rstrip("/")
        self._publisher = publisher
        self._keys = tuple(keys)
        self._prefix = prefix
        self._environment = environment
        agent: Any = Agent(reactor, connectTimeout=_CONNECT_TIMEOUT_S)  # type: ignore[no-untyped-call]  # Twisted's
        self._client: Any = HTTPClient(agent)

    async def state(self, tree: str) -> TreeState:
        """Return the publisher's own, fresh word on where `tree` is. Raises ServiceError or MalformedMessage."""
        nonce = secrets.token_urlsafe(18)
        lines: list[bytes] = []
        reader = _Lines(lines.append, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        await self._get(f"/v1/trees/{quote(tree)}", {"nonce": nonce}, reader, _STATE_TIMEOUT_S)
        envelope = open_envelope(b"".join(lines))
        verify_envelope(envelope, self._keys)
        if envelope.topic != topic(self._prefix, self._environment, STATE):
            raise MalformedMessage("the answer is not a tree state")
        state = parse_state(envelope.msg)
        if (state.publisher, state.tree, state.nonce) != (self._publisher, tree, nonce):
            raise MalformedMessage("the tree state answers another question")
        return state

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[FetchedUpdate], None]) -> int:
        """Hand some of the updates of `tree` after serial `after` to `take`, the oldest first, each once it is here.

        Returns how many there were: none when there are no more. What was taken before an error is good. Raises
        HistoryGone when the service no longer has them, ServiceError or MalformedMessage for a bad answer, and what
        `take` raises.
        """
        count = 0

        def take_line(line: bytes) -> None:
            nonlocal count
            if count == PAGE_UPDATES:
                raise ServiceError(f"{self._url} hands out more than the {PAGE_UPDATES} updates that were asked for")
            take(self._read_update(tree, line))
            count += 1

        query = {"epoch": epoch, "after": str(after), "limit": str(PAGE_UPDATES)}
        reader = _Lines(take_line, MAX_LINE_BYTES, MAX_ANSWER_BYTES)
        await self._get(f"/v1/trees/{quote(tree)}/updates", query, reader, _HISTORY_TIMEOUT_S)
        return count

    def _read_update(self, tree: str, line: bytes) -> FetchedUpdate:
        fields = Fields(parse_object(line, max_bytes=MAX_LINE_BYTES))
        envelope = open_envelope_object(fields.object("update"))
        verify_envelope(envelope, self._keys)
        if envelope.topic != topic(self._prefix, self._environment, UPDATED):
            raise MalformedMessage("the history holds something that is not an update")
        update = parse_update(envelope.msg)
        if (update.publisher, update.tree) != (self._publisher, tree):
            raise MalformedMessage("the history is of another tree")
        changes = update.changes
        if changes is None and not update.whole:
            listed = fields.object("list")
            changes = parse_changes(listed)
            if digest(canonical(listed)) != update.list_digest:
                raise MalformedMessage("the list is not the one of list_digest")
        return FetchedUpdate(update, digest(envelope.signed), changes)

    async def report(self, body: bytes) -> None:
        """Hand in a signed report. Raises ServiceError when it is not taken."""
        request = self._client.post(
            f"{self._url}/v1/reports",
            data=_Body(body),
            headers={"Content-Type": ["application/json"]},
            allow_redirects=False,
            unbuffered=True,
        )
        response = await _in_time(self._reactor, request, _STATE_TIMEOUT_S)
        response.deliverBody(_Unwanted())
        if response.code not in (_OK, _NO_CONTENT):
            raise ServiceError(f"{self._url} did not take a report: it answered {response.code}")

    async def _get(self, path: str, query: dict[str, str], reader: _Lines, timeout_s: float) -> None:
        url = f"{self._url}{path}?{urlencode(query)}"
        await _in_time(self._reactor, Deferred.fromCoroutine(self._read(url, reader)), timeout_s)

    async def _read(self, url: str, reader: _Lines) -> None:
        response = await self._client.get(url, allow_redirects=False, unbuffered=True)
        if response.code != _OK:
            response.deliverBody(_Unwanted())
        if response.code == _GONE:
            raise HistoryGone(f"{self._url} does not keep the updates that were asked for")
        if response.code != _OK:
            raise ServiceError(f"{self._url} answered {response.code} instead of {_OK}")
        response.deliverBody(reader)
        await reader.done


async def _in_time(reactor: Any, request: Deferred[Any], timeout_s: float) -> Any:
    """Wait for `request`, at most `timeout_s`. Raises ServiceError for whatever the network does."""
    request.addTimeout(timeout_s, reactor)
    try:
        return await request
    except PushmirrorError:
        raise
    except Exception as error:  # whatever a stranger's server brings about ends here, as one error to be handled
        raise ServiceError(f"the service did not answer: {str(error) or type(error).__name__}") from error


class _Lines(Protocol):
    """Hands each line of a body to `take`, the last one also without its newline; `done` fires at the end.

    An exception of `take`, a line above `max_line_bytes` or a body above `max_bytes` ends the connection and `done`.
    """

    def __init__(self, take: Callable[[bytes], None], max_line_bytes: int, max_bytes: int) -> None:
        self._take = take
        self._max_line_bytes = max_line_bytes
        self._left_bytes = max_bytes
        self._line = bytearray()
        self.done: Deferred[None] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
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

    def _hand_over(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        try:
            self._take(line)
        except PushmirrorError as error:
            self._fail(error)

    def connectionLost(self, reason: Any = None) -> None:
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

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


class _Unwanted(Protocol):
    """Ends the connection of an answer whose body is of no interest; one that is not read would stay open."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


@implementer(IBodyProducer)
class _Body:
    """The body of a request, written at once; what treq makes of bytes needs the global reactor."""

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
