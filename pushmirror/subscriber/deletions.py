"""The one way in which anything is deleted: a list, judged by the budget, and done by rsync for what is gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from pushmirror.core.budget import UPSTREAM_EMPTY, judge_deletions
from pushmirror.core.model import ChangeList, Stage, StageKind
from pushmirror.core.paths import TreePath, topmost
from pushmirror.core.relaying import Deleting, judge_deletion
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import Deletion
from pushmirror.subscriber.runs import Runs
from pushmirror.subscriber.turns import Turns

log = logging.getLogger(__name__)

STILL_UPSTREAM_MS = 10 * 60_000
"""A deletion whose path the upstream still has is looked at again after this."""
PROBED_NAMES = 100


class Deletions:
    """The pending deletions of the tree of `parts`."""

    def __init__(self, parts: TreeParts, runs: Runs, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._tree = parts.name
        self._mirror = parts.mirror
        self._budget = parts.budget
        self._runs = runs
        self._ledger = ledger
        self._clock_ms = clock_ms

    async def judge(self, *, may_ask: bool = True) -> str | None:
        """Hold what is pending, or release it. Returns the reason when it is newly held.

        With `may_ask` an upstream that has nothing of what the mirror has is not believed either.
        """
        record = self._ledger.tree(self._tree)
        asked = [deletion for deletion in self._ledger.deletions(self._tree) if not deletion.approved]
        if not asked:
            return self.hold(None)
        paths = [deletion.path for deletion in asked]
        count = await self._count(paths)
        held = judge_deletions(count, max(record.entries, count), self._budget, record.lost)
        if held is None and count:
            if not may_ask:
                held = UPSTREAM_EMPTY if record.held == UPSTREAM_EMPTY else None
            elif self._is_doubtful(asked, record.held) and not await self._has_content(paths):
                held = UPSTREAM_EMPTY
        return self.hold(held)

    def hold(self, held: str | None) -> str | None:
        """Hold what is pending for a reason, or release it (None). Returns the reason when it is a new one."""
        if held == self._ledger.tree(self._tree).held:
            return None
        self._ledger.hold(self._tree, held)
        if held is not None:
            advice = f"pushmirror approve {self._tree}, or refuse"
            log.warning("tree %s: deletions are held: %s; look at them, then %s", self._tree, held, advice)
        return held

    def _is_doubtful(self, asked: Iterable[Deletion], held: str | None) -> bool:
        """Tell whether something would be deleted now on the word of an upstream that showed nothing yet."""
        if self._runs.saw_content:
            return False
        now_ms = self._clock_ms()
        due = any(deletion.due_ms <= now_ms and not deletion.in_the_way for deletion in asked)
        return due or held == UPSTREAM_EMPTY

    async def _has_content(self, without: list[TreePath]) -> bool:
        """Tell whether the upstream has any of what would be left here; if nothing would be, it has not."""
        names = await self._runs.in_thread(self._mirror.top_names, without, PROBED_NAMES)
        if names:
            await self._runs.run(Stage(StageKind.PROBE, names))
        return self._runs.saw_content

    async def delete_due(self, leave_clean: Callable[[], Awaitable[None]], turns: Turns) -> None:
        """Delete what is due and not held. `leave_clean` is awaited before the ledger says so.

        What the source in use had not deleted altogether stays pending, also when it is gone here.
        """
        due = self._due()
        self._put_again([deletion.path for deletion in due if deletion.in_the_way])
        due = [deletion for deletion in due if not deletion.in_the_way]
        if not due:
            return
        concerned = await self._runs.in_thread(self._mirror.concerned, topmost(deletion.path for deletion in due))
        if concerned:
            await self._delete_at(concerned, {deletion.path for deletion in due if deletion.approved})
            await leave_clean()
        standing = await self._runs.in_thread(self._mirror.present, [deletion.path for deletion in due])
        self._finish(due, frozenset(standing), turns)

    def _finish(self, due: Iterable[Deletion], standing: frozenset[TreePath], turns: Turns) -> None:
        """Record what became of the deletions that were `due`, of which some are still `standing` here."""
        cleaned, now_ms = turns.cleaned_by_now, self._clock_ms()
        became: dict[Deleting, list[TreePath]] = {each: [] for each in Deleting}
        for deletion in due:
            stands = deletion.path in standing
            verdict = judge_deletion(deletion.serial, stands=stands, cleaned=turns.cleaned, cleaned_by_now=cleaned)
            became[verdict].append(deletion.path)
        later_ms = now_ms + STILL_UPSTREAM_MS
        self._ledger.finish_deletions(self._tree, became[Deleting.DONE], became[Deleting.LATER], later_ms)
        self._ledger.finish_deletions(self._tree, (), became[Deleting.AGAIN], now_ms)

    def _due(self) -> list[Deletion]:
        held = self._ledger.tree(self._tree).held
        now_ms = self._clock_ms()
        pending = self._ledger.deletions(self._tree)
        return [deletion for deletion in pending if deletion.due_ms <= now_ms and (deletion.approved or held is None)]

    def _put_again(self, paths: list[TreePath]) -> None:
        """Have a job bring what is to take the place of the directories `paths`, which may go by now."""
        if not paths:
            return
        now_ms = self._clock_ms()
        self._ledger.finish_deletions(self._tree, (), paths, now_ms + STILL_UPSTREAM_MS)
        if self._ledger.head(self._tree) is None:
            self._ledger.want_whole(self._tree, now_ms)
        else:
            self._ledger.want_paths(self._tree, ChangeList(changed=tuple(paths)), now_ms)

    async def _delete_at(self, paths: tuple[TreePath, ...], approved: set[TreePath]) -> None:
        """Delete those of `paths` that are gone at the upstream; the folders above all of them get their times.

        What goes is counted before, and what stayed is taken off again, however the run ends.
        """
        unasked = [path for path in paths if path not in approved]
        count, unasked_count = await self._count(paths), await self._count(unasked)
        self._ledger.lose(self._tree, count, unasked=unasked_count)
        try:
            await self._runs.run(Stage(StageKind.DELETE, paths, most_deletions=count))
        finally:
            left, unasked_left = await self._count(paths), await self._count(unasked)
            self._runs.sum.deleted += count - left
            self._ledger.lose(self._tree, -left, unasked=-unasked_left)

    async def _count(self, paths: Iterable[TreePath]) -> int:
        return await self._runs.in_thread(self._mirror.count_entries, paths)
