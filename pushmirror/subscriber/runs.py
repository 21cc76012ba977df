"""The rsync runs of one job: each stage run and judged, directories that stand in the way moved aside, sums kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from pushmirror.core.arrival import Arrival, find_moved, find_turned, find_twins, judge_arrival
from pushmirror.core.command import build_command
from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import TreePath, shorten, topmost
from pushmirror.subscriber.census import Census
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.links import clear_links_above, remove_links_out
from pushmirror.subscriber.parts import SourceParts, TreeParts
from pushmirror.subscriber.runner import Runner, RunResult
from pushmirror.subscriber.way import Way

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MAX_CLASH_ROUNDS = 5
_MAX_TWIN_ROUNDS = 5
_PARTIAL = 23
_DRY = (StageKind.PLAN, StageKind.LISTING, StageKind.MARKER, StageKind.PROBE, StageKind.SURPLUS)
_COUNTED = (StageKind.PAYLOAD, StageKind.DIRECTORIES)
"""Stages that bring entries into the tree, and name all of them."""
_BRINGING = (StageKind.METADATA, StageKind.PAYLOAD, StageKind.DIRECTORIES, StageKind.WHOLE)


class JobStopped(Exception):
    """A job cannot go on; `judgement` says why, `missing` that its upstream does not have all that was announced.

    One that was not begun for want of room would have added `growth_bytes`.
    """

    def __init__(
        self, judgement: Judgement, code: int | None = None, *, missing: bool = False, growth_bytes: int | None = None
    ) -> None:
        super().__init__(judgement.reason)
        self.judgement = judgement
        self.code = code
        self.missing = missing
        self.growth_bytes = growth_bytes

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
    """Runs the stages of a job of the tree of `parts`.

    They read from the first source, until another one is named. `lock` is the tree's, to be set before the first run.
    """

    def __init__(
        self, reactor: Any, parts: TreeParts, runner: Runner, ledger: Ledger, clock_ms: Callable[[], int]
    ) -> None:
        self._reactor = reactor
        self._parts = parts
        self._runner = runner
        self.lock = -1
        self._source = parts.sources[0]
        self._mirror = parts.mirror
        self.way = Way(parts, ledger, clock_ms, self.in_thread)
        self.exact_times = False
        """Whether runs over the whole tree compare times to the nanosecond."""
        self.announced: frozenset[TreePath] = frozenset()
        """Every put of the job, in whatever stage it is brought."""
        self.plain: frozenset[TreePath] = frozenset()
        """Those of them that were announced as files or links."""
        self.sum = Sum()
        self.saw_content = False
        """Whether the source was seen to have anything at all, since it is read from."""

    def read_from(self, source: SourceParts) -> None:
        """Let the runs from now on read from `source`; what another one does not let us read is forgotten."""
        self._source = source
        self.saw_content = False
        self.way.blocked.clear()
        self.sum.incomplete.clear()

    async def run(self, stage: Stage, source: SourceParts | None = None) -> RunResult:
        """Run one stage, this time from `source` if there is one. Raises JobStopped unless it was done.

        What cannot come because a directory stays in its way does not count.
        """
        for _ in range(_MAX_CLASH_ROUNDS):
            result = await self._run_once(stage, source or self._source)
            if result.judgement.outcome is not Outcome.CLASH:
                break
            if await self.clear_way(result.notes.clashes):
                continue
            if result.code == _PARTIAL:  # rsync has gone on, and brought everything else
                return replace(result, judgement=Judgement(Outcome.DONE, "done, but for what has to wait"))
            stage = self._without_blocked(stage)
        if result.judgement.outcome is not Outcome.DONE:
            raise JobStopped(result.judgement, result.code)
        return result

    def _without_blocked(self, stage: Stage) -> Stage:
        """Return what is left of a list at which rsync has stopped. Raises JobStopped where it cannot be passed by."""
        left = tuple(path for path in stage.paths if path not in self.way.blocked)
        if stage.recursive or not left or len(left) == len(stage.paths):
            names = ", ".join(shorten(path) for path in sorted(self.way.blocked)[:5])
            reason = f"directories that are to be deleted have to go first: {names}; approve them, or move them away"
            raise JobStopped(Judgement(Outcome.FAILED, reason))
        return Stage(stage.kind, left)

    async def put(self, stage: Stage, listed: Iterable[TreePath]) -> RunResult:
        """Run a stage that brings the paths `listed`.

        Raises JobStopped also when some of them are missing upstream, TurnedOut when some have to be brought with all
        that is below them.
        """
        result = await self.run(stage)
        arrival, turned = await self.in_thread(self._compare, listed, result)
        self.judge(arrival, result.code)
        if turned:
            raise TurnedOut(turned)
        await self.check_twins(stage.kind, result)
        return result

    def _compare(self, listed: Iterable[TreePath], result: RunResult) -> tuple[Arrival, tuple[TreePath, ...]]:
        expected = tuple(path for path in listed if path not in self.way.blocked)
        arrival = judge_arrival(expected, result.items, result.notes, self.announced)
        return arrival, find_turned(expected, self.plain, result.items)

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
        if stage.kind is StageKind.METADATA:
            await self._remove_links(clear_links_above, self._mirror.root, stage.paths)
        census = await self._take_census(stage)
        result = await self._runner.run(
            self._parts.name, stage.kind, command, source, self._parts.limits(stage), self.lock, self._parts.writable
        )
        if stage.kind in _BRINGING and result.items.links:
            root = self._mirror.metadata_root if stage.kind is StageKind.METADATA else self._mirror.root
            await self._remove_links(remove_links_out, root, result.items.links)
        self._count(stage.kind, result)
        if census and result.items.created:  # whoever claims nothing new gains nothing
            self.sum.created += await self.in_thread(census.gained)
        if read is self._source:
            self.saw_content |= bool(result.items.present or result.notes.unreadable)
        return result

    async def _remove_links(
        self, remove: Callable[[bytes, Iterable[TreePath]], list[TreePath]], root: bytes, paths: Iterable[TreePath]
    ) -> None:
        removed = await self.in_thread(remove, root, paths)
        if removed:
            names = ", ".join(shorten(path) for path in removed[:5])
            log.warning("tree %s: removed %d links that lead out of it: %s", self._parts.name, len(removed), names)

    def _count(self, kind: StageKind, result: RunResult) -> None:
        if kind not in _DRY:
            self.sum.files += result.items.brought
        if kind in _BRINGING:
            self.sum.bytes += result.items.transferred_bytes

    async def _take_census(self, stage: Stage) -> Census | None:
        if stage.kind not in _COUNTED:
            return None
        recursive = stage.kind is StageKind.DIRECTORIES
        return await self.in_thread(partial(Census, self._mirror, stage.paths, recursive=recursive))

    async def clear_way(self, clashes: Iterable[TreePath]) -> bool:
        """Make way for files and links that take the place of directories: that deletes what is in those.

        Returns whether anything was moved; what is above the budget stays, as a deletion that is held. Raises
        JobStopped when no directory stands there.
        """
        paths = topmost(path for path in clashes if self._mirror.is_directory(path))
        if not paths:
            names = ", ".join(shorten(path) for path in tuple(clashes)[:5])
            raise JobStopped(Judgement(Outcome.FAILED, f"rsync cannot make way for what the upstream has: {names}"))
        count = await self.way.clear(paths)
        self.sum.deleted += count
        return count > 0

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `function` returns, without holding up the reactor."""
        pool = self._reactor.getThreadPool()
        result: Result = await deferToThreadPool(self._reactor, pool, function, *arguments)
        return result
