"""The stages of a list job: what is pending summed up to one list, and that brought, metadata in place last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from pushmirror.core.arrival import reliable_surplus
from pushmirror.core.changes import merge, plain_puts, settle
from pushmirror.core.filters import filter_changes
from pushmirror.core.model import ChangeList, Stage, StageKind
from pushmirror.core.paths import TreePath
from pushmirror.core.plan import ListPlan, beside, plan_list, with_siblings
from pushmirror.core.profiles import Profile, without_busy
from pushmirror.subscriber.metadata import MetadataAside
from pushmirror.subscriber.parts import SourceParts, TreeParts
from pushmirror.subscriber.records import Deletion, PendingUpdate
from pushmirror.subscriber.room import RoomCheck
from pushmirror.subscriber.runs import Runs, TurnedOut


class ListedChanges:
    """Changes of the tree of `parts`, brought by `runs`."""

    def __init__(self, parts: TreeParts, runs: Runs, room: RoomCheck) -> None:
        self._parts = parts
        self._mirror = parts.mirror
        self._runs = runs
        self._room = room

    async def bring(
        self, earlier: ChangeList, pending: tuple[PendingUpdate, ...], surplus_source: SourceParts
    ) -> tuple[ChangeList, tuple[TreePath, ...]]:
        """Bring what is `pending`, after what was `earlier`. Returns it as one list, and what `surplus_source` does not
        have of whole directories.

        What turns out to be a directory is brought as a whole one, in another round: each leaves fewer of them.
        """
        turned: set[TreePath] = set()
        while True:
            changes = await self._runs.in_thread(self._sum_up, earlier, pending, turned)
            changes = await self._pass_by(changes, earlier.changed)
            await self._room.check(changes.changed, sum(update.bytes for update in pending))
            try:
                return changes, await self._fetch(changes, surplus_source)
            except TurnedOut as found:
                turned.update(found.paths)
                await self._runs.in_thread(self._mirror.clear_staging)

    def _sum_up(self, earlier: ChangeList, pending: Iterable[PendingUpdate], turned: set[TreePath]) -> ChangeList:
        updates = (update.changes or ChangeList() for update in pending)  # one after the other
        return self.settle(chain([earlier], updates, [ChangeList(directories=tuple(sorted(turned)))]))

    def settle(self, lists: Iterable[ChangeList]) -> ChangeList:
        """Return what several lists amount to here, without what the operator's rules hide."""
        changes = without_busy(settle(merge(lists), self._mirror.is_directory), self._parts.profile)
        return filter_changes(changes, self._parts.rules, self._mirror.is_directory)

    async def _pass_by(self, changes: ChangeList, waiting: tuple[TreePath, ...]) -> ChangeList:
        """Return `changes` without what waits for a directory to go that still has to stay."""
        in_the_way = [path for path in set(waiting).intersection(changes.changed) if self._mirror.is_directory(path)]
        await self._runs.way.block(in_the_way)
        left = tuple(path for path in changes.changed if path not in self._runs.way.blocked)
        return replace(changes, changed=left)

    async def _fetch(self, changes: ChangeList, surplus_source: SourceParts) -> tuple[TreePath, ...]:
        """Bring `changes`, metadata aside first and in place last. Returns what is surplus in whole directories."""
        plan, announced, self._runs.plain = await self._runs.in_thread(_lay_out, changes, self._parts.profile)
        if not (plan.metadata or plan.listing or plan.fetch):
            return ()
        self._mirror.make_staging()
        self._runs.announced = announced
        aside = MetadataAside(self._parts, self._runs)
        found = await aside.list_changed(plan.listing) if plan.listing else ()
        metadata = with_siblings({*plan.metadata, *found}, changes)
        await aside.fetch(metadata, announced.union(found))
        await aside.check_stamps(changes.stamps)
        plain: frozenset[TreePath] = frozenset()
        for stage in plan.fetch:
            result = await self._runs.put(beside(stage, plain), announced.intersection(stage.paths))
            plain = result.items.plain.intersection(stage.paths)
        if metadata and not changes.stamps:
            await aside.check_unchanged(metadata)
        await aside.switch()
        if not plan.surplus:
            return ()
        surplus = await self._runs.run(Stage(StageKind.SURPLUS, plan.surplus), surplus_source)
        return reliable_surplus(surplus.items, surplus.notes)


def open_ends(rows: Iterable[Deletion]) -> ChangeList:
    """Return pending deletions as a list: what is to go, and what is to come where a directory is in the way."""
    pending = tuple(rows)
    return ChangeList(
        changed=tuple(deletion.path for deletion in pending if deletion.in_the_way),
        deleted=tuple(deletion.path for deletion in pending if not deletion.in_the_way),
    )


def _lay_out(changes: ChangeList, profile: Profile) -> tuple[ListPlan, frozenset[TreePath], frozenset[TreePath]]:
    """Return how `changes` are brought, all that is put by them, and which of that are files or links.

    For a million paths it takes some seconds, and is done in a thread: what it reads never changes.
    """
    announced = frozenset((*changes.changed, *changes.directories))
    return plan_list(changes, profile), announced, frozenset(plain_puts(changes))
