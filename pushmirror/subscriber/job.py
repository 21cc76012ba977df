"""One job of one tree: its stages in order, each an rsync run, with the ledger committed between them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from pushmirror.core.arrival import reliable_surplus, still_incomplete
from pushmirror.core.changes import merge, settle
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.filters import filter_changes
from pushmirror.core.model import ChangeList, Event, ScopeKind, Stage, StageKind
from pushmirror.core.paths import TreePath, shorten, topmost
from pushmirror.core.plan import beside, plan_list, with_siblings
from pushmirror.core.profiles import without_busy
from pushmirror.core.schedule import Work
from pushmirror.subscriber.deletions import Deletions
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.metadata import MetadataAside
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import NEVER, JobRecord, TreeRecord
from pushmirror.subscriber.runner import Runner, RunResult
from pushmirror.subscriber.runs import JobStopped, Runs

log = logging.getLogger(__name__)

_LEFTOVER_POLL_S = 0.1
_LEFTOVER_KILL_AFTER_S = 5.0
_LEFTOVER_GIVE_UP_S = 20.0
_MAX_WHOLE_ROUNDS = 5


class Job:
    """`work` for the tree of `parts`. `tell` is called with the events that a report is made of."""

    def __init__(
        self,
        reactor: Any,
        parts: TreeParts,
        work: Work,
        ledger: Ledger,
        runner: Runner,
        clock_ms: Callable[[], int],
        tell: Callable[[Event, JobRecord], None],
    ) -> None:
        self._reactor = reactor
        self._parts = parts
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
        self._runs = Runs(reactor, parts, runner, self._before.entries)
        self.record = self._begin()

    def _begin(self) -> JobRecord:
        head = self._before.head
        pending = self._ledger.pending(self._tree)
        whole = self._work is Work.WHOLE
        serial = self._before.applied if self._work is Work.CLEAN else (head.serial if head else NEVER)
        if self._work is Work.LIST:
            serial = pending[-1].serial
        scope = (ScopeKind.WHOLE if whole else ScopeKind.LIST).value
        started_ms = self._clock_ms()
        job = self._ledger.begin_job(self._tree, scope, serial, started_ms)
        self._pending = tuple(update for update in pending if update.serial <= serial)
        return JobRecord(job, self._tree, scope, serial, started_ms)

    async def run(self) -> JobRecord:
        """Do the job. Raises JobStopped when it could not be done, OSError when the mirror's disk gives trouble."""
        self._tell(Event.STARTED, self.record)
        lock = await self._take_lock()
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
        root_mtime_ns = self._mirror.root_mtime_ns()
        await self._runs.in_thread(self._mirror.clear_staging)
        try:
            await self._run_stages()
        except (JobStopped, OSError):
            self._root_mtime_ns = root_mtime_ns
            with contextlib.suppress(OSError):  # the disk that gave trouble may give more
                await self._leave_clean()
            raise

    async def _run_stages(self) -> None:
        if self._work is Work.WHOLE:
            await self._bring_whole()
        elif self._work is Work.LIST:
            await self._bring_list()
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
        changes = await self._runs.in_thread(self._sum_up, existing)
        root_mtime_ns = self._pending[-1].root_mtime_ns
        self._root_mtime_ns = self._mirror.root_mtime_ns() if root_mtime_ns is None else root_mtime_ns
        surplus = await self._fetch(changes)
        listed = (*changes.changed, *changes.directories)
        incomplete = still_incomplete(self._before.incomplete, listed, self._runs.sum.incomplete)
        deletions = topmost([*changes.deleted, *surplus])
        entries = self._before.entries + self._runs.sum.created
        settled = set(existing).difference(deletions)
        await self._finish_puts(deletions, settled=settled, entries=entries, incomplete=incomplete)

    def _sum_up(self, existing: list[TreePath]) -> ChangeList:
        """Return what all pending updates and deletions amount to here, without what the operator's rules hide."""
        lists = [ChangeList(deleted=tuple(existing)), *(update.changes for update in self._pending if update.changes)]
        changes = without_busy(settle(merge(lists), self._mirror.is_directory), self._parts.profile)
        return filter_changes(changes, self._parts.rules, self._mirror.is_directory)

    async def _fetch(self, changes: ChangeList) -> tuple[TreePath, ...]:
        """Bring `changes`, metadata aside first and in place last. Returns what is surplus in whole directories."""
        plan = plan_list(changes, self._parts.profile)
        if not (plan.metadata or plan.listing or plan.fetch):
            return ()
        self._mirror.make_staging()
        announced = frozenset((*changes.changed, *changes.directories))
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
        result = await self._runs.run(Stage(StageKind.SURPLUS, directories))
        return reliable_surplus(result.items, result.notes)

    # --- the whole tree

    async def _bring_whole(self) -> None:
        first = self._before.last_full_sync_ms is None
        empty = self._mirror.is_empty()
        self._mirror.make_staging()
        written_by_us = first and empty and self._mirror.keeps_nanoseconds()
        self._runs.exact_times = written_by_us or self._before.exact_times
        if first and not empty:
            self._check_plan(await self._runs.run(Stage(StageKind.PLAN)))
        await self._fetch_whole()
        surplus = await self._runs.run(Stage(StageKind.SURPLUS))
        self._check_upstream_has_content(surplus)
        deletions = topmost(reliable_surplus(surplus.items, surplus.notes))
        count = await self._runs.in_thread(self._mirror.count_entries, deletions)
        existing = {deletion.path for deletion in self._ledger.deletions(self._tree)}
        await self._finish_puts(
            deletions,
            settled=existing.difference(deletions),
            entries=(surplus.items.entries or 0) + count,
            incomplete=tuple(sorted(self._runs.sum.incomplete)),
            full_sync_ms=self._clock_ms(),
            exact_times=written_by_us if first else None,
        )

    async def _fetch_whole(self) -> None:
        """Bring everything; metadata is switched only if it did not change upstream while the payload was brought."""
        aside = MetadataAside(self._parts, self._runs)
        since_ms = self._before.missing_since_ms
        may_wait = since_ms is None or self._clock_ms() < since_ms + self._parts.settings.missing_wait_ms
        for round_number in range(_MAX_WHOLE_ROUNDS):
            changed = await aside.list_changed(may_wait=may_wait) if self._parts.profile else ()
            fresh = await aside.fetch(changed, frozenset(changed))
            if round_number and not fresh:
                break
            result = await self._runs.run(Stage(StageKind.WHOLE))
            self._runs.sum.incomplete.update(result.notes.unreadable)
            self._root_mtime_ns = self._mirror.root_mtime_ns()
            if not self._parts.profile:
                break
        else:
            reason = f"the upstream's metadata changed in each of {_MAX_WHOLE_ROUNDS} rounds"
            raise JobStopped(Judgement(Outcome.RETRY, reason))
        await aside.switch()

    def _check_plan(self, result: RunResult) -> None:
        """Judge the dry run of a first sync into a folder that has content already."""
        links = sorted(path for path in result.items.new_directories if self._mirror.is_link(path))
        if links:
            names = ", ".join(shorten(path) for path in links[:5])
            raise JobStopped(
                Judgement(
                    Outcome.FAILED,
                    f"symbolic links stand in {self._mirror.path} where the upstream has directories: {names}. A sync "
                    "would replace them. Mirror what they lead to as a tree of its own, or mount it there with "
                    "`staging_dir` set; then start again",
                )
            )
        log.info(
            "tree %s: adopting %s: %d entries upstream, %d new here, %d surplus", self._tree, self._mirror.path,
            result.items.entries or 0, result.items.created, len(result.items.deleted),
        )  # fmt: skip

    def _check_upstream_has_content(self, surplus: RunResult) -> None:
        if not surplus.items.entries and not self._mirror.is_empty():
            reason = f"{self._parts.settings.source} is empty: is the upstream's disk mounted? Nothing is deleted"
            raise JobStopped(Judgement(Outcome.FAILED, reason))

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
        )
        if not recorded:
            raise JobStopped(Judgement(Outcome.BUSY, "the publisher started over while the job ran"))
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
        await deletions.delete_due(self._leave_clean)

    async def _take_lock(self) -> int:
        """Return the tree's lock; whatever a killed daemon left running is ended first. Raises JobStopped."""
        started_s = self._reactor.seconds()
        asked: list[int] = []
        while (lock := self._parts.lock.take()) is None:
            waited_s = self._reactor.seconds() - started_s
            wanted = signal.SIGKILL if waited_s > _LEFTOVER_KILL_AFTER_S else signal.SIGTERM
            if wanted not in asked:
                asked.append(wanted)
                pool = self._reactor.getThreadPool()
                count = await deferToThreadPool(self._reactor, pool, self._parts.lock.signal_holders, wanted)
                log.warning("tree %s: %d rsync processes of an earlier job still run: ending them", self._tree, count)
            if waited_s > _LEFTOVER_GIVE_UP_S:
                raise JobStopped(Judgement(Outcome.RETRY, "an rsync of an earlier job does not end"))
            await deferLater(self._reactor, _LEFTOVER_POLL_S)
        return lock
