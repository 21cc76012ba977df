"""Journals of earlier formats: converted after a copy, as a whole or not at all, by whoever opens them first."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pushmirror.core.wire import compose, digest
from pushmirror.errors import StateError
from pushmirror.publisher import journal_schema
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_opening import copy_of
from pushmirror.publisher.journal_schema import FORMAT, migrate_tables
from pushmirror.publisher.recovery import recover
from tests.publisher.conftest import START_MS
from tests.publisher.journals import announce, one_path
from tests.support.processes import clean_environment

EPOCH = f"{START_MS}-0123456789abcdef"

FORMAT_1 = """
CREATE TABLE meta (epoch TEXT NOT NULL, created_ms INTEGER NOT NULL);
CREATE TABLE heads (tree TEXT PRIMARY KEY, serial INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE updates (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tree TEXT NOT NULL,
    serial INTEGER NOT NULL,
    digest TEXT NOT NULL,
    signed BLOB NOT NULL,
    list_digest TEXT,
    inline INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    sent_ms INTEGER,
    signature BLOB,
    certificate TEXT,
    UNIQUE (tree, serial)
);
CREATE INDEX unsent ON updates (position) WHERE sent_ms IS NULL;
CREATE INDEX by_list ON updates (list_digest) WHERE list_digest IS NOT NULL;
CREATE TABLE lists (digest TEXT NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (digest, part));
PRAGMA application_id = 0x706D6A6C;
PRAGMA user_version = 1;
"""
"""The tables as the first format had them; written down here, since the program does not know them any more."""

OPEN_AND_ANNOUNCE = """
import sys
from pathlib import Path
from pushmirror.publisher.journal import Journal
from tests.publisher.journals import announce, one_path
sys.stdin.read()
journal = Journal(Path(sys.argv[1]))
print(announce(journal, one_path(1)))
journal.close()
"""


def make_format_1(path: Path, updates: int = 30) -> None:
    """A journal of the first format: two sent updates of three are sent, each with a list."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(FORMAT_1)
    database.execute("INSERT INTO meta VALUES (?, ?)", (EPOCH, START_MS))
    database.execute("BEGIN")
    for serial in range(1, updates + 1):
        msg = {"tree": "debian", "epoch": EPOCH, "serial": serial}
        signed = compose("t", msg, msg_id="x", at_ms=START_MS, counter=serial, username="x")
        sent = (START_MS, b"s" * 64, "key") if serial <= updates * 2 // 3 else (None, None, None)
        body = b"%d" % serial * 1000
        database.execute(
            "INSERT INTO updates (tree, serial, digest, signed, list_digest, inline, at_ms, sent_ms, signature,"
            " certificate) VALUES ('debian', ?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (serial, digest(signed), signed, digest(body), START_MS, *sent),
        )
        database.execute("INSERT INTO lists VALUES (?, 0, ?)", (digest(body), body))
        database.execute("INSERT OR REPLACE INTO heads VALUES ('debian', ?, ?)", (serial, digest(signed)))
    database.execute("COMMIT")
    database.close()


def version_of(path: Path) -> int:
    database = sqlite3.connect(path)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return int(version)


def check_converted(path: Path, *, newest: int = 30) -> None:
    """Everything is there: the epoch, the serials, what is sent and what is not, the lists; and it goes on."""
    journal = Journal(path)
    assert (journal.epoch, journal.announced_head("debian").serial) == (EPOCH, newest)
    assert [row.serial for row in journal.updates_after("debian", 0, 100)] == list(range(1, 21))
    assert [row.serial for row in journal.unsent(100)][:10] == list(range(21, 31))
    row = journal.newest_sent("debian")
    assert row is not None and journal.list_body(row.list_digest or "") == b"20" * 1000
    journal.close()
    recover(path, clock_ms=lambda: START_MS + 5)
    assert not list(path.parent.glob("*.damaged*"))


def test_an_earlier_format_is_converted_after_a_copy(tmp_path: Path) -> None:
    """The journal goes on where it was; the copy is the old file, as complete as it was."""
    path = tmp_path / "journal.sqlite"
    make_format_1(path)
    journal = Journal(path)
    assert announce(journal, one_path(1)) == 31
    journal.close()
    check_converted(path, newest=31)
    assert version_of(path) == FORMAT
    copy = copy_of(path, 1)
    assert copy == tmp_path / "journal.sqlite.format-1" and version_of(copy) == 1
    database = sqlite3.connect(copy)
    assert database.execute("SELECT count(*), max(serial) FROM updates").fetchone() == (30, 30)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_converted_journal_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """Whatever is built on the tables finds them the same, in the file of a new publisher and of an old one."""
    make_format_1(tmp_path / "old")
    described = []
    for name in ("old", "new"):
        Journal(tmp_path / name).close()
        database = sqlite3.connect(tmp_path / name)
        found = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        (shrinks,) = database.execute("PRAGMA auto_vacuum").fetchone()
        described.append((sorted((kind, name, " ".join((sql or "").split())) for kind, name, sql in found), shrinks))
        database.close()
    assert described[0] == described[1]


def test_every_format_has_a_step_to_the_next() -> None:
    """No earlier format is forgotten."""
    assert sorted(journal_schema.MIGRATIONS) == list(range(1, FORMAT))


def test_six_processes_at_once_convert_it_once(tmp_path: Path) -> None:
    """Of those who open it at the same moment one converts it, the others wait, and all of them announce."""
    path = tmp_path / "journal.sqlite"
    make_format_1(path)
    command = [sys.executable, "-c", OPEN_AND_ANNOUNCE, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment())
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    printed: list[int] = []
    for process in processes:
        assert process.stdout is not None
        printed += map(int, process.stdout.read().split())
        process.stdout.close()
        assert process.wait(60) == 0
    assert sorted(printed) == list(range(31, 37))
    check_converted(path, newest=36)
    assert version_of(copy_of(path, 1)) == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("committed", [False, True])
def test_a_crash_leaves_the_old_journal_or_the_new_one(tmp_path: Path, committed: bool) -> None:
    """Until a step is committed the file is of the old format with everything in it, and is converted by the next."""
    path = tmp_path / "journal.sqlite"
    make_format_1(path)
    database = sqlite3.connect(path, isolation_level=None)
    if committed:

        def die(version: int) -> None:
            raise Killed

        with pytest.raises(Killed):
            migrate_tables(database, 1, after_step=die)
    else:
        deny = (sqlite3.SQLITE_DROP_TABLE, "updates_1")
        database.set_authorizer(
            lambda action, name, *rest: sqlite3.SQLITE_DENY if (action, name) == deny else sqlite3.SQLITE_OK
        )
        with pytest.raises(sqlite3.DatabaseError):
            migrate_tables(database, 1)
    database.close()
    assert version_of(path) == (2 if committed else 1)
    check_converted(path)


def test_without_room_for_the_copy_nothing_is_converted(tmp_path: Path) -> None:
    """The journal stays as it was when it cannot be copied, and the error says what to do."""
    path = tmp_path / "journal.sqlite"
    make_format_1(path)
    beside = tmp_path / ".journal.sqlite.format-1.new"
    beside.mkdir()
    with pytest.raises(StateError, match="cannot be copied"):
        Journal(path)
    assert version_of(path) == 1
    beside.rmdir()
    check_converted(path)


def test_an_older_daemon_that_still_runs_is_not_pulled_from_under(tmp_path: Path) -> None:
    """While somebody has the journal open it is not converted; the error says to stop the publisher."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    running = Journal(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")
    with pytest.raises(StateError, match="the publisher too"):
        Journal(path, busy_ms=50)
    running.close()
