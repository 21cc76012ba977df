"""The file of a scan's index: opened, or made anew when it is missing, damaged, or of another format."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.publisher.detect.state_files import open_for_owner

FORMAT = 1
"""The version of the tables below (SQLite's ``user_version``). An index of another one is thrown away."""

APPLICATION_ID = 0x706D6978
"""Tells an index from any other SQLite file: "pmix"."""

BUSY_MS = 10_000
CACHE_KIB = 8 * 1024
JOURNAL_LIMIT_BYTES = 16 * 1024 * 1024

_SCHEMA = f"""
CREATE TABLE directories (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    parent INTEGER,
    inode INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    mounted INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    scan INTEGER NOT NULL
);
CREATE INDEX by_parent ON directories (parent);
CREATE INDEX by_mount ON directories (path) WHERE mounted;
CREATE TABLE entries (
    directory INTEGER NOT NULL,
    name BLOB NOT NULL,
    mode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    target BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to the index at `path`, which is made, empty, unless there is a usable one.

    Nothing is lost with an index: the next scan builds it again. Raises StateError when none can be made.
    """
    try:
        with contextlib.suppress(sqlite3.DatabaseError):
            connection = _open(path)
            if _is_usable(connection):
                return connection
            connection.close()
        remove(path)
        connection = _open(path)
        connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
    except (OSError, sqlite3.Error) as error:
        advice = f"run this as the user that the daemon runs as, and see that {path.parent} can be written and has room"
        raise StateError(f"{path}: the index cannot be made ({error}); {advice}") from error
    return connection


def remove(path: Path) -> None:
    """Throw an index away."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    os.close(open_for_owner(path))
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may take the last scan back, which is then done again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
    except BaseException:  # passed on
        connection.close()
        raise
    return connection


def _is_usable(connection: sqlite3.Connection) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(application == APPLICATION_ID and version == FORMAT)
