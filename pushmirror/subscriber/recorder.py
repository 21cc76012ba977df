"""Writes what is believed into the ledger, and tells whoever starts jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pushmirror.core.leaps import Leap
from pushmirror.core.model import Head, TreeState
from pushmirror.core.rate import TokenBucket
from pushmirror.core.testimony import vouches
from pushmirror.core.wire import MAX_INLINE_BYTES
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.updating import UpdatingTrees

log = logging.getLogger(__name__)

_LINES_PER_SECOND = 1.0
_LINES_AT_ONCE = 200
"""Each announcement has a line in the log, but for those of somebody who signs hundreds in a second."""


class Recorder:
    """Records updates and new beginnings. `changed` is called with the name of a tree that got something to do."""

    def __init__(
        self, ledger: Ledger, updating: UpdatingTrees, clock_ms: Callable[[], int], changed: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._updating = updating
        self._clock_ms = clock_ms
        self.changed = changed
        self._lines = TokenBucket(_LINES_PER_SECOND, _LINES_AT_ONCE, clock_ms() / 1000)
        self._untold = 0

    def announce(self, tree: str, updates: Sequence[HeardUpdate]) -> None:
        """Record `updates` of `tree`, at least one and each the next of the one before, all of them or none."""
        self._updating.end(tree)
        self._ledger.announce_all(tree, updates, self._clock_ms())
        if not self._lines.take(self._clock_ms() / 1000):
            self._untold += 1
            return
        first, newest = updates[0].update, updates[-1].update
        log.info(
            "tree %s: announced serial %d, %d changed, %d deleted%s%s%s",
            tree, newest.serial, sum(heard.update.changed for heard in updates),
            sum(heard.update.deleted for heard in updates),
            ", the whole tree" if any(heard.update.whole for heard in updates) else "",
            f", with all since {first.serial}" if len(updates) > 1 else "",
            f" ({self._untold} announcements before without a line)" if self._untold else "",
        )  # fmt: skip
        self._untold = 0

    def hold_leap(self, tree: str, leap: Leap) -> None:
        """Record a jump that waits for the operator; what is at hand goes on."""
        held = self._ledger.leap(tree)
        if held is None or held.head != leap.head:
            self._ledger.hold_leap(tree, leap)
            log.error(
                "tree %s: %s, and nobody can be asked whether that is so: it is held (pushmirror approve %s --leap)",
                tree, leap.reason, tree,
            )  # fmt: skip

    def settle_leap(self, tree: str) -> None:
        """Record that the publisher has said itself where it is."""
        if self._ledger.forget_leap(tree):
            log.warning("tree %s: the publisher says itself where it is: nothing is held any more", tree)

    def start_over(
        self, tree: str, head: Head, at_ms: int | None, *, forked: bool = False, testimony: bytes | None = None
    ) -> None:
        """Record that the whole of `tree` is to be synced at `head`, which was told `at_ms` (None: just now).

        `forked`: although serials went on, they are not those of before. `testimony` is the message in which the
        publisher told of the head, or of a later one.
        """
        before, now_ms = self._ledger.head(tree), self._clock_ms()
        same = not forked and before is not None and before.epoch == head.epoch and before.serial < head.serial
        told_ms = now_ms if at_ms is None else at_ms
        self._ledger.start_over(tree, head, told_ms, now_ms, same_history=same, testimony=_showable(testimony))
        if before is not None:
            log.warning(
                "tree %s: from serial %d of epoch %s to serial %d of epoch %s by a full sync, for want of the updates",
                tree, before.serial, before.epoch, head.serial, head.epoch,
            )  # fmt: skip
        self.changed(tree)

    def keep_testimony(self, tree: str, state: TreeState) -> None:
        """Keep what the publisher has signed about the head of `tree`, if `state` has that and the ledger has not."""
        head, testimony = self._ledger.head(tree), _showable(state.testimony)
        if head is None or head != state.head or testimony is None or not vouches(testimony, tree, head):
            return
        kept = self._ledger.header(tree)
        if kept is None or not vouches(kept, tree, head):
            self._ledger.keep_testimony(tree, testimony)


def _showable(testimony: bytes | None) -> bytes | None:
    """Return what may be kept: a heartbeat about hundreds of trees is more than a publisher lets itself be shown."""
    return testimony if testimony and len(testimony) <= MAX_INLINE_BYTES else None
