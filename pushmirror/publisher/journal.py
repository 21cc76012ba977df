"""The publisher's durable record of announcements: serials, digests, signed headers and change lists, in SQLite.

An announcement is committed here before anything else happens. The daemon signs and sends what it finds, so that
announcing needs neither the daemon nor its private key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pushmirror.core.model import Head
from pushmirror.core.wire import digest
from pushmirror.errors import StateError
from pushmirror.publisher.announcement import (
    Announcement,
    ComposedUpdate,
    PreparedList,
    compose_update,
    prepare_list,
)
from pushmirror.publisher.journal_file import connect, create_if_missing, explained
from pushmirror.publisher.journal_rows import COLUMNS, Announced, SentUpdate, UpdateRow, make_row

JOURNAL_NAME = "journal.sqlite"
"""The file's name in the publisher's ``state_dir``."""

BUSY_MS = 30_000
LIST_PART_BYTES = 256 * 1024
"""Lists are stored in parts of this size, so that handing one out needs no more memory than that."""


def read_clock_ms() -> int:
    """Return the time now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Journal:
    """The journal at `path`, which is made if there is none. Every method raises StateError when the file fails it.

    One object belongs to one thread; any number of processes may have the same file open.
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
        created_ms = clock_ms()
        create_if_missing(path, epoch=f"{created_ms}-{random_bytes(8).hex()}", created_ms=created_ms)
        self._connection = connect(path, busy_ms=busy_ms)
        self.epoch = self._read_epoch()

    def _read_epoch(self) -> str:
        found = self._one("SELECT epoch FROM meta")
        if found is None:
            raise StateError(f"{self.path}: the journal has lost its epoch; restore it from a backup, or move it away")
        return str(found[0])

    def close(self) -> None:
        """Give the file back. Closing twice is no error."""
        self._connection.close()

    def announce(self, announcement: Announcement) -> Announced:
        """Give the announcement the next serial of its tree; it is durable when this returns.

        A list that is longer than a list may be becomes an announcement of the whole tree.
        """
        prepared = prepare_list(announcement.changes)
        with self._transaction():
            at_ms = self._clock_ms()
            previous = self.announced_head(announcement.tree)
            composed = compose_update(announcement, prepared, previous, at_ms=at_ms)
            announced = Announced(previous.serial + 1, digest(composed.signed), prepared is None)
            self._insert_update(announcement.tree, announced, composed, prepared, at_ms)
            if prepared is not None:
                self._insert_list(prepared)
        return announced

    def _insert_update(
        self, tree: str, announced: Announced, composed: ComposedUpdate, prepared: PreparedList | None, at_ms: int
    ) -> None:
        list_digest = None if prepared is None else prepared.digest
        self._connection.execute(
            "INSERT INTO updates (tree, serial, digest, signed, list_digest, inline, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (tree, announced.serial, announced.digest, composed.signed, list_digest, composed.inline, at_ms),
        )
        self._connection.execute(
            "INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", (tree, announced.serial, announced.digest)
        )

    def _insert_list(self, prepared: PreparedList) -> None:
        offsets = range(0, len(prepared.body), LIST_PART_BYTES)
        self._connection.executemany(
            "INSERT OR IGNORE INTO lists VALUES (?, ?, ?)",
            (
                (prepared.digest, part, prepared.body[offset : offset + LIST_PART_BYTES])
                for part, offset in enumerate(offsets)
            ),
        )

    def unsent(self, limit: int) -> list[UpdateRow]:
        """Return at most `limit` updates that were not sent yet, of all trees, in the order they were announced."""
        query = f"SELECT {COLUMNS} FROM updates WHERE sent_ms IS NULL ORDER BY position LIMIT ?"  # noqa: S608  # a constant
        with explained(self.path):
            return [make_row(found) for found in self._connection.execute(query, (limit,))]

    def mark_sent(self, sent: Iterable[SentUpdate], *, sent_ms: int) -> None:
        """Record that these updates were handed to the bus: from now on they are part of the history."""
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
        return self._update("tree = ? AND sent_ms IS NOT NULL ORDER BY serial DESC", (tree,))

    def head(self, tree: str) -> Head:
        """Return the newest update of a tree that was sent: what heartbeats and the tree's state tell."""
        newest = self.newest_sent(tree)
        return Head(self.epoch, newest.serial, newest.digest) if newest else Head(self.epoch, 0, None)

    def oldest(self, tree: str) -> int:
        """Return the lowest serial of a tree that can still be handed out; 0 when there is none."""
        oldest = self._update("tree = ? AND sent_ms IS NOT NULL ORDER BY serial", (tree,))
        return oldest.serial if oldest else 0

    def keeps(self, tree: str, epoch: str, after: int) -> bool:
        """Tell whether all updates that were sent after serial `after` of that epoch can be handed out."""
        return epoch == self.epoch and self.oldest(tree) <= after + 1

    def updates_after(self, tree: str, after: int, limit: int) -> Iterator[UpdateRow]:
        """Yield the sent updates after serial `after`, oldest first, at most `limit`.

        Each is read when it is asked for: a slow reader holds neither memory nor a read transaction.
        """
        for _ in range(limit):
            row = self._update("tree = ? AND serial > ? AND sent_ms IS NOT NULL ORDER BY serial", (tree, after))
            if row is None:
                return
            yield row
            after = row.serial

    def has_list(self, tree: str, list_digest: str) -> bool:
        """Tell whether a sent update of that tree vouches for the list."""
        return self._update("list_digest = ? AND tree = ? AND sent_ms IS NOT NULL", (list_digest, tree)) is not None

    def list_bytes(self, list_digest: str) -> int:
        """Return how long the canonical JSON of a list is."""
        found = self._one("SELECT total(length(body)) FROM lists WHERE digest = ?", (list_digest,))
        return int(found[0]) if found else 0

    def list_parts(self, list_digest: str) -> Iterator[bytes]:
        """Yield the canonical JSON of a list in parts; nothing for a digest that is not known."""
        part = 0
        while found := self._one("SELECT body FROM lists WHERE digest = ? AND part = ?", (list_digest, part)):
            yield found[0]
            part += 1

    def list_body(self, list_digest: str) -> bytes | None:
        """Return the canonical JSON of a list at once; None for a digest that is not known."""
        return b"".join(self.list_parts(list_digest)) or None

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
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
