"""What was announced in the ledger: the head of each tree, what is pending up to it, what an operator wants besides."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pushmirror.core.changes import merge, settle
from pushmirror.core.lists import MAX_LIST_PATHS
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.errors import UsageError
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_rows import head_of, pending_update, read_changes
from pushmirror.subscriber.ledger_trust import LedgerTrust, note_beginning
from pushmirror.subscriber.ledger_writes import (
    count_paths,
    insert_pending,
    insert_updates,
    shorten_pending,
    update_tree,
)
from pushmirror.subscriber.records import MAX_PENDING_PATHS, NEVER, HeardUpdate, PendingUpdate
from pushmirror.subscriber.relay.keeping import keep_beginning, keep_update


class LedgerUpdates(LedgerTrust):
    """Heads and pending updates. Of the trees in `keeping` updates are kept after they were applied."""

    def __init__(self, database: sqlite3.Connection) -> None:
        super().__init__(database)
        self.keeping: set[str] = set()

    def head(self, tree: str) -> Head | None:
        """Return the newest update of `tree` that was heard of and believed."""
        row = self._database.execute("SELECT epoch, announced, digest FROM trees WHERE tree = ?", (tree,)).fetchone()
        return head_of(row)

    def header(self, tree: str) -> bytes | None:
        """Return the newest testimony about `tree` in the epoch of its head, with its signature, as it travelled.

        That is mostly the newest update; None when all that is known is the word of a relay that has none itself.
        """
        row = self._database.execute("SELECT envelope FROM headers WHERE tree = ?", (tree,)).fetchone()
        return None if row is None else bytes(row["envelope"])

    def announce(self, tree: str, update: Update, digest: str, changes: ChangeList | None, now_ms: int) -> None:
        """Record `update` as the newest of `tree`, and its `changes` (None: the whole tree) as pending."""
        self.announce_all(tree, (HeardUpdate(update, digest, changes),), now_ms)

    def announce_all(self, tree: str, updates: Sequence[HeardUpdate], now_ms: int) -> None:
        """Record `updates`, one at least and the oldest first, in one transaction: each pending, the last the head."""
        with transaction(self._database) as database:
            insert_updates(database, tree, updates, now_ms)
            for heard in updates if tree in self.keeping else ():
                keep_update(database, tree, heard, now_ms)
            newest = updates[-1]
            shorten_pending(database, tree, updates)
            serial, epoch = newest.update.serial, newest.update.epoch
            update_tree(database, tree, epoch=epoch, announced=serial, digest=newest.digest)
            # A tree that waits for what was missing upstream waits for just this.
            database.execute(
                "UPDATE trees SET retry_at_ms = NULL WHERE tree = ? AND missing_since_ms IS NOT NULL", (tree,)
            )
            if newest.envelope:
                _put_header(database, tree, newest.envelope)

    def keep_testimony(self, tree: str, testimony: bytes) -> None:
        """Keep a message in which the publisher told of the head of `tree`, in the place of what is kept of that."""
        with transaction(self._database) as database:
            _put_header(database, tree, testimony)

    def start_over(
        self, tree: str, head: Head, at_ms: int, now_ms: int, *, same_history: bool, testimony: bytes | None = None
    ) -> None:
        """Make the whole of `tree` pending at `head`, of which `testimony` tells.

        With `same_history` (updates were missed that nobody can hand out) what is applied stays applied; otherwise
        (another epoch, or a fork of this one) the serials so far mean nothing any more.
        """
        with transaction(self._database) as database:
            note_beginning(database, tree, self.head(tree), head, same_history=same_history)
            database.execute("DELETE FROM pending WHERE tree = ?", (tree,))
            update_tree(
                database, tree, epoch=head.epoch, announced=head.serial, digest=head.digest, missing_since_ms=None
            )
            if not same_history:
                # Which of the new serials a deletion belongs to is not known: until it is done nothing is clean.
                database.execute("UPDATE deletions SET serial = 0 WHERE tree = ?", (tree,))
                # What a full sync leaves to be compared again, it notes under serials that mean something.
                database.execute("DELETE FROM rechecks WHERE tree = ?", (tree,))
                database.execute("DELETE FROM headers WHERE tree = ?", (tree,))
                database.execute(
                    "UPDATE trees SET applied = ?, generation = generation + 1 WHERE tree = ?", (NEVER, tree)
                )
            if testimony is not None:
                _put_header(database, tree, testimony)
            if tree in self.keeping:
                keep_beginning(database, tree, head, now_ms, same_history=same_history)
            insert_pending(database, tree, head.serial, at_ms, now_ms, None, None)

    def want_whole(self, tree: str, now_ms: int) -> None:
        """Make the whole of `tree` pending at the serial that is announced, whatever is applied."""
        head = self.head(tree)
        with transaction(self._database) as database:
            update_tree(database, tree, retry_at_ms=None)
            insert_pending(database, tree, head.serial if head else NEVER, now_ms, now_ms, None, None)

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
            joined = settle(merge([known or ChangeList(), changes]), lambda path: True)
            wanted = None if count_paths(joined) > MAX_LIST_PATHS else joined
            root_mtime_ns = None if row is None else row["root_mtime_ns"]
            insert_pending(database, tree, head.serial, now_ms, now_ms, wanted, root_mtime_ns)

    def retry_now(self, tree: str) -> None:
        """Forget that `tree` waits for its next try."""
        self._set(tree, retry_at_ms=None, full_sync_retry_at_ms=None)

    def pending(self, tree: str) -> tuple[PendingUpdate, ...]:
        """Return the updates of `tree` that are not applied, the oldest first.

        When they are too many for a list job (`MAX_PENDING_PATHS`) they come without their lists.
        """
        rows = self._database.execute(
            "SELECT number, serial, at_ms, root_mtime_ns, bytes,"
            " CASE WHEN (SELECT sum(paths) FROM pending WHERE tree = ?1) <= ?2 THEN changes END AS changes"
            " FROM pending WHERE tree = ?1 ORDER BY serial",
            (tree, MAX_PENDING_PATHS),
        )
        return tuple(map(pending_update, rows))


def _put_header(database: sqlite3.Connection, tree: str, envelope: bytes) -> None:
    database.execute("INSERT OR REPLACE INTO headers VALUES (?, ?)", (tree, envelope))
