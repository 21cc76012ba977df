"""The tables of the journal, and how those of an earlier format become these."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

FORMAT = 2
"""The version of the tables below (SQLite's ``user_version``)."""

APPLICATION_ID = 0x706D6A6C
"""Tells a journal from any other SQLite file (SQLite's ``application_id``): "pmjl"."""

TABLES = frozenset({"epochs", "heads", "updates", "lists", "unused"})

# An update belongs to one of the epochs, the newest of which is the current one. So a new epoch is one row, whatever
# the journal holds, and what belongs to earlier ones is pruned little by little. `heads` is of the current epoch.
# `unused` has the lists that no update names any more, until they are pruned.
_TABLES = """
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    proof TEXT
);
CREATE TABLE heads (tree TEXT PRIMARY KEY, serial INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE updates (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
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
    UNIQUE (epoch, tree, serial)
);
CREATE INDEX unsent ON updates (position) WHERE sent_ms IS NULL;
CREATE INDEX by_list ON updates (list_digest) WHERE list_digest IS NOT NULL;
CREATE TABLE lists (digest TEXT NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (digest, part));
CREATE TABLE unused (digest TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_FROM_1_TO_2 = """
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    proof TEXT
);
INSERT INTO epochs SELECT 1, epoch, created_ms, NULL FROM meta;
DROP TABLE meta;
CREATE TABLE unused (digest TEXT PRIMARY KEY) WITHOUT ROWID;
DROP INDEX unsent;
DROP INDEX by_list;
ALTER TABLE updates RENAME TO updates_1;
CREATE TABLE updates (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
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
    UNIQUE (epoch, tree, serial)
);
INSERT INTO updates
    SELECT position, 1, tree, serial, digest, signed, list_digest, inline, at_ms, sent_ms, signature, certificate
    FROM updates_1;
DROP TABLE updates_1;
CREATE INDEX unsent ON updates (position) WHERE sent_ms IS NULL;
CREATE INDEX by_list ON updates (list_digest) WHERE list_digest IS NOT NULL;
"""

MIGRATIONS = {1: _FROM_1_TO_2}
"""By format: what makes the next one of it. A step is never changed again once it has been released."""


def create_tables(connection: sqlite3.Connection, epoch: str, created_ms: int) -> None:
    """Make an empty journal of a database without any tables. `auto_vacuum` lets the file shrink after pruning."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    run_together(connection, _TABLES + _marks(FORMAT))
    connection.execute("INSERT INTO epochs VALUES (1, ?, ?, NULL)", (epoch, created_ms))


def migrate_tables(
    connection: sqlite3.Connection, version: int, after_step: Callable[[int], None] = lambda version: None
) -> None:
    """Bring a journal of format `version` up to FORMAT, a step at a time; each happens as a whole or not at all.

    `after_step` is called with the format that was reached.
    """
    # Changes nothing of what is in it, and happens as a whole; only so does the file get what shrinking needs.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")
    for reached in range(version + 1, FORMAT + 1):
        run_together(connection, MIGRATIONS[reached - 1] + _marks(reached))
        after_step(reached)


def run_together(connection: sqlite3.Connection, statements: str) -> None:
    """Run statements in one transaction."""
    try:
        connection.executescript(f"BEGIN IMMEDIATE;{statements}COMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _marks(version: int) -> str:
    return f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {version};"
