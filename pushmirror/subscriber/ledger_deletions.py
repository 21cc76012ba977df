"""The pending deletions in the ledger: due, held, approved, done; what the operator refused; what a mirror has lost."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.paths import TreePath
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_rows import deletion
from pushmirror.subscriber.ledger_writes import LedgerPart, replace_deletions, update_tree
from pushmirror.subscriber.records import Deletion

_LOSE = "UPDATE trees SET entries = max(0, entries - ?), lost = max(0, lost + ?) WHERE tree = ?"


class LedgerDeletions(LedgerPart):
    """What is to be deleted, and what the operator says of it."""

    def deletions(self, tree: str) -> tuple[Deletion, ...]:
        """Return what is to be deleted in `tree`, sorted by path."""
        rows = self._database.execute("SELECT * FROM deletions WHERE tree = ? ORDER BY path", (tree,))
        return tuple(map(deletion, rows))

    def await_deletions(self, tree: str, deletions: Iterable[TreePath], now_ms: int, *, in_the_way: bool) -> None:
        """Make `deletions` pending although no job has ended that found them.

        They belong to the serial after the one that is applied. Those `in_the_way` are directories whose place
        something else is to take.
        """
        paths = tuple(deletions)
        with transaction(self._database) as database:
            (applied,) = database.execute("SELECT applied FROM trees WHERE tree = ?", (tree,)).fetchone()
            replace_deletions(database, tree, (), paths, applied + 1, now_ms)
            database.executemany(
                "UPDATE deletions SET in_the_way = ? WHERE tree = ? AND path = ?",
                [(int(in_the_way), tree, path) for path in paths],
            )
        self.moved()

    def finish_deletions(self, tree: str, gone: Iterable[TreePath], kept: Iterable[TreePath], due_ms: int) -> None:
        """Record what a delete stage did: `gone` is done, `kept` (still at the upstream) is tried again at `due_ms`."""
        with transaction(self._database) as database:
            database.executemany("DELETE FROM deletions WHERE tree = ? AND path = ?", [(tree, path) for path in gone])
            database.executemany(
                "UPDATE deletions SET due_ms = ?, put_off = 1 WHERE tree = ? AND path = ?",
                [(due_ms, tree, path) for path in kept],
            )
        self.moved()

    # --- how many entries there are, and how many were lost

    def set_entries(self, tree: str, entries: int) -> None:
        """Record how many entries the mirror has."""
        self._set(tree, entries=entries)

    def lose(self, tree: str, entries: int, *, unasked: int) -> None:
        """Record that so many `entries` go, of which the operator was not asked about the `unasked` ones.

        It is committed before they go: whoever breaks off what deletes them gains nothing. What stayed after all is
        given back by negative numbers.
        """
        with transaction(self._database) as database:
            database.execute(_LOSE, (entries, unasked, tree))

    def gain(self, tree: str, entries: int) -> None:
        """Record that so many new `entries` came. They make up for what was lost before, and for nothing after."""
        self.lose(tree, -entries, unasked=-entries)

    # --- the operator's word

    def hold(self, tree: str, held: str | None) -> None:
        """Hold the pending deletions of `tree` for the reason `held`, or release them (None)."""
        self._set(tree, held=held)

    def approve(self, tree: str) -> int:
        """Release exactly the deletions that are pending now, whatever the budget says; returns how many.

        From here on losses are counted anew.
        """
        with transaction(self._database) as database:
            cursor = database.execute("UPDATE deletions SET approved = 1 WHERE tree = ?", (tree,))
            update_tree(database, tree, held=None, retry_at_ms=None, lost=0)
        return cursor.rowcount

    def refuse(self, tree: str) -> int:
        """Keep what was to be deleted, also when it is found once more; returns how many paths."""
        with transaction(self._database) as database:
            database.execute(
                "INSERT OR IGNORE INTO refusals SELECT tree, path FROM deletions WHERE tree = ? AND NOT approved",
                (tree,),
            )
            cursor = database.execute("DELETE FROM deletions WHERE tree = ? AND NOT approved", (tree,))
            update_tree(database, tree, held=None)
        self.moved()
        return cursor.rowcount

    def refusals(self, tree: str) -> frozenset[TreePath]:
        """Return the paths that the operator has refused to delete."""
        rows = self._database.execute("SELECT path FROM refusals WHERE tree = ?", (tree,))
        return frozenset(TreePath(bytes(row["path"])) for row in rows)

    def set_refusals(self, tree: str, paths: Iterable[TreePath]) -> None:
        """Remember that these `paths` are refused, and no others."""
        with transaction(self._database) as database:
            database.execute("DELETE FROM refusals WHERE tree = ?", (tree,))
            database.executemany("INSERT INTO refusals VALUES (?, ?)", [(tree, path) for path in paths])
