"""Takes what is not kept any longer out of the journal, a little at a time, so that nobody waits for it.

Every step is a short transaction, and leaves a journal in which nothing is missing: an interrupted pruning is gone on
with by the next step, of whatever process.
"""

from __future__ import annotations

import sqlite3

from pushmirror.core.retention import Candidate, Retention, count_surplus

STEP_UPDATES = 100
STEP_BYTES = 16 * 1024 * 1024
STEP_LIST_BYTES = 4 * 1024 * 1024
STEP_PAGES = 256
SPARE_PAGES = 1024
"""Free pages that are left in the file, 4 MiB and more: they are soon used again."""
SPARE_SHARE = 10
"""So many times the free pages may be as large as the file: a tenth of it stays for what comes next."""

# The newest sent update of a tree stays: what follows on it is judged by it. The one after it tells that it is older.
_CANDIDATES = """
SELECT position, at_ms, length(signed) + (SELECT total(length(body)) FROM lists WHERE digest = list_digest)
FROM updates AS old
WHERE +epoch = ? AND sent_ms IS NOT NULL AND EXISTS (
    SELECT 1 FROM updates WHERE epoch = old.epoch AND tree = old.tree AND serial = old.serial + 1 AND sent_ms NOTNULL
)
ORDER BY position LIMIT ?
"""


def prune_step(connection: sqlite3.Connection, retention: Retention, *, now_ms: int, epoch_number: int) -> bool:
    """Do the next piece of work, inside a transaction of the caller, and tell whether there was any.

    What is of no use at all goes first: lists that nothing names, then updates of earlier epochs, sent or not.
    """
    return (
        _prune_lists(connection)
        or _prune_updates(connection, _find_earlier(connection, epoch_number))
        or _prune_updates(connection, _find_surplus(connection, retention, now_ms, epoch_number))
    )


def shrink(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the file system when there are many, and tell whether there were."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free <= max(SPARE_PAGES, pages // SPARE_SHARE):
        return False
    # As a script: `execute` would take the first step of it alone, which is one page.
    connection.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
    return True


def count_used_bytes(connection: sqlite3.Connection) -> int:
    """Return what updates and lists take up in the file, indexes included."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def _find_earlier(connection: sqlite3.Connection, epoch_number: int) -> list[int]:
    query = "SELECT position FROM updates WHERE epoch < ? LIMIT ?"
    return [position for (position,) in connection.execute(query, (epoch_number, STEP_UPDATES))]


def _find_surplus(connection: sqlite3.Connection, retention: Retention, now_ms: int, epoch_number: int) -> list[int]:
    found = connection.execute(_CANDIDATES, (epoch_number, STEP_UPDATES)).fetchall()
    count = count_surplus(
        (Candidate(at_ms, int(size_bytes)) for _, at_ms, size_bytes in found),
        retention,
        now_ms=now_ms,
        used_bytes=count_used_bytes(connection),
        most_bytes=STEP_BYTES,
    )
    return [position for position, *_ in found[:count]]


def _prune_updates(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Remove these updates, and note their lists to be removed where nothing else names them."""
    for position in positions:
        connection.execute(
            "INSERT OR IGNORE INTO unused SELECT list_digest FROM updates"
            " WHERE position = ? AND list_digest IS NOT NULL",
            (position,),
        )
        connection.execute("DELETE FROM updates WHERE position = ?", (position,))
    return bool(positions)


def _prune_lists(connection: sqlite3.Connection) -> bool:
    """Remove lists that were noted, as far as a step goes."""
    left = STEP_LIST_BYTES
    noted = connection.execute("SELECT digest FROM unused LIMIT ?", (STEP_UPDATES,)).fetchall()
    for (list_digest,) in noted:
        left -= _prune_list(connection, list_digest, left)
        if left <= 0:
            break
    return bool(noted)


def _prune_list(connection: sqlite3.Connection, list_digest: str, most_bytes: int) -> int:
    """Remove a list, or some parts of it, and return how many bytes; none when an update names it: another one, or one
    that came since.

    From the end: a list whose beginning is there is announced again by adding the parts that are missing.
    """
    removed = 0
    named = connection.execute("SELECT 1 FROM updates WHERE list_digest = ? LIMIT 1", (list_digest,)).fetchone()
    query = "SELECT rowid, length(body) FROM lists WHERE digest = ? ORDER BY part DESC"
    parts = [] if named else connection.execute(query, (list_digest,)).fetchall()
    for rowid, size_bytes in parts:
        if removed >= most_bytes:
            return removed
        connection.execute("DELETE FROM lists WHERE rowid = ?", (rowid,))
        removed += size_bytes
    connection.execute("DELETE FROM unused WHERE digest = ?", (list_digest,))
    return removed
