"""Holds what an operator wants to announce against the tree on disk, and makes the change list of it.

Nothing is announced when anything is wrong: all problems are told at once, in one UsageError.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.changes import find_bare
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, shorten, topmost, trust
from pushmirror.errors import UntrustedPath, UsageError

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Wanted:
    """What the operator named, as it was written. `listed` are puts out of a list, of which the root is passed over."""

    puts: tuple[bytes, ...] = ()
    listed: tuple[bytes, ...] = ()
    deletions: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What can be announced: the list, the size of its files, the root's time, and `notes` for the operator."""

    changes: ChangeList
    bytes: int
    root_mtime_ns: int | None
    notes: tuple[str, ...] = ()


def inspect(root: Path, wanted: Wanted, *, force: bool) -> Inspection:
    """Return the change list that `wanted` amounts to in the tree at `root`.

    `force` announces also puts that are not there, deletions of what still is, and anything in an empty tree; never
    a path that leaves the tree. Raises UsageError with all problems.
    """
    root_mtime_ns = inspect_root(root, force=force)
    inspector = _Inspector(os.fsencode(root), force)
    changed = inspector.check((*wanted.puts, *_without_root(wanted.listed)), inspector.judge_put)
    directories = inspector.check(wanted.directories, inspector.judge_directory)
    deleted = inspector.check(wanted.deletions, inspector.judge_deletion)
    inspector.refuse_both({*changed, *directories} & deleted)
    _raise(inspector.problems)
    changes = ChangeList(
        changed=tuple(sorted(changed)),
        deleted=topmost(deleted),
        directories=topmost(directories),
        bare=find_bare(changed & inspector.directories, (*changed, *directories)),
    )
    if not changes:
        raise UsageError("the list is empty: nothing was announced")
    return Inspection(changes, inspector.count_bytes(), root_mtime_ns, inspector.list_notes())


def inspect_root(root: Path, *, force: bool) -> int | None:
    """Return the time of the tree's root (None when it is before 1970, which the protocol cannot say).

    Raises UsageError when there is no such folder, and without `force` when it is empty, as an unmounted disk is.
    """
    try:
        status = os.stat(root)
        empty = not any(os.scandir(root))
    except OSError as error:
        raise UsageError(f"{root}: the tree cannot be read ({error.strerror}); is its disk mounted?") from error
    if empty and not force:
        raise UsageError(f"{root}: the tree is empty; is its disk mounted? --force announces it as it is")
    return status.st_mtime_ns if status.st_mtime_ns >= 0 else None


def split_list(content: bytes) -> tuple[bytes, ...]:
    """Return the paths of a list: separated by NUL when there is any in it, otherwise by newlines. Empty ones go."""
    separator = b"\0" if b"\0" in content else b"\n"
    return tuple(path for path in content.split(separator) if path)


def _normalise(raw: bytes) -> bytes:
    """Return the path as it is in a tree: without the ``./`` that find prints, and without trailing slashes."""
    path = raw
    while path.startswith(b"./"):
        path = path[2:].lstrip(b"/")
    return path.rstrip(b"/") if path.strip(b"/") else path


def _is_root(raw: bytes) -> bool:
    return _normalise(raw) in (b"", b".") and bool(raw)


def _without_root(listed: Iterable[bytes]) -> Iterable[bytes]:
    """``find .`` names the root first; its time is in every announcement anyway."""
    return (path for path in listed if not _is_root(path))


def _raise(problems: list[str]) -> None:
    if not problems:
        return
    shown = problems[:SHOWN_PROBLEMS]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"... and {len(problems) - SHOWN_PROBLEMS} more")
    raise UsageError("\n".join([*shown, "nothing was announced"]))


Judge = Callable[[TreePath, "os.stat_result | None"], "str | None"]


class _Inspector:
    """Looks at one path after the other and gathers what is wrong. Nothing is looked at through a symlink."""

    def __init__(self, root: bytes, force: bool) -> None:
        self._root = root
        self._force = force
        self._parents: dict[TreePath, str | None] = {}
        self._names_of_inode: dict[tuple[int, int], int] = {}
        self._links_of_inode: dict[tuple[int, int], int] = {}
        self._bytes_of_inode: dict[tuple[int, int], int] = {}
        self.directories: set[TreePath] = set()
        """Puts that are directories."""
        self.problems: list[str] = []

    def check(self, raw_paths: Iterable[bytes], judge: Judge) -> set[TreePath]:
        """Return the paths, without duplicates, that `judge` finds nothing wrong with."""
        good: set[TreePath] = set()
        for raw in dict.fromkeys(map(_normalise, raw_paths)):
            try:
                path = _trust(raw)
            except UntrustedPath as error:
                self.problems.append(str(error))
                continue
            try:
                problem = self._judge_parents(path) or judge(path, self._look(path))
            except OSError as error:
                problem = f"cannot be looked at ({error.strerror}): run this as a user who may"
            if problem:
                self.problems.append(f"path {shorten(path)!r} {problem}")
            else:
                good.add(path)
        return good

    def _look(self, path: TreePath) -> os.stat_result | None:
        """Return what is there, None if it is nothing. Raises OSError when that cannot be told."""
        try:
            return os.lstat(os.path.join(self._root, path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _judge_parents(self, path: TreePath) -> str | None:
        """What is wrong with the directories above: a list can change nothing behind a symlink."""
        nearest = next(ancestors(path), None)
        if nearest is None:
            return None
        if nearest not in self._parents:
            self._parents[nearest] = self._judge_parents(nearest) or self._judge_parent(nearest)
        return self._parents[nearest]

    def _judge_parent(self, parent: TreePath) -> str | None:
        status = self._look(parent)
        if status is not None and stat.S_ISLNK(status.st_mode):
            return f"lies behind the symlink {shorten(parent)!r}: name what the symlink leads to, if it is in the tree"
        return None

    def judge_put(self, path: TreePath, status: os.stat_result | None) -> str | None:
        if status is None:
            return None if self._force else "is not there: is it a deletion (--delete)? --force announces it anyway"
        if stat.S_ISREG(status.st_mode):
            self._count(status)
        elif stat.S_ISDIR(status.st_mode):
            self.directories.add(path)
        elif not stat.S_ISLNK(status.st_mode):
            return "is neither a file, a directory nor a symlink: mirrors take nothing else"
        return None

    def judge_directory(self, path: TreePath, status: os.stat_result | None) -> str | None:
        if status is None:
            return None if self._force else "is not there: is it a deletion (--delete)? --force announces it anyway"
        return None if stat.S_ISDIR(status.st_mode) else "is not a directory: give it with --path"

    def judge_deletion(self, path: TreePath, status: os.stat_result | None) -> str | None:
        if status is None or self._force:
            return None
        return "is to be deleted and still there: remove it first, or --force announces it anyway"

    def refuse_both(self, paths: Iterable[TreePath]) -> None:
        self.problems += [f"path {shorten(path)!r} is both put and deleted: give it once" for path in sorted(paths)]

    def _count(self, status: os.stat_result) -> None:
        inode = (status.st_dev, status.st_ino)
        self._names_of_inode[inode] = self._names_of_inode.get(inode, 0) + 1
        self._links_of_inode[inode] = status.st_nlink
        self._bytes_of_inode[inode] = status.st_size

    def count_bytes(self) -> int:
        """Return the size of all files that are put, those with several names once."""
        return sum(self._bytes_of_inode.values())

    def list_notes(self) -> tuple[str, ...]:
        partial = sum(1 for inode, names in self._names_of_inode.items() if names < self._links_of_inode[inode])
        if not partial:
            return ()
        return (
            f"{partial} of the files have further hardlinked names that are not announced here: "
            "mirrors link only the names of one announcement with each other",
        )


def _trust(raw: bytes) -> TreePath:
    if raw in (b"", b"."):
        raise UntrustedPath("the root of the tree is no path in it: use --whole-tree to have everything compared")
    if raw.startswith(b"/"):
        raise UntrustedPath(f"path {shorten(raw)!r} is absolute: write it as seen from the root of the tree")
    return trust(raw)
