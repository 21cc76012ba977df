"""Hands what others have signed on to an upstream: as well as it can, and never in the way."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred

from pushmirror.errors import ServiceError
from pushmirror.logs import Throttle

log = logging.getLogger(__name__)

_MAX_WAITING = 1000


class HandingOn(Service):
    """Hands messages on, one after the other; the oldest are dropped when too many wait.

    `hand_in` sends one, and raises ServiceError when it is not taken; `what` it is goes into the log.
    """

    def __init__(
        self, hand_in: Callable[[bytes], Coroutine[Any, Any, None]], what: str, clock_ms: Callable[[], int]
    ) -> None:
        self._hand_in = hand_in
        self._what = what
        self._throttle = Throttle(clock_ms)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._sending: Deferred[None] | None = None

    def hand_on(self, body: bytes) -> None:
        """Hand on what was verified."""
        self._waiting.append(body)
        if self._sending is None:
            self._sending = Deferred.fromCoroutine(self._send())
            self._sending.addBoth(self._forget)

    def _forget(self, result: Any) -> None:
        self._sending = None
        if result is not None and not result.check(CancelledError):
            log.error("handing on %s failed by a fault of this program: %s", self._what, result.getTraceback())

    async def _send(self) -> None:
        while self._waiting:
            try:
                await self._hand_in(self._waiting.popleft())
            except ServiceError as error:
                if (suppressed := self._throttle.allow("refused")) is not None:
                    log.info("%s from below was not taken: %s (%d more before)", self._what, error, suppressed)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()
