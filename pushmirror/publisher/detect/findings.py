"""What a scan finds, gathered into a change list; held against the disk once more before it is announced."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from pushmirror.core.changes import find_bare
from pushmirror.core.linking import Inode, link_pairs
from pushmirror.core.lists import MAX_LIST_PATHS
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, topmost, trust
from pushmirror.errors import UntrustedPath
from pushmirror.publisher.detect.index import Index

MAX_PROBLEMS = 20


@dataclass
class Findings:
    """What one scan has found so far. `whole`: more than a list may hold, so that no paths are kept any more. `root`:
    the root has another time, which is in every announcement."""

    whole: bool = False
    root: bool = False
    directories_read: int = 0
    problems: list[str] = field(default_factory=list)
    _changed: set[TreePath] = field(default_factory=set)
    _deleted: set[TreePath] = field(default_factory=set)
    _attributes: set[TreePath] = field(default_factory=set)
    _directories: set[TreePath] = field(default_factory=set)

    def complain(self, problem: str) -> None:
        """Note what went wrong with one part of the tree; the rest is scanned all the same."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append("and more of the kind")

    def put(self, path: bytes) -> None:
        """Note a file or symlink that is new or changed."""
        self._add(self._changed, path)

    def put_directory(self, path: bytes) -> None:
        """Note a directory that is new."""
        self._add(self._directories, path)

    def delete(self, path: bytes) -> None:
        """Note what is gone, with all below it."""
        self._add(self._deleted, path)

    def change_attributes(self, path: bytes) -> None:
        """Note a directory with another mode or time, which its content may explain."""
        self._add(self._attributes, path)

    def _add(self, paths: set[TreePath], path: bytes) -> None:
        if self.whole:
            return
        try:
            paths.add(trust(path))
        except UntrustedPath as error:
            self.complain(f"{error}: no mirror can take it, so it is left out")
        if sum(map(len, self._all())) > MAX_LIST_PATHS:
            self.announce_whole()

    def announce_whole(self) -> None:
        """Have the whole tree announced, whatever is found."""
        self.whole = True
        for paths in self._all():
            paths.clear()

    def _all(self) -> tuple[set[TreePath], ...]:
        return self._changed, self._deleted, self._attributes, self._directories

    def settle(self, root: bytes, index: Index) -> SettledFindings:
        """Return what to announce: what was found and still holds. The next scan takes the rest up again."""
        if self.whole:
            return SettledFindings(None, 0, self.root)
        directories = self._directories | self._unexplained()
        changed = self._changed | directories
        look = _LastLook(root, index)
        put = {path for path in changed if look.finds(path)}
        deleted = {path for path in self._deleted if not os.path.lexists(os.path.join(root, path))}
        for path in changed - put:
            index.doubt(path)
        # As they were when they were read: a file that is a directory by now may have another content than any before.
        bare = find_bare(put & directories - self._changed, put)
        changes = ChangeList(tuple(sorted(put)), topmost(deleted), linked=look.pair(put), bare=bare)
        return SettledFindings(changes, look.bytes, self.root)

    def _unexplained(self) -> set[TreePath]:
        """The directories whose times and modes do not come right with what is announced in them."""
        named = self._changed | self._directories | self._deleted
        explained = {above for path in named for above in ancestors(path)}
        return self._attributes - explained


@dataclass(frozen=True)
class SettledFindings:
    """What to announce. `changes` None: the whole tree; `bytes` is the size of the files that are put; `root`: also
    when there is no path to tell, the time of the root is to be announced."""

    changes: ChangeList | None
    bytes: int
    root: bool

    def __bool__(self) -> bool:
        return self.changes is None or bool(self.changes) or self.root


class _LastLook:
    """Looks at each path that is put once more: whether it is there, how large it is, and what else it is called."""

    def __init__(self, root: bytes, index: Index) -> None:
        self._root = root
        self._index = index
        self._linked: dict[TreePath, os.stat_result] = {}
        self._counted: set[tuple[int, int]] = set()
        self.bytes = 0

    def finds(self, path: TreePath) -> bool:
        """Tell whether there is anything at `path` that a mirror takes."""
        status = self._stat(path)
        if status is None:
            return False
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._count(path, status)
            return True
        return stat.S_ISDIR(status.st_mode)

    def _stat(self, path: TreePath) -> os.stat_result | None:
        try:
            return os.lstat(os.path.join(self._root, path))
        except OSError:
            return None

    def _count(self, path: TreePath, status: os.stat_result) -> None:
        inode = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode) and inode not in self._counted:
            self.bytes += status.st_size
        if status.st_nlink > 1:
            self._linked[path] = status
            self._counted.add(inode)

    def pair(self, put: set[TreePath]) -> tuple[tuple[TreePath, TreePath], ...]:
        """Return each path that shares its inode with a name that is not put, and that name."""

        def find_settled(path: TreePath, inode: Inode) -> TreePath | None:
            names = sorted(name for name in self._index.names_of(inode.st_ino) if name not in put)
            return next((name for name in names if self._is_name_of(inode, name)), None)

        return link_pairs(put, self._linked.get, find_settled)

    def _is_name_of(self, inode: Inode, name: TreePath) -> bool:
        """The index may be behind the disk."""
        status = self._stat(name)
        return status is not None and (status.st_dev, status.st_ino) == (inode.st_dev, inode.st_ino)
