"""The file of the ledger: its tables, its format, and how it is opened and written.

``synchronous`` is FULL: an update that was believed and a job that was begun survive a power cut, and a serial counts
as applied only after that is on the disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pushmirror.errors import DamagedLedger, StateError
from pushmirror.subscriber.relay.keeping import KEPT_SCHEMA

log = logging.getLogger(__name__)

FORMAT = 3
TABLES_OF_TREES = (
    *("trees", "headers", "pending", "deletions", "refusals", "rechecks", "kept", "kept_lists", "leaps"),
    "epochs_over",
)
"""What is forgotten of a tree that starts anew; its jobs stay."""
_OWED_SCHEMA = """
CREATE TABLE rechecks (
    tree TEXT NOT NULL, path BLOB NOT NULL, serial INTEGER NOT NULL, due_serial INTEGER NOT NULL,
    retry_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tree, path)
);
"""
_REFUSED_SCHEMA = """
CREATE TABLE refusals (tree TEXT NOT NULL, path BLOB NOT NULL, PRIMARY KEY (tree, path));
"""
_TRUST_SCHEMA = """
CREATE TABLE rotations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    publisher TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,
    at_ms INTEGER NOT NULL, overlap_ms INTEGER NOT NULL,
    envelope BLOB NOT NULL, learned_ms INTEGER NOT NULL, retired INTEGER NOT NULL DEFAULT 0,
    UNIQUE (publisher, old)
);
CREATE TABLE epochs_over (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, epoch TEXT NOT NULL, upto INTEGER,
    UNIQUE (tree, epoch)
);
CREATE TABLE leaps (
    tree TEXT PRIMARY KEY, epoch TEXT NOT NULL, serial INTEGER NOT NULL, digest TEXT,
    at_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL, reason TEXT NOT NULL
);
"""
"""The keys that publishers went over to belong to no tree, and outlive all of them."""
_COUNTED_SCHEMA = """
ALTER TABLE rechecks ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
"""
_INDEXES = """
CREATE INDEX deletions_by_serial ON deletions (tree, serial);
CREATE INDEX deletions_by_time ON deletions (tree, due_ms);
CREATE INDEX approved_deletions ON deletions (tree, due_ms) WHERE approved;
CREATE INDEX kept_beginnings ON kept (tree, serial) WHERE envelope IS NULL;
CREATE INDEX kept_by_list ON kept (tree, list_digest, serial) WHERE list_digest IS NOT NULL;
CREATE INDEX kept_sizes ON kept (tree, serial, received_ms, bytes);
"""
"""There may be hundreds of thousands of rows, about which questions are asked all the time, by strangers too."""
_SCHEMA = f"""
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
    incomplete TEXT NOT NULL DEFAULT '[]',
    unannounced_total INTEGER NOT NULL DEFAULT 0, unannounced_last INTEGER,
    full_sync_failures INTEGER NOT NULL DEFAULT 0, full_sync_retry_at_ms INTEGER, full_sync_reason TEXT,
    lost INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE headers (tree TEXT PRIMARY KEY, envelope BLOB NOT NULL);
CREATE TABLE pending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL, serial INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    paths INTEGER NOT NULL, changes BLOB, root_mtime_ns INTEGER,
    bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tree, serial)
);
CREATE TABLE deletions (
    tree TEXT NOT NULL, path BLOB NOT NULL,
    serial INTEGER NOT NULL, due_ms INTEGER NOT NULL, approved INTEGER NOT NULL DEFAULT 0,
    put_off INTEGER NOT NULL DEFAULT 0,
    in_the_way INTEGER NOT NULL DEFAULT 0,
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
{_OWED_SCHEMA}{_COUNTED_SCHEMA}{_REFUSED_SCHEMA}{KEPT_SCHEMA}{_TRUST_SCHEMA}{_INDEXES}"""
_MIGRATIONS = {
    1: f"""
ALTER TABLE trees ADD COLUMN unannounced_total INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trees ADD COLUMN unannounced_last INTEGER;
ALTER TABLE trees ADD COLUMN full_sync_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trees ADD COLUMN full_sync_retry_at_ms INTEGER;
ALTER TABLE trees ADD COLUMN full_sync_reason TEXT;
CREATE TABLE headers (tree TEXT PRIMARY KEY, envelope BLOB NOT NULL);
ALTER TABLE deletions ADD COLUMN put_off INTEGER NOT NULL DEFAULT 0;
{_OWED_SCHEMA}{KEPT_SCHEMA}{_INDEXES}""",
    2: f"""
ALTER TABLE trees ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deletions ADD COLUMN in_the_way INTEGER NOT NULL DEFAULT 0;
{_COUNTED_SCHEMA}{_REFUSED_SCHEMA}{_TRUST_SCHEMA}""",
}
"""What makes a ledger of one format one of the next."""


def open_database(path: Path) -> sqlite3.Connection:
    """Return the ledger in the file `path`, made when it is not there; one of an older format is copied and migrated.

    Raises StateError when it cannot be used, DamagedLedger when that is because of what is in it.
    """
    try:
        _make_closed(path)
        database = sqlite3.connect(path, isolation_level=None, timeout=10)
        database.row_factory = sqlite3.Row
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        # sqlite3 has no class of its own for a file that is no database or a damaged one: it is the bare parent.
        kind = DamagedLedger if type(error) is sqlite3.DatabaseError else StateError
        raise kind(
            f"the ledger {path} cannot be used: {error}. "
            "Move it away to start a new one: every tree is then synced as a whole, and deletions keep to the budget"
        ) from error
    return database


def _make_closed(path: Path) -> None:
    """Make the file for its owner alone: SQLite gives the files that it puts beside it the mode that it has."""
    with suppress(OSError):  # SQLite has better words for it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    (problem,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise StateError(
            f"the ledger {path} has format {found}, this pushmirror knows {FORMAT}: install the newer version"
        )
    if found == 0:
        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif found < FORMAT:
        _migrate(database, path, found)


def _migrate(database: sqlite3.Connection, path: Path, found: int) -> None:
    copy = path.with_name(f"{path.name}.format{found}")
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(copy)) as target:
        copy.chmod(0o600)
        database.backup(target)
    steps = "".join(_MIGRATIONS[step] for step in range(found, FORMAT))
    database.executescript(f"BEGIN; {steps} PRAGMA user_version = {FORMAT}; COMMIT;")
    log.warning("the ledger %s had format %d and has %d now; a copy of before is %s", path, found, FORMAT, copy.name)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what the block writes, all of it or nothing. Raises StateError when the file cannot be written."""
    try:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled it back already, and a commit that failed may not have.
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise StateError(f"the ledger cannot be written: {error}; look at the disk of `state_dir`") from error
