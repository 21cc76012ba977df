"""One job of one tree: its stages in order, each an rsync run, with the ledger committed between them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from pushmirror.core.arrival import judge_arrival, reliable_surplus, still_incomplete
from pushmirror.core.budget import judge_deletions
from pushmirror.core.changes import merge, settle
from pushmirror.core.command import build_command
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import ChangeList, Event, ScopeKind, Stage, StageKind
from pushmirror.core.paths import TreePath, shorten, topmost
from pushmirror.core.plan import plan_list, plan_whole
from pushmirror.core.schedule import Work
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import NEVER, JobRecord, TreeRecord
from pushmirror.subscriber.runner import Runner, RunResult

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LEFTOVER_POLL_S = 0.1
_LEFTOVER_KILL_AFTER_S = 5.0
_LEFTOVER_GIVE_UP_S = 20.0
_STILL_UPSTREAM_MS = 10 * 60_000
"""A deletion whose path the upstream still has is looked at again after this."""
_MAX_CLASH_ROUNDS = 5


class JobStopped(Exception):
    """A job cannot go on; `judgement` says why, `missing` that its upstream does not have all that was announced."""

    def __init__(self, judgement: Judgement, code: int | None = None, *, missing: bool = False) -> None:
        super().__init__(judgement.reason)
        self.judgement = judgement
        self.code = code
        self.missing = missing


@dataclass
class _Sum:
    """What the runs of a job have done so far."""

    files: int = 0
    bytes: int = 0
    created: int = 0
    deleted: int = 0
    surplus: list[TreePath] = field(default_factory=list)
    incomplete: set[TreePath] = field(default_factory=set)
    upstream_entries: int | None = None
    root_mtime_ns: int | None = None


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
        self._sum = _Sum()
        self._lock = -1
        self._before: TreeRecord = ledger.tree(parts.name)
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
        self._lock = await self._take_lock()
        try:
            await self._run_locked()
        finally:
            os.close(self._lock)
        return self.record

    def finish(self, outcome: str, reason: str | None, code: int | None) -> JobRecord:
        """Record in the ledger how the job ended, and return that record."""
        self.record = replace(
            self.record, finished_ms=self._clock_ms(), outcome=outcome, reason=reason, exit_code=code,
            files=self._sum.files, bytes=self._sum.bytes, deleted=self._sum.deleted,
        )  # fmt: skip
        self._ledger.end_job(self.record)
        return self.record

    async def _run_locked(self) -> None:
        self._check_mounted()
        root_mtime_ns = self._mirror.root_mtime_ns()
        await self._in_thread(self._mirror.clear_staging)
        try:
            await self._run_stages()
        except JobStopped:
            self._sum.root_mtime_ns = root_mtime_ns
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

    # --- puts

    async def _bring_list(self) -> None:
        existing = [deletion.path for deletion in self._ledger.deletions(self._tree)]
        merged = merge([ChangeList(deleted=tuple(existing)), *(u.changes for u in self._pending if u.changes)])
        changes = await self._in_thread(settle, merged, self._mirror.is_directory)
        root_mtime_ns = self._pending[-1].root_mtime_ns
        self._sum.root_mtime_ns = self._mirror.root_mtime_ns() if root_mtime_ns is None else root_mtime_ns
        stages = plan_list(changes)
        if stages:
            self._mirror.make_staging()
        for stage in stages:
            result = await self._run_stage(stage)
            if stage.kind is StageKind.SURPLUS:
                self._sum.surplus.extend(reliable_surplus(result.items, result.notes))
            else:
                self._judge_arrival(changes.changed if stage.kind is StageKind.PAYLOAD else changes.directories, result)
        listed = (*changes.changed, *changes.directories)
        self._sum.incomplete = set(still_incomplete(self._before.incomplete, listed, self._sum.incomplete))
        deletions = topmost([*changes.deleted, *self._sum.surplus])
        entries = self._before.entries + self._sum.created
        await self._finish_puts(deletions, settled=set(existing) - set(deletions), entries=entries)

    def _judge_arrival(self, listed: tuple[TreePath, ...], result: RunResult) -> None:
        arrival = judge_arrival(listed, result.items, result.notes)
        self._sum.incomplete.update(arrival.incomplete)
        if arrival.missing:
            first = shorten(arrival.missing[0])
            reason = f"{len(arrival.missing)} announced paths are missing upstream, the first is {first}"
            raise JobStopped(Judgement(Outcome.RETRY, reason), result.code, missing=True)

    async def _bring_whole(self) -> None:
        first = self._before.last_full_sync_ms is None
        empty = self._mirror.is_empty()
        self._mirror.make_staging()
        exact_times = first and empty and self._mirror.keeps_nanoseconds()
        for stage in plan_whole(adopting=first and not empty):
            result = await self._run_stage(stage, exact_times=exact_times or self._before.exact_times)
            if stage.kind is StageKind.PLAN:
                self._check_plan(result)
            elif stage.kind is StageKind.WHOLE:
                self._sum.upstream_entries = result.items.entries
                self._sum.root_mtime_ns = self._mirror.root_mtime_ns()
                self._sum.incomplete.update(result.notes.unreadable)
                self._check_upstream_has_content()
            else:
                self._sum.surplus.extend(reliable_surplus(result.items, result.notes))
        deletions = topmost(self._sum.surplus)
        surplus = await self._in_thread(self._mirror.count_entries, deletions)
        existing = {deletion.path for deletion in self._ledger.deletions(self._tree)}
        await self._finish_puts(
            deletions,
            settled=existing - set(deletions),
            entries=(self._sum.upstream_entries or 0) + surplus,
            full_sync_ms=self._clock_ms(),
            exact_times=exact_times if first else None,
        )

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

    def _check_upstream_has_content(self) -> None:
        if not self._sum.upstream_entries and not self._mirror.is_empty():
            reason = f"{self._parts.settings.source} is empty: is the upstream's disk mounted? Nothing is deleted"
            raise JobStopped(Judgement(Outcome.FAILED, reason))

    async def _finish_puts(
        self,
        deletions: tuple[TreePath, ...],
        *,
        settled: set[TreePath],
        entries: int,
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
            incomplete=tuple(sorted(self._sum.incomplete)),
            full_sync_ms=full_sync_ms,
            exact_times=exact_times,
        )
        if not recorded:
            raise JobStopped(Judgement(Outcome.BUSY, "the publisher started over while the job ran"))
        if self._pending:
            self.record = replace(self.record, lag_ms=max(0, now_ms - self._pending[-1].at_ms))

    async def _leave_clean(self) -> None:
        """Remove the staging folder and give the root its time, so that whoever looks now finds the mirror exact."""
        await self._in_thread(self._mirror.clear_staging)
        if self._sum.root_mtime_ns is not None:
            self._mirror.set_root_mtime(self._sum.root_mtime_ns)

    # --- deletions: the one way in which anything is deleted

    async def _delete(self) -> None:
        due = await self._due_deletions()
        if not due:
            return
        present = await self._in_thread(self._mirror.present, topmost(due))
        if present:
            await self._delete_present(present)
        kept = await self._in_thread(self._mirror.present, due)
        gone = set(due).difference(kept)
        self._ledger.finish_deletions(self._tree, gone, kept, self._clock_ms() + _STILL_UPSTREAM_MS)

    async def _due_deletions(self) -> list[TreePath]:
        pending = self._ledger.deletions(self._tree)
        record = self._ledger.tree(self._tree)
        asked = [deletion.path for deletion in pending if not deletion.approved]
        count = await self._in_thread(self._mirror.count_entries, asked)
        held = judge_deletions(count, max(record.entries, count), self._parts.budget) if asked else None
        if held != record.held:
            self._hold(held)
        now_ms = self._clock_ms()
        return [d.path for d in pending if d.due_ms <= now_ms and (d.approved or held is None)]

    def _hold(self, held: str | None) -> None:
        self._ledger.hold(self._tree, held)
        if held is not None:
            advice = f"pushmirror approve {self._tree}, or refuse"
            log.warning("tree %s: deletions are held: %s; look at them, then %s", self._tree, held, advice)
            self._tell(Event.HELD, replace(self.record, reason=held))

    async def _delete_present(self, present: tuple[TreePath, ...]) -> None:
        """Delete those of the paths `present` here that are gone at the upstream."""
        if self._sum.root_mtime_ns is None:
            self._sum.root_mtime_ns = self._mirror.root_mtime_ns()
        count = await self._in_thread(self._mirror.count_entries, present)
        await self._run_stage(Stage(StageKind.DELETE, present))
        left = await self._in_thread(self._mirror.count_entries, present)
        self._sum.deleted += count - left
        await self._leave_clean()
        entries = self._ledger.tree(self._tree).entries
        self._ledger.set_entries(self._tree, max(0, entries - (count - left)))

    # --- runs

    async def _run_stage(self, stage: Stage, *, exact_times: bool = False) -> RunResult:
        """Run one stage; directories that are in the way are moved aside, within the budget. Raises JobStopped."""
        for _ in range(_MAX_CLASH_ROUNDS):
            result = await self._run_once(stage, exact_times=exact_times)
            if result.judgement.outcome is not Outcome.CLASH:
                break
            await self._move_aside(result)
        if result.judgement.outcome is not Outcome.DONE:
            raise JobStopped(result.judgement, result.code)
        return result

    async def _run_once(self, stage: Stage, *, exact_times: bool) -> RunResult:
        options = self._parts.options(exact_times=exact_times)
        command = build_command(stage, self._parts.source, str(self._mirror.path), options)
        log.info("tree %s: %s, %s", self._tree, stage.kind.value, f"{len(stage.paths)} paths" if stage.paths else "all")
        result = await self._runner.run(
            self._tree, stage.kind, command, self._parts.source, self._parts.limits(stage.kind), self._lock
        )
        self._sum.files += result.items.brought if stage.kind not in (StageKind.PLAN, StageKind.SURPLUS) else 0
        if stage.kind in (StageKind.PAYLOAD, StageKind.DIRECTORIES, StageKind.WHOLE):
            self._sum.bytes += result.items.transferred_bytes
            self._sum.created += result.items.created
        return result

    async def _move_aside(self, result: RunResult) -> None:
        """Make way for files and links that take the place of directories: that deletes what is in those."""
        paths = topmost(path for path in result.notes.clashes if self._mirror.is_directory(path))
        count = await self._in_thread(self._mirror.count_entries, paths)
        held = judge_deletions(count, max(self._before.entries, count), self._parts.budget)
        if held is not None or not paths:
            names = ", ".join(shorten(path) for path in result.notes.clashes[:5])
            reason = held or "rsync cannot make way"
            raise JobStopped(
                Judgement(Outcome.FAILED, f"the upstream replaced directories by something else ({names}): {reason}")
            )
        for path in paths:
            self._mirror.move_aside(path)
        self._sum.deleted += count

    async def _take_lock(self) -> int:
        """Return the tree's lock; whatever a killed daemon left running is ended first. Raises JobStopped."""
        started_s = self._reactor.seconds()
        asked: list[int] = []
        while (lock := self._parts.lock.take()) is None:
            waited_s = self._reactor.seconds() - started_s
            wanted = signal.SIGKILL if waited_s > _LEFTOVER_KILL_AFTER_S else signal.SIGTERM
            if wanted not in asked:
                asked.append(wanted)
                count = await self._in_thread(self._parts.lock.signal_holders, wanted)
                log.warning("tree %s: %d rsync processes of an earlier job still run: ending them", self._tree, count)
            if waited_s > _LEFTOVER_GIVE_UP_S:
                raise JobStopped(Judgement(Outcome.RETRY, "an rsync of an earlier job does not end"))
            await deferLater(self._reactor, _LEFTOVER_POLL_S)
        return lock

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        pool = self._reactor.getThreadPool()
        result: Result = await deferToThreadPool(self._reactor, pool, function, *arguments)
        return result
