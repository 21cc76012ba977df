"""One job of one tree: its stages in order, each an rsync run, with the ledger committed between them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pushmirror.core.arrival import reliable_surplus, still_incomplete
from pushmirror.core.budget import UPSTREAM_EMPTY
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Event, ScopeKind, Stage, StageKind, Stamp
from pushmirror.core.paths import TreePath, topmost
from pushmirror.core.relaying import Comparison, judge_list, judge_whole
from pushmirror.core.schedule import Work
from pushmirror.subscriber.deletions import Deletions
from pushmirror.subscriber.findings import Findings
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.leftovers import take_lock
from pushmirror.subscriber.listed import ListedChanges, open_ends
from pushmirror.subscriber.records import NEVER, Deletion, JobRecord, PendingUpdate, TreeRecord
from pushmirror.subscriber.refused import Refused
from pushmirror.subscriber.room import RoomCheck
from pushmirror.subscriber.runner import Runner, RunResult
from pushmirror.subscriber.runs import JobStopped, Runs
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
        self._runs = Runs(reactor, parts, runner, ledger, clock_ms)
        self._refused = Refused(self._tree, self._mirror, ledger)
        self._deletions = Deletions(parts, self._runs, ledger, clock_ms)
        self._room = RoomCheck(parts, self._runs)
        self._listed = ListedChanges(parts, self._runs, self._room)
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
            self._count_created()
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
            self._room.check_floor()
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
        rows = self._ledger.deletions(self._tree)
        root_mtime_ns = self._pending[-1].root_mtime_ns
        self._root_mtime_ns = self._mirror.root_mtime_ns() if root_mtime_ns is None else root_mtime_ns
        source = self._turns.surplus_source
        changes, surplus = await self._listed.bring(open_ends(rows), self._pending, source)
        listed = (*changes.changed, *changes.directories)
        incomplete = still_incomplete(self._before.incomplete, listed, self._runs.sum.incomplete)
        deletions = await self._runs.in_thread(topmost, [*changes.deleted, *surplus])
        compared = judge_list(changes.directories, self.record.serial, self._turns.cleaned)
        await self._finish_puts(rows, deletions, incomplete=incomplete, compared=compared)
        self._refused.note_list(changes, surplus, {*incomplete, *self._runs.way.blocked})

    # --- the whole tree

    async def _bring_whole(self) -> None:
        whole = WholeTree(self._parts, self._runs, self._findings)
        first = self._before.last_full_sync_ms is None
        if not self._ledger.tree(self._tree).entries:
            self._ledger.set_entries(self._tree, await self._runs.in_thread(self._mirror.count_all))
        self._mirror.make_staging()
        written_by_us = first and self._was_empty and self._mirror.keeps_nanoseconds()
        self._runs.exact_times = written_by_us or self._before.exact_times
        if first and not self._was_empty:
            await whole.check_plan()
        self._root_mtime_ns = await whole.fetch(may_wait=self._may_wait())
        result = await self._runs.run(Stage(StageKind.SURPLUS), self._turns.surplus_source)
        surplus = reliable_surplus(result.items, result.notes)
        rows = self._ledger.deletions(self._tree)
        await self._check_content(result, surplus, rows)
        compared = self._judge_whole(set(open_ends(rows).deleted))
        deletions = topmost([*surplus, *compared.deletions])
        unknown = {*self._runs.sum.incomplete, *self._runs.way.blocked}
        self._refused.note_whole(surplus, unknown)
        self._findings.take_paths(
            set(self._refused.leave_out(deletions)).difference(deletion.path for deletion in rows)
        )
        # Not what the upstream says: it would set its own budget.
        entries = await self._runs.in_thread(self._mirror.count_all)
        self._runs.sum.created = max(0, entries - self._ledger.tree(self._tree).entries)
        await self._finish_puts(
            rows,
            deletions,
            entries=entries,
            incomplete=tuple(sorted(self._runs.sum.incomplete)),
            full_sync_ms=self._clock_ms(),
            exact_times=written_by_us if first else None,
            unannounced=None if compared.unsure else self._findings.judge(self._ledger.tree(self._tree)),
            compared=compared,
        )

    async def _check_content(self, result: RunResult, surplus: tuple[TreePath, ...], rows: Iterable[Deletion]) -> None:
        """Raise JobStopped for an upstream without any content, until the operator has approved that all of it goes."""
        if result.items.entries or (self._mirror.is_empty() and not self._turns.has_next):
            return
        gone, approved = topmost(surplus), {deletion.path for deletion in rows if deletion.approved}
        if not self._turns.has_next and approved.issuperset(gone):
            return
        if not self._turns.has_next:
            asked = await self._runs.in_thread(self._refused.leave_out, gone)
            self._ledger.await_deletions(self._tree, asked, self._clock_ms(), in_the_way=False)
            self._hold(UPSTREAM_EMPTY if asked else None)
        raise JobStopped(Judgement(Outcome.FAILED, UPSTREAM_EMPTY, of_source=True))

    def _may_wait(self) -> bool:
        """Tell whether an upstream that is being updated is waited for: as long as for missing paths."""
        since_ms = self._before.missing_since_ms
        return since_ms is None or self._clock_ms() < since_ms + self._parts.settings.missing_wait_ms

    def _judge_whole(self, existing: set[TreePath]) -> Comparison:
        """Return what remains to be found out after a full sync, because its source has deletions left to do."""
        serial, cleaned = self.record.serial, self._turns.cleaned
        kept = None if cleaned is None else self._ledger.changes_after(self._tree, cleaned, serial)
        return judge_whole(existing, kept, serial, cleaned, self._listed.settle)

    # --- the ends of both

    async def _finish_puts(
        self,
        rows: Iterable[Deletion],
        found: tuple[TreePath, ...],
        *,
        entries: int | None = None,
        incomplete: tuple[TreePath, ...],
        full_sync_ms: int | None = None,
        exact_times: bool | None = None,
        unannounced: int | None = None,
        compared: Comparison,
    ) -> None:
        await self._leave_clean()
        self._count_created()
        deletions = await self._runs.in_thread(self._refused.leave_out, found)
        now_ms = self._clock_ms()
        recorded = self._ledger.finish_puts(
            self._tree,
            self.record.serial,
            self._before.generation,
            deletions,
            settled={row.path for row in rows}.difference(deletions, self._runs.way.blocked),
            due_ms=now_ms + self._parts.settings.delete_grace_ms,
            entries=self._ledger.tree(self._tree).entries if entries is None else entries,
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
        self._tell_held(await self._deletions.judge(may_ask=self._turns.may_delete))
        if self._turns.may_delete:
            await self._deletions.delete_due(self._leave_clean, self._turns)

    def _hold(self, reason: str | None) -> None:
        self._tell_held(self._deletions.hold(reason))

    def _tell_held(self, reason: str | None) -> None:
        if reason is not None:
            self._tell(Event.HELD, replace(self.record, reason=reason))

    def _count_created(self) -> None:
        created, self._runs.sum.created = self._runs.sum.created, 0
        if created:
            self._ledger.gain(self._tree, created)
