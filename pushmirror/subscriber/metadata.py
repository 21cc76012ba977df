"""Metadata of a repository: fetched aside first, put in place last, so that no client sees it without its payload."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Stage, StageKind, Stamp
from pushmirror.core.paths import TreePath, shorten
from pushmirror.core.profiles import split, switch_order
from pushmirror.subscriber.mirror import Mirror
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.runs import JobStopped, Runs
from pushmirror.subscriber.switch import Staged, look_staged, put_in_place

log = logging.getLogger(__name__)

_NANOSECONDS = 10**9


class MetadataAside:
    """The metadata of one job: fetched into the staging folder, checked, and switched."""

    def __init__(self, parts: TreeParts, runs: Runs) -> None:
        self._parts = parts
        self._runs = runs
        self._mirror: Mirror = parts.mirror
        self._listed: set[TreePath] = set()

    async def list_changed(
        self, directories: tuple[TreePath, ...] = (), *, may_wait: bool = False
    ) -> tuple[TreePath, ...]:
        """Return the metadata that differs at the upstream: in `directories`, or in the whole tree.

        When something differs and some of it has several names, all of it is returned: rsync links only what it sees in
        one run, and does not tell here what with, nor which names are linked already. What is as it was costs a link in
        the staging folder.
        With `may_wait` JobStopped is raised when a file there says that the upstream is half-way through an update of
        its own.
        """
        result = await self._runs.run(Stage(StageKind.LISTING, directories))
        busy = sorted(path for path in result.items.present if self._parts.profile.is_busy(path))
        if busy and may_wait:
            reason = f"the upstream is half-way through an update: it has {shorten(busy[0])}"
            raise JobStopped(Judgement(Outcome.RETRY, reason), missing=True)
        _, changed = split(result.items.changed, self._parts.profile)
        if changed and result.items.linked:
            _, changed = split(result.items.changed | result.items.plain, self._parts.profile)
        hides = self._parts.rules.hides
        return tuple(sorted(path for path in changed if not hides(path, path not in result.items.plain)))

    async def fetch(self, paths: tuple[TreePath, ...], announced: frozenset[TreePath]) -> bool:
        """Bring `paths` into the staging folder, or bring up to date what is there. Returns whether anything was new.

        Raises JobStopped when some of the `announced` ones are missing upstream.
        """
        if not paths:
            return False
        self._listed.update(paths)
        before = self._runs.sum.files
        await self._runs.put(Stage(StageKind.METADATA, paths), announced.intersection(paths))
        return self._runs.sum.files > before

    async def check_unchanged(self, paths: tuple[TreePath, ...]) -> None:
        """Raise JobStopped when the upstream's metadata is not any more what was fetched before the payload."""
        if await self.fetch(paths, frozenset()):
            reason = "the upstream has moved on: its metadata changed while the payload was brought"
            raise JobStopped(Judgement(Outcome.RETRY, reason), missing=True)

    async def check_stamps(self, stamps: Iterable[Stamp]) -> None:
        """Raise JobStopped when what was fetched is not what was announced: its payload is another one, then."""
        moved = await self._runs.in_thread(self._find_moved, tuple(stamps))
        if moved is not None:
            reason = f"the upstream has moved on: {shorten(moved)} is newer than what was announced"
            raise JobStopped(Judgement(Outcome.RETRY, reason), missing=True)

    def _find_moved(self, stamps: tuple[Stamp, ...]) -> TreePath | None:
        for stamp in stamps:
            found = self._mirror.look_aside(stamp.path)
            if found is not None and not _fits(stamp, *found):
                return stamp.path
        return None

    async def switch(self) -> None:
        """Put everything that was fetched in place, the profile's last files last."""
        if not self._listed:
            return
        staged = await self._runs.in_thread(look_staged, self._mirror.metadata_root)
        in_the_way = tuple(path for path in staged.files if self._mirror.is_directory(path))
        if in_the_way:
            await self._runs.clear_way(in_the_way)
            blocked = self._runs.way.blocked
            staged = replace(staged, files=tuple(path for path in staged.files if path not in blocked))
        everything = (*staged.files, *staged.directories)
        self._runs.sum.created += len(everything) - len(await self._runs.in_thread(self._mirror.present, everything))
        await self._runs.in_thread(self._put_in_place, staged)
        log.info("tree %s: switched %d metadata files", self._parts.name, len(staged.files))

    def _put_in_place(self, staged: Staged) -> None:
        ordered = switch_order(staged.files, self._parts.profile)
        put_in_place(self._mirror.root, self._mirror.metadata_root, ordered, staged)


def _fits(stamp: Stamp, size: int, mtime_ns: int) -> bool:
    """Tell whether a fetched file is the one of `stamp`; one that travelled in whole seconds is compared in those."""
    if mtime_ns % _NANOSECONDS == 0:
        return (size, mtime_ns // _NANOSECONDS) == (stamp.size, stamp.mtime_ns // _NANOSECONDS)
    return (size, mtime_ns) == (stamp.size, stamp.mtime_ns)
