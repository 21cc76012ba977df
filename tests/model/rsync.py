"""rsync in memory: what each stage does to a mirror's folder when the upstream is a tree of the model.

It takes the place of `pushmirror.subscriber.runner.Runner`, the edge behind which processes begin. That the stages have
these effects with a real rsync is shown by ``tests/core/test_real_rsync.py`` and ``tests/e2e``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.defer import Deferred

from pushmirror.core.command import Command
from pushmirror.core.exits import Judgement, Outcome, judge_exit
from pushmirror.core.model import StageKind
from pushmirror.core.output import Items, Notes
from pushmirror.core.paths import TreePath, ancestors, lies_below
from pushmirror.core.source import Source
from pushmirror.core.watchdog import Limits
from pushmirror.subscriber.runner import RunResult
from tests.core.tree_model import Tree
from tests.model.disk import Disk, InTheWay

_PARTIAL, _BROKEN_OFF = 23, 12


@dataclass
class Run:
    """One run that was started: it has no effect before it is told to go on."""

    kind: StageKind
    source: Source
    paths: tuple[TreePath, ...]
    disk: Disk
    ended: Deferred[RunResult] = field(default_factory=Deferred)


class MemoryRsync:
    """Reads what `upstream` has at the source when a run goes on.

    `running` is the run that has been started and has not ended.
    """

    verifies_deletions = True
    most_paths: int | None = None
    """How many paths of a list are brought, when not all of them."""

    def __init__(self, upstream: Callable[[Source], Tree]) -> None:
        self._upstream = upstream
        self._closed_because: str | None = None
        self.running: Run | None = None

    async def run(
        self,
        tree: str,
        kind: StageKind,
        command: Command,
        source: Source,
        limits: Limits,
        lock: int,
        writable: Sequence[str],
    ) -> RunResult:
        """Start a run, and return how it ended."""
        if self._closed_because is not None:
            return _result(kind, -signal.SIGTERM)
        paths = tuple(TreePath(entry) for entry in command.listing.split(b"\0") if entry)
        self.running = Run(kind, source, paths, Disk(Path(command.arguments[-1])))
        return await self.running.ended

    def progress(self, tree: str) -> None:
        """Nothing is told of how far a run is."""

    def stop(self, tree: str, reason: str) -> None:
        """End the run."""
        self.fail()

    def close(self, reason: str) -> None:
        """End the run, and start no more."""
        self._closed_because = reason
        self.fail()

    def _effects(self, run: Run) -> _Effects:
        return _Effects(run, self._upstream(run.source), self.verifies_deletions, self.most_paths)

    def go_on(self) -> None:
        """Do what the run that was started is for."""
        run, self.running = self.running, None
        if run is not None:
            run.ended.callback(self._effects(run).all())

    def fail(self, after: int = 0) -> None:
        """Let the run break off after so many paths."""
        run, self.running = self.running, None
        if run is not None:
            self._effects(run).some(after)
            run.ended.callback(_result(run.kind, _BROKEN_OFF))


def _result(kind: StageKind, code: int, items: Items | None = None, notes: Notes | None = None) -> RunResult:
    notes = notes or Notes()
    judgement = judge_exit(kind, code, notes) if code else Judgement(Outcome.DONE, "done")
    return RunResult(code, items or Items(), notes, judgement)


class _Effects:
    def __init__(self, run: Run, upstream: Tree, verifies_deletions: bool, most_paths: int | None) -> None:
        self._run = run
        self._verifies_deletions = verifies_deletions
        self._most_paths = most_paths
        self._disk = run.disk
        self._upstream = upstream
        self._superseded = frozenset(path for path in run.paths if self._is_superseded(path))
        self._present: set[TreePath] = set()
        self._changed: set[TreePath] = set()
        self._created: set[TreePath] = set()
        self._clashes: list[TreePath] = []

    def _is_superseded(self, path: TreePath) -> bool:
        return any(above in self._upstream and not self._upstream[above].is_directory for above in ancestors(path))

    def all(self) -> RunResult:
        kind = self._run.kind
        if kind is StageKind.DELETE:
            return self._told(self._delete(self._run.paths))
        if kind is StageKind.SURPLUS and not self._upstream.keys() >= set(self._run.paths) - self._superseded:
            return _result(kind, _PARTIAL, notes=Notes(errors=("a folder is missing",)))
        if kind in (StageKind.SURPLUS, StageKind.PLAN):
            self._present.update(self._upstream)
            return self._told(self._surplus())
        wanted = self._wanted()
        if kind is not StageKind.PROBE:
            for path in wanted[: self._most_paths]:
                self._bring(path)
        self._present.update(wanted)
        return self._told(())

    def some(self, count: int) -> None:
        """Do as much as is done when the run breaks off after `count` paths."""
        if self._run.kind is StageKind.DELETE:
            self._delete(self._run.paths[:count])
        elif self._run.kind not in (StageKind.SURPLUS, StageKind.PLAN, StageKind.PROBE):
            for path in self._wanted()[:count]:
                self._bring(path)

    def _told(self, deleted: Iterable[TreePath]) -> RunResult:
        present = frozenset(self._present)
        items = Items(
            present=present,
            plain=frozenset(path for path in present if not self._upstream[path].is_directory),
            changed=frozenset(self._changed),
            created=len(self._created),
            brought=len(self._changed),
            deleted=tuple(deleted),
            entries=len(self._upstream),
        )
        notes = Notes(superseded=self._superseded, clashes=tuple(self._clashes))
        return _result(self._run.kind, _PARTIAL if self._clashes or self._superseded else 0, items, notes)

    def _wanted(self) -> list[TreePath]:
        """Return the paths that a run brings, those above first."""
        listed = frozenset(self._run.paths)
        if self._run.kind is StageKind.WHOLE:
            return sorted(self._upstream)
        recursive = self._run.kind is StageKind.DIRECTORIES
        return sorted(path for path in self._upstream if path in listed or (recursive and lies_below(path, listed)))

    def _bring(self, path: TreePath) -> None:
        for part in (*reversed(tuple(ancestors(path))), path):
            if part in self._clashes or lies_below(part, set(self._clashes)):
                return
            before, wanted = self._disk.look(part), self._upstream[part]
            self._present.add(part)
            if before == wanted:
                continue
            try:
                self._disk.write(part, wanted)
            except InTheWay:
                self._clashes.append(part)
                return
            self._changed.add(part)
            if before is None:
                self._created.add(part)

    def _surplus(self) -> list[TreePath]:
        inside = frozenset(path for path in self._run.paths if path in self._upstream)
        here = self._disk.read()
        return sorted(p for p in here if p not in self._upstream and (not self._run.paths or lies_below(p, inside)))

    def _delete(self, paths: Iterable[TreePath]) -> list[TreePath]:
        gone = [path for path in paths if self._is_gone(path) or not self._verifies_deletions]
        deleted = [path for path in self._disk.read() if path in gone or lies_below(path, set(gone))]
        for path in gone:
            if path in self._disk.read():
                self._disk.remove(path)
        return deleted

    def _is_gone(self, path: TreePath) -> bool:
        """Tell whether the upstream says of a path that is to be deleted that there is no such file."""
        return path not in self._upstream and path not in self._superseded
