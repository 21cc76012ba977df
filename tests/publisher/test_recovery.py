"""What the daemon finds at its start: a sound journal, a damaged one, none any more, or one that is not its own."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.core.messages import epoch_order
from pushmirror.errors import DamagedJournal, StateError
from pushmirror.keys import PrivateKey
from pushmirror.publisher.epoch_note import note_of, read_epoch_note
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_file import log_of
from pushmirror.publisher.journal_hold import Hold
from pushmirror.publisher.journal_schema import FORMAT
from pushmirror.publisher.recovery import recover
from tests.publisher.conftest import START_MS
from tests.publisher.journals import announce, copy_journal, many_paths, send_all

LATER_MS = START_MS + 5_000


def make(path: Path, key: PrivateKey) -> str:
    """Make a journal with something in every table, and return its epoch."""
    journal = Journal(path, clock_ms=lambda: START_MS)
    for number in range(20):
        announce(journal, many_paths(number, count=2_000))
    send_all(journal, key)
    announce(journal, tree="fedora")
    epoch = journal.epoch
    journal.close()
    return epoch


def execute(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


def overwrite(path: Path, at: float, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * at) // 4096 * 4096)
        file.write(content)


Damage = Callable[[Path], object]

DAMAGES: dict[str, Damage] = {
    "no database": lambda path: path.write_bytes(b"not a database at all" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096]),
    "its beginning overwritten": lambda path: overwrite(path, 0, bytes(4096)),
    "a page in it overwritten": lambda path: overwrite(path, 0.5, b"\xff" * 4096),
    "its second page overwritten": lambda path: overwrite(path, 4096 / path.stat().st_size, b"\xff" * 4096),
    "without a table": lambda path: execute(path, "DROP TABLE heads"),
    "without its epoch": lambda path: execute(path, "DELETE FROM epochs"),
    "without a head": lambda path: execute(path, "DELETE FROM heads WHERE tree = 'debian'"),
    "with a head that is too high": lambda path: execute(path, "UPDATE heads SET serial = 30"),
    "with other bytes in its newest update": lambda path: execute(
        path, "UPDATE updates SET signed = x'7b7d' WHERE tree = 'debian' AND serial = 20"
    ),
    "with a hole": lambda path: execute(path, "DELETE FROM updates WHERE tree = 'debian' AND serial = 7"),
    "without a list": lambda path: execute(path, "DELETE FROM lists WHERE rowid = 3"),
    "gone": lambda path: path.unlink(),
    "gone, its log left over": lambda path: path.rename(log_of(path)),
}


def recover_at(path: Path, now_ms: int = LATER_MS) -> None:
    recover(path, clock_ms=lambda: now_ms)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_journal_is_kept_aside_and_a_younger_one_begins(
    tmp_path: Path, key: PrivateKey, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    """Nothing is deleted, the new epoch is younger even when the clock went back, and the log says what happened."""
    path = tmp_path / "journal.sqlite"
    before = make(path, key)
    damage(path)
    damaged = {part.name: part.read_bytes() for part in (path, log_of(path)) if part.exists()}
    recover_at(path, now_ms=5)
    journal = Journal(path, clock_ms=lambda: LATER_MS)
    assert epoch_order(journal.epoch) > epoch_order(before)
    assert (journal.announced_head("debian").serial, announce(journal)) == (0, 1)
    journal.close()
    kept = {part.name.replace(".damaged-5", ""): part.read_bytes() for part in tmp_path.glob("*.damaged-5*")}
    kept.pop("journal.sqlite-shm", None)
    assert {name: kept.get(name) for name in damaged} == damaged
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "full sync" in line.getMessage() and str(path) in line.getMessage()
    assert not damaged or f"{path}.damaged-5" in line.getMessage()


@pytest.mark.parametrize("name", ["no database", "empty", "cut short", "without a table", "without its epoch", "gone"])
def test_publish_never_begins_a_new_epoch_by_itself(tmp_path: Path, key: PrivateKey, name: str) -> None:
    """Whoever announces into a damaged journal is told what to do, and gets no serial; the file stays as it is."""
    path = tmp_path / "journal.sqlite"
    make(path, key)
    DAMAGES[name](path)
    before = path.read_bytes() if path.exists() else None

    def publish() -> None:
        journal = Journal(path, clock_ms=lambda: LATER_MS)
        try:
            announce(journal, many_paths(99))
        finally:
            journal.close()

    with pytest.raises(StateError, match="start the publisher anew"):
        publish()
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_sound_journal_stays_as_it_is(tmp_path: Path, key: PrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is moved or said, and a note that is missing is made again."""
    path = tmp_path / "journal.sqlite"
    epoch = make(path, key)
    note_of(path).unlink()
    recover_at(path)
    assert not caplog.records
    assert sorted(part.name for part in tmp_path.glob("journal*")) == ["journal.sqlite", "journal.sqlite.epoch"]
    assert read_epoch_note(path) == epoch
    journal = Journal(path)
    assert (journal.epoch, journal.head("debian").serial) == (epoch, 20)
    journal.close()


def test_where_there_never_was_one_nothing_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first start of a publisher is no accident."""
    recover_at(tmp_path / "journal.sqlite")
    assert not caplog.records and not list(tmp_path.iterdir())


def test_a_copy_from_an_earlier_epoch_is_found_out_at_once(
    tmp_path: Path, key: PrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    """The note beside it knows that there was a younger one: subscribers would believe nothing of the older."""
    path = tmp_path / "journal.sqlite"
    make(path, key)
    backup = copy_journal(path, tmp_path / "backup")
    path.unlink()
    recover_at(path)
    younger = read_epoch_note(path) or ""
    backup.replace(path)
    recover_at(path, now_ms=5)
    assert epoch_order(read_epoch_note(path) or "") > epoch_order(younger)
    assert "copy from before epoch" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: execute(path, f"PRAGMA user_version = {FORMAT + 1}"), "newer pushmirror"),
        (lambda path: execute(path, "PRAGMA application_id = 1"), "not a journal"),
    ],
)
def test_what_is_not_damaged_is_not_moved(tmp_path: Path, key: PrivateKey, spoil: Damage, told: str) -> None:
    """A file of a newer version, or of another program, is somebody's mistake and not for us to take away."""
    path = tmp_path / "journal.sqlite"
    make(path, key)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StateError, match=told):
        recover_at(path)
    assert path.read_bytes() == before and not list(tmp_path.glob("*.damaged*"))


def test_what_was_kept_before_is_not_overwritten(tmp_path: Path, key: PrivateKey) -> None:
    """Two accidents in one millisecond leave two files."""
    path = tmp_path / "journal.sqlite"
    for content in (b"first" * 100, b"second" * 100):
        make(path, key) if not path.exists() else None
        path.write_bytes(content)
        recover_at(path)
    kept = {part.read_bytes()[:6] for part in tmp_path.glob("*.damaged-*") if part.name[-1].isdigit()}
    assert kept == {b"firstf", b"second"}


def test_a_publish_that_has_the_old_file_open_is_waited_for(tmp_path: Path, key: PrivateKey) -> None:
    """The file changes only while nobody has it open: no serial goes into a file that has just been moved away."""
    path = tmp_path / "journal.sqlite"
    make(path, key)
    publish = Journal(path)
    execute(path, "UPDATE heads SET serial = 30 WHERE tree = 'debian'")
    recovering = threading.Thread(target=recover_at, args=(path,))
    recovering.start()
    recovering.join(0.3)
    assert recovering.is_alive() and not list(tmp_path.glob("*.damaged*"))
    assert announce(publish, tree="fedora") == 2
    publish.close()
    recovering.join(10)
    assert not recovering.is_alive() and list(tmp_path.glob("*.damaged*"))


def test_nobody_opens_the_journal_while_it_is_replaced(tmp_path: Path) -> None:
    """Whoever comes meanwhile waits, and is told why when it takes too long."""
    hold = Hold(tmp_path, patience_ms=0)
    hold.make_exclusive()
    with pytest.raises(StateError, match="try again"):
        Journal(tmp_path / "journal.sqlite", busy_ms=50)
    hold.release()
    hold.release()
    Journal(tmp_path / "journal.sqlite").close()


def test_damage_that_is_met_later_is_explained(tmp_path: Path, key: PrivateKey) -> None:
    """A page that goes bad under an open journal is no traceback."""
    path = tmp_path / "journal.sqlite"
    make(path, key)
    overwrite(path, 0.5, b"\xff" * 4096)
    journal = Journal(path)
    with pytest.raises(DamagedJournal, match="new epoch"):
        for number in range(1, 21):
            for row in journal.updates_after("debian", number - 1, 1):
                journal.list_body(row.list_digest or "")
    journal.close()
