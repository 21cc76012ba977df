"""What the ledger keeps for the sake of relays: updates that were applied, and what a source could not tell yet."""

from __future__ import annotations

import sqlite3

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, lies_below
from pushmirror.core.relaying import RECHECK_RETRY_MS, Comparison, recheck_delay_ms
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_updates import LedgerUpdates
from pushmirror.subscriber.relay.keeping import forget_updates, keep_beginning, needs_beginning
from pushmirror.subscriber.relay.kept import KeptUpdates

_HASTEN_EVERY_MS = 60_000
_WHOLE = b""
"""In the place of a path: the whole tree."""


class LedgerOwed(LedgerUpdates):
    """Kept updates, and what is compared again once a source is clean."""

    def __init__(self, database: sqlite3.Connection) -> None:
        super().__init__(database)
        self.kept = KeptUpdates(database)

    def keep_updates(self, tree: str, wanted: bool, now_ms: int) -> None:
        """Keep the updates of `tree` from now on, or keep none of them."""
        head = self.head(tree)
        if wanted:
            self.keeping.add(tree)
        with transaction(self._database) as database:
            if not wanted:
                forget_updates(database, tree)
            elif head is not None and needs_beginning(database, tree, head):
                keep_beginning(database, tree, head, now_ms, same_history=True)

    def changes_after(self, tree: str, after: int, upto: int) -> list[ChangeList | None] | None:
        """Return what each update after `after` up to `upto` changed (None: the whole tree), None if not all are kept.

        Raises StateError.
        """
        try:
            known = self.kept.beginning(tree, upto) <= after
        except KeyError:
            return None
        return list(self.kept.changes(tree, after, upto)) if known else None

    def note_cleaned(self, tree: str, cleaned: int, now_ms: int, *, moved: bool) -> bool:
        """Take note that a source of `tree` has done its deletions up to `cleaned`.

        What had to wait for that is due: directories to be compared again, and deletions whose paths the source still
        had, unless it has not `moved` and they were tried a moment ago. Returns whether there is anything to do.
        """
        if not self._owes(tree, cleaned):
            return False
        with transaction(self._database) as database:
            found = self._hasten_deletions(database, tree, cleaned, now_ms, moved=moved)
            rows = database.execute(
                "SELECT path, tries FROM rechecks WHERE tree = ? AND due_serial <= ? AND retry_at_ms <= ?",
                (tree, cleaned, now_ms),
            ).fetchall()
            database.executemany(
                "UPDATE rechecks SET tries = tries + 1, retry_at_ms = ? WHERE tree = ? AND path = ?",
                [(now_ms + recheck_delay_ms(row["tries"] + 1), tree, row["path"]) for row in rows],
            )
        paths = sorted(TreePath(bytes(row["path"])) for row in rows)
        if _WHOLE in paths:
            self.want_whole(tree, now_ms)
        elif paths:
            self.want_paths(tree, ChangeList(directories=tuple(paths)), now_ms)
        return bool(found or paths)

    def _owes(self, tree: str, cleaned: int) -> bool:
        query = (
            "SELECT EXISTS (SELECT 1 FROM rechecks WHERE tree = ?1 AND due_serial <= ?2)"
            " OR EXISTS (SELECT 1 FROM deletions WHERE tree = ?1 AND put_off AND serial <= ?2)"
        )
        return bool(self._database.execute(query, (tree, cleaned)).fetchone()[0])

    def _hasten_deletions(
        self, database: sqlite3.Connection, tree: str, cleaned: int, now_ms: int, *, moved: bool
    ) -> bool:
        latest_ms = now_ms + (RECHECK_RETRY_MS if moved else RECHECK_RETRY_MS - _HASTEN_EVERY_MS)
        cursor = database.execute(
            "UPDATE deletions SET due_ms = ?1, put_off = 0"
            " WHERE tree = ?2 AND serial <= ?3 AND put_off AND due_ms > ?1 AND due_ms <= ?4",
            (now_ms, tree, cleaned, latest_ms),
        )
        return cursor.rowcount > 0


def record_comparison(database: sqlite3.Connection, tree: str, compared: Comparison, due_ms: int) -> int | None:
    """Record what a job `compared`: earlier rechecks that it has done, and those that it leaves behind.

    Its deletions are due at `due_ms`. Returns the lowest serial that the rechecks that are done have held up, None
    when there were none: what they found may have been deleted that early. Within the caller's transaction.
    """
    query = "SELECT path, serial, due_serial, tries FROM rechecks WHERE tree = ?"
    rows = database.execute(query, (tree,)).fetchall()
    tries = {bytes(row["path"]): max(1, row["tries"]) for row in rows}
    done = [
        row
        for row in rows
        if (compared.cleaned is None or row["due_serial"] <= compared.cleaned)
        and _covers(compared.directories, TreePath(bytes(row["path"])))
    ]
    database.executemany("DELETE FROM rechecks WHERE tree = ? AND path = ?", [(tree, row["path"]) for row in done])
    database.executemany(
        "INSERT INTO rechecks (tree, path, serial, due_serial, retry_at_ms) VALUES (?1, ?2, ?3, ?4, 0)"
        " ON CONFLICT (tree, path) DO UPDATE SET serial = min(serial, excluded.serial),"
        " due_serial = max(due_serial, excluded.due_serial), retry_at_ms = ?5",
        [
            (tree, path, recheck.serial, recheck.due_serial, due_ms + recheck_delay_ms(tries.get(path, 1)))
            for recheck in compared.rechecks
            for path in (recheck.path or _WHOLE,)
        ],
    )
    return min((int(row["serial"]) for row in done), default=None)


def _covers(directories: tuple[TreePath, ...] | None, path: TreePath) -> bool:
    if directories is None:
        return True
    return path != _WHOLE and (path in directories or lies_below(path, set(directories)))
