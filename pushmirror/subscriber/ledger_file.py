"""The file of the ledger: its tables, its format, and how it is opened and written.

``synchronous`` is FULL: an update that was believed and a job that was begun survive a power cut, and a serial counts
as applied only after that is on the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushmirror.errors import StateError

FORMAT = 1
_SCHEMA = """
CREATE TABLE trees (
    tree TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    shape TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    epoch TEXT, announced INTEGER, digest TEXT,
    applied INTEGER NOT NULL DEFAULT -1,
    entries INTEGER NOT NULL DEFAULT 0,
    last_full_sync_ms INTEGER,
    exact_times INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    hopeless INTEGER NOT NULL DEFAULT 0,
    retry_at_ms INTEGER, missing_since_ms INTEGER,
    reason TEXT, held TEXT,
    incomplete TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE pending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, serial INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    paths INTEGER NOT NULL, changes BLOB, root_mtime_ns INTEGER,
    UNIQUE (tree, serial)
);
CREATE TABLE deletions (
    tree TEXT NOT NULL, path BLOB NOT NULL,
    serial INTEGER NOT NULL, due_ms INTEGER NOT NULL, approved INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tree, path)
);
CREATE TABLE jobs (
    job INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, scope TEXT NOT NULL, serial INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, finished_ms INTEGER, outcome TEXT,
    files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,
    lag_ms INTEGER, exit_code INTEGER, reason TEXT
);
CREATE INDEX jobs_by_tree ON jobs (tree, job);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Return the ledger in the file `path`, made when it is not there. Raises StateError when it cannot be used."""
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=10)
        database.row_factory = sqlite3.Row
        _prepare(database, path)
    except sqlite3.Error as error:
        raise StateError(
            f"the ledger {path} cannot be used: {error}. "
            "Move it away to start a new one: every tree is then synced as a whole, and nothing is deleted unasked"
        ) from error
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise StateError(
            f"the ledger {path} has format {found}, this pushmirror knows {FORMAT}: install the newer version"
        )
    if found == 0:
        path.chmod(0o600)
        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what the block writes, all of it or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled it back already, and a commit that failed may not have.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
