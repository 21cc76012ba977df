"""Asks a publisher's HTTP service: tree states, missed updates with their lists; hands reports in.

Everything that comes back is bounded in bytes and time, and believed only when it verifies by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from pushmirror.core.history_line import list_body, split_line
from pushmirror.core.lists import MAX_LIST_BYTES, open_changes
from pushmirror.core.messages import STATE, UPDATED, parse_state, parse_update, topic
from pushmirror.core.model import Head, TreeState
from pushmirror.core.rotation import MAX_ROTATIONS, ROTATED, fingerprint
from pushmirror.core.wire import MAX_MESSAGE_BYTES, Envelope, digest, open_envelope, open_envelope_object
from pushmirror.errors import BadSignature, MalformedMessage, PushmirrorError, ServiceError
from pushmirror.http.agent import make_agent
from pushmirror.http.credentials import Credentials
from pushmirror.http.headers import read_header
from pushmirror.http.trust import Trust
from pushmirror.keys import PublicKey, verify_envelope
from pushmirror.subscriber.bodies import SILENT_TIMEOUT_S, Body, Lines, Unwanted
from pushmirror.subscriber.key_ring import KeysOf
from pushmirror.subscriber.records import HeardUpdate

PAGE_UPDATES = 10_000
MAX_LINE_BYTES = MAX_LIST_BYTES + MAX_MESSAGE_BYTES
MAX_ANSWER_BYTES = 16 * MAX_LIST_BYTES
MAX_QUESTIONS = 4
"""So many are asked at once; a subscriber of hundreds of trees does not knock with all of them when it starts."""
MAX_WAIT_S = 60
"""A service that is asked too much is asked again when it says, but not later than this."""
MAX_WAITS = 5
HISTORY_TIMEOUT_S = 1800.0
STATE_TIMEOUT_S = 20.0
_GONE = 410
_OK = 200
_NO_CONTENT = 204
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_MANY_REQUESTS = 429
_TRIES_TO_BE_KNOWN = 2


class HistoryGone(ServiceError):
    """The service does not have the updates that were asked for; its signed state tells what it has."""


class _TooMuch(ServiceError):
    """The service wants to be asked again after `wait_s`."""

    def __init__(self, text: str, wait_s: int) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class ServiceClient:
    """The service at `url` of the upstream `publisher`, which signs what is about a tree with one of `keys_of` it; over
    https as `trust` says. A private one is shown the `credentials`; `fault` says when they did not do."""

    def __init__(
        self,
        reactor: Any,
        url: str,
        publisher: str,
        keys_of: KeysOf,
        prefix: str,
        environment: str,
        trust: Trust | None = None,
        tell_clock: Callable[[int], None] = lambda at_ms: None,
        *,
        page_updates: int = PAGE_UPDATES,
        credentials: Credentials | None = None,
    ) -> None:
        self._reactor = reactor
        self._url = url.rstrip("/")
        self._publisher = publisher
        self._keys_of = keys_of
        self._prefix = prefix
        self._environment = environment
        self._page_updates = page_updates
        self._credentials = credentials
        self.fault: str | None = None
        self.tell_clock = tell_clock
        self.doubt_keys: Callable[[], None] = lambda: None
        """Called when an answer is signed with no key that counts: it may have been exchanged."""
        self._agent = make_agent(reactor, trust or Trust(), lambda: datetime.now(timezone.utc))
        self._places = DeferredSemaphore(MAX_QUESTIONS)

    async def state(self, tree: str) -> TreeState:
        """Return the publisher's own, fresh word on where `tree` is. Raises ServiceError or MalformedMessage."""
        envelope, nonce = await self._ask_state(tree, STATE, self._keys_of(tree))
        state = parse_state(envelope.msg)
        if (state.publisher, state.tree, state.nonce) != (self._publisher, tree, nonce):
            raise MalformedMessage("the tree state answers another question")
        self.tell_clock(envelope.timestamp * 1000)
        return replace(state, testimony=envelope.travelling)

    async def _ask_state(self, tree: str, kind: str, keys: Sequence[PublicKey]) -> tuple[Envelope, str]:
        """Return the verified answer about `tree`, which is of `kind`, and the nonce that it has to tell."""
        nonce = secrets.token_urlsafe(18)
        lines: list[bytearray] = []
        await self._get(
            f"/v1/trees/{quote(tree)}",
            {"nonce": nonce, "keys": _name_keys(self._keys_of(tree))},
            lambda: Lines(self._reactor, lines.append, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES),
            STATE_TIMEOUT_S,
        )
        envelope = open_envelope(b"".join(lines))
        self._verify(envelope, keys)
        if envelope.topic != topic(self._prefix, self._environment, kind):
            raise MalformedMessage("the answer is not a tree state")
        return envelope, nonce

    def _verify(self, envelope: Envelope, keys: Sequence[PublicKey]) -> None:
        try:
            verify_envelope(envelope, keys)
        except BadSignature:
            self.doubt_keys()
            raise

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[HeardUpdate], None]) -> int:
        """Hand some of the updates of `tree` after serial `after` to `take`, the oldest first, each once it is here.

        Returns how many there were: none when there are no more. What was taken before an error is good. Raises
        HistoryGone when the service no longer has them, ServiceError or MalformedMessage for a bad answer, and what
        `take` raises.
        """
        count = 0

        def take_line(line: bytearray) -> None:
            nonlocal count
            if count == self._page_updates:
                raise ServiceError(f"{self._url} hands out more than the {count} updates that were asked for")
            take(self._read_update(tree, line))
            count += 1

        query = {"epoch": epoch, "after": str(after), "limit": str(self._page_updates)}
        query["keys"] = _name_keys(self._keys_of(tree))
        await self._get(
            f"/v1/trees/{quote(tree)}/updates",
            query,
            lambda: Lines(self._reactor, take_line, MAX_LINE_BYTES, MAX_ANSWER_BYTES),
            HISTORY_TIMEOUT_S,
        )
        return count

    def _read_update(self, tree: str, line: bytearray) -> HeardUpdate:
        found = split_line(line)
        envelope = open_envelope_object(found.update)
        self._verify(envelope, self._keys_of(tree))
        if envelope.topic != topic(self._prefix, self._environment, UPDATED):
            raise MalformedMessage("the history holds something that is not an update")
        update = parse_update(envelope.msg)
        if (update.publisher, update.tree) != (self._publisher, tree):
            raise MalformedMessage("the history is of another tree")
        changes, body = update.changes, None
        if changes is None and not update.whole:
            body = list_body(found.listed, update.list_digest)
            changes = open_changes(body)
        return HeardUpdate(update, digest(envelope.signed), changes, envelope.travelling, body)

    async def rotations(self, take: Callable[[Envelope], None]) -> None:
        """Hand each message by which the publisher has exchanged its key to `take`, the oldest first.

        Nothing is verified here. Raises ServiceError or MalformedMessage, and what `take` raises.
        """
        count = 0

        def take_line(line: bytearray) -> None:
            nonlocal count
            count += 1
            envelope = open_envelope(bytes(line))
            if count > MAX_ROTATIONS or envelope.topic != topic(self._prefix, self._environment, ROTATED):
                raise MalformedMessage("something else than rotations of its key is handed out")
            take(envelope)

        await self._get(
            f"/v1/keys/{quote(self._publisher)}",
            {},
            lambda: Lines(self._reactor, take_line, MAX_MESSAGE_BYTES, MAX_ROTATIONS * MAX_MESSAGE_BYTES),
            STATE_TIMEOUT_S,
        )

    async def report(self, body: bytes) -> None:
        """Hand in a signed report. Raises ServiceError when it is not taken."""
        await self._post("/v1/reports", body, "a report")

    async def show_header(self, body: bytes) -> None:
        """Show the publisher what it signed once: an update, a state or a heartbeat, to be held against its journal.

        Raises ServiceError when it does not look at it.
        """
        await self._post("/v1/headers", body, "a header")

    @property
    def has_origin(self) -> bool:
        """Whether the publisher itself can be asked, when it answers: here it always is."""
        return True

    def expects(self, tree: str, wanted: Head) -> bool:
        """Tell whether updates that are not to be had now will be by and by: a publisher has what it has told."""
        return False

    def has_more(self, tree: str, head: Head) -> bool:
        """Tell whether there is more than the `head` of a state that was just fetched: a publisher tells its newest."""
        return False

    async def _post(self, path: str, body: bytes, what: str) -> None:
        async def hand_in() -> None:
            headers = {"Content-Type": ["application/json"]}
            response = await self._request(b"POST", path.encode(), headers, body, STATE_TIMEOUT_S)
            response.deliverBody(Unwanted())
            wait_s = _wait_s(response.headers)
            if response.code == _TOO_MANY_REQUESTS and wait_s is not None:
                raise _TooMuch(f"{self._url} is asked too much", wait_s)
            if response.code not in (_OK, _NO_CONTENT):
                raise ServiceError(f"{self._url} did not take {what}: it answered {response.code}")

        await self._when_welcome(hand_in)

    async def _get(self, path: str, query: dict[str, str], make_reader: Callable[[], Lines], timeout_s: float) -> None:
        target = f"{path}{'?' if query else ''}{urlencode(query)}".encode()
        await self._when_welcome(lambda: self._places.run(self._ask, target, make_reader, timeout_s))

    async def _when_welcome(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask, and again when the service wants to be asked later. Raises ServiceError when that goes on."""
        for _ in range(MAX_WAITS):
            try:
                await ask()
                return
            except _TooMuch as error:
                await deferLater(self._reactor, min(error.wait_s, MAX_WAIT_S))
        raise ServiceError(f"{self._url} answers that it is asked too much, {MAX_WAITS} times in a row")

    def _ask(self, target: bytes, make_reader: Callable[[], Lines], timeout_s: float) -> Deferred[None]:
        asked = Deferred.fromCoroutine(self._read(target, make_reader()))
        return Deferred.fromCoroutine(_in_time(self._reactor, asked, timeout_s))

    async def _request(
        self, method: bytes, target: bytes, headers: dict[str, list[str]], body: bytes, timeout_s: float
    ) -> Any:
        """Return the answer to a request. One that has to be signed is asked again, with the nonce that was given."""
        for _ in range(_TRIES_TO_BE_KNOWN):
            signed = {} if self._credentials is None else self._credentials.headers(method, target, body)
            producer = Body(body) if body else None
            request = self._agent.request(method, self._url.encode() + target, Headers(headers | signed), producer)
            response = await _in_time(self._reactor, request, timeout_s)
            challenges = read_header(response.headers, "WWW-Authenticate")
            if response.code != _UNAUTHORIZED or self._credentials is None or not self._credentials.learn(challenges):
                break
            response.deliverBody(Unwanted())
        refused = response.code == _UNAUTHORIZED or (response.code == _FORBIDDEN and bool(signed))
        self.fault = f"{self._url} is private, and does not know this node or its key" if refused else None
        return response

    async def _read(self, target: bytes, reader: Lines) -> None:
        # A compressed answer of some kilobytes can be one of gigabytes: none is asked for, and none is taken.
        headers = {"Accept-Encoding": ["identity"]}
        response = await self._request(b"GET", target, headers, b"", min(SILENT_TIMEOUT_S, STATE_TIMEOUT_S))
        encoding = response.headers.getRawHeaders(b"Content-Encoding", [b"identity"])
        if response.code == _OK and encoding == [b"identity"]:
            response.deliverBody(reader)
            await reader.done
            return
        response.deliverBody(Unwanted())
        if response.code == _OK:
            raise ServiceError(f"{self._url} sends a compressed answer, which nobody asked for")
        if response.code == _GONE:
            raise HistoryGone(f"{self._url} does not keep the updates that were asked for")
        if response.code == _TOO_MANY_REQUESTS:
            raise _TooMuch(f"{self._url} is asked too much", _wait_s(response.headers) or 1)
        if self.fault is not None:
            raise ServiceError(f"{self.fault}: ask its operator to add it to authorized_nodes there")
        raise ServiceError(f"{self._url} answered {response.code} instead of {_OK}")


def _name_keys(keys: Sequence[PublicKey]) -> str:
    """Return by which keys an answer can be verified here: a publisher has two while it goes over to another one."""
    return ",".join(fingerprint(key.line) for key in keys)


def _wait_s(headers: Headers) -> int | None:
    """Return after how many seconds, one at least, the service wants to be asked again; None when it does not say."""
    text = (read_header(headers, "Retry-After") or [""])[-1]
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else None


async def _in_time(reactor: Any, request: Deferred[Any], timeout_s: float) -> Any:
    """Wait for `request`, at most `timeout_s`. Raises ServiceError for whatever the network does."""
    request.addTimeout(timeout_s, reactor)
    try:
        return await request
    except PushmirrorError:
        raise
    except Exception as error:  # whatever a stranger's server brings about ends here, as one error to be handled
        raise ServiceError(f"the service did not answer: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    """Return the text of the first reason there is; Twisted's own is a list of failures."""
    reasons = [reason.value for reason in error.reasons] if isinstance(error, ResponseFailed) else [error]
    reason = next((each for each in reasons if isinstance(each, PushmirrorError)), reasons[0] if reasons else error)
    return str(reason) or type(reason).__name__
