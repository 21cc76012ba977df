"""Reads one directory, holds its files and symlinks against the index, and brings the index up to date."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pushmirror.core.scanning import EntryRow, Stand, is_own_name, is_settled, looks_temporary
from pushmirror.publisher.detect.excludes import Excludes
from pushmirror.publisher.detect.findings import Findings
from pushmirror.publisher.detect.index import Directory, Index, ReadState, fit_inode

CHUNK_NAMES = 2_000
"""So many entries are compared at once: a directory of a million costs little more memory than its names."""


class SeenDirectory(NamedTuple):
    """A directory as `lstat` tells of it; two with different devices are on different file systems."""

    stand: Stand
    device: int


class Reading(NamedTuple):
    """What was read of one directory."""

    seen: SeenDirectory
    state: ReadState
    being_written: bool
    """An rsync has a temporary file in it."""
    directories: dict[bytes, SeenDirectory]


class Reader:
    """Reads directories of the tree at `root`, whose files and symlinks go into `index` and `findings`."""

    def __init__(
        self, root: bytes, index: Index, excludes: Excludes, findings: Findings, clock_ns: Callable[[], int]
    ) -> None:
        self._root = root
        self._index = index
        self._excludes = excludes
        self._findings = findings
        self._clock_ns = clock_ns

    def read(self, directory: Directory) -> Reading:
        """Return what is in a directory. Raises OSError when that cannot be told to the last entry."""
        # The root may be a symlink to where the tree is; in it, nothing is looked at through one.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if directory.path else 0)
        descriptor = os.open(os.path.join(self._root, directory.path), flags)
        try:
            return self._read(directory, descriptor)
        finally:
            os.close(descriptor)

    def _read(self, directory: Directory, descriptor: int) -> Reading:
        read_ns = self._clock_ns()
        status = os.fstat(descriptor)
        # By its path, because that gives the names as bytes at once. Should another directory have come there, then the
        # inode that is recorded is not the one that the next scan finds.
        names = os.listdir(os.path.join(self._root, directory.path))
        comparison = _Comparison(directory, descriptor, self._excludes, read_ns)
        for low, high, chunk in _cut(names):
            self._compare(comparison, self._index.entries(directory.id, low, high), chunk)
        self._findings.directories_read += 1
        newest_ctime_ns = max(status.st_ctime_ns, comparison.newest_ctime_ns)
        settled = is_settled(newest_ctime_ns, read_ns) and not comparison.being_written
        mounted = os.stat(b"..", dir_fd=descriptor).st_dev != status.st_dev
        state = ReadState(settled, mounted, comparison.entries)
        return Reading(see(status), state, comparison.being_written, comparison.directories)

    def _compare(self, comparison: _Comparison, known: dict[bytes, EntryRow], names: list[bytes]) -> None:
        """Compare names with what the index has of them; what remains of that is gone."""
        put = comparison.find_changes(names, known)
        self._index.put_entries(comparison.directory.id, put)
        self._index.remove_entries(comparison.directory.id, known)
        for name, _ in put:
            self._findings.put(comparison.prefix + name)
        for name in known:
            # What was indexed under other excludes is still there.
            if not self._excludes.hides_entry(comparison.prefix + name):
                self._findings.delete(comparison.prefix + name)


class _Comparison:
    """The names of one directory, looked at one by one."""

    def __init__(self, directory: Directory, descriptor: int, excludes: Excludes, read_ns: int) -> None:
        self.directory = directory
        self.prefix = directory.path + b"/" if directory.path else b""
        self.entries = 0
        self.newest_ctime_ns = 0
        self.being_written = False
        self.directories: dict[bytes, SeenDirectory] = {}
        self._descriptor = descriptor
        self._excludes = excludes
        self._read_ns = read_ns

    def find_changes(self, names: list[bytes], known: dict[bytes, EntryRow]) -> list[tuple[bytes, EntryRow]]:
        """Return the files and symlinks that are not as `known` has them, and take those that are there out of it.

        This is the loop on which the cost of every scan depends: what did not change passes through few lines.
        """
        found = []
        newest_ctime_ns, descriptor, trusting = self.newest_ctime_ns, self._descriptor, not self._excludes.has_rules
        for name in names:
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_ctime_ns > newest_ctime_ns:  # noqa: PLR1730  # max() would cost a tenth of the whole scan
                newest_ctime_ns = status.st_ctime_ns
            plain = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, None)
            if trusting and known.get(name) == plain:
                del known[name]
                self.entries += 1
                continue
            entry = self._look(name, status)
            if entry is not None:
                self.entries += 1
                if known.pop(name, None) != entry:
                    found.append((name, entry))
        self.newest_ctime_ns = newest_ctime_ns
        return found

    def _look(self, name: bytes, status: os.stat_result) -> EntryRow | None:
        """Return the file or symlink of that name; None when it is none, is passed over, or went away."""
        if stat.S_ISDIR(status.st_mode):
            if not self._excludes.hides_directory(self.prefix + name):
                self.directories[name] = see(status)
            return None
        target = None
        if stat.S_ISLNK(status.st_mode):
            try:
                target = os.readlink(name, dir_fd=self._descriptor)
            except OSError:
                return None
        elif not stat.S_ISREG(status.st_mode) or self._is_temporary(name, status):
            return None
        if is_own_name(name) or self._excludes.hides_entry(self.prefix + name):
            return None
        return status.st_mode, status.st_size, status.st_mtime_ns, fit_inode(status.st_ino), target

    def _is_temporary(self, name: bytes, status: os.stat_result) -> bool:
        young = not is_settled(status.st_ctime_ns, self._read_ns)
        if name.startswith(b".") and looks_temporary(name, stat.S_IMODE(status.st_mode), young=young):
            self.being_written = True
            return True
        return False


def see(status: os.stat_result) -> SeenDirectory:
    """Return what the status of a directory tells a scan."""
    stand = Stand(fit_inode(status.st_ino), status.st_ctime_ns, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
    return SeenDirectory(stand, status.st_dev)


def _cut(names: list[bytes]) -> Iterator[tuple[bytes, bytes | None, list[bytes]]]:
    """Yield the names in chunks, each with the bounds between which the index may have names: above the first, and up
    to the second (None: to the end)."""
    if len(names) > CHUNK_NAMES:
        names.sort()
    low = b""
    for start in range(0, len(names) - CHUNK_NAMES, CHUNK_NAMES):
        chunk = names[start : start + CHUNK_NAMES]
        yield low, chunk[-1], chunk
        low = chunk[-1]
    yield low, None, names[(len(names) - 1) // CHUNK_NAMES * CHUNK_NAMES :] if names else []
