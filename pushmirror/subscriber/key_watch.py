"""Asks whether a publisher has exchanged its key: at the start, and when something is signed with an unknown one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from pushmirror.core.wire import Envelope
from pushmirror.errors import BadSignature, MalformedMessage, ServiceError, StateError
from pushmirror.subscriber.key_ring import KeyRing

log = logging.getLogger(__name__)

ASK_EVERY_MS = 10_000
"""Strangers can make us ask as often as this, and no more often."""


class Rotations(Protocol):
    """Whoever is asked; see `ServiceClient.rotations`."""

    def rotations(self, take: Callable[[Envelope], None]) -> Awaitable[None]: ...


class KeyWatch:
    """Hands what `services` tell of the keys of `publisher` to `ring`. `steady_ms` is a clock that nobody can set."""

    def __init__(self, publisher: str, ring: KeyRing, services: Rotations, steady_ms: Callable[[], int]) -> None:
        self._publisher = publisher
        self._ring = ring
        self._services = services
        self._steady_ms = steady_ms
        self._asked_ms: int | None = None
        self._wanted = False
        self._asking: Deferred[None] | None = None

    def ask(self) -> None:
        """Ask, or do so a little later if that was done a moment ago."""
        self._wanted = True
        self.look()

    def look(self) -> None:
        """Ask if that is wanted and due. To be called every second or so."""
        now_ms = self._steady_ms()
        asked = self._asked_ms is not None and now_ms - self._asked_ms < ASK_EVERY_MS
        if not self._wanted or asked or self._asking is not None:
            return
        self._wanted, self._asked_ms = False, now_ms
        asking = Deferred.fromCoroutine(self._ask())
        self._asking = None if asking.called else asking
        asking.addBoth(self._finish)

    def stop(self) -> None:
        """Leave off asking."""
        while self._asking is not None:
            self._asking.cancel()

    def _finish(self, result: Any) -> None:
        self._asking = None
        if result is not None and not result.check(CancelledError):
            log.error("upstream %s: asking for its keys failed: %s", self._publisher, result.getTraceback())

    async def _ask(self) -> None:
        try:
            await self._services.rotations(self._take)
        except (ServiceError, MalformedMessage, StateError) as error:
            log.info("upstream %s: whether its key was exchanged is not known: %s", self._publisher, error)

    def _take(self, envelope: Envelope) -> None:
        """Take one; those of keys that never counted here, from before the publisher was known, are passed over."""
        try:
            self._ring.take(envelope)
        except BadSignature as error:
            log.debug("upstream %s: an exchange of its key is of no concern here: %s", self._publisher, error)
