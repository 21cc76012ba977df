"""The journal: serials without gaps, digests that chain, and durability, with any number of processes at it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.core.lists import list_digest, parse_changes
from pushmirror.core.messages import epoch_order, parse_update
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import MAX_MESSAGE_BYTES, digest, open_envelope, parse_object
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, verify_envelope
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate, UpdateRow
from pushmirror.publisher.journal_schema import FORMAT
from tests.publisher.conftest import START_MS
from tests.support.processes import clean_environment

LONG_LIST = ChangeList(changed=tuple(TreePath(b"pool/%06d" % number) for number in range(60_000)))

ANNOUNCE_OFTEN = """
import sys
from pathlib import Path
from pushmirror.core.model import ChangeList
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
sys.stdin.read()
for number in range(int(sys.argv[2])):
    journal = Journal(Path(sys.argv[1]))
    identity = Identity("mirror.example.org", "org.example", "prod")
    print(journal.announce(Announcement(identity, "debian", ChangeList(changed=(b"path %d" % number,)))).serial)
    journal.close()
"""


def announce(journal: Journal, identity: Identity, tree: str = "debian", changes: ChangeList | None = None) -> int:
    return journal.announce(Announcement(identity, tree, changes)).serial


def read(row: UpdateRow) -> Update:
    return parse_update(parse_object(row.signed, max_bytes=MAX_MESSAGE_BYTES)["msg"])


def send(journal: Journal, rows: Iterable[UpdateRow], key: PrivateKey) -> None:
    sent = [SentUpdate(row.position, key.sign(row.signed), key.public.line) for row in rows]
    journal.mark_sent(sent, sent_ms=START_MS + 5)


def test_serials_of_each_tree_begin_at_one_and_go_up_by_one(journal: Journal, identity: Identity) -> None:
    """Trees count independently of each other."""
    trees = ["debian", "debian", "fedora", "debian", "fedora"]
    assert [announce(journal, identity, tree) for tree in trees] == [1, 2, 1, 3, 2]


def test_each_update_names_the_digest_of_the_one_before(journal: Journal, identity: Identity) -> None:
    """The digest in the chain is that of exactly the bytes that are signed."""
    for number in range(4):
        announce(journal, identity, changes=ChangeList(changed=(TreePath(b"p%d" % number),)))
    rows = journal.unsent(10)
    updates = [read(row) for row in rows]
    assert [update.serial for update in updates] == [1, 2, 3, 4]
    assert [update.previous_digest for update in updates] == [None, *(digest(row.signed) for row in rows[:-1])]
    assert {update.epoch for update in updates} == {journal.epoch}
    assert journal.announced_head("debian") == Head(journal.epoch, 4, digest(rows[-1].signed))


def test_eight_processes_at_once_leave_no_gap(tmp_path: Path, identity: Identity) -> None:
    """Eight processes that make the journal and announce at the same moment share one unbroken chain."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", ANNOUNCE_OFTEN, str(path), "10"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment())
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()  # the shot that starts them all
    printed: list[int] = []
    for process in processes:
        assert process.stdout is not None
        printed += map(int, process.stdout.read().split())
        process.stdout.close()
        assert process.wait(60) == 0
    assert sorted(printed) == list(range(1, 81))
    journal = Journal(path)
    rows = journal.unsent(1000)
    updates = [read(row) for row in rows]
    journal.close()
    assert [update.serial for update in updates] == list(range(1, 81))
    assert [update.previous_digest for update in updates] == [None, *(row.digest for row in rows[:-1])]
    assert sorted(os.listdir(tmp_path)) == ["journal.sqlite", "journal.sqlite.epoch"]


def test_a_new_journal_is_an_epoch_of_its_own(tmp_path: Path) -> None:
    """The epoch is made once, and later journals are ordered after earlier ones."""
    older = Journal(tmp_path / "older", clock_ms=lambda: 1_790_000_000_000, random_bytes=bytes)
    assert older.epoch == "1790000000000-0000000000000000"
    assert Journal(tmp_path / "older").epoch == older.epoch
    newer = Journal(tmp_path / "newer", clock_ms=lambda: 1_790_000_000_001, random_bytes=bytes)
    assert epoch_order(newer.epoch) > epoch_order(older.epoch)


def test_only_what_was_sent_is_history(journal: Journal, identity: Identity, key: PrivateKey) -> None:
    """Heads, the oldest serial and the updates after one tell of an update from the moment it is marked sent."""
    assert (journal.head("debian"), journal.oldest("debian")) == (Head(journal.epoch, 0, None), 0)
    for _ in range(3):
        announce(journal, identity)
    assert journal.head("debian").serial == 0
    assert not list(journal.updates_after("debian", 0, 10))
    first, second, third = journal.unsent(10)
    send(journal, [first, second], key)
    assert journal.head("debian") == Head(journal.epoch, 2, second.digest)
    assert journal.oldest("debian") == 1
    assert journal.unsent(10) == [third]
    assert [row.serial for row in journal.updates_after("debian", 0, 10)] == [1, 2]


def test_updates_are_read_after_a_serial_and_up_to_a_limit(
    journal: Journal, identity: Identity, key: PrivateKey
) -> None:
    """The updates of one tree come oldest first, and each is the signed message as it was sent."""
    for tree in ("debian", "fedora") * 6:
        announce(journal, identity, tree)
    send(journal, journal.unsent(100), key)
    assert [row.serial for row in journal.updates_after("fedora", 2, 3)] == [3, 4, 5]
    assert [row.serial for row in journal.updates_after("fedora", 6, 3)] == []
    (row,) = journal.updates_after("debian", 5, 9)
    envelope = open_envelope(row.envelope())
    assert verify_envelope(envelope, [key.public]) == key.public
    assert digest(envelope.signed) == row.digest


def test_a_slow_reader_of_history_holds_up_nobody(journal: Journal, identity: Identity, key: PrivateKey) -> None:
    """Between two updates of a long answer others may announce, and the log of the database can be cleared."""
    for _ in range(3):
        announce(journal, identity)
    send(journal, journal.unsent(10), key)
    reading = journal.updates_after("debian", 0, 10)
    assert next(reading).serial == 1
    other = Journal(journal.path)
    assert announce(other, identity) == 4
    other.close()
    probe = sqlite3.connect(journal.path)
    busy, in_log, moved = probe.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    probe.close()
    assert (busy, in_log, moved) == (0, 0, 0)
    assert [row.serial for row in reading] == [2, 3]


@pytest.mark.parametrize(
    ("epoch_is_ours", "after", "kept"), [(True, 0, True), (True, 2, True), (True, 99, True), (False, 2, False)]
)
def test_history_of_another_epoch_is_not_kept(
    journal: Journal, identity: Identity, key: PrivateKey, epoch_is_ours: bool, after: int, kept: bool
) -> None:
    """Whether updates can be handed out depends on the epoch, and a serial above the head asks for nothing."""
    for _ in range(3):
        announce(journal, identity)
    send(journal, journal.unsent(10), key)
    assert journal.keeps("debian", journal.epoch if epoch_is_ours else "1-00000000", after) == kept


def test_history_with_its_beginning_removed_is_not_kept_from_before_it(
    journal: Journal, identity: Identity, key: PrivateKey
) -> None:
    """When the oldest serial is 3, whoever heard 2 can go on and whoever heard 1 cannot."""
    for _ in range(4):
        announce(journal, identity)
    send(journal, journal.unsent(10), key)
    cleaner = sqlite3.connect(journal.path)
    with cleaner:
        cleaner.execute("DELETE FROM updates WHERE serial < 3")
    cleaner.close()
    assert [journal.keeps("debian", journal.epoch, after) for after in (1, 2, 3)] == [False, True, True]


def test_a_long_list_is_kept_in_parts_and_comes_back_whole(
    journal: Journal, identity: Identity, key: PrivateKey
) -> None:
    """A list that does not fit into the message is found by its digest."""
    announce(journal, identity, changes=LONG_LIST)
    (row,) = journal.unsent(1)
    assert not row.inline and row.list_digest == list_digest(LONG_LIST)
    assert not journal.has_list("debian", row.list_digest)
    send(journal, [row], key)
    assert journal.has_list("debian", row.list_digest) and not journal.has_list("fedora", row.list_digest)
    parts = list(journal.list_parts(row.list_digest))
    body = journal.list_body(row.list_digest)
    assert body == b"".join(parts) and len(parts) > 1
    assert (digest(body), len(body)) == (row.list_digest, journal.list_bytes(row.list_digest))
    assert parse_changes(parse_object(body, max_bytes=len(body))) == LONG_LIST
    assert (journal.list_body("0" * 64), journal.list_bytes("0" * 64)) == (None, 0)


def test_the_same_list_twice_is_stored_once(journal: Journal, identity: Identity) -> None:
    """Two updates may have one list."""
    announce(journal, identity, changes=LONG_LIST)
    announce(journal, identity, changes=LONG_LIST)
    one, two = journal.unsent(2)
    assert one.list_digest == two.list_digest is not None
    assert journal.list_bytes(one.list_digest or "") == len(journal.list_body(one.list_digest or "") or b"")


def test_what_is_announced_survives_a_process_that_is_killed(tmp_path: Path, identity: Identity) -> None:
    """A serial that was printed is in the journal, though its process was killed in the next moment."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", ANNOUNCE_OFTEN, str(path), "100000"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=clean_environment({"PYTHONUNBUFFERED": "1"}),
    ) as process:
        assert process.stdout is not None
        printed = [int(process.stdout.readline()) for _ in range(3)]
        process.kill()
        printed += map(int, process.stdout.read().splitlines())
    journal = Journal(path)
    assert [row.serial for row in journal.unsent(len(printed))] == printed == list(range(1, len(printed) + 1))
    assert journal.announced_head("debian").serial - len(printed) in (0, 1)
    journal.close()


def test_a_failed_announcement_leaves_nothing(journal: Journal, identity: Identity) -> None:
    """What goes wrong while a list is written takes the update and the head with it."""
    announce(journal, identity)
    breaker = sqlite3.connect(journal.path)
    breaker.execute("ALTER TABLE lists RENAME TO hidden")
    breaker.close()
    with pytest.raises(StateError, match="lists"):
        announce(journal, identity, changes=ChangeList(changed=(TreePath(b"x"),)))
    assert journal.announced_head("debian").serial == 1
    assert len(journal.unsent(10)) == 1


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A journal that a later version has written is not touched."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(StateError, match="newer pushmirror"):
        Journal(path)


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    """A file of some other program is named as such, and stays as it was."""
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="not a journal"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_explained(tmp_path: Path) -> None:
    """Bytes that are no database are an error that says what a new journal would mean."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match=r"damaged.*new epoch"):
        Journal(path)


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    """Without its folder the journal cannot be made, and the error names the folder."""
    with pytest.raises(StateError, match=str(tmp_path / "nowhere")):
        Journal(tmp_path / "nowhere" / "journal.sqlite")


def test_the_log_of_a_journal_that_is_gone_is_not_taken_over(tmp_path: Path, identity: Identity) -> None:
    """SQLite would play a forgotten log into the new file; so it is refused instead."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    announce(journal, identity)
    path.unlink()
    with pytest.raises(StateError, match="left over"):
        Journal(path)
    journal.close()


def test_a_journal_that_somebody_holds_is_an_error_after_a_while(tmp_path: Path, identity: Identity) -> None:
    """A writer that does not let go is reported; nothing waits for ever."""
    journal = Journal(tmp_path / "journal.sqlite", busy_ms=50)
    holder = sqlite3.connect(journal.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="try again"):
        announce(journal, identity)
    holder.execute("ROLLBACK")
    holder.close()
    assert announce(journal, identity) == 1
    journal.close()


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o600), (0o755, 0o600), (0o2770, 0o660)])
def test_the_folder_decides_who_may_announce(tmp_path: Path, folder_mode: int, file_mode: int) -> None:
    """The journal is its owner's alone, or the group's as well where the group may write into the folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(folder_mode)
    journal = Journal(folder / "journal.sqlite")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    journal.close()
    assert set(modes.values()) == {file_mode}, modes


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_journal_that_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    """The daemon can use the journal that an operator's first announcement as root has made."""
    os.chown(tmp_path, 12345, 12346)
    Journal(tmp_path / "journal.sqlite").close()
    status = (tmp_path / "journal.sqlite").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)
