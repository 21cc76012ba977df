"""Updates that the ledger keeps after they were applied, as they were signed: what a relay hands on.

They are rows of the ledger itself, written in the transaction that announces an update: so none is ever seen before
the ledger counts it as applied, and none that counts is missing, whenever the daemon is killed. A row without an
envelope is a beginning: the mirror came to that serial by a full sync, or what was below it is no longer kept.
"""

from __future__ import annotations

import sqlite3

from pushmirror.core.model import Head
from pushmirror.core.wire import digest
from pushmirror.subscriber.records import HeardUpdate

KEPT_SCHEMA = """
CREATE TABLE kept (
    tree TEXT NOT NULL, serial INTEGER NOT NULL, digest TEXT,
    received_ms INTEGER NOT NULL, envelope BLOB, list_digest TEXT, bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tree, serial)
);
CREATE TABLE kept_lists (
    tree TEXT NOT NULL, digest TEXT NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tree, digest, part)
);
"""
LIST_PART_BYTES = 256 * 1024
"""Lists are stored in parts of this size, so that handing one out needs no more memory than that."""


def keep_update(database: sqlite3.Connection, tree: str, heard: HeardUpdate, now_ms: int) -> None:
    """Keep `heard` of `tree`, if the update that it follows on is known; within the caller's transaction."""
    update, listed = heard.update, heard.listed
    previous = (tree, update.previous)
    if database.execute("SELECT 1 FROM kept WHERE tree = ? AND serial = ?", previous).fetchone() is None:
        return
    list_digest = None if listed is None else digest(listed)
    database.execute(
        "INSERT OR REPLACE INTO kept (tree, serial, digest, received_ms, envelope, list_digest, bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            tree, update.serial, heard.digest, now_ms, heard.envelope, list_digest,
            len(heard.envelope) + len(listed or b""),
        ),
    )  # fmt: skip
    if listed is not None:
        database.executemany(
            "INSERT OR IGNORE INTO kept_lists VALUES (?, ?, ?, ?)",
            (
                (tree, list_digest, part, listed[offset : offset + LIST_PART_BYTES])
                for part, offset in enumerate(range(0, len(listed), LIST_PART_BYTES))
            ),
        )


def needs_beginning(database: sqlite3.Connection, tree: str, head: Head) -> bool:
    """Tell whether what is kept of `tree` does not lead up to `head`."""
    row = database.execute(
        "SELECT serial, digest FROM kept WHERE tree = ? ORDER BY serial DESC LIMIT 1", (tree,)
    ).fetchone()
    return row is None or (row["serial"], row["digest"]) != (head.serial, head.digest)


def keep_beginning(database: sqlite3.Connection, tree: str, head: Head, now_ms: int, *, same_history: bool) -> None:
    """Begin anew at `head`; with `same_history` what is kept below it stays. Within the caller's transaction."""
    if not same_history:
        forget_updates(database, tree)
    database.execute("DELETE FROM kept WHERE tree = ? AND serial >= ?", (tree, head.serial))
    database.execute(
        "INSERT INTO kept (tree, serial, digest, received_ms) VALUES (?, ?, ?, ?)",
        (tree, head.serial, head.digest, now_ms),
    )


def forget_updates(database: sqlite3.Connection, tree: str) -> None:
    """Keep nothing of `tree`; within the caller's transaction."""
    database.execute("DELETE FROM kept WHERE tree = ?", (tree,))
    database.execute("DELETE FROM kept_lists WHERE tree = ?", (tree,))
