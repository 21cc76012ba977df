"""Walks a tree beside its index, and finds what changed since the index was committed.

Only what is read is compared. A directory that cannot be read, or from which a file system has vanished, is reported
and left out with all below it: what cannot be seen is not deleted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from pushmirror.core.paths import MAX_PATH_BYTES, TreePath, lies_below, shorten
from pushmirror.core.scanning import Scope, has_other_attributes, needs_reading, slice_entries
from pushmirror.errors import StateError
from pushmirror.publisher.detect.excludes import Excludes
from pushmirror.publisher.detect.findings import Findings
from pushmirror.publisher.detect.index import Directory, Index, fit_inode
from pushmirror.publisher.detect.reading import Reader, Reading, SeenDirectory, see

SCAN_NOTE = "scan"
POSITION_NOTE = "thorough position"
_UNREAD = 0

Hook = Callable[[bytes], None]


def ignore_directory(path: bytes) -> None:
    """Do nothing before a directory is looked at."""


class Scanner:
    """One scan of the tree at `root`, within one transaction of `index`. Paths are relative to the root.

    `before_reading` is called with the path of each directory before it is looked at; what it raises ends the scan.
    `force`: an empty tree and mounts that are gone are taken as they are.
    """

    def __init__(
        self,
        root: bytes,
        index: Index,
        excludes: Excludes,
        *,
        clock_ns: Callable[[], int],
        force: bool = False,
        before_reading: Hook = ignore_directory,
    ) -> None:
        self._root = root
        self._top = os.path.join(root, b"")
        self._index = index
        self._excludes = excludes
        self._force = force
        self._before_reading = before_reading
        self._number = int(index.note(SCAN_NOTE) or _UNREAD) + 1
        self._left_out: set[TreePath] = set()
        self._findings = Findings()
        self._reader = Reader(root, index, excludes, self._findings, clock_ns)

    def run(self, scope: Scope) -> Findings:
        """Return what changed within `scope`; the index then knows it.

        Raises StateError for a root that is missing, that has lost its mount, or that is empty.
        """
        first = self._look_at_root()
        if first:
            self._findings.announce_whole()  # nobody knows what changed before there was an index
        if scope.known or scope.thorough or first:
            self._read_known(scope)
        else:
            self._read_listed(sorted(scope.directories))
        if scope.slices and not (scope.thorough or first):
            self._read_slice(scope.slices)
        if first:
            self._index.finish_building()
        self._index.set_note(SCAN_NOTE, str(self._number))
        return self._findings

    def _look_at_root(self) -> bool:
        """Make sure that the tree is there, and tell whether the index is new."""
        try:
            status = os.stat(self._root)
        except OSError as error:
            raise StateError(f"{self._shown()}: cannot be read ({error.strerror}); is its disk mounted?") from error
        if not stat.S_ISDIR(status.st_mode):
            raise StateError(f"{self._shown()}: the tree is no directory; is its disk mounted?")
        known = self._index.directory(b"")
        if known is None:
            self._index.add_directory(b"", None, see(status).stand, mounted=False, scan=_UNREAD)
        elif self._has_lost_mount(known, see(status)):
            raise StateError(f"{self._shown()}: {_LOST_MOUNT}")
        return known is None

    def _read_known(self, scope: Scope) -> None:
        """Look at all directories that the index knows, those above before those below."""
        listed = scope.directories
        for known in self._index.directories():
            if not scope.thorough and known.path not in listed and self._is_as_it_was(known):
                continue
            seen = self._look_at(known)
            if seen is None:
                continue
            wanted = scope.thorough or known.scan == _UNREAD or known.path in listed
            if wanted or needs_reading(known.stand, bool(known.settled), seen.stand):
                self._read_anew(known.path)

    def _is_as_it_was(self, known: Directory) -> bool:
        """Tell by one look that there is nothing to do, as for nearly every directory of every scan."""
        if not known.settled or known.mounted:
            return False
        self._before_reading(known.path)
        try:
            status = os.lstat(self._top + known.path)
        except OSError:
            return False
        return status.st_ctime_ns == known.ctime_ns and fit_inode(status.st_ino) == known.inode

    def _read_listed(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            nearest = self._nearest(path)
            if self._look_at(nearest) is not None:
                self._read_anew(nearest.path)

    def _nearest(self, path: bytes) -> Directory:
        """Return the directory at `path`, or else the nearest one above it that the index knows and the disk has."""
        while True:
            known = self._index.directory(path)
            if known is not None and (not path or os.path.lexists(os.path.join(self._root, path))):
                return known
            path = path.rpartition(b"/")[0]

    def _read_slice(self, slices: int) -> None:
        """Read the directories that come next, until the slice has its share of the entries; after the last one the
        first is next."""
        left = slice_entries(self._index.count_entries() + self._index.count_directories(), slices)
        position = self._index.note(POSITION_NOTE)
        for known in self._index.directories(None if position is None else bytes.fromhex(position)):
            if self._look_at(known) is not None:
                left -= 1 + self._read_anew(known.path)
            if left <= 0:
                self._index.set_note(POSITION_NOTE, known.path.hex())
                return
        self._index.remove_note(POSITION_NOTE)

    def _look_at(self, known: Directory) -> SeenDirectory | None:
        """Return how a known directory stands; None when it is gone, which the one above it tells of, or left out."""
        if self._is_left_out(known.path):
            return None
        self._before_reading(known.path)
        full = os.path.join(self._root, known.path)
        try:
            status = os.lstat(full) if known.path else os.stat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._leave_out(known.path, _unreadable(error))
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        seen = see(status)
        if self._has_lost_mount(known, seen):
            self._leave_out(known.path, _LOST_MOUNT)
            return None
        return seen

    def _has_lost_mount(self, known: Directory, seen: SeenDirectory) -> bool:
        if not known.mounted or self._force:
            return False
        return os.stat(os.path.join(self._root, known.path, b"..")).st_dev == seen.device

    def _read_anew(self, path: bytes) -> int:
        """Read the directory at `path`, unless this scan has done so or removed it, and those in it that are new or
        changed; return how many entries were in all of them."""
        directory = self._index.directory(path)
        waiting = [directory] if directory is not None and directory.scan != self._number else []
        entries = 0
        while waiting:
            reading = self._read(current := waiting.pop())
            if reading is not None:
                self._record(current, reading)
                waiting += reversed(self._compare_directories(current, reading))
                entries += reading.state.entries
        return entries

    def _read(self, directory: Directory) -> Reading | None:
        self._before_reading(directory.path)
        try:
            reading = self._reader.read(directory)
        except (FileNotFoundError, NotADirectoryError):
            return None  # gone in this moment: the directory above it has another ctime now
        except OSError as error:
            self._leave_out(directory.path, _unreadable(error))
            return None
        if not (directory.path or reading.state.entries or reading.directories or self._force):
            raise StateError(
                f"{self._shown()}: the tree is empty; is its disk mounted? Nothing was announced "
                "(publish --scan --force takes it as it is)"
            )
        return reading

    def _record(self, directory: Directory, reading: Reading) -> None:
        stand = reading.seen.stand
        if reading.being_written:
            # Its time will move again: it is announced when that has come to its end.
            stand = stand._replace(mtime_ns=directory.mtime_ns, mode=directory.mode)
        self._index.set_directory(directory.id, stand, reading.state, scan=self._number)
        if not directory.path:
            self._findings.root |= directory.mtime_ns != stand.mtime_ns
        elif has_other_attributes(directory.stand, stand):
            self._findings.change_attributes(directory.path)

    def _compare_directories(self, above: Directory, reading: Reading) -> list[Directory]:
        """Add the new directories in one that was read, remove those that are gone; return which are to be read."""
        prefix = above.path + b"/" if above.path else b""
        known = self._index.subdirectories(above.id)
        for name in known.keys() - reading.directories.keys():
            if not self._remove(prefix + name):
                self._index.unsettle(above.id)  # to be told again, until the mount is back or force is used
        to_read = []
        for name, seen in reading.directories.items():
            directory = known.get(name)
            if directory is None:
                to_read += self._add(above, prefix + name, seen, mounted=seen.device != reading.seen.device)
            elif self._is_changed(directory, seen):
                to_read.append(directory)
        return to_read

    def _is_changed(self, known: Directory, seen: SeenDirectory) -> bool:
        if known.scan == self._number or not needs_reading(known.stand, bool(known.settled), seen.stand):
            return False
        return self._look_at(known) is not None

    def _add(self, above: Directory, path: bytes, seen: SeenDirectory, *, mounted: bool) -> list[Directory]:
        self._findings.put_directory(path)
        if len(path) > MAX_PATH_BYTES:
            return []
        return [self._index.add_directory(path, above.id, seen.stand, mounted=mounted, scan=_UNREAD)]

    def _remove(self, path: bytes) -> bool:
        """Take a directory that is gone for deleted, unless it may only have been unmounted; tell which."""
        if self._index.has_mount(path) and not self._force:
            self._leave_out(path, _LOST_MOUNT)
            return False
        self._index.remove_tree(path)
        if not self._excludes.hides_directory(path):  # it may have been indexed under other excludes
            self._findings.delete(path)
        return True

    def _is_left_out(self, path: bytes) -> bool:
        return bool(self._left_out) and (path in self._left_out or lies_below(path, self._left_out))

    def _leave_out(self, path: bytes, reason: str) -> None:
        if not self._is_left_out(path):
            self._left_out.add(TreePath(path))
            self._findings.complain(f"{self._shown(path)}: {reason}")

    def _shown(self, path: bytes = b"") -> str:
        return shorten(os.path.join(self._root, path) if path else self._root, limit=400)


_LOST_MOUNT = (
    "a file system was mounted here and is gone, so nothing in it is announced; mount it again, or take the tree as it "
    "is with publish --scan --force"
)


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror}): nothing in it is announced, give the daemon's user the right to read it"
