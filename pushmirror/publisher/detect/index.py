"""What a tree looked like when it was last announced: its directories and entries, in a SQLite file.

A scan reads and writes it within one transaction, which is committed after what was found has been announced. A crash
in between announces the same changes again; it never loses any.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pushmirror.core.paths import TreePath
from pushmirror.core.scanning import EntryRow, Stand
from pushmirror.errors import StateError
from pushmirror.publisher.detect.index_file import connect

PAGE_ROWS = 500
_INODE_BITS = 0x7FFF_FFFF_FFFF_FFFF
_POISON = -1
"""Stands where no file system has it, so that whatever is found there next is a change."""

_COLUMNS = "id, path, inode, ctime_ns, mtime_ns, mode, settled, mounted, scan"


class Directory(NamedTuple):
    """One directory of the index. `path` is empty for the root; `scan` is the number of the scan that read it last."""

    id: int
    path: bytes
    inode: int
    ctime_ns: int
    mtime_ns: int
    mode: int
    settled: int
    """1 when any change since it was read shows in its ctime, else 0."""
    mounted: int
    """1 when a file system was mounted there, else 0."""
    scan: int

    @property
    def stand(self) -> Stand:
        """How it stood when it was read."""
        return Stand(self.inode, self.ctime_ns, self.mtime_ns, self.mode)


class ReadState(NamedTuple):
    """What is recorded of a directory that was read, besides how it stood; `entries` counts files and symlinks."""

    settled: bool
    mounted: bool
    entries: int


def fit_inode(inode: int) -> int:
    """Return an inode's number as SQLite can hold it; of 64 bits one is lost, which only costs a look at the disk."""
    return inode & _INODE_BITS


class Index:
    """The index at `path`, made when there is none. Every method raises StateError when the file fails it.

    One object belongs to one thread, and one process at a time: see `ScanLock`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect(path)

    def close(self) -> None:
        """Give the file back. Closing twice is no error."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block is committed together, or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:  # passed on
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            advice = f"make room there, or remove {self.path}*: it is built again"
            raise StateError(f"{self.path}: the index failed ({error}); {advice}") from error

    def clear(self) -> None:
        """Forget everything, as if the index were new."""
        for table in ("entries", "directories", "notes"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  # a constant

    def note(self, key: str) -> str | None:
        """Return what was noted under `key`."""
        found = self._connection.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_note(self, key: str, value: str) -> None:
        """Note a value under `key`."""
        self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))

    def remove_note(self, key: str) -> None:
        """Forget what was noted under `key`."""
        self._connection.execute("DELETE FROM notes WHERE key = ?", (key,))

    def directories(self, after: bytes | None = None) -> Iterator[Directory]:
        """Yield the directories whose paths come after `after` by their bytes, so each before what is in it.

        What is added or removed on the way is yielded or not as its path comes.
        """
        while page := self._page(after):
            yield from page
            after = page[-1].path

    def _page(self, after: bytes | None) -> list[Directory]:
        condition, values = ("", ()) if after is None else ("WHERE path > ?", (after,))
        query = f"SELECT {_COLUMNS} FROM directories {condition} ORDER BY path LIMIT {PAGE_ROWS}"  # noqa: S608  # ours
        return [*map(Directory._make, self._connection.execute(query, values))]

    def directory(self, path: bytes) -> Directory | None:
        """Return the directory at `path`."""
        query = f"SELECT {_COLUMNS} FROM directories WHERE path = ?"  # noqa: S608  # a constant
        row = self._connection.execute(query, (path,)).fetchone()
        return None if row is None else Directory._make(row)

    def subdirectories(self, parent: int) -> dict[bytes, Directory]:
        """Return the directories in a directory, by name."""
        query = f"SELECT {_COLUMNS} FROM directories WHERE parent = ?"  # noqa: S608  # a constant
        found = map(Directory._make, self._connection.execute(query, (parent,)))
        return {directory.path.rpartition(b"/")[2]: directory for directory in found}

    def add_directory(self, path: bytes, parent: int | None, stand: Stand, *, mounted: bool, scan: int) -> Directory:
        """Add a directory, of whose content nothing is known yet."""
        cursor = self._connection.execute(
            "INSERT INTO directories (path, parent, inode, ctime_ns, mtime_ns, mode, settled, mounted, entries, scan)"
            " VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0, ?)",
            (path, parent, *stand, mounted, scan),
        )
        return Directory(cursor.lastrowid or 0, path, *stand, settled=0, mounted=int(mounted), scan=scan)

    def set_directory(self, directory: int, stand: Stand, state: ReadState, *, scan: int) -> None:
        """Record how a directory stood when it was read."""
        self._connection.execute(
            "UPDATE directories SET inode = ?, ctime_ns = ?, mtime_ns = ?, mode = ?,"
            " settled = ?, mounted = ?, entries = ?, scan = ? WHERE id = ?",
            (*stand, state.settled, state.mounted, state.entries, scan, directory),
        )

    def unsettle(self, directory: int) -> None:
        """Have the next scan read a directory, whatever it looks like."""
        self._connection.execute("UPDATE directories SET settled = 0 WHERE id = ?", (directory,))

    def has_mount(self, path: bytes) -> bool:
        """Tell whether a file system was mounted at `path` or below."""
        condition, values = _at_or_below(path)
        query = f"SELECT 1 FROM directories WHERE mounted AND ({condition}) LIMIT 1"  # noqa: S608  # a constant
        return self._connection.execute(query, values).fetchone() is not None

    def remove_tree(self, path: bytes) -> None:
        """Forget a directory and all that is in it."""
        condition, values = _at_or_below(path)
        self._connection.execute(
            f"DELETE FROM entries WHERE directory IN (SELECT id FROM directories WHERE {condition})",  # noqa: S608 - a condition of our own
            values,
        )
        self._connection.execute(f"DELETE FROM directories WHERE {condition}", values)  # noqa: S608  # a constant

    def entries(self, directory: int, after: bytes, upto: bytes | None) -> dict[bytes, EntryRow]:
        """Return the entries of a directory by name, those after one name and up to another (None: to the end)."""
        query = "SELECT name, mode, size_bytes, mtime_ns, inode, target FROM entries WHERE directory = ?"
        if upto is None:
            rows = self._connection.execute(f"{query} AND name > ?", (directory, after))
        else:
            rows = self._connection.execute(f"{query} AND name > ? AND name <= ?", (directory, after, upto))
        return {row[0]: row[1:] for row in rows}

    def put_entries(self, directory: int, entries: Iterable[tuple[bytes, EntryRow]]) -> None:
        """Record entries, in the place of those of the same names."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((directory, name, *entry) for name, entry in sorted(entries)),
        )

    def remove_entries(self, directory: int, names: Iterable[bytes]) -> None:
        """Forget entries."""
        self._connection.executemany(
            "DELETE FROM entries WHERE directory = ? AND name = ?", ((directory, name) for name in names)
        )

    def doubt(self, path: bytes) -> None:
        """Make the next scan take what it finds at `path` for a change, or its absence for a deletion."""
        parent, _, name = path.rpartition(b"/")
        self._connection.execute("UPDATE directories SET mode = ?, settled = 0 WHERE path = ?", (_POISON, path))
        self._connection.execute("UPDATE directories SET settled = 0 WHERE path = ?", (parent,))
        self._connection.execute(
            "UPDATE entries SET inode = ? WHERE name = ? AND directory = (SELECT id FROM directories WHERE path = ?)",
            (_POISON, name, parent),
        )

    def names_of(self, inode: int, limit: int = 64) -> Iterator[TreePath]:
        """Yield paths that had this inode when they were read, at most `limit`."""
        rows = self._connection.execute(
            "SELECT path, name FROM entries JOIN directories ON directories.id = entries.directory"
            " WHERE entries.inode = ? LIMIT ?",
            (fit_inode(inode), limit),
        ).fetchall()
        for path, name in rows:
            yield TreePath(path + b"/" + name if path else name)

    def count_entries(self) -> int:
        """Return how many files and symlinks there are."""
        (count,) = self._connection.execute("SELECT total(entries) FROM directories").fetchone()
        return int(count)

    def count_directories(self) -> int:
        """Return how many directories there are, the root included."""
        (count,) = self._connection.execute("SELECT count(*) FROM directories").fetchone()
        return int(count)

    def finish_building(self) -> None:
        """Make what is cheaper to make at the end: the way from an inode to its names."""
        self._connection.execute("CREATE INDEX IF NOT EXISTS by_inode ON entries (inode)")


def _at_or_below(path: bytes) -> tuple[str, tuple[bytes, ...]]:
    """Return a condition for `path` and all that lies below it; a slash is followed by the digit nought."""
    if not path:
        return "path >= ?", (b"",)
    return "(path = ? OR (path > ? AND path < ?))", (path, path + b"/", path + b"0")
