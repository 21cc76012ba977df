"""Reads what the ledger keeps of updates that were applied: for a relay to hand on, and to look deletions up again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pushmirror.core.lists import open_changes
from pushmirror.core.messages import parse_update
from pushmirror.core.model import ChangeList
from pushmirror.core.wire import open_envelope
from pushmirror.errors import StateError
from pushmirror.subscriber.ledger_file import transaction


@dataclass(frozen=True)
class KeptUpdate:
    """One update: its envelope on one line, and the digest of its list when that is stored apart."""

    serial: int
    envelope: bytes
    list_digest: str | None


class KeptUpdates:
    """The kept updates in the open ledger `database`. Raises StateError when it fails."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def digest(self, tree: str, serial: int) -> str | None:
        """Return the digest of the update `serial` of `tree`. Raises KeyError when nothing is known of that serial."""
        row = self._one("SELECT digest FROM kept WHERE tree = ? AND serial = ?", (tree, serial))
        if row is None:
            raise KeyError(serial)
        return None if row["digest"] is None else str(row["digest"])

    def beginning(self, tree: str, serial: int) -> int:
        """Return the serial after which every update of `tree` is kept, up to `serial`. Raises KeyError for none."""
        query = "SELECT max(serial) AS serial FROM kept WHERE tree = ? AND serial <= ? AND envelope IS NULL"
        row = self._one(query, (tree, serial))
        if row is None or row["serial"] is None:
            raise KeyError(serial)
        return int(row["serial"])

    def updates(self, tree: str, after: int, upto: int, limit: int) -> Iterator[KeptUpdate]:
        """Yield the updates after serial `after` and not above `upto`, the oldest first, at most `limit`.

        Each is read when it is asked for: a slow reader holds neither memory nor a read transaction. What is forgotten
        meanwhile ends it, so that there is never a hole.
        """
        query = (
            "SELECT serial, envelope, list_digest FROM kept"
            " WHERE tree = ? AND serial > ? AND serial <= ? ORDER BY serial LIMIT 1"
        )
        for _ in range(limit):
            row = self._one(query, (tree, after, upto))
            if row is None or row["envelope"] is None:
                return
            after = row["serial"]
            yield KeptUpdate(after, bytes(row["envelope"]), row["list_digest"])

    def has_list(self, tree: str, list_digest: str, upto: int) -> bool:
        """Tell whether an update that is not above `upto` vouches for the list."""
        query = "SELECT 1 FROM kept WHERE tree = ? AND list_digest = ? AND serial <= ? LIMIT 1"
        return self._one(query, (tree, list_digest, upto)) is not None

    def list_bytes(self, tree: str, list_digest: str) -> int:
        """Return how long the canonical JSON of a list is."""
        query = "SELECT total(length(body)) AS bytes FROM kept_lists WHERE tree = ? AND digest = ?"
        row = self._one(query, (tree, list_digest))
        return 0 if row is None else int(row["bytes"])

    def list_parts(self, tree: str, list_digest: str) -> Iterator[bytes]:
        """Yield the canonical JSON of a list in parts.

        Raises StateError when it is not there, or was forgotten meanwhile: half a list must not look like a whole one.
        """
        counted = self._one(
            "SELECT count(*) AS parts FROM kept_lists WHERE tree = ? AND digest = ?", (tree, list_digest)
        )
        query = "SELECT body FROM kept_lists WHERE tree = ? AND digest = ? AND part = ?"
        for part in range(counted["parts"]):
            row = self._one(query, (tree, list_digest, part))
            if row is None:
                raise StateError(f"list {list_digest} was forgotten while it was read")
            yield bytes(row["body"])
        if not counted["parts"]:
            raise StateError(f"list {list_digest} is not kept any more")

    def changes(self, tree: str, after: int, upto: int) -> Iterator[ChangeList | None]:
        """Yield the changes (None: the whole tree) of each update after `after` and not above `upto`."""
        for kept in self.updates(tree, after, upto, upto - after):
            update = parse_update(open_envelope(kept.envelope).msg)
            if kept.list_digest is None:
                yield update.changes
            else:
                yield open_changes(b"".join(self.list_parts(tree, kept.list_digest)))

    def doubted(self, tree: str, applied: int) -> bool:
        """Tell whether the whole of `tree` is to be synced although nothing newer than `applied` asks for it.

        Then its content is in doubt; not so when it is only compared once more, for what a relay had yet to delete.
        """
        query = (
            "SELECT 1 FROM pending p WHERE tree = ? AND changes IS NULL AND serial <= ?"
            " AND NOT EXISTS (SELECT 1 FROM rechecks WHERE tree = p.tree AND path = x'') LIMIT 1"
        )
        return self._one(query, (tree, applied)) is not None

    def shorten(self, tree: str, upto: int, *, oldest_ms: int, max_bytes: int) -> None:
        """Forget updates not above `upto` that came before `oldest_ms`, or that newer ones leave no room for."""
        query = (
            "SELECT max(serial) AS serial FROM (SELECT serial, received_ms, sum(bytes) OVER"
            " (PARTITION BY tree ORDER BY serial DESC) AS newer_bytes FROM kept WHERE tree = ?)"
            " WHERE serial <= ? AND (received_ms < ? OR newer_bytes > ?)"
        )
        row = self._one(query, (tree, upto, oldest_ms, max_bytes))
        if row is None or row["serial"] is None:
            return
        with transaction(self._database) as database:
            database.execute("DELETE FROM kept WHERE tree = ? AND serial < ?", (tree, row["serial"]))
            database.execute(
                "UPDATE kept SET envelope = NULL, list_digest = NULL, bytes = 0 WHERE tree = ? AND serial = ?",
                (tree, row["serial"]),
            )
            database.execute(
                "DELETE FROM kept_lists WHERE tree = ? AND digest NOT IN"
                " (SELECT list_digest FROM kept WHERE tree = ? AND list_digest IS NOT NULL)",
                (tree, tree),
            )

    def _one(self, query: str, values: tuple[object, ...]) -> Any:
        try:
            return self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise StateError(f"the ledger cannot be read: {error}") from error
