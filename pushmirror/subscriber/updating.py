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


@dataclass(frozen=True)
class _Word:
    """When a publisher said so last (its clock), since when, and until when that counts (our steady clock)."""

    said_ms: int
    since_ms: int
    until_ms: int


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
        since_ms = known.since_ms if known is not None and known.until_ms > now_ms else now_ms
        until_ms = min(now_ms + updating.expires_ms - updating.at_ms, since_ms + LONGEST_UPDATING_MS)
        self._words[updating.tree] = _Word(updating.at_ms, since_ms, until_ms)
        return True

    def end(self, tree: str) -> None:
        """The publisher has announced what it was at."""
        if tree in self._words:
            self._words[tree] = replace(self._words[tree], until_ms=0)

    def left_ms(self, tree: str) -> int | None:
        """Return how long the publisher may still be updating `tree`; None when it is not."""
        word = self._words.get(tree)
        left_ms = 0 if word is None else word.until_ms - self._steady_ms()
        return left_ms if left_ms > 0 else None
