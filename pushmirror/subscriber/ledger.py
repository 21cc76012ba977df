"""The subscriber's durable record (SQLite): what was announced, what is applied, what is pending, what was run.

It is committed before a job starts and after it ends; everything else that the daemon knows can be lost at any
instant.
"""

from __future__ import annotations

from pathlib import Path

from pushmirror.core.relaying import LONGEST_RECHECK_DELAY_MS
from pushmirror.core.sources import continue_identity
from pushmirror.subscriber.ledger_deletions import LedgerDeletions
from pushmirror.subscriber.ledger_file import TABLES_OF_TREES, open_database, transaction
from pushmirror.subscriber.ledger_jobs import LedgerJobs
from pushmirror.subscriber.ledger_owed import LedgerOwed
from pushmirror.subscriber.ledger_rows import TREE_QUERY, tree_record
from pushmirror.subscriber.ledger_writes import update_tree
from pushmirror.subscriber.records import TreeRecord


class Ledger(LedgerOwed, LedgerJobs, LedgerDeletions):
    """The ledger in the file `path`, made when it is not there.

    Raises StateError when it cannot be used, DamagedLedger when it is none or was damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(open_database(path))

    def close(self) -> None:
        """Close the file; the ledger is of no use afterwards."""
        self._database.close()

    def open_tree(self, tree: str, identity: str) -> bool:
        """Make sure that `tree` has a record. Another `identity` than before (`continue_identity`) starts it anew.

        Returns True when a record that was there was started anew.
        """
        with transaction(self._database) as database:
            row = database.execute("SELECT identity FROM trees WHERE tree = ?", (tree,)).fetchone()
            kept = None if row is None else continue_identity(row["identity"], identity)
            if kept is not None:
                update_tree(database, tree, identity=kept)
                return False
            for table in TABLES_OF_TREES:
                database.execute(f"DELETE FROM {table} WHERE tree = ?", (tree,))  # noqa: S608 - a constant
            database.execute("INSERT INTO trees (tree, identity) VALUES (?, ?)", (tree, identity))
        return row is not None

    def note_shape(self, tree: str, shape: str, now_ms: int) -> bool:
        """Record which part of `tree` is mirrored, and how. Another `shape` than before makes the whole tree pending.

        Returns True when it was another one.
        """
        row = self._database.execute("SELECT shape, last_full_sync_ms FROM trees WHERE tree = ?", (tree,)).fetchone()
        if row["shape"] == shape:
            return False
        known = row["last_full_sync_ms"] is not None
        if known:
            self.want_whole(tree, now_ms)
        self._set(tree, shape=shape)
        return known

    def tree(self, tree: str) -> TreeRecord:
        """Return the record of `tree`, which `open_tree` has made."""
        row = self._database.execute(f"{TREE_QUERY} WHERE t.tree = ?", (tree,)).fetchone()
        return tree_record(row)

    def trees(self) -> dict[str, TreeRecord]:
        """Return the records of all trees by name."""
        return {row["tree"]: tree_record(row) for row in self._database.execute(TREE_QUERY)}

    def set_paused(self, tree: str, paused: bool) -> None:
        """Keep `tree` from starting jobs, or let it again."""
        self._set(tree, paused=int(paused))

    def move_times(self, jump_ms: int) -> None:
        """Move every time by which something is due: the clock that they were read from was set by `jump_ms`."""
        with transaction(self._database) as database:
            database.execute(
                "UPDATE trees SET last_full_sync_ms = last_full_sync_ms + ?1,"
                " retry_at_ms = retry_at_ms + ?1, missing_since_ms = missing_since_ms + ?1,"
                " full_sync_retry_at_ms = full_sync_retry_at_ms + ?1",
                (jump_ms,),
            )
            database.execute("UPDATE pending SET received_ms = received_ms + ?", (jump_ms,))
            database.execute("UPDATE deletions SET due_ms = due_ms + ?", (jump_ms,))
            database.execute("UPDATE rechecks SET retry_at_ms = retry_at_ms + ?", (jump_ms,))

    def clamp_times(self, tree: str, now_ms: int, *, longest_retry_ms: int, longest_grace_ms: int) -> bool:
        """Bring back what lies further in the future than it can: the clock was set back while nobody looked.

        Returns whether there was anything.
        """
        bounds = (
            ("trees", "last_full_sync_ms", now_ms),
            ("trees", "missing_since_ms", now_ms),
            ("trees", "retry_at_ms", now_ms + longest_retry_ms),
            ("trees", "full_sync_retry_at_ms", now_ms + longest_retry_ms),
            ("pending", "received_ms", now_ms),
            ("deletions", "due_ms", now_ms + longest_grace_ms),
            ("rechecks", "retry_at_ms", now_ms + longest_grace_ms + LONGEST_RECHECK_DELAY_MS),
        )
        with transaction(self._database) as database:
            found = [
                database.execute(
                    f"UPDATE {table} SET {column} = ?1 WHERE tree = ?2 AND {column} > ?1",  # noqa: S608 - from above
                    (bound_ms, tree),
                ).rowcount
                for table, column, bound_ms in bounds
            ]
        return any(found)
