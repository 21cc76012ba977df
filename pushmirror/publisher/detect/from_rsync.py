"""From what rsync itemised to a change list: every path that a log names is looked up in the tree as it is now.

The log only says where to look. What is there is announced as put, what is not there as deleted, so that a log which is
old, cut short or read with the wrong arrow costs a needless path and never says anything untrue.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.core.changes import find_bare
from pushmirror.core.itemise import Itemised, Placement, Reading, trust_placed
from pushmirror.core.linking import Inode, link_pairs
from pushmirror.core.lists import MAX_LIST_PATHS
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, shorten, topmost
from pushmirror.errors import UsageError
from pushmirror.publisher.detect.other_names import InodeKey, find_names
from pushmirror.publisher.inspection import inspect_root


@dataclass(frozen=True)
class LogPart:
    """The lines of one log, where their names lie in the tree, and which of them are rsync's own folders."""

    items: Iterable[Itemised]
    placement: Placement = field(default_factory=Placement)
    is_scratch: Callable[[TreePath], bool] = lambda path: False


@dataclass(frozen=True)
class Detection:
    """What changed: true when there is anything to announce.

    `changes` is None when it is more than a list may hold, and empty when no path changed. `root`: the root itself did,
    whose time is in every announcement.
    """

    changes: ChangeList | None
    bytes: int
    root_mtime_ns: int | None
    notes: tuple[str, ...] = ()
    root: bool = False

    def __bool__(self) -> bool:
        return self.changes is None or bool(self.changes) or self.root


def detect(root: Path, parts: Iterable[LogPart], *, force: bool) -> Detection:
    """Return what the logs tell about the tree at `root`, as it is on the disk now.

    Raises UsageError when the tree is empty or cannot be read and, without `force`, when nothing of all that the
    log says was brought is there: it was then recorded with another destination.
    """
    root_mtime_ns = inspect_root(root, force=force)
    found = _Found(_Disk(os.fsencode(os.path.realpath(root))))
    parts = tuple(parts)
    for part in parts:
        for item in part.items:
            found.add(item, part)
            if len(found.statuses) > MAX_LIST_PATHS:
                return Detection(None, 0, root_mtime_ns)
    if found.brought and not found.confirmed and not force:
        raise UsageError(
            f"none of the {found.brought} paths that the log says were brought is in {root}: the names in it must be "
            "as seen from the root of the tree; --force takes them as deletions; nothing was announced"
        )
    found.add_other_names(parts)
    return Detection(found.make_list(), found.count_bytes(), root_mtime_ns, found.list_notes(), found.root)


class _Disk:
    """What is in a tree, never looked at through a symlink; what is above a path is looked at once."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._above: dict[TreePath, os.stat_result | None] = {}

    def look(self, path: TreePath) -> os.stat_result | None:
        """Return what is there, None if nothing is. Raises UsageError when that cannot be told."""
        try:
            return os.lstat(os.path.join(self._root, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UsageError(
                f"path {shorten(path)!r} cannot be looked at ({error.strerror}): run this as a user who may"
            ) from error

    def settle(self, path: TreePath) -> tuple[TreePath, os.stat_result | None]:
        """Return the path and what is there; instead of it the topmost of those above it that is no directory."""
        for above in reversed(tuple(ancestors(path))):
            if above not in self._above:
                self._above[above] = self.look(above)
            status = self._above[above]
            if status is None or not stat.S_ISDIR(status.st_mode):
                return above, status
        return path, self.look(path)

    def target(self, path: TreePath) -> bytes | None:
        """Return where a symlink points to; None for anything else."""
        try:
            return os.readlink(os.path.join(self._root, path))
        except OSError:
            return None

    def find_names(self, inodes: set[InodeKey]) -> Iterator[tuple[TreePath, os.stat_result]]:
        """Yield all names of these inodes, with what is there."""
        for path in find_names(self._root, inodes):
            status = self.look(path)
            if status is not None and _inode(status) in inodes:
                yield path, status


@dataclass
class _Found:
    """The paths that the logs name, each with what is there; `others` are names that a hardlink was made from."""

    disk: _Disk
    statuses: dict[TreePath, os.stat_result | None] = field(default_factory=dict)
    others: dict[InodeKey, TreePath] = field(default_factory=dict)
    replaced: set[TreePath] = field(default_factory=set)
    """Directories that a log has as something else: one that was there before that may have had other content."""
    in_place: set[InodeKey] = field(default_factory=set)
    """Files that may have been changed where they are, and so under all their names."""
    root: bool = False
    """A log names the root of the tree."""
    brought: int = 0
    confirmed: int = 0
    hidden: int = 0
    """Puts that lie behind a symlink of the tree."""

    def add(self, item: Itemised, part: LogPart) -> None:
        """Take one line of a log."""
        self.root |= any(part.placement.place(reading.name) == b"" for reading in item.readings)
        named = [(reading, path) for reading in item.readings if (path := _place(reading.name, part)) is not None]
        if len(named) > 1:
            named = self._choose(named, part)
        for reading, path in named:
            settled, status = self.disk.settle(path)
            self.statuses[settled] = status
            if not item.deleted:
                self._count(path, settled, status)
                if settled == path and status is not None and not item.directory:
                    self._compare(path, status, item)
            if reading.other is not None:
                self._note_other(_place(reading.other, part))

    def _count(self, path: TreePath, settled: TreePath, status: os.stat_result | None) -> None:
        self.brought += 1
        self.confirmed += status is not None
        self.hidden += settled != path and status is not None and stat.S_ISLNK(status.st_mode)

    def _compare(self, path: TreePath, status: os.stat_result, item: Itemised) -> None:
        """Hold what a log says of a file or link against what is there."""
        if stat.S_ISDIR(status.st_mode):
            self.replaced.add(path)
        elif status.st_nlink > 1 and not item.linked:
            self.in_place.add(_inode(status))

    def _choose(self, named: list[tuple[Reading, TreePath]], part: LogPart) -> list[tuple[Reading, TreePath]]:
        """Return the readings that fit the disk; otherwise those whose name is there, or all of them."""
        there = [(reading, path) for reading, path in named if self._is_there(path)]
        return [found for found in there if self._fits(*found, part)] or there or named

    def _is_there(self, path: TreePath) -> bool:
        settled, status = self.disk.settle(path)
        return settled == path and status is not None

    def _fits(self, reading: Reading, path: TreePath, part: LogPart) -> bool:
        if reading.target is not None:
            return self.disk.target(path) == reading.target
        if reading.other is None or (other := _place(reading.other, part)) is None:
            return False
        one, two = self.disk.look(path), self.disk.look(other)
        return one is not None and two is not None and _inode(one) == _inode(two)

    def _note_other(self, other: TreePath | None) -> None:
        if other is None:
            return
        settled, status = self.disk.settle(other)
        if settled == other and status is not None and not stat.S_ISDIR(status.st_mode):
            self.others[_inode(status)] = other

    def add_other_names(self, parts: Iterable[LogPart]) -> None:
        """Add the names of changed files that no log tells; looking for them is rare, as rsync writes new files."""
        names = Counter(_inode(status) for status in self.statuses.values() if status is not None)
        links = {_inode(status): status.st_nlink for status in self.statuses.values() if status is not None}
        untold = {inode for inode in self.in_place if names[inode] < links.get(inode, 0)}
        if not untold:
            return
        for path, status in self.disk.find_names(untold):
            if not any(part.is_scratch(path) for part in parts):
                self.statuses[path] = status

    def make_list(self) -> ChangeList:
        """Return the change list: what is there, what is not, and the pairs of hardlinks that the logs make plain."""
        there = {path: status for path, status in self.statuses.items() if status and _is_mirrored(status)}
        changed = tuple(sorted(there))
        directories = topmost(self.replaced)
        return ChangeList(
            changed,
            topmost(path for path, status in self.statuses.items() if status is None),
            directories,
            linked=link_pairs(changed, self._linkable, self._other_name),
            bare=find_bare((path for path, s in there.items() if stat.S_ISDIR(s.st_mode)), (*changed, *directories)),
        )

    def _linkable(self, path: TreePath) -> os.stat_result | None:
        status = self.statuses[path]
        return None if status is None or stat.S_ISDIR(status.st_mode) else status

    def _other_name(self, path: TreePath, inode: Inode) -> TreePath | None:
        return self.others.get((inode.st_dev, inode.st_ino))

    def count_bytes(self) -> int:
        """Return the size of all files that are put, those with several names once."""
        sizes = {_inode(s): s.st_size for s in self.statuses.values() if s is not None and stat.S_ISREG(s.st_mode)}
        return sum(sizes.values())

    def list_notes(self) -> tuple[str, ...]:
        special = sum(1 for status in self.statuses.values() if status and not _is_mirrored(status))
        notes = []
        if self.hidden:
            notes.append(
                f"{self.hidden} of the paths lie behind symlinks of the tree and are not announced: mirrors cannot "
                "follow those; announce what a symlink leads to as a tree of its own"
            )
        if special:
            notes.append(f"{special} of the paths are devices, sockets or pipes, which mirrors do not take")
        return tuple(notes)


def _place(name: bytes, part: LogPart) -> TreePath | None:
    path = trust_placed(part.placement.place(name))
    return None if path is None or part.is_scratch(path) else path


def _inode(status: os.stat_result) -> InodeKey:
    return status.st_dev, status.st_ino


def _is_mirrored(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)
