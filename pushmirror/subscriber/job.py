"""One job of one tree: its stages in order, each an rsync run, with the ledger committed between them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from pushmirror.core.arrival import reliable_surplus, still_incomplete
from pushmirror.core.changes import merge, plain_puts, settle
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.filters import filter_changes
from pushmirror.core.model import ChangeList, Event, ScopeKind, Stage, StageKind, Stamp
from pushmirror.core.paths import TreePath, topmost
from pushmirror.core.plan import ListPlan, beside, plan_list, with_siblings
from pushmirror.core.profiles import Profile, without_busy
from pushmirror.core.relaying import Comparison, judge_list, judge_whole
from pushmirror.core.schedule import Work
from pushmirror.subscriber.deletions import Deletions
from pushmirror.subscriber.findings import Findings
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.leftovers import take_lock
from pushmirror.subscriber.metadata import MetadataAside
from pushmirror.subscriber.records import NEVER, JobRecord, PendingUpdate, TreeRecord
from pushmirror.subscriber.runner import Runner
from pushmirror.subscriber.runs import JobStopped, Runs, TurnedOut
from pushmirror.subscriber.sources import TreeSources, wanted_by, wanted_for_deletions
from pushmirror.subscriber.turns import Turns
from pushmirror.subscriber.whole import WholeTree

log = logging.getLogger(__name__)


class Job:
    """`work` for the tree of `sources`. `tell` is called with the events that a report is made of.

    It reads from one source; when that fails it begins anew with another one.
    """

    def __init__(
        self,
        reactor: Any,
        sources: TreeSources,
        work: Work,
        ledger: Ledger,
        runner: Runner,
        clock_ms: Callable[[], int],
        tell: Callable[[Event, JobRecord], None],
    ) -> None:
        self._reactor = reactor
        self._parts = parts = sources.parts
        self._work = work
        self._ledger = ledger
        self._runner = runner
        self._clock_ms = clock_ms
        self._tell = tell
        self._tree = parts.name
        self._mirror = parts.mirror
        self._root_mtime_ns: int | None = None
        """What the root's time has to be whenever somebody might take the mirror for exact."""
        self._before: TreeRecord = ledger.tree(parts.name)
        self._findings = Findings(self._before)
        self._runs = Runs(reactor, parts, runner, self._before.entries)
        self._turns = Turns(sources, self._runs)
        self._was_empty = False
        self._puts_done = self._work is Work.CLEAN
        self._wanted = wanted_by(work, self._before)
        self._known: tuple[PendingUpdate, ...] = ()
        """What was pending when the job began."""
        self.record = self._begin()

    def _begin(self) -> JobRecord:
        head, whole = self._before.head, self._work is Work.WHOLE
        self._known = self._ledger.pending(self._tree)
        serial = self._before.applied if self._work is Work.CLEAN else (head.serial if head else NEVER)
        if self._work is Work.LIST:
            serial = self._known[-1].serial
            self._wanted = replace(self._wanted, head=head, least=min(self._known[0].serial, serial))
        scope = (ScopeKind.WHOLE if whole else ScopeKind.LIST).value
        started_ms = self._clock_ms()
        job = self._ledger.begin_job(self._tree, scope, serial, started_ms)
        self._pending = self._pending_up_to(serial)
        return JobRecord(job, self._tree, scope, serial, started_ms)

    def _pending_up_to(self, serial: int) -> tuple[PendingUpdate, ...]:
        return tuple(update for update in self._known if update.serial <= serial)

    async def run(self) -> JobRecord:
        """Do the job. Raises JobStopped when it could not be done, OSError when the mirror's disk gives trouble."""
        self._tell(Event.STARTED, self.record)
        lock = await take_lock(self._reactor, self._parts)
        try:
            await self._run_locked(lock)
        finally:
            os.close(lock)
        return self.record

    def finish(self, outcome: str, reason: str | None, code: int | None) -> JobRecord:
        """Record in the ledger how the job ended, and return that record."""
        done = self._runs.sum
        self.record = replace(
            self.record, finished_ms=self._clock_ms(), outcome=outcome, reason=reason, exit_code=code,
            files=done.files, bytes=done.bytes, deleted=done.deleted,
        )  # fmt: skip
        self._ledger.end_job(self.record)
        return self.record

    async def _run_locked(self, lock: int) -> None:
        self._check_mounted()
        self._runs.lock = lock
        self._was_empty = self._mirror.is_empty()
        root_mtime_ns = self._mirror.root_mtime_ns()
        done = False
        while not done:
            done = await self._try_source(root_mtime_ns)

    async def _try_source(self, root_mtime_ns: int) -> bool:
        """Do the job from the next source; returns False when another one may do better.

        Raises JobStopped when no source is left, or none would help.
        """
        await self._take_source()
        await self._runs.in_thread(self._mirror.clear_staging)
        try:
            await self._run_stages()
        except (JobStopped, OSError) as error:
            if not self._puts_done or self._root_mtime_ns is None:
                self._root_mtime_ns = root_mtime_ns
            with contextlib.suppress(OSError):  # the disk that gave trouble may give more
                await self._leave_clean()
            if not isinstance(error, JobStopped) or not error.elsewhere:
                raise
            self._turns.fail(error)
            return False
        self._turns.succeed()
        return True

    async def _take_source(self) -> None:
        """Read from the next source, and apply no more than it has."""
        if self._puts_done:
            await self._turns.take_next(wanted_for_deletions(self._before, self.record.serial))
            return
        stamps = await self._runs.in_thread(self._read_stamps) if self._turns.look_at_markers else ()
        choice = await self._turns.take_next(self._wanted, stamps)
        serial = min(self._known[-1].serial, choice.serial) if self._work is Work.LIST else choice.serial
        self.record = replace(self.record, serial=serial)
        self._pending = self._pending_up_to(serial)

    def _read_stamps(self) -> tuple[Stamp, ...]:
        lists = (update.changes for update in self._known)
        return tuple(stamp for changes in lists if changes for stamp in changes.stamps)

    async def _run_stages(self) -> None:
        if not self._puts_done:
            await (self._bring_whole() if self._work is Work.WHOLE else self._bring_list())
        await self._delete()

    def _check_mounted(self) -> None:
        if self._before.entries and self._mirror.is_empty():
            raise JobStopped(
                Judgement(
                    Outcome.FAILED,
                    f"{self._mirror.path} is empty and had {self._before.entries} entries: is its disk mounted? "
                    f"If it is meant to be filled anew: pushmirror sync {self._tree} --full",
                )
            )

    # --- a change list

    async def _bring_list(self) -> None:
        existing = [deletion.path for deletion in self._ledger.deletions(self._tree)]
        root_mtime_ns = self._pending[-1].root_mtime_ns
        self._root_mtime_ns = self._mirror.root_mtime_ns() if root_mtime_ns is None else root_mtime_ns
        changes, surplus = await self._fetch_pending(existing)
        listed = (*changes.changed, *changes.directories)
        incomplete = still_incomplete(self._before.incomplete, listed, self._runs.sum.incomplete)
        deletions = await self._runs.in_thread(topmost, [*changes.deleted, *surplus])
        entries = self._before.entries + self._runs.sum.created
        settled = set(existing).difference(deletions)
        compared = judge_list(changes.directories, self.record.serial, self._turns.cleaned)
        await self._finish_puts(
            deletions, settled=settled, entries=entries, incomplete=incomplete, compared=compared
        )  # fmt: skip

    async def _fetch_pending(self, existing: list[TreePath]) -> tuple[ChangeList, tuple[TreePath, ...]]:
        """Bring what is pending. Returns it as one list, and what is surplus in whole directories.

        What turns out to be a directory is brought as a whole one, in another round: each leaves fewer of them.
        """
        turned: set[TreePath] = set()
        while True:
            changes = await self._runs.in_thread(self._sum_up, existing, turned)
            try:
                return changes, await self._fetch(changes)
            except TurnedOut as found:
                turned.update(found.paths)
                await self._runs.in_thread(self._mirror.clear_staging)

    def _sum_up(self, existing: list[TreePath], turned: set[TreePath]) -> ChangeList:
        """Return what all pending updates and deletions amount to here, without what the operator's rules hide."""
        updates = (update.changes or ChangeList() for update in self._pending)  # one after the other
        return self._settle(
            chain([ChangeList(deleted=tuple(existing))], updates, [ChangeList(directories=tuple(sorted(turned)))])
        )

    def _settle(self, lists: Iterable[ChangeList]) -> ChangeList:
        changes = without_busy(settle(merge(lists), self._mirror.is_directory), self._parts.profile)
        return filter_changes(changes, self._parts.rules, self._mirror.is_directory)

    async def _fetch(self, changes: ChangeList) -> tuple[TreePath, ...]:
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
        return await self._list_surplus(plan.surplus) if plan.surplus else ()

    async def _list_surplus(self, directories: tuple[TreePath, ...] = ()) -> tuple[TreePath, ...]:
        result = await self._runs.run(Stage(StageKind.SURPLUS, directories), self._turns.surplus_source)
        return reliable_surplus(result.items, result.notes)

    # --- the whole tree

    async def _bring_whole(self) -> None:
        whole = WholeTree(self._parts, self._runs, self._findings)
        first = self._before.last_full_sync_ms is None
        self._mirror.make_staging()
        written_by_us = first and self._was_empty and self._mirror.keeps_nanoseconds()
        self._runs.exact_times = written_by_us or self._before.exact_times
        if first and not self._was_empty:
            await whole.check_plan()
        self._root_mtime_ns = await whole.fetch(may_wait=self._may_wait())
        surplus = await whole.list_surplus(self._turns.surplus_source, others=self._turns.has_next)
        existing = {deletion.path for deletion in self._ledger.deletions(self._tree)}
        compared = self._judge_whole(existing)
        deletions = topmost([*reliable_surplus(surplus.items, surplus.notes), *compared.deletions])
        count = await self._runs.in_thread(self._mirror.count_entries, deletions)
        self._findings.take_paths(set(deletions).difference(existing))
        await self._finish_puts(
            deletions,
            settled=existing.difference(deletions),
            # What an empty upstream got a moment ago is not here: an empty folder must not look like an unmounted one.
            entries=0 if self._mirror.is_empty() else (surplus.items.entries or 0) + count,
            incomplete=tuple(sorted(self._runs.sum.incomplete)),
            full_sync_ms=self._clock_ms(),
            exact_times=written_by_us if first else None,
            unannounced=None if compared.unsure else self._findings.judge(self._ledger.tree(self._tree)),
            compared=compared,
        )

    def _may_wait(self) -> bool:
        """Tell whether an upstream that is being updated is waited for: as long as for missing paths."""
        since_ms = self._before.missing_since_ms
        return since_ms is None or self._clock_ms() < since_ms + self._parts.settings.missing_wait_ms

    def _judge_whole(self, existing: set[TreePath]) -> Comparison:
        """Return what remains to be found out after a full sync, because its source has deletions left to do."""
        serial, cleaned = self.record.serial, self._turns.cleaned
        kept = None if cleaned is None else self._ledger.changes_after(self._tree, cleaned, serial)
        return judge_whole(existing, kept, serial, cleaned, self._settle)

    # --- the ends of both

    async def _finish_puts(
        self,
        deletions: tuple[TreePath, ...],
        *,
        settled: set[TreePath],
        entries: int,
        incomplete: tuple[TreePath, ...],
        full_sync_ms: int | None = None,
        exact_times: bool | None = None,
        unannounced: int | None = None,
        compared: Comparison,
    ) -> None:
        await self._leave_clean()
        now_ms = self._clock_ms()
        recorded = self._ledger.finish_puts(
            self._tree,
            self.record.serial,
            self._before.generation,
            deletions,
            settled=settled,
            due_ms=now_ms + self._parts.settings.delete_grace_ms,
            entries=entries,
            incomplete=incomplete,
            taken=max((update.number for update in self._pending), default=0),
            full_sync_ms=full_sync_ms,
            exact_times=exact_times,
            unannounced=unannounced,
            compared=compared,
        )
        if not recorded:
            raise JobStopped(Judgement(Outcome.BUSY, "the publisher started over while the job ran"))
        self._puts_done = True
        if self._pending:
            self.record = replace(self.record, lag_ms=max(0, now_ms - self._pending[-1].at_ms))

    async def _leave_clean(self) -> None:
        """Remove the staging folder and give the root its time, so that whoever looks now finds the mirror exact."""
        await self._runs.in_thread(self._mirror.clear_staging)
        if self._root_mtime_ns is not None:
            self._mirror.set_root_mtime(self._root_mtime_ns)

    async def _delete(self) -> None:
        """Delete what has come due; the root's time stays what it was."""
        if self._root_mtime_ns is None:
            self._root_mtime_ns = self._mirror.root_mtime_ns()
        deletions = Deletions(self._parts, self._runs, self._ledger, self._clock_ms)
        held = await deletions.judge()
        if held is not None:
            self._tell(Event.HELD, replace(self.record, reason=held))
        if self._turns.may_delete:
            await deletions.delete_due(self._leave_clean, self._turns)


def _lay_out(changes: ChangeList, profile: Profile) -> tuple[ListPlan, frozenset[TreePath], frozenset[TreePath]]:
    """Return how `changes` are brought, all that is put by them, and which of that are files or links.

    For a million paths it takes some seconds, and is done in a thread: what it reads never changes.
    """
    announced = frozenset((*changes.changed, *changes.directories))
    return plan_list(changes, profile), announced, frozenset(plain_puts(changes))
