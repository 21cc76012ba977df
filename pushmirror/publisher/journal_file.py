"""The file of the journal: made in one step, opened so that a commit is durable, its faults explained.

Who may announce is decided by the folder: the file belongs to the folder's owner (when root makes it) and can be
written by that owner alone, or by the folder's group as well where the group may write into the folder.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pushmirror.errors import StateError

FORMAT = 1
"""The version of the tables below (SQLite's ``user_version``)."""

APPLICATION_ID = 0x706D6A6C
"""Tells a journal from any other SQLite file (SQLite's ``application_id``): "pmjl"."""

_SCHEMA = f"""
CREATE TABLE meta (epoch TEXT NOT NULL, created_ms INTEGER NOT NULL);
CREATE TABLE heads (tree TEXT PRIMARY KEY, serial INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE updates (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL,
    serial INTEGER NOT NULL,
    digest TEXT NOT NULL,
    signed BLOB NOT NULL,
    list_digest TEXT,
    inline INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    sent_ms INTEGER,
    signature BLOB,
    certificate TEXT,
    UNIQUE (tree, serial)
);
CREATE INDEX unsent ON updates (position) WHERE sent_ms IS NULL;
CREATE INDEX by_list ON updates (list_digest) WHERE list_digest IS NOT NULL;
CREATE TABLE lists (digest TEXT NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (digest, part));
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""


def create_if_missing(path: Path, *, epoch: str, created_ms: int) -> None:
    """Make an empty journal at `path` unless there is one. Of several processes that do this at once, one wins.

    Raises StateError when it cannot be made.
    """
    # The order of the two questions matters: whoever makes a journal links it first and only then gets a -wal.
    leftover = os.path.lexists(_wal(path))
    if os.path.lexists(path):
        return
    if leftover:
        raise StateError(
            f"{_wal(path)}: left over from a journal that is gone; put the journal back beside it, or move it away"
        )
    try:
        _create(path, epoch, created_ms)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{path}: the journal cannot be made ({error}); {_advice(path)}") from error


def _create(path: Path, epoch: str, created_ms: int) -> None:
    """Build the journal beside its place, complete, and link it there: nobody ever sees half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    _remove(beside)
    try:
        _touch(beside)
        connection = sqlite3.connect(beside, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            connection.execute("INSERT INTO meta VALUES (?, ?)", (epoch, created_ms))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        _remove(beside)
    _sync_folder(path.parent)


def _touch(beside: Path) -> None:
    folder = os.stat(beside.parent)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Without the right to give the file away it keeps our group, which is then the folder's or of no use to it.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, folder.st_uid if os.geteuid() == 0 else -1, folder.st_gid)
        os.fchmod(descriptor, 0o660 if folder.st_mode & 0o020 else 0o600)
    finally:
        os.close(descriptor)


def _remove(beside: Path) -> None:
    for path in (beside, _wal(beside), beside.with_name(beside.name + "-shm")):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def connect(path: Path, *, busy_ms: int) -> sqlite3.Connection:
    """Return a connection whose commits are on the disk when they return, and which waits `busy_ms` for other writers.

    Raises StateError for a file that is not a journal, or one of a newer format.
    """
    with explained(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=busy_ms / 1000)
        try:
            _check_format(path, connection)
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StateError(f"{path}: this is not a journal of a publisher; name another state_dir, or move it away")
    if version > FORMAT:
        raise StateError(
            f"{path}: written by a newer pushmirror (format {version}, this program knows {FORMAT}); "
            "install that version again, or restore the journal that belongs to this one"
        )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside the block into StateError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StateError(f"{path}: {error}; {_explain(str(error), path)}") from error
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"{path}: the journal is damaged ({error}); restore it from a backup, or move it away: a new one begins "
            "a new epoch, and every mirror compares its whole tree once"
        ) from error


def _explain(text: str, path: Path) -> str:
    if "locked" in text or "busy" in text:
        return "another program holds the journal; try again"
    if "full" in text:
        return "nothing was announced; make room on that disk"
    if "I/O" in text:
        return "nothing was announced; look at that disk"
    return _advice(path)


def _advice(path: Path) -> str:
    return f"run this as the user that the daemon runs as, and see that this user may write into {path.parent}"
