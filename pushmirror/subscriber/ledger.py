"""The subscriber's durable record (SQLite): what was announced, what is applied, what is pending, what was run.

It is committed before a job starts and after it ends; everything else that the daemon knows can be lost at any
instant.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from pushmirror.core.changes import merge, settle
from pushmirror.core.lists import MAX_LIST_PATHS, format_changes
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.paths import TreePath, ancestors
from pushmirror.core.wire import canonical
from pushmirror.errors import UsageError
from pushmirror.subscriber.ledger_file import open_database, transaction
from pushmirror.subscriber.ledger_rows import (
    TREE_QUERY,
    deletion,
    head_of,
    job_record,
    pending_update,
    read_changes,
    tree_record,
)
from pushmirror.subscriber.records import NEVER, Deletion, JobRecord, PendingUpdate, TreeRecord

_KEPT_JOBS = 200


class Ledger:
    """The ledger in the file `path`, made when it is not there. Raises StateError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)

    def close(self) -> None:
        """Close the file; the ledger is of no use afterwards."""
        self._database.close()

    # --- trees

    def open_tree(self, tree: str, identity: str) -> bool:
        """Make sure that `tree` has a record. Another `identity` (its folder, its source) than before starts it anew.

        Returns True when a record that was there was started anew.
        """
        with transaction(self._database) as database:
            row = database.execute("SELECT identity FROM trees WHERE tree = ?", (tree,)).fetchone()
            if row is not None and row["identity"] == identity:
                return False
            for table in ("trees", "pending", "deletions"):
                database.execute(f"DELETE FROM {table} WHERE tree = ?", (tree,))  # noqa: S608 - names from this line
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

    def head(self, tree: str) -> Head | None:
        """Return the newest update of `tree` that was heard of and believed."""
        row = self._database.execute("SELECT epoch, announced, digest FROM trees WHERE tree = ?", (tree,)).fetchone()
        return head_of(row)

    def set_paused(self, tree: str, paused: bool) -> None:
        """Keep `tree` from starting jobs, or let it again."""
        self._set(tree, paused=int(paused))

    def _set(self, tree: str, **values: object) -> None:
        with transaction(self._database) as database:
            _update(database, tree, **values)

    # --- announcements

    def announce(self, tree: str, update: Update, digest: str, changes: ChangeList | None, now_ms: int) -> None:
        """Record `update` as the newest of `tree`, and its `changes` (None: the whole tree) as pending."""
        paths = 0 if changes is None else _count_paths(changes)
        with transaction(self._database) as database:
            _update(database, tree, epoch=update.epoch, announced=update.serial, digest=digest)
            # A tree that waits for what was missing upstream waits for just this.
            database.execute(
                "UPDATE trees SET retry_at_ms = NULL WHERE tree = ? AND missing_since_ms IS NOT NULL", (tree,)
            )
            _insert_pending(database, tree, update.serial, update.at_ms, now_ms, paths, changes, update.root_mtime_ns)

    def start_over(self, tree: str, head: Head, at_ms: int, now_ms: int, *, same_history: bool) -> None:
        """Make the whole of `tree` pending at `head`.

        With `same_history` (updates were missed that nobody can hand out) what is applied stays applied; otherwise
        (another epoch, or a fork of this one) the serials so far mean nothing any more.
        """
        with transaction(self._database) as database:
            database.execute("DELETE FROM pending WHERE tree = ?", (tree,))
            _update(database, tree, epoch=head.epoch, announced=head.serial, digest=head.digest, missing_since_ms=None)
            if not same_history:
                # Which of the new serials a deletion belongs to is not known: until it is done nothing is clean.
                database.execute("UPDATE deletions SET serial = 0 WHERE tree = ?", (tree,))
                database.execute(
                    "UPDATE trees SET applied = ?, generation = generation + 1 WHERE tree = ?", (NEVER, tree)
                )
            _insert_pending(database, tree, head.serial, at_ms, now_ms, 0, None, None)

    def want_whole(self, tree: str, now_ms: int) -> None:
        """Make the whole of `tree` pending at the serial that is announced, whatever is applied."""
        head = self.head(tree)
        with transaction(self._database) as database:
            _update(database, tree, retry_at_ms=None)
            _insert_pending(database, tree, head.serial if head else NEVER, now_ms, now_ms, 0, None, None)

    def want_paths(self, tree: str, changes: ChangeList, now_ms: int) -> None:
        """Make `changes` pending at the serial that is announced: the operator asked for them.

        More than one list can hold, together with what is pending there already, becomes the whole tree. Raises
        UsageError when nothing is known of the tree yet, because its first sync is still to come.
        """
        head = self.head(tree)
        if head is None:
            raise UsageError(f"the tree {tree} waits for its first sync, which brings everything")
        with transaction(self._database) as database:
            key = (tree, head.serial)
            row = database.execute("SELECT * FROM pending WHERE tree = ? AND serial = ?", key).fetchone()
            if row is not None and row["changes"] is None:
                return
            known = None if row is None else read_changes(row["changes"])
            wanted: ChangeList | None = settle(merge([known or ChangeList(), changes]), lambda path: True)
            paths = 0 if wanted is None else _count_paths(wanted)
            if paths > MAX_LIST_PATHS:
                wanted, paths = None, 0
            root_mtime_ns = None if row is None else row["root_mtime_ns"]
            _insert_pending(database, tree, head.serial, now_ms, now_ms, paths, wanted, root_mtime_ns)

    def retry_now(self, tree: str) -> None:
        """Forget that `tree` waits for its next try."""
        self._set(tree, retry_at_ms=None)

    def pending(self, tree: str) -> tuple[PendingUpdate, ...]:
        """Return the updates of `tree` that are not applied, the oldest first."""
        rows = self._database.execute("SELECT * FROM pending WHERE tree = ? ORDER BY serial", (tree,))
        return tuple(map(pending_update, rows))

    # --- jobs

    def begin_job(self, tree: str, scope: str, serial: int, now_ms: int) -> int:
        """Record that a job starts; returns its number."""
        with transaction(self._database) as database:
            cursor = database.execute(
                "INSERT INTO jobs (tree, scope, serial, started_ms) VALUES (?, ?, ?, ?)", (tree, scope, serial, now_ms)
            )
        job = cursor.lastrowid
        assert job is not None  # noqa: S101 - an INSERT that did not fail has one
        return job

    def end_job(self, record: JobRecord) -> None:
        """Record how a job ended, and forget the oldest ones of its tree."""
        values = (
            record.finished_ms, record.outcome, record.files, record.bytes, record.deleted, record.lag_ms,
            record.exit_code, record.reason, record.job,
        )  # fmt: skip
        with transaction(self._database) as database:
            database.execute(
                "UPDATE jobs SET finished_ms = ?, outcome = ?, files = ?, bytes = ?, deleted = ?, lag_ms = ?,"
                " exit_code = ?, reason = ? WHERE job = ?",
                values,
            )
            database.execute(
                "DELETE FROM jobs WHERE tree = ?"
                " AND job <= (SELECT job FROM jobs WHERE tree = ? ORDER BY job DESC LIMIT 1 OFFSET ?)",
                (record.tree, record.tree, _KEPT_JOBS),
            )

    def interrupt_jobs(self, now_ms: int) -> tuple[JobRecord, ...]:
        """Record every job that is still running as interrupted (the daemon that ran it is gone), and return them."""
        with transaction(self._database) as database:
            rows = database.execute("SELECT * FROM jobs WHERE finished_ms IS NULL").fetchall()
            database.execute(
                "UPDATE jobs SET finished_ms = ?, outcome = 'interrupted' WHERE finished_ms IS NULL", (now_ms,)
            )
        return tuple(job_record(row) for row in rows)

    def jobs(self, tree: str, limit: int) -> tuple[JobRecord, ...]:
        """Return the last jobs of `tree`, the newest first."""
        rows = self._database.execute("SELECT * FROM jobs WHERE tree = ? ORDER BY job DESC LIMIT ?", (tree, limit))
        return tuple(job_record(row) for row in rows)

    def finish_puts(
        self,
        tree: str,
        serial: int,
        generation: int,
        deletions: Iterable[TreePath],
        *,
        settled: Iterable[TreePath],
        due_ms: int,
        entries: int,
        incomplete: tuple[TreePath, ...],
        taken: int | None = None,
        full_sync_ms: int | None = None,
        exact_times: bool | None = None,
    ) -> bool:
        """Record that every put of `tree` up to `serial` is in place, and what is to be deleted from `due_ms` on.

        `settled` are deletions that were pending and that a put has made void; `taken` is the highest number of a
        pending update that the job knew (None: all), so that what was asked for while it ran stays pending. Returns
        False, and records nothing, when the serials of the job's `generation` have lost their meaning while it ran.
        """
        with transaction(self._database) as database:
            row = database.execute("SELECT applied, generation FROM trees WHERE tree = ?", (tree,)).fetchone()
            if row["generation"] != generation:
                return False
            applied = row["applied"]
            lowest = min(serial, applied + 1)
            earlier = _serials_of_covered(database, tree, deletions := tuple(deletions))
            database.executemany("DELETE FROM deletions WHERE tree = ? AND path = ?", [(tree, p) for p in settled])
            database.executemany(
                # One that was put off, because the upstream still had the path, is looked at again with this update.
                "INSERT INTO deletions (tree, path, serial, due_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tree, path) DO UPDATE SET due_ms = min(due_ms, excluded.due_ms)",
                [(tree, path, min(lowest, earlier.get(path, lowest)), due_ms) for path in deletions],
            )
            database.execute(
                "DELETE FROM pending WHERE tree = ? AND serial <= ? AND number <= coalesce(?, number)",
                (tree, serial, taken),
            )
            _update(
                database, tree, applied=serial, entries=entries, failures=0, hopeless=0, retry_at_ms=None,
                missing_since_ms=None, reason=None, incomplete=json.dumps([path.hex() for path in incomplete]),
            )  # fmt: skip
            if full_sync_ms is not None:
                _update(database, tree, last_full_sync_ms=full_sync_ms)
            if exact_times is not None:
                _update(database, tree, exact_times=int(exact_times))
        return True

    def fail(self, tree: str, reason: str, retry_at_ms: int, *, counts: bool, hopeless: bool) -> None:
        """Record that a job of `tree` did not do what it was to do; without `counts` it is nobody's failure."""
        with transaction(self._database) as database:
            if counts:
                database.execute("UPDATE trees SET failures = failures + 1 WHERE tree = ?", (tree,))
            _update(database, tree, reason=reason, retry_at_ms=retry_at_ms, hopeless=int(hopeless))

    def succeed(self, tree: str) -> None:
        """Forget the failures of `tree`: a job has done what it was to do."""
        self._set(tree, failures=0, hopeless=0, retry_at_ms=None, reason=None)

    def wait_for_missing(self, tree: str, reason: str, now_ms: int, retry_at_ms: int) -> None:
        """Record that puts of `tree` were not at its upstream; the first time starts the clock of ``missing_wait``."""
        with transaction(self._database) as database:
            database.execute(
                "UPDATE trees SET missing_since_ms = coalesce(missing_since_ms, ?) WHERE tree = ?", (now_ms, tree)
            )
            _update(database, tree, reason=reason, retry_at_ms=retry_at_ms)

    # --- deletions

    def deletions(self, tree: str) -> tuple[Deletion, ...]:
        """Return what is to be deleted in `tree`, sorted by path."""
        rows = self._database.execute("SELECT * FROM deletions WHERE tree = ? ORDER BY path", (tree,))
        return tuple(map(deletion, rows))

    def finish_deletions(self, tree: str, gone: Iterable[TreePath], kept: Iterable[TreePath], due_ms: int) -> None:
        """Record what a delete stage did: `gone` is done, `kept` (still at the upstream) is tried again at `due_ms`."""
        with transaction(self._database) as database:
            database.executemany("DELETE FROM deletions WHERE tree = ? AND path = ?", [(tree, path) for path in gone])
            database.executemany(
                "UPDATE deletions SET due_ms = ? WHERE tree = ? AND path = ?", [(due_ms, tree, path) for path in kept]
            )

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
            _update(database, tree, held=None, retry_at_ms=None)
        return cursor.rowcount

    def refuse(self, tree: str) -> int:
        """Keep what was to be deleted; returns how many paths."""
        with transaction(self._database) as database:
            cursor = database.execute("DELETE FROM deletions WHERE tree = ? AND NOT approved", (tree,))
            _update(database, tree, held=None)
        return cursor.rowcount


def _update(database: sqlite3.Connection, tree: str, **values: object) -> None:
    assignments = ", ".join(f"{column} = ?" for column in values)
    database.execute(f"UPDATE trees SET {assignments} WHERE tree = ?", (*values.values(), tree))  # noqa: S608 - keywords


def _serials_of_covered(
    database: sqlite3.Connection, tree: str, deletions: tuple[TreePath, ...]
) -> dict[TreePath, int]:
    """Return, for those of `deletions` that pending ones lie below, the lowest serial of these: it stays undone."""
    covering = set(deletions)
    found: dict[TreePath, int] = {}
    for row in database.execute("SELECT path, serial FROM deletions WHERE tree = ?", (tree,)):
        for above in ancestors(bytes(row["path"])):
            if above in covering:
                found[above] = min(row["serial"], found.get(above, row["serial"]))
    return found


def _insert_pending(
    database: sqlite3.Connection,
    tree: str,
    serial: int,
    at_ms: int,
    now_ms: int,
    paths: int,
    changes: ChangeList | None,
    root_mtime_ns: int | None,
) -> None:
    body = None if changes is None else canonical(format_changes(changes))
    database.execute(
        "INSERT OR REPLACE INTO pending (tree, serial, at_ms, received_ms, paths, changes, root_mtime_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (tree, serial, at_ms, now_ms, paths, body, root_mtime_ns),
    )


def _count_paths(changes: ChangeList) -> int:
    return len(changes.changed) + len(changes.deleted) + len(changes.directories)
