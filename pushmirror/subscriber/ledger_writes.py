"""What the parts of the ledger have in common: the file, and writes that several of them make."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from pushmirror.core.lists import format_changes
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors
from pushmirror.core.wire import canonical
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.records import MAX_PENDING_BYTES, MAX_PENDING_PATHS, MAX_PENDING_UPDATES, HeardUpdate

_INSERT_PENDING = (
    "INSERT OR REPLACE INTO pending (tree, serial, at_ms, received_ms, paths, changes, root_mtime_ns, bytes)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

_LOOK_EVERY_UPDATES = 256
_LONG_LIST_BYTES = 1024 * 1024


def _do_nothing() -> None: ...


class LedgerPart:
    """One group of the ledger's operations, on its open `database`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.moved: Callable[[], None] = _do_nothing
        """Called when what is applied or cleaned may have moved, after that was committed."""

    def _set(self, tree: str, **values: object) -> None:
        with transaction(self._database) as database:
            update_tree(database, tree, **values)


def update_tree(database: sqlite3.Connection, tree: str, **values: object) -> None:
    """Set columns of the row of `tree`, inside a transaction."""
    assignments = ", ".join(f"{column} = ?" for column in values)
    database.execute(f"UPDATE trees SET {assignments} WHERE tree = ?", (*values.values(), tree))  # noqa: S608 - keywords


def insert_pending(
    database: sqlite3.Connection,
    tree: str,
    serial: int,
    at_ms: int,
    now_ms: int,
    changes: ChangeList | None,
    root_mtime_ns: int | None,
) -> None:
    """Make `changes` (None: the whole tree) pending at `serial`, in place of what is pending there."""
    body = None if changes is None else canonical(format_changes(changes))
    paths = 0 if changes is None else count_paths(changes)
    database.execute(_INSERT_PENDING, (tree, serial, at_ms, now_ms, paths, body, root_mtime_ns, 0))


def insert_updates(database: sqlite3.Connection, tree: str, updates: Iterable[HeardUpdate], now_ms: int) -> None:
    """Make what `updates` announced pending, each at its serial."""
    database.executemany(_INSERT_PENDING, (_pending_row(tree, heard, now_ms) for heard in updates))


def shorten_pending(database: sqlite3.Connection, tree: str, added: Sequence[HeardUpdate]) -> None:
    """Make the whole tree pending, in the place of all that is with what was `added`, if that has become too much.

    It is looked at now and then, and after long lists: where there are many updates it takes its time.
    """
    (updates,) = database.execute("SELECT count(*) FROM pending WHERE tree = ?", (tree,)).fetchone()
    long = any(len(heard.listed or b"") >= _LONG_LIST_BYTES for heard in added)
    if updates % _LOOK_EVERY_UPDATES >= len(added) and not long:
        return
    query = "SELECT sum(paths), total(length(changes)), min(received_ms) FROM pending WHERE tree = ?"
    paths, size_bytes, since_ms = database.execute(query, (tree,)).fetchone()
    if paths <= MAX_PENDING_PATHS and size_bytes <= MAX_PENDING_BYTES and updates <= MAX_PENDING_UPDATES:
        return
    database.execute("DELETE FROM pending WHERE tree = ?", (tree,))
    newest = added[-1].update
    insert_pending(database, tree, newest.serial, newest.at_ms, since_ms, None, None)


def _pending_row(tree: str, heard: HeardUpdate, now_ms: int) -> tuple[object, ...]:
    update, changes, body = heard.update, heard.changes, heard.listed
    if body is None and changes is not None:
        body = canonical(format_changes(changes))
    paths = 0 if changes is None else count_paths(changes)
    return (tree, update.serial, update.at_ms, now_ms, paths, body, update.root_mtime_ns, update.bytes)


def replace_deletions(
    database: sqlite3.Connection,
    tree: str,
    settled: Iterable[TreePath],
    deletions: tuple[TreePath, ...],
    lowest: int,
    due_ms: int,
) -> None:
    """Forget the pending deletions that are `settled`, and make `deletions` pending.

    Their serial is `lowest`, or that of one above or below them that was pending, if it is lower.
    """
    earlier = _serials_of_kin(database, tree, deletions)
    database.executemany("DELETE FROM deletions WHERE tree = ? AND path = ?", [(tree, path) for path in settled])
    database.executemany(
        # One that was put off, because the upstream still had the path, is looked at again with this update.
        "INSERT INTO deletions (tree, path, serial, due_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (tree, path) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms), in_the_way = 0",
        [(tree, path, min(lowest, earlier.get(path, lowest)), due_ms) for path in deletions],
    )


def _serials_of_kin(database: sqlite3.Connection, tree: str, deletions: tuple[TreePath, ...]) -> dict[TreePath, int]:
    """Return, for those of `deletions` that pending ones lie below or above, the lowest serial of these.

    It stays undone: what lies below is swallowed, and of a directory above that was put again these are what is left.
    """
    rows = database.execute("SELECT path, serial FROM deletions WHERE tree = ?", (tree,))
    pending = {TreePath(bytes(row["path"])): int(row["serial"]) for row in rows}
    asked = set(deletions)
    related = [(above, serial) for path, serial in pending.items() for above in ancestors(path) if above in asked]
    related += [(path, pending[above]) for path in deletions for above in ancestors(path) if above in pending]
    found: dict[TreePath, int] = {}
    for path, serial in related:
        found[path] = min(serial, found.get(path, serial))
    return found


def count_paths(changes: ChangeList) -> int:
    """Return how many paths a list names."""
    return len(changes.changed) + len(changes.deleted) + len(changes.directories)
