"""Change lists in the journal: stored once each, in parts, so that handing one out takes no more memory than a part."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from pushmirror.errors import StateError
from pushmirror.publisher.announcement import PreparedList

LIST_PART_BYTES = 256 * 1024


def insert_list(connection: sqlite3.Connection, prepared: PreparedList) -> None:
    """Store the list; what is there of it already stays."""
    offsets = range(0, len(prepared.body), LIST_PART_BYTES)
    connection.executemany(
        "INSERT OR IGNORE INTO lists VALUES (?, ?, ?)",
        (
            (prepared.digest, part, prepared.body[offset : offset + LIST_PART_BYTES])
            for part, offset in enumerate(offsets)
        ),
    )


def count_list_bytes(connection: sqlite3.Connection, list_digest: str) -> int:
    """Return how long the canonical JSON of a list is; 0 when it is not there."""
    (length,) = connection.execute("SELECT total(length(body)) FROM lists WHERE digest = ?", (list_digest,)).fetchone()
    return int(length)


def read_parts(connection: sqlite3.Connection, list_digest: str) -> Iterator[bytes]:
    """Yield the canonical JSON of a list in parts.

    Raises StateError when it is not there, or has been pruned meanwhile: half a list must not look like a whole one.
    """
    (last,) = connection.execute("SELECT max(part) FROM lists WHERE digest = ?", (list_digest,)).fetchone()
    for part in range(0 if last is None else last + 1):
        query = "SELECT body FROM lists WHERE digest = ? AND part = ?"
        found = connection.execute(query, (list_digest, part)).fetchone()
        if found is None:
            raise StateError(f"list {list_digest} was pruned while it was read")
        yield found[0]
    if last is None:
        raise StateError(f"list {list_digest} is not in the journal any more")
