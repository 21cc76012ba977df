"""Whether a publisher is alive: its heartbeats, judged by their age, and how patiently a silent one is tried.

`now_ms` is always ours, of a steady clock that nobody can set; it counts from anywhere. What a message calls `at_ms` is
the publisher's clock, which may be set at any time.
"""

from __future__ import annotations

from enum import Enum

from pushmirror.core.messages import DEFAULT_HEARTBEAT_MS
from pushmirror.core.model import Heartbeat

SILENT_INTERVALS = 3
"""After so many intervals without a fresh heartbeat a publisher is silent; one that is later than that is late."""
_DRIFT = 1000
"""Two clocks drift apart by less than one part in so many."""
_ASK_EVERY_MS = 60_000
_FIRST_PAUSE_MS = 60_000
_LONGEST_PAUSE_MS = 15 * 60_000
_NONE = (-1, -1)


class Beat(Enum):
    """What a heartbeat is worth."""

    FRESH = "fresh"
    LATE = "late"
    """It is news, but was held up on its way: no sign that its sender lives now."""
    STALE = "stale"
    """It is not newer than one that is known: a repetition, or the publisher's clock and counter went back."""


class Pulse:
    """The heartbeats of one publisher, from `now_ms` on."""

    def __init__(self, now_ms: int) -> None:
        self.interval_ms = DEFAULT_HEARTBEAT_MS
        self._since_ms = now_ms
        self._heard_ms: int | None = None
        self._newest = _NONE
        self._ahead_ms: tuple[int, int] | None = None
        """How far the publisher's clock is ahead of ours, by the message that came with the least delay, and when."""
        self._asked_ms: int | None = None

    @property
    def newest_ms(self) -> int:
        """The publisher's clock in the newest heartbeat that is known; below 0 for none."""
        return self._newest[0]

    def take(self, heartbeat: Heartbeat, now_ms: int) -> Beat:
        """Judge a heartbeat; only a fresh one counts as heard.

        How fast the publisher's clock goes on is held against ours: one that fell behind by more than three intervals
        is late, unless its counter shows that the publisher's clock was set back.
        """
        at_ms, counter = self._newest
        if heartbeat.at_ms <= at_ms and heartbeat.counter <= counter:
            return Beat.STALE
        set_back = heartbeat.at_ms < at_ms
        self._newest = (heartbeat.at_ms, max(counter, heartbeat.counter))
        self.interval_ms = heartbeat.interval_ms
        ahead_ms = heartbeat.at_ms - now_ms
        expected_ms = self._expected_ahead_ms(now_ms)
        if not set_back and expected_ms is not None and expected_ms - ahead_ms > self._patience_ms:
            return Beat.LATE
        if set_back or expected_ms is None or ahead_ms > expected_ms:
            self._ahead_ms = (ahead_ms, now_ms)
        self._heard_ms = now_ms
        return Beat.FRESH

    def _expected_ahead_ms(self, now_ms: int) -> int | None:
        if self._ahead_ms is None:
            return None
        ahead_ms, since_ms = self._ahead_ms
        return ahead_ms - (now_ms - since_ms) // _DRIFT

    @property
    def _patience_ms(self) -> int:
        return SILENT_INTERVALS * self.interval_ms

    def confirm(self, at_ms: int, now_ms: int) -> None:
        """Take the publisher's clock from its answer to a fresh question, which nobody can repeat or hold up for long.

        Heartbeats of before from the future of that clock are forgotten: it was set back.
        """
        self._ahead_ms = (at_ms - now_ms, now_ms)
        if self._newest[0] > at_ms + self.interval_ms:
            self._newest = _NONE

    def may_ask(self, now_ms: int) -> bool:
        """Tell whether the publisher may be asked for its clock, because of a doubtful heartbeat: once a minute."""
        if self._asked_ms is not None and now_ms - self._asked_ms < _ASK_EVERY_MS:
            return False
        self._asked_ms = now_ms
        return True

    def heard_ago_ms(self, now_ms: int) -> int | None:
        """Return how long ago the last fresh heartbeat came; None before the first."""
        return None if self._heard_ms is None else now_ms - self._heard_ms

    def unheard_ms(self, now_ms: int) -> int:
        """Return for how long there was no fresh heartbeat: since the last one, or from the start."""
        return now_ms - (self._since_ms if self._heard_ms is None else self._heard_ms)

    def state(self, now_ms: int) -> str:
        """Return ``connecting``, ``connected``, or ``silent`` after three intervals, from the start or since."""
        if self.unheard_ms(now_ms) > self._patience_ms:
            return "silent"
        return "connecting" if self._heard_ms is None else "connected"


def silence_pause_ms(tries: int, interval_ms: int, spread: float) -> int:
    """Return how long to wait before a silent publisher is tried once more, after so many `tries`.

    The first try comes within an interval, the later ones after a minute, doubling, to a quarter of an hour. `spread`,
    from 0 to 1, is chance: all mirrors of a publisher notice its silence at the same time.
    """
    if tries == 0:
        return int(interval_ms * spread)
    pause_ms = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS * 2 ** min(tries - 1, 20))
    return int(pause_ms * (0.75 + spread / 2))
