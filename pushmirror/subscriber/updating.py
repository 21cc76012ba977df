"""Which trees a publisher is half-way through an update of, by its own word; known in memory alone.

It is advice that is repeated every half minute and runs out by itself: a restart that forgets it costs one job that
finds paths missing, and waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pushmirror.core.model import Updating

LONGEST_UPDATING_MS = 6 * 3_600_000
"""An upstream that says for longer than this that it is half-way is not waited for any more: it is stuck."""

PAUSE_MS = 10 * 60_000
"""What is said sooner than this after the last word ran out, or after an announcement, counts as the same: else whoever
repeats it would hold a tree back for ever, with a moment in between in which no job begins."""


@dataclass(frozen=True)
class _Word:
    """When a publisher said so last (its clock), since when, and until when that counts (our steady clock).

    `told_until_ms` is until when it would by the publisher's word alone, or when it said that it was done.
    """

    said_ms: int
    since_ms: int
    until_ms: int
    told_until_ms: int


class UpdatingTrees:
    """What was said of each tree of one publisher."""

    def __init__(self, steady_ms: Callable[[], int]) -> None:
        self._steady_ms = steady_ms
        self._words: dict[str, _Word] = {}

    def take(self, updating: Updating) -> bool:
        """Take the publisher's word. Returns False for what was said before."""
        known = self._words.get(updating.tree)
        if known is not None and updating.at_ms <= known.said_ms:
            return False
        now_ms = self._steady_ms()
        goes_on = known is not None and now_ms - known.told_until_ms < PAUSE_MS
        since_ms = known.since_ms if known is not None and goes_on else now_ms
        told_until_ms = now_ms + updating.expires_ms - updating.at_ms
        until_ms = min(told_until_ms, since_ms + LONGEST_UPDATING_MS)
        self._words[updating.tree] = _Word(updating.at_ms, since_ms, until_ms, told_until_ms)
        return True

    def end(self, tree: str) -> None:
        """The publisher has announced what it was at."""
        if tree in self._words:
            now_ms = self._steady_ms()
            told_until_ms = min(self._words[tree].told_until_ms, now_ms)
            self._words[tree] = replace(self._words[tree], until_ms=now_ms, told_until_ms=told_until_ms)

    def left_ms(self, tree: str) -> int | None:
        """Return how long the publisher may still be updating `tree`; None when it is not."""
        word = self._words.get(tree)
        left_ms = 0 if word is None else word.until_ms - self._steady_ms()
        return left_ms if left_ms > 0 else None
