"""What tests of the journal do with one: announce, send, read, look into its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.keys import PrivateKey
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate, UpdateRow

IDENTITY = Identity("mirror.example.org", "org.example", "prod")


def one_path(number: int) -> ChangeList:
    return ChangeList(changed=(TreePath(b"path %d" % number),))


def many_paths(number: int, count: int = 5_000) -> ChangeList:
    """A list of about 300 kB that does not travel inline."""
    return ChangeList(changed=tuple(TreePath(b"%06d/%08d/%s" % (number, path, b"x" * 40)) for path in range(count)))


def announce(journal: Journal, changes: ChangeList | None = None, tree: str = "debian") -> int:
    return journal.announce(Announcement(IDENTITY, tree, changes)).serial


def send(journal: Journal, rows: Iterable[UpdateRow], key: PrivateKey, sent_ms: int = 1_790_000_000_005) -> None:
    sent = [SentUpdate(row.position, key.sign(row.signed), key.public.line) for row in rows]
    journal.mark_sent(sent, sent_ms=sent_ms)


def send_all(journal: Journal, key: PrivateKey) -> list[UpdateRow]:
    """Send what is unsent, and return it as it is in the journal afterwards."""
    rows = journal.unsent(100_000)
    send(journal, rows, key)
    return rows


def count(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    try:
        (number,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # ours
        return int(number)
    finally:
        database.close()


def copy_journal(source: Path, target: Path) -> Path:
    """A backup, as an operator makes one."""
    database, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        database.backup(copy)
    finally:
        database.close()
        copy.close()
    return target
