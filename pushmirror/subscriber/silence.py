"""Notices that somebody whose heartbeats are listened to has fallen silent, and says when to try other ways."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pushmirror.core.liveness import SILENT_INTERVALS, Pulse, silence_pause_ms
from pushmirror.logs import Throttle

log = logging.getLogger(__name__)

_PACE_MS = 10_000
"""Who is heard and lost again every few seconds has nobody asked more often than this, nor the log written."""


class SilenceWatch:
    """Watches the `pulse` of `who`, which is named in the log; `steady_ms` is a clock that nobody can set."""

    def __init__(self, who: str, pulse: Pulse, steady_ms: Callable[[], int], random: Callable[[], float]) -> None:
        self._who = who
        self._pulse = pulse
        self._steady_ms = steady_ms
        self._random = random
        self._tries = 0
        self._next_try_ms: int | None = None
        self._not_before_ms = 0
        self._throttle = Throttle(steady_ms, _PACE_MS)

    def watch(self) -> bool:
        """Log the beginning of a silence and its end, once each. To be called every second or so.

        Returns True when other ways should be tried: soon after it began, and now and then while it lasts.
        """
        now_ms = self._steady_ms()
        if self._pulse.state(now_ms) != "silent":
            if self._next_try_ms is not None:
                self._tell(logging.INFO, "%s is heard again")
            self._tries, self._next_try_ms = 0, None
            return False
        if self._next_try_ms is None:
            self._tell(logging.WARNING, f"%s is silent: no fresh heartbeat for {SILENT_INTERVALS} intervals")
            self._next_try_ms = max(self._not_before_ms, now_ms + self._pause_ms())
        if now_ms < self._next_try_ms:
            return False
        self._tries += 1
        self._not_before_ms = now_ms + _PACE_MS
        self._next_try_ms = now_ms + self._pause_ms()
        return True

    def _tell(self, level: int, text: str) -> None:
        if self._throttle.allow(text) is not None:
            log.log(level, text, self._who)

    def _pause_ms(self) -> int:
        return silence_pause_ms(self._tries, self._pulse.interval_ms, self._random())
