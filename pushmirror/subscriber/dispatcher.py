"""Starts the jobs that `pushmirror.core.schedule` chooses, one per tree, so many over all; records how they end."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Event
from pushmirror.core.progress import Progress
from pushmirror.core.schedule import (
    Due,
    Needs,
    Work,
    busy_delay_ms,
    choose,
    is_for_age,
    retry_delay_ms,
    spread_max_age_ms,
    tree_state,
)
from pushmirror.errors import StateError
from pushmirror.subscriber.job import Job
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import JobRecord, TreeRecord
from pushmirror.subscriber.runner import Runner
from pushmirror.subscriber.runs import JobStopped
from pushmirror.subscriber.sources import RelayHeads, TreeSources, no_relay
from pushmirror.subscriber.space import LOOK_EVERY_MS, Space

log = logging.getLogger(__name__)

_LONGEST_SLEEP_S = 60.0
"""The clock of the wall may jump; nobody waits longer than this to look at it again."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MISSING_RETRY = 3
"""What is missing upstream is asked for again after the delay of a third failure."""


class Dispatcher:
    """Runs the jobs of `trees`.

    `awaits_head` tells for which of them a first sync had better wait a moment, `busy_until_ms` until when the upstream
    is updating one itself, `catching_up_until_ms` until when list jobs had better wait for more history, and `share`
    which place of all mirrors this one has when it comes to full syncs.
    """

    def __init__(
        self,
        reactor: Any,
        trees: Mapping[str, TreeParts],
        ledger: Ledger,
        runner: Runner,
        max_jobs: int,
        clock_ms: Callable[[], int],
        random: Callable[[], float],
        tell: Callable[[Event, JobRecord, Progress | None], None],
        awaits_head: Callable[[str], bool],
        busy_until_ms: Callable[[str], int | None] = lambda tree: None,
        relay_head: RelayHeads = no_relay,
        catching_up_until_ms: Callable[[str], int | None] = lambda tree: None,
        share: Callable[[str], float] = lambda tree: 1.0,
    ) -> None:
        self._reactor = reactor
        self._trees = trees
        self._ledger = ledger
        self._runner = runner
        self._max_jobs = max_jobs
        self._clock_ms = clock_ms
        self._random = random
        self._tell = tell
        self._awaits_head = awaits_head
        self._busy_until_ms = busy_until_ms
        self._catching_up_until_ms = catching_up_until_ms
        self._share = share
        self._space = Space(trees, clock_ms, random)
        self._sources = {name: TreeSources(parts, relay_head, clock_ms, random) for name, parts in trees.items()}
        self._running: dict[str, Deferred[None]] = {}
        self._jobs: dict[str, Job] = {}
        self._look: Any = None
        self._stopping = False

    def poke(self, _tree: str = "") -> None:
        """Look soon at what there is to do."""
        self._look_in(0)

    def _look_in(self, delay_s: float) -> None:
        if self._stopping:
            return
        if self._look is not None and self._look.active():
            self._look.cancel()
        self._look = self._reactor.callLater(delay_s, self._choose)

    def _choose(self) -> None:
        self._look_in(_LONGEST_SLEEP_S)
        try:
            self._start_due()
        except StateError as error:
            log.error("no job can be begun, which is tried again in a minute: %s", error)
        except Exception:  # this loop survives it
            log.exception("what to do next could not be found out; it is tried again in a minute")

    def _start_due(self) -> None:
        now_ms = self._clock_ms()
        self._space.look()
        records = self._ledger.trees()
        needs = [self.needs(records[name]) for name in self._trees]
        choice = choose(needs, now_ms, self._max_jobs - len(self._running))
        longest_ms = LOOK_EVERY_MS if self._space.waiting else _LONGEST_SLEEP_S * 1000
        sleep_ms = longest_ms if choice.wake_at_ms is None else min(longest_ms, choice.wake_at_ms - now_ms)
        self._look_in(max(0.001, sleep_ms / 1000))
        for due in choice.start:  # a job that ends at once has its poke heard, because it comes after this
            self._start(due)

    def needs(self, record: TreeRecord) -> Needs:
        """Return what there is to do for the tree of `record`."""
        settings = self._trees[record.tree].settings
        return Needs(
            tree=record.tree,
            coalesce_ms=settings.coalesce_ms,
            max_age_ms=spread_max_age_ms(settings.max_age_ms, self._share(record.tree)),
            missing_wait_ms=settings.missing_wait_ms,
            paused=record.paused,
            running=record.tree in self._running,
            pending_since_ms=record.pending_since_ms,
            whole_pending=record.whole_pending,
            last_full_sync_ms=record.last_full_sync_ms,
            missing_since_ms=record.missing_since_ms,
            deletion_due_ms=record.deletion_due_ms,
            retry_at_ms=record.retry_at_ms,
            full_sync_retry_at_ms=record.full_sync_retry_at_ms,
            catching_up_until_ms=self._catching_up_until_ms(record.tree),
            upstream_busy_until_ms=self._busy_until_ms(record.tree),
            no_source_until_ms=self._sources[record.tree].blocked(record),
            no_room_until_ms=self._space.blocked(record.tree, record.announced),
            awaiting_head=self._awaits_head(record.tree),
        )

    def state(self, record: TreeRecord) -> str:
        """Return the state of a tree as ``status`` shows it."""
        failures = max(record.failures, record.full_sync_failures)
        return tree_state(self.needs(record), failures, record.hopeless, self._clock_ms())

    def show_sources(self, record: TreeRecord) -> dict[str, Any]:
        """Return what ``status`` tells of the sources of a tree."""
        return self._sources[record.tree].show(record)

    def show_space(self, record: TreeRecord) -> dict[str, Any] | None:
        """Return what ``status`` tells of a tree that waits for room on its disk; None for one that does not."""
        return self._space.show(record.tree, record.announced)

    def why_no_source(self, record: TreeRecord) -> str | None:
        """Return why what there is to do for a tree finds no source, None when it does, or there is nothing to do."""
        return self._sources[record.tree].why_blocked(record)

    def _start(self, due: Due) -> None:
        sources = self._sources[due.tree]
        try:
            job = Job(self._reactor, sources, due.work, self._ledger, self._runner, self._clock_ms, self._tell_of_job)
        except StateError:
            raise
        except Exception as error:  # the others go on
            log.exception("tree %s: a job could not be begun", due.tree)
            judgement = Judgement(Outcome.FAILED, f"a fault of this program: {error!r}")
            self._record_failure(due, judgement, self._clock_ms())
            self.poke()
            return
        self._jobs[due.tree] = job
        ended: Deferred[None] = Deferred.fromCoroutine(self._run(job, due))
        self._running[due.tree] = ended
        ended.addBoth(self._forget, due.tree)

    def _forget(self, result: Any, tree: str) -> None:
        if result is not None and result.check(StateError):
            log.error("tree %s: how a job ended is not recorded, so that it is run again: %s", tree, result.value)
        elif result is not None:
            log.error("tree %s: a job ended by a fault of this program: %s", tree, result.getTraceback())
        self._running.pop(tree, None)
        self._jobs.pop(tree, None)
        self.poke()

    def _tell_of_job(self, event: Event, record: JobRecord) -> None:
        self._tell(event, record, None)

    def tell_progress(self) -> None:
        """Report how far every running job is. To be called every few seconds."""
        for tree, job in self._jobs.items():
            progress = self._runner.progress(tree)
            if progress is not None:
                self._tell(Event.PROGRESS, job.record, progress)

    def progress(self, tree: str) -> Progress | None:
        """Return how far the running job of `tree` is, if it has told."""
        return self._runner.progress(tree)

    async def _run(self, job: Job, due: Due) -> None:
        try:
            await job.run()
        except JobStopped as stopped:
            self._record_stop(job, due, stopped)
        except OSError as error:
            reason = f"{error.strerror}: {error.filename!r}" if error.filename else str(error)
            outcome = Outcome.FULL if error.errno in _NO_SPACE else Outcome.DISK
            self._record_stop(job, due, JobStopped(Judgement(outcome, f"the mirror's disk: {reason}")))
        except StateError as error:
            self._record_stop(job, due, JobStopped(Judgement(Outcome.FAILED, str(error))))
        except Exception as error:
            self._record_stop(job, due, JobStopped(Judgement(Outcome.FAILED, f"a fault of this program: {error!r}")))
            raise
        else:
            record = job.finish("done", None, 0)
            self._ledger.succeed(record.tree)
            if due.work is not Work.CLEAN:
                self._space.note_done(record.tree)
            log.info(
                "tree %s: applied serial %d: %d files, %d bytes, %d deleted",
                record.tree, record.serial, record.files, record.bytes, record.deleted,
            )  # fmt: skip
            self._tell(Event.COMPLETED, record, None)

    def _record_stop(self, job: Job, due: Due, stopped: JobStopped) -> None:
        tree, judgement = job.record.tree, stopped.judgement
        if self._stopping:
            job.finish("interrupted", "the daemon was stopped", stopped.code)
            return
        now_ms = self._clock_ms()
        if stopped.missing:
            self._wait_for_missing(job.record, judgement.reason, now_ms)
        else:
            self._record_failure(due, judgement, now_ms)
        record = job.finish("waiting" if stopped.missing else "failed", judgement.reason, stopped.code)
        level = logging.WARNING if self._is_news(tree, stopped) else logging.DEBUG
        log.log(level, "tree %s: %s", tree, judgement.reason)
        self._tell(Event.FAILED, record, None)

    def _is_news(self, tree: str, stopped: JobStopped) -> bool:
        """Let what has no room wait for it; tell whether that was not known before, as of every other failure."""
        judgement = stopped.judgement
        if judgement.outcome is Outcome.DISK:
            self._space.note_trouble(tree, judgement.reason)
        if judgement.outcome is not Outcome.FULL:
            return True
        if stopped.growth_bytes is None:
            return self._space.note_full(tree, judgement.reason)
        announced = self._ledger.tree(tree).announced
        return self._space.note_short(tree, stopped.growth_bytes, announced, judgement.reason)

    def _wait_for_missing(self, job: JobRecord, reason: str, now_ms: int) -> None:
        """Wait for the next update, which may have been announced while the job ran, or for ``missing_wait`` to end."""
        tree, record = job.tree, self._ledger.tree(job.tree)
        decided_ms = (record.missing_since_ms or now_ms) + self._trees[tree].settings.missing_wait_ms
        retry_at_ms = min(now_ms + self._delay_ms(_MISSING_RETRY), max(now_ms, decided_ms))
        if record.announced > job.serial:
            retry_at_ms = now_ms
        self._ledger.wait_for_missing(tree, reason, now_ms, retry_at_ms)

    def _record_failure(self, due: Due, judgement: Judgement, now_ms: int) -> None:
        record, counts = self._ledger.tree(due.tree), judgement.outcome not in (Outcome.BUSY, Outcome.FULL)
        for_age = due.work is Work.WHOLE and is_for_age(self.needs(record), now_ms)
        failures = (record.full_sync_failures if for_age else record.failures) + 1
        retry_at_ms = now_ms + (self._delay_ms(failures) if counts else busy_delay_ms(self._random()))
        if judgement.outcome is Outcome.FULL:
            retry_at_ms = now_ms  # it waits for room instead
        if for_age:
            self._ledger.fail_full_sync(due.tree, judgement.reason, retry_at_ms, counts=counts)
            return
        hopeless = judgement.outcome in (Outcome.FAILED, Outcome.DISK)
        self._ledger.fail(due.tree, judgement.reason, retry_at_ms, counts=counts, hopeless=hopeless)

    def _delay_ms(self, failures: int) -> int:
        return retry_delay_ms(failures, self._random())

    def stop(self) -> Deferred[Any]:
        """End every run and start no more; the result fires when all jobs have ended."""
        self._stopping = True
        if self._look is not None and self._look.active():
            self._look.cancel()
        self._runner.close("the daemon was stopped")
        return DeferredList([_echo(ended) for ended in self._running.values()])


def _echo(deferred: Deferred[None]) -> Deferred[None]:
    """Return a Deferred that fires when `deferred` does, without taking its result away from others."""
    echo: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        echo.callback(None)
        return result

    deferred.addBoth(fire)
    return echo
