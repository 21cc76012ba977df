"""The pending deletions in the ledger: due, held, approved, done."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.paths import TreePath
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_rows import deletion
from pushmirror.subscriber.ledger_writes import LedgerPart, update_tree
from pushmirror.subscriber.records import Deletion


class LedgerDeletions(LedgerPart):
    """What is to be deleted, and what the operator says of it."""

    def deletions(self, tree: str) -> tuple[Deletion, ...]:
        """Return what is to be deleted in `tree`, sorted by path."""
        rows = self._database.execute("SELECT * FROM deletions WHERE tree = ? ORDER BY path", (tree,))
        return tuple(map(deletion, rows))

    def finish_deletions(self, tree: str, gone: Iterable[TreePath], kept: Iterable[TreePath], due_ms: int) -> None:
        """Record what a delete stage did: `gone` is done, `kept` (still at the upstream) is tried again at `due_ms`."""
        with transaction(self._database) as database:
            database.executemany("DELETE FROM deletions WHERE tree = ? AND path = ?", [(tree, path) for path in gone])
            database.executemany(
                "UPDATE deletions SET due_ms = ?, put_off = 1 WHERE tree = ? AND path = ?",
                [(due_ms, tree, path) for path in kept],
            )
        self.moved()

    def set_entries(self, tree: str, entries: int) -> None:
        """Record how many entries the mirror has."""
        self._set(tree, entries=entries)

    def hold(self, tree: str, held: str | None) -> None:
        """Hold the pending deletions of `tree` for the reason `held`, or release them (None)."""
        self._set(tree, held=held)

    def approve(self, tree: str) -> int:
        """Release exactly the deletions that are pending now, whatever the budget says; returns how many."""
        with transaction(self._database) as database:
            cursor = database.execute("UPDATE deletions SET approved = 1 WHERE tree = ?", (tree,))
            update_tree(database, tree, held=None, retry_at_ms=None)
        return cursor.rowcount

    def refuse(self, tree: str) -> int:
        """Keep what was to be deleted; returns how many paths."""
        with transaction(self._database) as database:
            cursor = database.execute("DELETE FROM deletions WHERE tree = ? AND NOT approved", (tree,))
            update_tree(database, tree, held=None)
        return cursor.rowcount
