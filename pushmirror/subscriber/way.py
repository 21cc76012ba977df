"""Directories that stand where the upstream has a file or a link: moved aside within the budget, or left in the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pushmirror.core.budget import judge_deletions
from pushmirror.core.paths import TreePath, add_ancestors
from pushmirror.core.refusals import is_refused
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import TreeParts


class Way:
    """Makes way in the tree of `parts`: that deletes what is in a directory, so that it keeps to what deletions do.

    What is above the budget becomes a pending deletion, which the operator may approve or refuse like every other;
    until then the job goes on without what is to take its place.
    """

    def __init__(
        self,
        parts: TreeParts,
        ledger: Ledger,
        clock_ms: Callable[[], int],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._tree = parts.name
        self._mirror = parts.mirror
        self._budget = parts.budget
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._in_thread = in_thread
        self.blocked: set[TreePath] = set()
        """Directories that stay where they are, until the operator has said what becomes of them."""

    async def clear(self, paths: Iterable[TreePath]) -> int:
        """Move aside those of the directories `paths` that may go, and return how many entries went with them.

        The others are `blocked` from now on. Raises OSError.
        """
        await self.block(paths)
        free = [path for path in paths if path not in self.blocked]
        approved = {row.path for row in self._ledger.deletions(self._tree) if row.approved}
        count: int = await self._in_thread(self._mirror.count_entries, free)
        asked: int = await self._in_thread(self._mirror.count_entries, approved.intersection(free))
        self._ledger.lose(self._tree, count, unasked=count - asked)
        for path in free:
            self._mirror.move_aside(path)
        return count

    async def block(self, paths: Iterable[TreePath]) -> None:
        """Find out which of the directories `paths` have to stay: those are `blocked`, and wait for the operator."""
        rows = self._ledger.deletions(self._tree)
        approved = {row.path for row in rows if row.approved}
        refused = frozenset(await self._in_thread(self._mirror.present, self._ledger.refusals(self._tree)))
        add_ancestors(above := set[TreePath](), refused)
        kept = {path for path in paths if path not in approved and (path in above or is_refused(path, refused))}
        asked = set(paths) - approved - kept
        if asked and await self._judge(asked.union(row.path for row in rows if not row.approved)) is not None:
            self._ledger.await_deletions(self._tree, asked, self._clock_ms(), in_the_way=True)
            kept |= asked
        self.blocked |= kept

    async def _judge(self, paths: set[TreePath]) -> str | None:
        count: int = await self._in_thread(self._mirror.count_entries, paths)
        record = self._ledger.tree(self._tree)
        return judge_deletions(count, max(record.entries, count), self._budget, record.lost)
