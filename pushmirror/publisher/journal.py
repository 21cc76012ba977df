"""The publisher's durable record of announcements: serials, digests, signed headers and change lists, in SQLite.

An announcement is committed here before anything else happens. The daemon signs and sends what it finds, so that
announcing needs neither the daemon nor its private key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pushmirror.core.epochs import next_created_ms
from pushmirror.core.forks import proves_fork
from pushmirror.core.model import Head
from pushmirror.core.retention import Retention
from pushmirror.core.wire import digest
from pushmirror.errors import StateError
from pushmirror.publisher.announcement import (
    Announcement,
    ComposedUpdate,
    PreparedList,
    compose_update,
    prepare_list,
)
from pushmirror.publisher.epoch_note import write_epoch_note
from pushmirror.publisher.journal_file import explained
from pushmirror.publisher.journal_lists import count_list_bytes, insert_list, read_parts
from pushmirror.publisher.journal_opening import new_epoch, open_journal
from pushmirror.publisher.journal_pruning import count_used_bytes, prune_step, shrink
from pushmirror.publisher.journal_rows import COLUMNS, Announced, History, SentUpdate, UpdateRow, make_row

JOURNAL_NAME = "journal.sqlite"
"""The file's name in the publisher's ``state_dir``."""

BUSY_MS = 30_000


def read_clock_ms() -> int:
    """Return the time now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


_NEWEST = "(SELECT max(number) FROM epochs)"


class Journal:
    """The journal at `path`, made if there never was one. Every method raises StateError when the file fails it.

    One object belongs to one thread; any number of processes may have the same file open. The daemon alone prunes, and
    begins new epochs.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock_ms: Callable[[], int] = read_clock_ms,
        random_bytes: Callable[[int], bytes] = os.urandom,
        busy_ms: int = BUSY_MS,
    ) -> None:
        self.path = path
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._hold, self._connection = open_journal(path, clock_ms=clock_ms, random_bytes=random_bytes, busy_ms=busy_ms)

    @property
    def epoch(self) -> str:
        """The epoch of the journal now: the daemon may begin a new one at any time."""
        return self._epoch()[1]

    def _epoch(self) -> tuple[int, str]:
        found = self._one("SELECT number, epoch FROM epochs ORDER BY number DESC LIMIT 1")
        if found is None:
            raise StateError(f"{self.path}: the journal has lost its epoch; start the publisher anew, which begins one")
        return int(found[0]), str(found[1])

    def close(self) -> None:
        """Give the file back. Closing twice is no error."""
        self._connection.close()
        self._hold.release()

    def announce(self, announcement: Announcement) -> Announced:
        """Give the announcement the next serial of its tree; it is durable when this returns.

        A list that is longer than a list may be becomes an announcement of the whole tree.
        """
        prepared = prepare_list(announcement.changes)
        with self._transaction():
            at_ms = self._clock_ms()
            # In here: the daemon may have begun a new epoch a moment ago.
            previous = self.announced_head(announcement.tree)
            composed = compose_update(announcement, prepared, previous, at_ms=at_ms)
            announced = Announced(previous.serial + 1, digest(composed.signed), prepared is None)
            self._insert_update(announcement.tree, announced, composed, prepared, at_ms)
            if prepared is not None:
                insert_list(self._connection, prepared)
        return announced

    def _insert_update(
        self, tree: str, announced: Announced, composed: ComposedUpdate, prepared: PreparedList | None, at_ms: int
    ) -> None:
        list_digest = None if prepared is None else prepared.digest
        self._connection.execute(
            "INSERT INTO updates (epoch, tree, serial, digest, signed, list_digest, inline, at_ms)"
            " VALUES ((SELECT max(number) FROM epochs), ?, ?, ?, ?, ?, ?, ?)",
            (tree, announced.serial, announced.digest, composed.signed, list_digest, composed.inline, at_ms),
        )
        self._connection.execute(
            "INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", (tree, announced.serial, announced.digest)
        )

    def unsent(self, limit: int) -> list[UpdateRow]:
        """Return at most `limit` updates that were not sent yet, of all trees, in the order they were announced."""
        condition = f"sent_ms IS NULL AND +epoch = {_NEWEST}"
        query = f"SELECT {COLUMNS} FROM updates WHERE {condition} ORDER BY position LIMIT ?"  # noqa: S608  # constants
        with explained(self.path):
            return [make_row(found) for found in self._connection.execute(query, (limit,))]

    def mark_sent(self, sent: Iterable[SentUpdate], *, sent_ms: int) -> None:
        """Record that these updates are sent: from now on they are part of the history, and may go on the bus."""
        rows = [(sent_ms, item.signature, item.certificate, item.position) for item in sent]
        with self._transaction():
            self._connection.executemany(
                "UPDATE updates SET sent_ms = ?, signature = ?, certificate = ? WHERE position = ?", rows
            )

    def announced_head(self, tree: str) -> Head:
        """Return the newest update of a tree, sent or not."""
        found = self._one("SELECT serial, digest FROM heads WHERE tree = ?", (tree,))
        return Head(self.epoch, *found) if found else Head(self.epoch, 0, None)

    def newest_sent(self, tree: str) -> UpdateRow | None:
        """Return the newest update of a tree that was sent."""
        return self._update(f"epoch = {_NEWEST} AND tree = ? AND sent_ms IS NOT NULL ORDER BY serial DESC", (tree,))

    def head(self, tree: str) -> Head:
        """Return the newest update of a tree that was sent: what heartbeats and the tree's state tell."""
        newest = self.newest_sent(tree)
        return Head(self.epoch, newest.serial, newest.digest) if newest else Head(self.epoch, 0, None)

    def oldest(self, tree: str) -> int:
        """Return the lowest serial of a tree that can still be handed out; 0 when there is none."""
        oldest = self._update(f"epoch = {_NEWEST} AND tree = ? AND sent_ms IS NOT NULL ORDER BY serial", (tree,))
        return oldest.serial if oldest else 0

    def keeps(self, tree: str, epoch: str, after: int) -> bool:
        """Tell whether all updates that were sent after serial `after` of that epoch can be handed out."""
        return epoch == self.epoch and self.oldest(tree) <= after + 1

    def updates_after(self, tree: str, after: int, limit: int) -> Iterator[UpdateRow]:
        """Return the sent updates of the epoch of now after serial `after`, oldest first, at most `limit`.

        Each is read when it is asked for: a slow reader holds neither memory nor a read transaction. When what comes
        next has been pruned meanwhile, there are no more: whoever asks again after the last one is told so.
        """
        return self._read_after(self._epoch()[0], tree, after, limit)

    def _read_after(self, number: int, tree: str, after: int, limit: int) -> Iterator[UpdateRow]:
        for serial in range(after + 1, after + 1 + limit):
            row = self._update("epoch = ? AND tree = ? AND serial = ? AND sent_ms IS NOT NULL", (number, tree, serial))
            if row is None:
                return
            yield row

    def has_list(self, tree: str, list_digest: str) -> bool:
        """Tell whether a sent update of that tree vouches for the list."""
        # The sign keeps SQLite from going through all updates of the tree instead.
        condition = f"list_digest = ? AND +tree = ? AND +epoch = {_NEWEST} AND sent_ms IS NOT NULL"
        return self._update(condition, (list_digest, tree)) is not None

    def list_bytes(self, list_digest: str) -> int:
        """Return how long the canonical JSON of a list is."""
        with explained(self.path):
            return count_list_bytes(self._connection, list_digest)

    def list_parts(self, list_digest: str) -> Iterator[bytes]:
        """Yield the canonical JSON of a list in parts. Raises StateError when it is not there, or not any more."""
        with explained(self.path):
            yield from read_parts(self._connection, list_digest)

    def list_body(self, list_digest: str) -> bytes | None:
        """Return the canonical JSON of a list at once; None for a digest that is not known."""
        return b"".join(self.list_parts(list_digest)) if self.list_bytes(list_digest) else None

    def take_proof(self, tree: str, shown: Head) -> str | None:
        """Begin a new epoch, and return it, if an update that this publisher has signed proves that the journal is a
        copy from before; None when it proves nothing.

        What was announced so far is no part of the new epoch, and of no use any more: it is pruned little by little.
        """
        with self._transaction():
            kept = self._update(f"epoch = {_NEWEST} AND tree = ? AND serial = ?", (tree, shown.serial))
            if not proves_fork(shown, self.announced_head(tree), kept.digest if kept else None):
                return None
            created_ms = next_created_ms(self._clock_ms(), (shown.epoch,))
            epoch = new_epoch(created_ms, self._random_bytes)
            self._connection.execute(
                "INSERT INTO epochs (epoch, created_ms, proof) VALUES (?, ?, ?)", (epoch, created_ms, shown.digest)
            )
            self._connection.execute("DELETE FROM heads")
        # Without the note all is well too, as long as the journal can be read; the next start of the daemon makes it.
        with suppress(OSError):
            write_epoch_note(self.path, epoch)
        return epoch

    def prune(self, retention: Retention) -> bool:
        """Remove a little of what is not kept any longer, and tell whether there may be more."""
        with self._transaction():
            number = self._epoch()[0]
            pruned = prune_step(self._connection, retention, now_ms=self._clock_ms(), epoch_number=number)
        if pruned:
            return True
        with explained(self.path):
            return shrink(self._connection)

    def history(self) -> History:
        """Return how much history there is."""
        oldest = self._update(f"+epoch = {_NEWEST} AND sent_ms IS NOT NULL ORDER BY position", ())
        proofs = self._one("SELECT count(*) FROM epochs WHERE proof IS NOT NULL")
        with explained(self.path):
            used_bytes = count_used_bytes(self._connection)
        return History(used_bytes, oldest.at_ms if oldest else None, int(proofs[0]) if proofs else 0)

    def _update(self, condition: str, values: tuple[object, ...]) -> UpdateRow | None:
        found = self._one(f"SELECT {COLUMNS} FROM updates WHERE {condition} LIMIT 1", values)  # noqa: S608  # ours
        return make_row(found) if found else None

    def _one(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        with explained(self.path):
            found: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
            return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Everything in the block is committed together, or nothing; the right to write is taken at the beginning."""
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:  # passed on
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
