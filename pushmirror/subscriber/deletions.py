"""The one way in which anything is deleted: a list, judged by the budget, and done by rsync for what is gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pushmirror.core.budget import judge_deletions
from pushmirror.core.model import Stage, StageKind
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


class Deletions:
    """The pending deletions of the tree of `parts`."""

    def __init__(self, parts: TreeParts, runs: Runs, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._tree = parts.name
        self._mirror = parts.mirror
        self._budget = parts.budget
        self._runs = runs
        self._ledger = ledger
        self._clock_ms = clock_ms

    async def judge(self) -> str | None:
        """Hold what is pending, or release it, by the budget. Returns the reason when it is newly held."""
        record = self._ledger.tree(self._tree)
        asked = [deletion.path for deletion in self._ledger.deletions(self._tree) if not deletion.approved]
        count = await self._runs.in_thread(self._mirror.count_entries, asked) if asked else 0
        held = judge_deletions(count, max(record.entries, count), self._budget) if asked else None
        if held == record.held:
            return None
        self._ledger.hold(self._tree, held)
        if held is not None:
            advice = f"pushmirror approve {self._tree}, or refuse"
            log.warning("tree %s: deletions are held: %s; look at them, then %s", self._tree, held, advice)
        return held

    async def delete_due(self, leave_clean: Callable[[], Awaitable[None]], turns: Turns) -> None:
        """Delete what is due and not held. `leave_clean` is awaited before the ledger says so.

        What the source in use had not deleted altogether stays pending, also when it is gone here.
        """
        due = self._due()
        if not due:
            return
        paths = [deletion.path for deletion in due]
        concerned = await self._runs.in_thread(self._mirror.concerned, topmost(paths))
        if concerned:
            await self._delete_at(concerned)
            await leave_clean()
        standing = set(await self._runs.in_thread(self._mirror.present, paths))
        cleaned, now_ms = turns.cleaned_by_now, self._clock_ms()
        became: dict[Deleting, list[TreePath]] = {each: [] for each in Deleting}
        for deletion in due:
            stands = deletion.path in standing
            verdict = judge_deletion(deletion.serial, stands=stands, cleaned=turns.cleaned, cleaned_by_now=cleaned)
            became[verdict].append(deletion.path)
        self._ledger.finish_deletions(
            self._tree, became[Deleting.DONE], became[Deleting.LATER], now_ms + STILL_UPSTREAM_MS
        )
        self._ledger.finish_deletions(self._tree, (), became[Deleting.AGAIN], now_ms)

    def _due(self) -> list[Deletion]:
        held = self._ledger.tree(self._tree).held
        now_ms = self._clock_ms()
        pending = self._ledger.deletions(self._tree)
        return [deletion for deletion in pending if deletion.due_ms <= now_ms and (deletion.approved or held is None)]

    async def _delete_at(self, paths: tuple[TreePath, ...]) -> None:
        """Delete those of `paths` that are gone at the upstream; the folders above all of them get their times."""
        count = await self._runs.in_thread(self._mirror.count_entries, paths)
        await self._runs.run(Stage(StageKind.DELETE, paths))
        left = await self._runs.in_thread(self._mirror.count_entries, paths)
        self._runs.sum.deleted += count - left
        entries = self._ledger.tree(self._tree).entries
        self._ledger.set_entries(self._tree, max(0, entries - (count - left)))
