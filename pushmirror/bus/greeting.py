"""Tells newcomers on a bus what was sent before they came: all of them together, and, however many come, not often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pushmirror.core.rate import TokenBucket

GREETING_SECONDS = 0.2
"""Newcomers are told together who come within this time."""
GREETINGS_AT_ONCE = 20
GREETINGS_PER_SECOND = 1 / 3
"""Whoever unsubscribes and subscribes again without end has everybody told again, of hundreds of trees perhaps: after
the first ones, that happens every three seconds."""


class Greeter:
    """Calls `tell` soon after somebody has come. Nobody is left out; in a flood of newcomers they wait some seconds."""

    def __init__(self, reactor: Any, tell: Callable[[], None]) -> None:
        self._reactor = reactor
        self._tell = tell
        self._greetings = TokenBucket(GREETINGS_PER_SECOND, GREETINGS_AT_ONCE, reactor.seconds())
        self._pending: Any = None

    def greet(self) -> None:
        """Have a newcomer told."""
        if self._pending is not None and self._pending.active():
            return
        now_s = self._reactor.seconds()
        delay_s = max(GREETING_SECONDS, self._greetings.wait_s(now_s))
        self._greetings.spend(1, now_s)
        self._pending = self._reactor.callLater(delay_s, self._tell)

    def stop(self) -> None:
        """Leave untold who has come last."""
        if self._pending is not None and self._pending.active():
            self._pending.cancel()
