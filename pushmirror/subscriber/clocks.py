"""The two clocks of the subscriber: that of the wall, which anybody may set, and a steady one."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_JUMP_MS = 2_000
"""A smaller step between two readings is taken for the clock being regulated."""


def read_clock_ms() -> int:
    """Return the time of the wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def read_steady_ms() -> int:
    """Return milliseconds since the machine was started, its sleep included; nobody can set this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class WallClock:
    """The wall clock, watched: when it was set, `moved` is called with the difference in milliseconds.

    That happens before anybody is given a time from after it. So whoever keeps times (the ledger) can move them along,
    and no time of before the jump ever meets one of after it.
    """

    def __init__(self, wall_ms: Callable[[], int], steady_ms: Callable[[], int], moved: Callable[[int], None]) -> None:
        self._read_wall_ms = wall_ms
        self._read_steady_ms = steady_ms
        self._moved = moved
        self._difference_ms = wall_ms() - steady_ms()

    def __call__(self) -> int:
        """Return the time, in milliseconds since the epoch."""
        now_ms = self._read_wall_ms()
        difference_ms = now_ms - self._read_steady_ms()
        jump_ms = difference_ms - self._difference_ms
        self._difference_ms = difference_ms
        if abs(jump_ms) >= LEAST_JUMP_MS:
            self._moved(jump_ms)
        return now_ms
