"""What a full sync finds that no announcement had told. It should be nothing, so it is counted and named."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pushmirror.core.output import Items
from pushmirror.core.paths import TreePath, shorten
from pushmirror.subscriber.records import TreeRecord

log = logging.getLogger(__name__)

_NAMED = 5


class Findings:
    """The findings of one full sync of the tree of `before`, its record when the job began."""

    def __init__(self, before: TreeRecord) -> None:
        self._before = before
        self._counts = before.last_full_sync_ms is not None and not before.pending_updates
        self._paths: set[TreePath] = set()

    def take_run(self, items: Items) -> None:
        """Take what a run over the whole tree wrote. The time of a directory alone is no finding.

        No list has the directories above its paths, whose times change with every file that comes and goes.
        """
        self.take_paths(items.changed - items.retimed)

    def take_paths(self, paths: Iterable[TreePath]) -> None:
        """Take paths that were found to differ in another way."""
        if self._counts:
            self._paths.update(paths)

    def judge(self, after: TreeRecord) -> int | None:
        """Return how much was found, and log it; None when announcements may account for it.

        They may in a first sync, when something was pending, and when something was announced while the job ran.
        """
        if not self._counts or after.head != self._before.head:
            return None
        if self._paths:
            names = ", ".join(shorten(path) for path in sorted(self._paths)[:_NAMED])
            log.warning(
                "tree %s: the full sync found %d paths that no announcement had told of: %s%s",
                after.tree, len(self._paths), names, ", ..." if len(self._paths) > _NAMED else "",
            )  # fmt: skip
        return len(self._paths)
