"""A ledger that was damaged, or is of another format, or is somebody else's: none of them stops a mirror for long."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from pushmirror.errors import DamagedLedger, StateError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.ledger_file import FORMAT
from pushmirror.subscriber.ledger_recovery import open_or_replace
from pushmirror.subscriber.records import NEVER
from tests.subscriber.test_ledger import announce, begin_at, watermarks
from tests.subscriber.upstream import IDENTITY, START_MS, TREE, put

FORMAT_1 = Path(__file__).with_name("ledger_format_1.sql")
FORMAT_2 = Path(__file__).with_name("ledger_format_2.sql")


def fill(path: Path, updates: int = 40) -> None:
    """Make a ledger of some pages."""
    ledger = Ledger(path)
    ledger.open_tree(TREE, IDENTITY)
    begin_at(ledger, 0)
    for serial in range(1, updates + 1):
        announce(ledger, serial, put(*(f"{serial}/{number}" for number in range(40))))
    ledger.close()


def spoil_header(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def spoil_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:40960] = random.Random(4).randbytes(32768)
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("spoil", [spoil_header, spoil_pages, cut_short])
def test_a_damaged_ledger_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object
) -> None:
    """The log says so as an error; the old file is kept, and the tree knows nothing, so that it is synced in full."""
    path = tmp_path / "ledger.sqlite"
    fill(path)
    assert callable(spoil)
    spoil(path)
    damaged = path.read_bytes()
    with pytest.raises(DamagedLedger, match="cannot be used"):
        Ledger(path)
    ledger = open_or_replace(path)
    assert ledger.open_tree(TREE, IDENTITY) is False
    assert (watermarks(ledger), ledger.tree(TREE).last_full_sync_ms) == ((NEVER, NEVER, NEVER), None)
    ledger.close()
    assert (tmp_path / "ledger.sqlite.damaged-1").read_bytes() == damaged
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "moved to ledger.sqlite.damaged-1" in line and "full sync" in line
    spoil_header(path)
    open_or_replace(path).close()
    assert (tmp_path / "ledger.sqlite.damaged-2").exists()


def test_a_sound_ledger_is_only_opened(tmp_path: Path) -> None:
    """Nothing is moved."""
    path = tmp_path / "ledger"
    fill(path, 3)
    ledger = open_or_replace(path)
    assert watermarks(ledger) == (3, 0, 0)
    ledger.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["ledger"]


def test_what_is_sound_but_not_ours_to_use_is_refused_and_left(tmp_path: Path) -> None:
    """A newer format, and another program's tables: no reason to begin anew."""
    newer, foreign = tmp_path / "newer", tmp_path / "foreign"
    fill(newer, 1)
    with sqlite3.connect(newer) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE jobs (anything)")
    for path in (newer, foreign):
        with pytest.raises(StateError):
            open_or_replace(path)
        assert path.exists()
    assert not list(tmp_path.glob("*damaged*"))


def test_a_ledger_of_format_1_is_migrated_after_a_copy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that it knew is there, what is new has its defaults, and the copy is as it was."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(FORMAT_1.read_text())
    ledger = Ledger(path)
    record = ledger.tree(TREE)
    assert watermarks(ledger) == (6, 5, 4)
    assert [update.changes for update in ledger.pending(TREE)] == [put("new")]
    assert [deletion.path for deletion in ledger.deletions(TREE)] == [b"old"]
    assert [job.outcome for job in ledger.jobs(TREE, 9)] == ["done"]
    assert (record.unannounced_total, record.unannounced_last, ledger.header(TREE)) == (0, None, None)
    announce(ledger, 7, put("newer"))
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite.format1") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("SELECT announced FROM trees").fetchone() == (6,)
    assert sum("had format 1" in record.getMessage() for record in caplog.records) == 1
    again = Ledger(path)
    assert again.tree(TREE).announced == 7
    again.close()


def test_what_was_owed_in_a_ledger_of_format_2_is_still_owed(tmp_path: Path) -> None:
    """It counts as not tried yet; nothing was lost or refused so far."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(FORMAT_2.read_text())
    ledger = Ledger(path)
    assert watermarks(ledger) == (6, 5, 1)
    assert [(row.path, row.in_the_way) for row in ledger.deletions(TREE)] == [(b"old", False)]
    assert (ledger.header(TREE), ledger.tree(TREE).lost) == (b"{}", 0)
    assert ledger.tree(TREE).recheck_whole_due == 3
    assert ledger.note_cleaned(TREE, 3, START_MS, moved=True)
    ledger.close()


@pytest.mark.parametrize("before", [FORMAT_1, FORMAT_2], ids=["format-1", "format-2"])
def test_a_migrated_ledger_has_the_tables_of_a_new_one(tmp_path: Path, before: Path) -> None:
    """Column for column, in whatever order they stand."""

    def columns(path: Path) -> dict[str, set[tuple[object, ...]]]:
        with sqlite3.connect(path) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {table: {row[1:] for row in database.execute(f"PRAGMA table_info({table})")} for table in tables}

    old, new = tmp_path / "old", tmp_path / "new"
    with sqlite3.connect(old) as database:
        database.executescript(before.read_text())
    for path in (old, new):
        Ledger(path).close()
    assert columns(old) == columns(new)


def test_a_migration_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    """The copy of the first try is replaced; the file is of the old format until all is done."""
    path = tmp_path / "ledger"
    with sqlite3.connect(path) as database:
        database.executescript(FORMAT_1.read_text())
    shutil.copyfile(path, tmp_path / "ledger.format1")
    ledger = Ledger(path)
    assert watermarks(ledger) == (6, 5, 4)
    ledger.close()
