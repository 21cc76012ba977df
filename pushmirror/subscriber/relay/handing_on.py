"""Hands reports of others on to an upstream: as well as it can, and never in the way."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred

from pushmirror.errors import ServiceError
from pushmirror.logs import Throttle
from pushmirror.subscriber.relay.services import Services

log = logging.getLogger(__name__)

_MAX_WAITING = 1000


class HandingOn(Service):
    """Hands reports on to one upstream, one after the other; the oldest are dropped when too many wait."""

    def __init__(self, services: Services, clock_ms: Callable[[], int]) -> None:
        self._services = services
        self._throttle = Throttle(clock_ms)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._sending: Deferred[None] | None = None

    def hand_on(self, body: bytes) -> None:
        """Hand on a report that was verified."""
        self._waiting.append(body)
        if self._sending is None:
            self._sending = Deferred.fromCoroutine(self._send())
            self._sending.addBoth(self._forget)

    def _forget(self, result: Any) -> None:
        self._sending = None
        if result is not None and not result.check(CancelledError):
            log.error("handing reports on failed by a fault of this program: %s", result.getTraceback())

    async def _send(self) -> None:
        while self._waiting:
            try:
                await self._services.report(self._waiting.popleft())
            except ServiceError as error:
                if (suppressed := self._throttle.allow("report")) is not None:
                    log.info("a report from below was not taken: %s (%d more before)", error, suppressed)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()
