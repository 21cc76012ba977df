"""The rsync runs of one job: each stage run and judged, directories that stand in the way moved aside, sums kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from pushmirror.core.arrival import Arrival, find_moved, find_turned, find_twins, judge_arrival
from pushmirror.core.budget import judge_deletions
from pushmirror.core.command import build_command
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import TreePath, shorten, topmost
from pushmirror.subscriber.parts import SourceParts, TreeParts
from pushmirror.subscriber.runner import Runner, RunResult

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MAX_CLASH_ROUNDS = 5
_MAX_TWIN_ROUNDS = 5
_DRY = (StageKind.PLAN, StageKind.LISTING, StageKind.MARKER, StageKind.SURPLUS)
_BRINGING = (StageKind.METADATA, StageKind.PAYLOAD, StageKind.DIRECTORIES, StageKind.WHOLE)


class JobStopped(Exception):
    """A job cannot go on; `judgement` says why, `missing` that its upstream does not have all that was announced."""

    def __init__(self, judgement: Judgement, code: int | None = None, *, missing: bool = False) -> None:
        super().__init__(judgement.reason)
        self.judgement = judgement
        self.code = code
        self.missing = missing

    @property
    def elsewhere(self) -> bool:
        """Whether another source of the tree may do better."""
        return self.missing or self.judgement.of_source


class TurnedOut(Exception):
    """`paths` were announced as files or links and are directories by now: the upstream is ahead of what was heard."""

    def __init__(self, paths: tuple[TreePath, ...]) -> None:
        super().__init__(f"{len(paths)} puts have become directories")
        self.paths = paths


@dataclass
class Sum:
    """What the runs of a job have done so far."""

    files: int = 0
    bytes: int = 0
    created: int = 0
    deleted: int = 0
    incomplete: set[TreePath] = field(default_factory=set)


class Runs:
    """Runs the stages of a job of the tree of `parts`, whose mirror has `entries` entries.

    They read from the first source, until another one is named. `lock` is the tree's, to be set before the first run.
    """

    def __init__(self, reactor: Any, parts: TreeParts, runner: Runner, entries: int) -> None:
        self._reactor = reactor
        self._parts = parts
        self._runner = runner
        self.lock = -1
        self._source = parts.sources[0]
        self._entries = entries
        self._mirror = parts.mirror
        self.exact_times = False
        """Whether runs over the whole tree compare times to the nanosecond."""
        self.announced: frozenset[TreePath] = frozenset()
        """Every put of the job, in whatever stage it is brought."""
        self.plain: frozenset[TreePath] = frozenset()
        """Those of them that were announced as files or links."""
        self.sum = Sum()

    def read_from(self, source: SourceParts) -> None:
        """Let the runs from now on read from `source`; what another one does not let us read is forgotten."""
        self._source = source
        self.sum.incomplete.clear()

    async def run(self, stage: Stage, source: SourceParts | None = None) -> RunResult:
        """Run one stage, this time from `source` if there is one. Raises JobStopped unless it was done."""
        for _ in range(_MAX_CLASH_ROUNDS):
            result = await self._run_once(stage, source or self._source)
            if result.judgement.outcome is not Outcome.CLASH:
                break
            paths = topmost(path for path in result.notes.clashes if self._mirror.is_directory(path))
            await self.move_aside(paths or result.notes.clashes)
        if result.judgement.outcome is not Outcome.DONE:
            raise JobStopped(result.judgement, result.code)
        return result

    async def put(self, stage: Stage, listed: Iterable[TreePath]) -> RunResult:
        """Run a stage that brings the paths `listed`.

        Raises JobStopped also when some of them are missing upstream, TurnedOut when some have to be brought with all
        that is below them.
        """
        listed = tuple(listed)
        result = await self.run(stage)
        arrival, turned = await self.in_thread(self._compare, listed, result)
        self.judge(arrival, result.code)
        if turned:
            raise TurnedOut(turned)
        await self.check_twins(stage.kind, result)
        return result

    def _compare(self, listed: tuple[TreePath, ...], result: RunResult) -> tuple[Arrival, tuple[TreePath, ...]]:
        arrival = judge_arrival(listed, result.items, result.notes, self.announced)
        return arrival, find_turned(listed, self.plain, result.items)

    async def check_twins(self, kind: StageKind, result: RunResult) -> None:
        """Make sure that files which a run has brought under several names have the content of all these names.

        They are brought again while they change upstream. Raises JobStopped when that does not end.
        """
        aside = kind is StageKind.METADATA
        paths = await self._find_twins(result, aside=aside)
        for _ in range(_MAX_TWIN_ROUNDS):
            if not paths:
                return
            again = await self.run(Stage(kind, paths))
            if not find_moved(paths, again.items):
                return
            paths = tuple(path for path in paths if path in again.items.present)
            await self.in_thread(partial(self._mirror.doubt, paths, aside=aside))
            await self.run(Stage(kind, paths))
        await self.in_thread(partial(self._mirror.doubt, paths, aside=aside))
        reason = f"hardlinked files changed in each of {_MAX_TWIN_ROUNDS} rounds, the first is {shorten(paths[0])}"
        raise JobStopped(Judgement(Outcome.RETRY, reason), missing=True)

    async def _find_twins(self, result: RunResult, *, aside: bool) -> tuple[TreePath, ...]:
        if not (result.items.relinked and result.items.transferred):
            return ()
        names = result.items.relinked | result.items.transferred
        return find_twins(result.items, await self.in_thread(partial(self._mirror.inodes, names, aside=aside)))

    def judge(self, arrival: Arrival, code: int) -> None:
        """Take note of what is incomplete. Raises JobStopped when something is missing upstream."""
        self.sum.incomplete.update(arrival.incomplete)
        if arrival.missing:
            first = shorten(arrival.missing[0])
            reason = f"{len(arrival.missing)} announced paths are missing upstream, the first is {first}"
            raise JobStopped(Judgement(Outcome.RETRY, reason), code, missing=True)

    async def _run_once(self, stage: Stage, read: SourceParts) -> RunResult:
        source = read.source
        options = self._parts.options(read, exact_times=self.exact_times)
        command = build_command(stage, source, str(self._mirror.path), options)
        scope = f"{len(stage.paths)} paths" if stage.paths else "all"
        log.info("tree %s: %s, %s", self._parts.name, stage.kind.value, scope)
        result = await self._runner.run(
            self._parts.name, stage.kind, command, source, self._parts.limits(stage), self.lock
        )
        self._count(stage.kind, result)
        return result

    def _count(self, kind: StageKind, result: RunResult) -> None:
        if kind not in _DRY:
            self.sum.files += result.items.brought
        if kind in _BRINGING:
            self.sum.bytes += result.items.transferred_bytes
        if kind in _BRINGING and kind is not StageKind.METADATA:
            self.sum.created += result.items.created

    async def move_aside(self, paths: tuple[TreePath, ...]) -> None:
        """Make way for files and links that take the place of the directories `paths`: that deletes what is in them.

        Raises JobStopped when that is above the budget, or when no directory stands there.
        """
        count = await self.in_thread(self._mirror.count_entries, paths)
        held = judge_deletions(count, max(self._entries, count), self._parts.budget)
        if held is not None or not all(self._mirror.is_directory(path) for path in paths):
            names = ", ".join(shorten(path) for path in paths[:5])
            reason = held or "rsync cannot make way"
            raise JobStopped(
                Judgement(Outcome.FAILED, f"the upstream replaced directories by something else ({names}): {reason}")
            )
        for path in paths:
            self._mirror.move_aside(path)
        self.sum.deleted += count

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `function` returns, without holding up the reactor."""
        pool = self._reactor.getThreadPool()
        result: Result = await deferToThreadPool(self._reactor, pool, function, *arguments)
        return result
