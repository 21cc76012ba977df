"""Waiting for a condition with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

POLL_SECONDS = 0.02
POLL_SHARE = 0.05
"""Of the time waited so far: who asks a daemon without pause takes a core from what is waited for."""


class NeverHappened(AssertionError):
    """What was waited for did not come true in time."""


def wait_until(
    condition: Callable[[], Value | None], *, deadline_seconds: float = 10.0, what: str = "the condition"
) -> Value:
    """Return the first true value of `condition`, which is asked ever more seldom, and once more at the deadline.

    Raises NeverHappened, naming `what` and the last value, when none was true within `deadline_seconds`.
    An exception of `condition` itself passes through.
    """
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        late = waited >= deadline_seconds
        value = condition()
        if value:
            return value
        if late:
            raise NeverHappened(f"{what}: not within {deadline_seconds:g} s; the last value was {value!r}")
        time.sleep(min(max(POLL_SECONDS, POLL_SHARE * waited), max(0.0, deadline_seconds - waited)))
