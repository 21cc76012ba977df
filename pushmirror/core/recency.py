"""Whether what a node says is news: by the date in it, our clock, and the newest that the node has said before."""

from __future__ import annotations

from dataclasses import dataclass

MAX_APART_S = 15 * 60
"""A node's clock and ours may be so far apart, and a report may take so long. What is older was recorded, perhaps."""


@dataclass(frozen=True, order=True)
class Moment:
    """When a message was made, in seconds by the clock of its sender, and as which one since that was started."""

    timestamp: int
    counter: int


def apart_s(moment: Moment, now_ms: int) -> int:
    """Return how far a message is dated before our clock (below 0) or after it, when that is too far; otherwise 0."""
    difference_s = moment.timestamp - now_ms // 1000
    return difference_s if abs(difference_s) > MAX_APART_S else 0


def is_news(moment: Moment, newest: Moment | None, now_ms: int) -> bool:
    """Tell whether a message is newer than the `newest` one that is known of its sender.

    One that is dated too far ahead is no measure: clocks were set back since. So nobody is unheard for longer than
    twice `MAX_APART_S`.
    """
    return newest is None or apart_s(newest, now_ms) > 0 or moment > newest
