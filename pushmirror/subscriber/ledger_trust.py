"""What the ledger remembers of whom to believe: keys that were exchanged, epochs that are over, jumps that are held."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from pushmirror.core.leaps import Leap
from pushmirror.core.model import Head
from pushmirror.core.rotation import Rotation
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_writes import LedgerPart

MAX_EPOCHS_OVER = 100
"""So many are remembered of a tree, those that ended last."""


@dataclass(frozen=True)
class LearnedRotation:
    """A rotation that was told at `learned_ms`, as it travelled. `retired`: its old key does not count any more."""

    rotation: Rotation
    envelope: bytes
    learned_ms: int
    retired: bool


class LedgerTrust(LedgerPart):
    """Rotations of publishers, and what is not believed of trees."""

    def rotations(self, publisher: str) -> tuple[LearnedRotation, ...]:
        """Return what is known of the keys of `publisher`, in the order in which it was learned."""
        rows = self._database.execute("SELECT * FROM rotations WHERE publisher = ? ORDER BY number", (publisher,))
        return tuple(
            LearnedRotation(
                Rotation(publisher, row["old"], row["new"], row["at_ms"], row["overlap_ms"]),
                bytes(row["envelope"]),
                row["learned_ms"],
                bool(row["retired"]),
            )
            for row in rows
        )

    def learn_rotation(self, rotation: Rotation, envelope: bytes, now_ms: int) -> None:
        """Record a rotation that was believed. The first that gives up a key is the one that counts."""
        with transaction(self._database) as database:
            database.execute(
                "INSERT OR IGNORE INTO rotations (publisher, old, new, at_ms, overlap_ms, envelope, learned_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    rotation.publisher, rotation.old, rotation.new, rotation.at_ms, rotation.overlap_ms, envelope,
                    now_ms,
                ),
            )  # fmt: skip

    def retire_keys(self, publisher: str, keys: Iterable[str]) -> None:
        """Record that `keys` do not count any more, whatever a clock says later."""
        with transaction(self._database) as database:
            database.executemany(
                "UPDATE rotations SET retired = 1 WHERE publisher = ? AND old = ?", [(publisher, key) for key in keys]
            )

    def is_over(self, tree: str, head: Head) -> bool:
        """Tell whether `head` belongs to a journal that its publisher has left behind, as far as that is known."""
        row = self._database.execute(
            "SELECT upto FROM epochs_over WHERE tree = ? AND epoch = ?", (tree, head.epoch)
        ).fetchone()
        return row is not None and (row["upto"] is None or head.serial <= row["upto"])

    def note_over(self, tree: str, epoch: str) -> None:
        """Record that `epoch` is not that of the publisher's journal, by its own fresh word."""
        with transaction(self._database) as database:
            _note_over(database, tree, epoch, None)

    def leap(self, tree: str) -> Leap | None:
        """Return the jump of `tree` that waits for the operator, None when there is none."""
        row = self._database.execute("SELECT * FROM leaps WHERE tree = ?", (tree,)).fetchone()
        if row is None:
            return None
        return Leap(Head(row["epoch"], row["serial"], row["digest"]), row["at_ms"], row["since_ms"], row["reason"])

    def hold_leap(self, tree: str, leap: Leap) -> None:
        """Keep the jump of `tree` for the operator, in place of one that was held before."""
        head = leap.head
        with transaction(self._database) as database:
            database.execute(
                "INSERT OR REPLACE INTO leaps VALUES (?, ?, ?, ?, ?, ?, ?)",
                (tree, head.epoch, head.serial, head.digest, leap.at_ms, leap.since_ms, leap.reason),
            )

    def forget_leap(self, tree: str) -> bool:
        """Hold no jump of `tree` any more. Returns whether one was held."""
        with transaction(self._database) as database:
            return database.execute("DELETE FROM leaps WHERE tree = ?", (tree,)).rowcount > 0


def note_beginning(
    database: sqlite3.Connection, tree: str, before: Head | None, head: Head, *, same_history: bool
) -> None:
    """Take note that `tree` begins anew at `head`: what it was at `before` is over. Within the caller's transaction.

    In an epoch that forked everything up to the serial that was heard may be of the other branch.
    """
    database.execute("DELETE FROM epochs_over WHERE tree = ? AND epoch = ? AND upto IS NULL", (tree, head.epoch))
    if before is not None and before.epoch != head.epoch:
        _note_over(database, tree, before.epoch, None)
    elif before is not None and not same_history:
        _note_over(database, tree, before.epoch, before.serial)


def _note_over(database: sqlite3.Connection, tree: str, epoch: str, upto: int | None) -> None:
    database.execute(
        "INSERT INTO epochs_over (tree, epoch, upto) VALUES (?1, ?2, ?3) ON CONFLICT (tree, epoch)"
        " DO UPDATE SET upto = CASE WHEN ?3 IS NULL THEN NULL ELSE max(upto, ?3) END",
        (tree, epoch, upto),
    )
    database.execute(
        "DELETE FROM epochs_over WHERE tree = ?1 AND number NOT IN"
        " (SELECT number FROM epochs_over WHERE tree = ?1 ORDER BY number DESC LIMIT ?2)",
        (tree, MAX_EPOCHS_OVER),
    )
