"""The ledger, in real files: what is recorded, what is derived from it, and what it refuses."""

from __future__ import annotations

import logging
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pushmirror.core.lists import list_digest
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.paths import TreePath
from pushmirror.errors import StateError, UsageError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.ledger_file import FORMAT
from pushmirror.subscriber.recorder import Recorder
from pushmirror.subscriber.records import MAX_PENDING_PATHS, NEVER, HeardUpdate, JobRecord
from pushmirror.subscriber.updating import UpdatingTrees
from tests.subscriber.upstream import IDENTITY, OTHER_TREE, PUBLISHER, TREE, Time, paths, put

EPOCH = "1700000000000-0123456789abcdef"
NEXT_EPOCH = "1800000000000-0123456789abcdef"
NOW = 1_790_000_000_000


def digest(serial: int) -> str:
    return f"{serial:064x}"


def head(serial: int, epoch: str = EPOCH) -> Head:
    return Head(epoch, serial, digest(serial) if serial else None)


def announce(ledger: Ledger, serial: int, changes: ChangeList | None, *, now_ms: int = NOW, tree: str = TREE) -> None:
    """Record an update whose serial, digest and times are told by `serial`."""
    update = Update(
        PUBLISHER, tree, EPOCH, serial, serial - 1, digest(serial - 1) if serial > 1 else None, NOW - 1000 + serial,
        changes is None, None if changes is None else list_digest(changes), changes, 0, 0, 0, root_mtime_ns=serial,
    )  # fmt: skip
    ledger.announce(tree, update, digest(serial), changes, now_ms)


def heard(serial: int, changes: ChangeList) -> HeardUpdate:
    """Return an update as it comes from the bus."""
    update = Update(
        PUBLISHER, TREE, EPOCH, serial, serial - 1, digest(serial - 1) if serial > 1 else None, NOW, False,
        list_digest(changes), changes, 0, 0, 0,
    )  # fmt: skip
    return HeardUpdate(update, digest(serial), changes, b"envelope of %d" % serial)


def finish(
    ledger: Ledger,
    serial: int,
    deletions: Iterable[str] = (),
    *,
    settled: Iterable[str] = (),
    generation: int | None = None,
    due_ms: int = NOW,
    entries: int = 100,
    incomplete: Iterable[str] = (),
    taken: int | None = None,
    full_sync_ms: int | None = None,
    exact_times: bool | None = None,
) -> bool:
    return ledger.finish_puts(
        TREE, serial, ledger.tree(TREE).generation if generation is None else generation, paths(*deletions),
        settled=paths(*settled), due_ms=due_ms, entries=entries, incomplete=paths(*incomplete),
        taken=taken, full_sync_ms=full_sync_ms, exact_times=exact_times,
    )  # fmt: skip


def begin_at(ledger: Ledger, serial: int) -> None:
    """Bring the tree to `serial`, synced in full."""
    ledger.start_over(TREE, head(serial), NOW, NOW, same_history=False)
    finish(ledger, serial, full_sync_ms=NOW)


def watermarks(ledger: Ledger) -> tuple[int, int, int]:
    record = ledger.tree(TREE)
    return record.announced, record.applied, record.cleaned


# --- the file


def test_a_new_tree_knows_nothing_yet(ledger: Ledger) -> None:
    """No head, nothing applied, nothing pending, never synced."""
    record = ledger.tree(TREE)
    assert (record.head, record.applied, record.cleaned, record.generation) == (None, NEVER, NEVER, 0)
    assert (record.last_full_sync_ms, record.pending_updates, record.pending_deletions) == (None, 0, 0)
    assert record.announced == NEVER
    assert ledger.trees() == {TREE: record}


def test_everything_is_there_again_after_a_reopening(tmp_path: Path) -> None:
    """Heads, pending lists, deletions, jobs, flags and reasons survive."""
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.open_tree(TREE, IDENTITY)
    begin_at(ledger, 4)
    odd = ChangeList(
        changed=paths("a"), deleted=paths("b"), directories=paths("c"), linked=((TreePath(b"a"), TreePath(b"d")),)
    )
    announce(ledger, 5, odd)
    finish(ledger, 5, ["old/1", "old/2"], incomplete=["secret"], exact_times=True)
    announce(ledger, 6, None)
    ledger.hold(TREE, "too many")
    ledger.set_paused(TREE, True)
    ledger.fail(TREE, "the connection failed", NOW + 5, counts=True, hopeless=True)
    ledger.wait_for_missing(TREE, "missing", NOW + 1, NOW + 6)
    job = ledger.begin_job(TREE, "list", 6, NOW)
    before = (ledger.tree(TREE), ledger.pending(TREE), ledger.deletions(TREE), ledger.jobs(TREE, 9))
    ledger.close()
    ledger = Ledger(path)
    assert (ledger.tree(TREE), ledger.pending(TREE), ledger.deletions(TREE), ledger.jobs(TREE, 9)) == before
    record = ledger.tree(TREE)
    assert (record.paused, record.failures, record.hopeless, record.held) == (True, 1, True, "too many")
    assert (record.missing_since_ms, record.retry_at_ms, record.reason) == (NOW + 1, NOW + 6, "missing")
    assert (record.incomplete, record.exact_times) == (paths("secret"), True)
    assert ledger.jobs(TREE, 1)[0].job == job
    ledger.close()


def test_the_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    """Others learn nothing of what is mirrored."""
    Ledger(tmp_path / "ledger").close()
    assert stat.S_IMODE((tmp_path / "ledger").stat().st_mode) == 0o600


def test_names_that_are_no_text_survive(ledger: Ledger) -> None:
    """Bytes go in, the same bytes come out."""
    odd = ChangeList(changed=(TreePath(b"\xff\xfe"),), deleted=(TreePath(b"new\nline\xe9"),))
    begin_at(ledger, 0)
    announce(ledger, 1, odd)
    assert ledger.pending(TREE)[0].changes == odd
    ledger.finish_puts(
        TREE, 1, ledger.tree(TREE).generation, odd.deleted, settled=(), due_ms=NOW, entries=1, incomplete=odd.changed
    )
    assert ledger.deletions(TREE)[0].path == odd.deleted[0]
    assert ledger.tree(TREE).incomplete == odd.changed


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An older program does not guess."""
    path = tmp_path / "ledger"
    Ledger(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StateError, match=f"format {FORMAT + 1}.*install the newer version"):
        Ledger(path)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (FORMAT + 1,)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path, content: bytes) -> None:
    """And it is left as it is."""
    path = tmp_path / "ledger"
    path.write_bytes(content)
    with pytest.raises(StateError, match="Move it away"):
        Ledger(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """One with tables of ours by name, for example; nothing is added to it."""
    path = tmp_path / "ledger"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE jobs (anything)")
    with pytest.raises(StateError):
        Ledger(path)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("jobs",)]


@pytest.mark.parametrize("place", ["missing/ledger", ""])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, place: str) -> None:
    """A folder that is not there, or is itself in the place of the file."""
    with pytest.raises(StateError, match="cannot be used"):
        Ledger(tmp_path / place)


# --- trees


def test_another_identity_starts_a_tree_anew(ledger: Ledger) -> None:
    """What was known of another folder or source means nothing; the history of jobs stays, other trees do too."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    begin_at(ledger, 3)
    finish(ledger, 3, ["gone"])
    announce(ledger, 4, put("a"))
    ledger.begin_job(TREE, "list", 4, NOW)
    other = ledger.tree(OTHER_TREE)
    assert ledger.open_tree(TREE, IDENTITY) is False
    assert ledger.tree(TREE).applied == 3
    assert ledger.open_tree(TREE, "another folder") is True
    record = ledger.tree(TREE)
    assert (record.head, record.applied, record.pending_updates, record.pending_deletions) == (None, NEVER, 0, 0)
    assert (ledger.deletions(TREE), ledger.pending(TREE)) == ((), ())
    assert len(ledger.jobs(TREE, 9)) == 1
    assert ledger.tree(OTHER_TREE) == other
    assert ledger.open_tree(TREE, "another folder") is False


def test_another_shape_of_a_known_tree_makes_the_whole_of_it_pending(ledger: Ledger) -> None:
    """Filters that changed, for example; before the first sync there is nothing to do about it."""
    assert ledger.note_shape(TREE, "all of it", NOW) is False
    begin_at(ledger, 3)
    assert ledger.note_shape(TREE, "all of it", NOW) is False
    assert ledger.pending(TREE) == ()
    assert ledger.note_shape(TREE, "less of it", NOW) is True
    assert ledger.tree(TREE).whole_pending
    assert ledger.note_shape(TREE, "less of it", NOW) is False


def test_an_announcement_ends_the_wait_for_what_was_missing_but_no_other(ledger: Ledger) -> None:
    """It may bring just that; after any other failure the delay holds."""
    begin_at(ledger, 0)
    ledger.fail(TREE, "failed", NOW + 99, counts=True, hopeless=False)
    announce(ledger, 1, put("a"))
    assert ledger.tree(TREE).retry_at_ms == NOW + 99
    ledger.wait_for_missing(TREE, "missing", NOW, NOW + 99)
    announce(ledger, 2, put("b"))
    record = ledger.tree(TREE)
    assert (record.retry_at_ms, record.missing_since_ms) == (None, NOW)


def test_a_pause_is_only_that(ledger: Ledger) -> None:
    """Nothing else changes."""
    before = ledger.tree(TREE)
    ledger.set_paused(TREE, True)
    assert ledger.tree(TREE) == replace(before, paused=True)
    ledger.set_paused(TREE, False)
    assert ledger.tree(TREE) == before


# --- announcements


def test_an_announcement_is_the_head_and_pending(ledger: Ledger) -> None:
    """In the order of serials, with what a job needs."""
    begin_at(ledger, 0)
    announce(ledger, 1, ChangeList(changed=paths("a", "b"), deleted=paths("c"), directories=paths("d")))
    announce(ledger, 2, None, now_ms=NOW + 7)
    record = ledger.tree(TREE)
    assert record.head == ledger.head(TREE) == head(2)
    assert (record.pending_updates, record.pending_paths, record.pending_since_ms) == (2, 4, NOW)
    assert record.whole_pending
    assert watermarks(ledger) == (2, 0, 0)
    first, second = ledger.pending(TREE)
    assert (first.serial, first.at_ms, first.root_mtime_ns) == (1, NOW - 999, 1)
    assert second.changes is None


def test_what_is_pending_is_handed_out_unread(ledger: Ledger) -> None:
    """A job begins in the reactor: the lists of a long pause are read out later, in a thread."""
    begin_at(ledger, 0)
    for serial in range(1, 31):
        announce(ledger, serial, put(*(f"{serial}/{number}" for number in range(1000))))
    began = time.perf_counter()
    pending = ledger.pending(TREE)
    handed_out = time.perf_counter()
    assert [update.changes for update in pending if update.serial == 30] == [
        put(*(f"30/{number}" for number in range(1000)))
    ]
    assert sum(len(update.changes.changed) for update in pending if update.changes) == 30_000
    assert (handed_out - began) * 5 < time.perf_counter() - handed_out


def test_too_much_for_a_list_job_is_synced_as_a_whole(ledger: Ledger, tmp_path: Path) -> None:
    """The lists stay where they are then: a tree that was paused for a month is not held in memory."""
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"))
    announce(ledger, 2, put("b"))
    for most, whole in ((MAX_PENDING_PATHS - 1, False), (MAX_PENDING_PATHS, True)):
        with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
            other.execute("UPDATE pending SET paths = ? WHERE serial = 1", (most,))
        assert ledger.tree(TREE).whole_pending is whole
        assert [update.body is None for update in ledger.pending(TREE)] == [whole, whole]
    finish(ledger, 2, taken=ledger.pending(TREE)[-1].number)
    assert (ledger.tree(TREE).whole_pending, ledger.pending(TREE)) == (False, ())


def test_what_is_pending_does_not_grow_without_end(ledger: Ledger, tmp_path: Path) -> None:
    """Of a tree that is not synced for a month, or whose publisher's key was stolen: the whole tree takes its place."""
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"), now_ms=NOW + 1)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("UPDATE pending SET paths = ?", (MAX_PENDING_PATHS,))
        other.executemany(
            "INSERT INTO pending (tree, serial, at_ms, received_ms, paths) VALUES (?, ?, 0, ?, 1)",
            [(TREE, serial, NOW + serial) for serial in range(2, 256)],
        )
    running = ledger.pending(TREE)[-1].number
    announce(ledger, 256, put("b"), now_ms=NOW + 256)
    (whole,) = ledger.pending(TREE)
    assert (whole.serial, whole.body, ledger.tree(TREE).pending_since_ms) == (256, None, NOW + 1)
    finish(ledger, 255, taken=running)
    assert ledger.tree(TREE).whole_pending, "a job that began before has not brought it"
    finish(ledger, 256, taken=whole.number)
    assert (ledger.pending(TREE), ledger.tree(TREE).applied) == ((), 256)


def test_what_is_pending_is_looked_at_after_each_long_list(ledger: Ledger, tmp_path: Path) -> None:
    """A few hundred of them would fill the disk."""
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"))
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("UPDATE pending SET paths = ?", (MAX_PENDING_PATHS,))
    long = replace(heard(2, put("b")), listed=bytearray(2 * 1024 * 1024))
    ledger.announce_all(TREE, (long,), NOW)
    assert [update.body for update in ledger.pending(TREE)] == [None]


def test_announcements_do_not_fill_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has the key can sign hundreds in a second; how many had no line is told by the next one that has."""
    caplog.set_level(logging.INFO)
    begin_at(ledger, 0)
    time_ms = Time(NOW)
    recorder = Recorder(ledger, UpdatingTrees(time_ms), time_ms, lambda tree: None)
    for serial in range(1, 211):
        recorder.announce(TREE, (heard(serial, put("a")),))
    assert len(caplog.records) == 200
    time_ms.now_ms += 1000
    recorder.announce(TREE, (heard(211, put("a")),))
    assert "serial 211" in caplog.text
    assert "(10 announcements before without a line)" in caplog.text


def test_trees_do_not_mix(ledger: Ledger) -> None:
    """Pending updates, deletions and jobs belong to one tree."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"))
    announce(ledger, 1, put("b"), tree=OTHER_TREE)
    finish(ledger, 1, ["gone"])
    other = ledger.trees()[OTHER_TREE]
    assert (other.pending_updates, other.pending_deletions, other.applied) == (1, 0, NEVER)
    assert [update.changes for update in ledger.pending(OTHER_TREE)] == [put("b")]
    assert ledger.jobs(OTHER_TREE, 9) == ()


def test_puts_in_place_move_applied_and_leave_what_came_meanwhile(ledger: Ledger) -> None:
    """An update that was announced while the job ran is still pending; failures are forgotten."""
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"))
    announce(ledger, 2, put("b"))
    ledger.fail(TREE, "failed", NOW, counts=True, hopeless=True)
    ledger.wait_for_missing(TREE, "missing", NOW, NOW)
    assert finish(ledger, 1, entries=55)
    record = ledger.tree(TREE)
    assert (record.announced, record.applied, record.cleaned, record.entries) == (2, 1, 1, 55)
    assert [update.serial for update in ledger.pending(TREE)] == [2]
    assert (record.failures, record.hopeless, record.reason, record.retry_at_ms) == (0, False, None, None)
    assert record.missing_since_ms is None


def test_a_full_sync_is_noted_and_a_list_job_leaves_the_note_alone(ledger: Ledger) -> None:
    """As is whether times are exact."""
    begin_at(ledger, 0)
    finish(ledger, 0, full_sync_ms=NOW + 9, exact_times=True)
    finish(ledger, 0)
    assert (ledger.tree(TREE).last_full_sync_ms, ledger.tree(TREE).exact_times) == (NOW + 9, True)
    finish(ledger, 0, exact_times=False)
    assert not ledger.tree(TREE).exact_times


def test_cleaned_stays_below_the_oldest_deletion_that_is_not_done(ledger: Ledger) -> None:
    """It follows from the pending deletions alone."""
    begin_at(ledger, 2)
    announce(ledger, 3, put("a"))
    finish(ledger, 3, ["x"])
    announce(ledger, 4, put("a"))
    announce(ledger, 5, put("a"))
    finish(ledger, 5, ["y"])
    assert watermarks(ledger) == (5, 5, 2)
    ledger.finish_deletions(TREE, paths("x"), (), NOW)
    assert watermarks(ledger) == (5, 5, 3)
    ledger.finish_deletions(TREE, paths("y"), (), NOW)
    assert watermarks(ledger) == (5, 5, 5)


def test_a_deletion_that_a_put_made_void_is_forgotten(ledger: Ledger) -> None:
    """Then nothing holds `cleaned` back."""
    begin_at(ledger, 0)
    announce(ledger, 1, put("a"))
    finish(ledger, 1, ["x", "y"])
    announce(ledger, 2, put("x"))
    finish(ledger, 2, settled=["x"])
    assert [deletion.path for deletion in ledger.deletions(TREE)] == list(paths("y"))
    finish(ledger, 2, settled=["y"])
    assert watermarks(ledger) == (2, 2, 2)


def test_a_deletion_that_swallows_older_ones_keeps_their_place(ledger: Ledger) -> None:
    """A path below it is still there: `cleaned` does not move past the serial that deleted it."""
    begin_at(ledger, 2)
    announce(ledger, 3, put("a"))
    finish(ledger, 3, ["folder/file", "folder/other", "folderish"])
    announce(ledger, 4, put("a"))
    finish(ledger, 4, ["folder", "folderish"], settled=["folder/file", "folder/other"])
    assert [(d.path, d.serial) for d in ledger.deletions(TREE)] == [(b"folder", 3), (b"folderish", 3)]
    ledger.finish_deletions(TREE, paths("folderish"), (), NOW)
    assert watermarks(ledger) == (4, 4, 2)


def test_what_is_left_of_a_deleted_directory_keeps_its_place(ledger: Ledger) -> None:
    """A put inside brings the directory back; what else was in it was deleted long before that put."""
    begin_at(ledger, 2)
    announce(ledger, 3, put("a"))
    finish(ledger, 3, ["folder"])
    announce(ledger, 4, put("folder/new"))
    finish(ledger, 4, ["folder/below/old"], settled=["folder"])
    assert [(d.path, d.serial) for d in ledger.deletions(TREE)] == [(b"folder/below/old", 3)]
    assert watermarks(ledger) == (4, 4, 2)


def test_a_deletion_that_is_pending_already_stays_as_it_is(ledger: Ledger) -> None:
    """Neither its serial, its time nor the operator's word on it are lost when it is listed again."""
    begin_at(ledger, 0)
    finish(ledger, 0, ["x"], due_ms=NOW + 1)
    ledger.approve(TREE)
    before = ledger.deletions(TREE)
    announce(ledger, 1, put("a"))
    finish(ledger, 1, ["x"], due_ms=NOW + 99)
    assert ledger.deletions(TREE) == before


def test_updates_that_nobody_hands_out_leave_applied_where_it_is(ledger: Ledger) -> None:
    """The whole tree is pending at the new head; deletions of before are still not done."""
    begin_at(ledger, 2)
    announce(ledger, 3, put("a"))
    finish(ledger, 3, ["x"])
    announce(ledger, 4, put("a"))
    ledger.wait_for_missing(TREE, "missing", NOW, NOW)
    generation = ledger.tree(TREE).generation
    ledger.start_over(TREE, head(9), NOW, NOW, same_history=True)
    assert watermarks(ledger) == (9, 3, 2)
    assert [(update.serial, update.changes) for update in ledger.pending(TREE)] == [(9, None)]
    assert ledger.tree(TREE).missing_since_ms is None
    assert finish(ledger, 3, generation=generation), "a job that began before still proves what it did"
    assert ledger.tree(TREE).whole_pending
    assert finish(ledger, 9, ["x"], generation=generation, full_sync_ms=NOW)
    assert watermarks(ledger) == (9, 9, 2), "the deletion of serial 3 is still not done"


def test_a_job_that_began_before_the_serials_lost_their_meaning_proves_nothing(ledger: Ledger) -> None:
    """Nothing of what it would record is recorded."""
    begin_at(ledger, 7)
    announce(ledger, 8, put("a"))
    generation = ledger.tree(TREE).generation
    ledger.start_over(TREE, head(1, NEXT_EPOCH), NOW, NOW, same_history=False)
    before = (ledger.tree(TREE), ledger.deletions(TREE), ledger.pending(TREE))
    assert watermarks(ledger) == (1, NEVER, NEVER)
    assert finish(ledger, 8, ["x"], generation=generation, entries=5, full_sync_ms=NOW + 1) is False
    assert (ledger.tree(TREE), ledger.deletions(TREE), ledger.pending(TREE)) == before
    assert finish(ledger, 1)
    assert watermarks(ledger) == (1, 1, 1)


def test_a_deletion_found_by_a_first_sync_may_be_of_any_serial(ledger: Ledger) -> None:
    """What is surplus after the first sync at serial 12 may have been deleted by serial 3: nothing is cleaned yet."""
    ledger.start_over(TREE, head(12), NOW, NOW, same_history=False)
    finish(ledger, 12, ["surplus"], full_sync_ms=NOW)
    assert watermarks(ledger) == (12, 12, NEVER)


def test_updates_that_are_recorded_together_are_all_there_or_none_is(ledger: Ledger) -> None:
    """One that cannot be stored leaves the head, the proof and what is pending as they were."""
    begin_at(ledger, 0)
    good = [heard(serial, put(f"{serial}")) for serial in range(1, 6)]
    ledger.announce_all(TREE, good, NOW)
    assert [update.serial for update in ledger.pending(TREE)] == [1, 2, 3, 4, 5]
    assert (ledger.head(TREE), ledger.header(TREE)) == (head(5), b"envelope of 5")
    before = ledger.tree(TREE)
    bad = heard(7, put("7"))
    with pytest.raises(OverflowError):
        ledger.announce_all(TREE, [heard(6, put("6")), replace(bad, update=replace(bad.update, at_ms=2**70))], NOW)
    assert (ledger.tree(TREE), ledger.header(TREE)) == (before, b"envelope of 5")


def test_the_proof_is_kept_as_long_as_its_history_is_followed(ledger: Ledger) -> None:
    """It outlives lost history and updates without one; another epoch, or another identity of the tree, forgets it."""
    begin_at(ledger, 0)
    ledger.announce_all(TREE, [heard(1, put("a"))], NOW)
    announce(ledger, 2, put("b"))
    ledger.start_over(TREE, head(9), NOW, NOW, same_history=True)
    assert ledger.header(TREE) == b"envelope of 1"
    ledger.start_over(TREE, head(1, NEXT_EPOCH), NOW, NOW, same_history=False)
    assert ledger.header(TREE) is None
    ledger.announce_all(TREE, [heard(2, put("a"))], NOW)
    ledger.open_tree(TREE, "another folder")
    assert ledger.header(TREE) is None


def test_what_nobody_announced_is_summed_up(ledger: Ledger) -> None:
    """A full sync that could not tell changes nothing."""
    begin_at(ledger, 0)
    assert (ledger.tree(TREE).unannounced_total, ledger.tree(TREE).unannounced_last) == (0, None)
    for found, expected in ((2, (2, 2)), (3, (5, 3)), (None, (5, 3)), (0, (5, 0))):
        ledger.finish_puts(
            TREE, 0, 1, (), settled=(), due_ms=NOW, entries=1, incomplete=(), full_sync_ms=NOW, unannounced=found
        )
        assert (ledger.tree(TREE).unannounced_total, ledger.tree(TREE).unannounced_last) == expected


# --- times


def keep_times(ledger: Ledger) -> None:
    """Keep every kind of time by which something is due."""
    begin_at(ledger, 0)
    finish(ledger, 0, ["gone"], due_ms=NOW + 1000)
    announce(ledger, 1, put("a"), now_ms=NOW)
    ledger.wait_for_missing(TREE, "missing", NOW, NOW + 2000)
    ledger.fail_full_sync(TREE, "trouble", NOW + 2500, counts=True)


def times(ledger: Ledger) -> list[int | None]:
    record = ledger.tree(TREE)
    return [
        record.last_full_sync_ms, record.pending_since_ms, record.missing_since_ms, record.deletion_due_ms,
        record.retry_at_ms, record.full_sync_retry_at_ms,
    ]  # fmt: skip


@pytest.mark.parametrize("jump_ms", [86_400_000, -86_400_000])
def test_times_move_with_the_clock(ledger: Ledger, jump_ms: int) -> None:
    """All of them; what is not set stays so."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    keep_times(ledger)
    other = ledger.tree(OTHER_TREE)
    ledger.move_times(jump_ms)
    assert times(ledger) == [at_ms + jump_ms for at_ms in (NOW, NOW, NOW, NOW + 1000, NOW + 2000, NOW + 2500)]
    assert ledger.tree(OTHER_TREE) == other


def test_times_of_the_future_are_brought_back_and_others_are_left(ledger: Ledger) -> None:
    """What can lie in the future does so by no more than it can."""
    keep_times(ledger)
    bounds = {"longest_retry_ms": 5000, "longest_grace_ms": 3000}
    assert ledger.clamp_times(TREE, NOW, **bounds) is False
    assert times(ledger) == [NOW, NOW, NOW, NOW + 1000, NOW + 2000, NOW + 2500]
    ago = NOW - 86_400_000
    assert ledger.clamp_times(TREE, ago, **bounds) is True
    assert times(ledger) == [ago, ago, ago, ago + 3000, ago + 5000, ago + 5000]


# --- what the operator wants


def test_a_wanted_full_sync_is_pending_at_the_head(ledger: Ledger) -> None:
    """It is asked for at once, without waiting for the next try."""
    begin_at(ledger, 3)
    ledger.fail(TREE, "failed", NOW + 99, counts=True, hopeless=False)
    ledger.want_whole(TREE, NOW + 5)
    record = ledger.tree(TREE)
    assert (record.retry_at_ms, record.whole_pending, record.pending_since_ms) == (None, True, NOW + 5)
    assert [update.serial for update in ledger.pending(TREE)] == [3]
    finish(ledger, 3)
    assert ledger.pending(TREE) == ()


def test_a_full_sync_can_be_wanted_while_the_publisher_was_never_heard(ledger: Ledger) -> None:
    """After a first sync without it there is no head to sync to; what is wanted is done all the same."""
    finish(ledger, NEVER, full_sync_ms=NOW)
    ledger.want_whole(TREE, NOW)
    assert ledger.tree(TREE).whole_pending
    assert finish(ledger, NEVER, full_sync_ms=NOW)
    assert ledger.pending(TREE) == ()
    assert watermarks(ledger) == (NEVER, NEVER, NEVER)


def test_wanted_paths_join_what_is_pending(ledger: Ledger) -> None:
    """At the serial of the head, whether or not that is applied; the root's time of the update is kept."""
    begin_at(ledger, 3)
    ledger.want_paths(TREE, ChangeList(directories=paths("d")), NOW)
    assert [(u.serial, u.changes) for u in ledger.pending(TREE)] == [(3, ChangeList(directories=paths("d")))]
    announce(ledger, 4, put("a"))
    ledger.want_paths(TREE, ChangeList(directories=paths("d")), NOW)
    update = ledger.pending(TREE)[-1]
    assert update.changes == ChangeList(changed=paths("a"), directories=paths("d"))
    assert (update.serial, update.root_mtime_ns) == (4, 4)
    assert watermarks(ledger) == (4, 3, 3)


def test_wanted_paths_change_nothing_when_the_whole_tree_is_pending(ledger: Ledger) -> None:
    """The whole covers them."""
    begin_at(ledger, 3)
    ledger.want_whole(TREE, NOW)
    ledger.want_paths(TREE, ChangeList(directories=paths("d")), NOW)
    assert [update.changes for update in ledger.pending(TREE)] == [None]


def test_paths_cannot_be_wanted_before_the_first_announcement(ledger: Ledger) -> None:
    """The operator is told what comes instead."""
    with pytest.raises(UsageError, match="first sync"):
        ledger.want_paths(TREE, ChangeList(directories=paths("d")), NOW)


@pytest.mark.parametrize("wanted", ["whole", "paths"])
def test_what_the_operator_wants_while_a_job_runs_is_not_lost_at_its_end(ledger: Ledger, wanted: str) -> None:
    """The job began before and did not do it."""
    begin_at(ledger, 3)
    announce(ledger, 4, put("a"))
    taken = ledger.pending(TREE)[-1].number
    if wanted == "whole":
        ledger.want_whole(TREE, NOW + 5)
    else:
        ledger.want_paths(TREE, ChangeList(directories=paths("d")), NOW + 5)
    finish(ledger, 4, taken=taken)
    assert ledger.tree(TREE).pending_updates == 1
    assert ledger.tree(TREE).whole_pending == (wanted == "whole")
    finish(ledger, 4, taken=ledger.pending(TREE)[-1].number)
    assert ledger.tree(TREE).pending_updates == 0


def test_a_retry_now_forgets_the_delay_alone(ledger: Ledger) -> None:
    """The reason stays visible until a job has done better."""
    ledger.fail(TREE, "failed", NOW + 99, counts=True, hopeless=False)
    ledger.retry_now(TREE)
    record = ledger.tree(TREE)
    assert (record.retry_at_ms, record.reason, record.failures) == (None, "failed", 1)


# --- failures and deletions


def test_failures_are_counted_unless_they_are_nobodys(ledger: Ledger) -> None:
    """A busy upstream counts for nothing; a success forgets them all."""
    ledger.fail(TREE, "broken", NOW + 1, counts=True, hopeless=True)
    ledger.fail(TREE, "busy", NOW + 2, counts=False, hopeless=False)
    record = ledger.tree(TREE)
    assert (record.failures, record.hopeless, record.reason, record.retry_at_ms) == (1, False, "busy", NOW + 2)
    ledger.succeed(TREE)
    record = ledger.tree(TREE)
    assert (record.failures, record.hopeless, record.reason, record.retry_at_ms) == (0, False, None, None)


def test_the_clock_of_what_is_missing_starts_once(ledger: Ledger) -> None:
    """Later tries do not put off the decision."""
    ledger.wait_for_missing(TREE, "1 missing", NOW, NOW + 5)
    ledger.wait_for_missing(TREE, "2 missing", NOW + 50, NOW + 55)
    record = ledger.tree(TREE)
    assert (record.missing_since_ms, record.reason, record.retry_at_ms) == (NOW, "2 missing", NOW + 55)


def test_what_the_upstream_still_has_is_tried_again_later(ledger: Ledger) -> None:
    """What is gone is done."""
    begin_at(ledger, 1)
    finish(ledger, 1, ["a", "b", "c"])
    ledger.finish_deletions(TREE, paths("a"), paths("b"), NOW + 60)
    assert [(d.path, d.due_ms) for d in ledger.deletions(TREE)] == [(b"b", NOW + 60), (b"c", NOW)]
    assert ledger.tree(TREE).deletion_due_ms == NOW


def test_held_deletions_come_due_only_when_approved(ledger: Ledger) -> None:
    """`approve` releases exactly those that are pending now, and says how many."""
    begin_at(ledger, 1)
    finish(ledger, 1, ["a", "b"], due_ms=NOW + 3)
    ledger.hold(TREE, "too many")
    ledger.fail(TREE, "failed", NOW + 99, counts=True, hopeless=False)
    assert (ledger.tree(TREE).held, ledger.tree(TREE).deletion_due_ms) == ("too many", None)
    assert ledger.approve(TREE) == 2
    record = ledger.tree(TREE)
    assert (record.held, record.deletion_due_ms, record.retry_at_ms) == (None, NOW + 3, None)
    finish(ledger, 1, ["c"])
    ledger.hold(TREE, "again")
    assert [(d.path, d.approved) for d in ledger.deletions(TREE)] == [(b"a", True), (b"b", True), (b"c", False)]
    assert ledger.tree(TREE).deletion_due_ms == NOW + 3, "the one that nobody approved waits"


def test_refused_deletions_are_forgotten_and_approved_ones_stay(ledger: Ledger) -> None:
    """A word that was given holds."""
    begin_at(ledger, 1)
    finish(ledger, 1, ["a"])
    ledger.approve(TREE)
    finish(ledger, 1, ["b", "c"])
    ledger.hold(TREE, "too many")
    assert ledger.refuse(TREE) == 2
    assert [d.path for d in ledger.deletions(TREE)] == [b"a"]
    assert ledger.tree(TREE).held is None


def test_entries_can_be_set(ledger: Ledger) -> None:
    """After a delete stage, for example."""
    ledger.set_entries(TREE, 17)
    assert ledger.tree(TREE).entries == 17


# --- jobs


def test_a_job_is_recorded_with_its_end(ledger: Ledger) -> None:
    """All that the history shows."""
    job = ledger.begin_job(TREE, "whole", 4, NOW)
    assert ledger.jobs(TREE, 1) == (JobRecord(job, TREE, "whole", 4, NOW),)
    ended = JobRecord(job, TREE, "whole", 4, NOW, NOW + 9, "failed", 3, 2048, 1, 70, -9, "ended by a signal")
    ledger.end_job(ended)
    assert ledger.jobs(TREE, 1) == (ended,)


def test_jobs_that_a_killed_daemon_left_are_interrupted(ledger: Ledger) -> None:
    """Those that had ended are not touched; a second look finds none."""
    done = JobRecord(ledger.begin_job(TREE, "list", 1, NOW), TREE, "list", 1, NOW, NOW + 1, "done")
    ledger.end_job(done)
    left = ledger.begin_job(TREE, "list", 2, NOW)
    assert [job.job for job in ledger.interrupt_jobs(NOW + 5)] == [left]
    newest, oldest = ledger.jobs(TREE, 9)
    assert (newest.outcome, newest.finished_ms) == ("interrupted", NOW + 5)
    assert oldest == done
    assert ledger.interrupt_jobs(NOW + 6) == ()


def test_the_last_200_jobs_of_each_tree_are_kept_however_many_the_others_have(ledger: Ledger) -> None:
    """A tree that seldom changes does not lose its history to a busy one."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    for tree, count in ((OTHER_TREE, 3), (TREE, 205), (OTHER_TREE, 1)):
        for _ in range(count):
            job = ledger.begin_job(tree, "list", 1, NOW)
            ledger.end_job(JobRecord(job, tree, "list", 1, NOW, NOW, "done"))
    assert len(ledger.jobs(TREE, 1000)) == 200
    assert len(ledger.jobs(OTHER_TREE, 1000)) == 4
    assert [job.job for job in ledger.jobs(TREE, 2)] == [208, 207]


class CountingLedger(Ledger):
    """A ledger that tells what a question costs."""

    def count_steps(self, ask: Callable[[], object]) -> int:
        """Return how many steps SQLite takes to answer, to the hundred."""
        hundreds = 0

        def count() -> int:
            nonlocal hundreds
            hundreds += 1
            return 0

        self._database.set_progress_handler(count, 100)
        ask()
        self._database.set_progress_handler(None, 0)
        return hundreds * 100


def test_what_is_asked_all_the_time_costs_little_however_much_there_is(tmp_path: Path) -> None:
    """Strangers ask a relay as well: no answer goes through all kept updates, or all pending deletions."""
    ledger = CountingLedger(tmp_path / "counting.sqlite")
    for tree in (TREE, OTHER_TREE):
        ledger.open_tree(tree, IDENTITY)
        ledger.start_over(tree, head(0), NOW, NOW, same_history=False)
    gone = paths(*(f"pool/{number}" for number in range(5000)))
    assert ledger.finish_puts(OTHER_TREE, 0, 1, gone, settled=(), due_ms=NOW, entries=1, incomplete=())
    ledger.keep_updates(TREE, True, NOW)
    ledger.announce_all(TREE, [heard(serial, put("a")) for serial in range(1, 2001)], NOW)
    assert ledger.finish_puts(TREE, 2000, 1, (), settled=(), due_ms=NOW, entries=1, incomplete=())
    assert ledger.count_steps(lambda: ledger.tree(TREE)) <= 500
    assert ledger.count_steps(lambda: ledger.kept.beginning(TREE, 2000)) <= 100
    assert ledger.count_steps(lambda: ledger.kept.has_list(TREE, digest(1), 2000)) <= 100
    ledger.close()


def test_what_is_lost_adds_up_until_something_new_comes_or_the_operator_speaks(ledger: Ledger) -> None:
    """New entries make up for what was lost before them, and save nothing up; approved ones are not lost."""

    def look() -> tuple[int, int]:
        return ledger.tree(TREE).entries, ledger.tree(TREE).lost

    ledger.set_entries(TREE, 100)
    ledger.gain(TREE, 50)
    assert look() == (150, 0)
    ledger.lose(TREE, 30, unasked=20)
    ledger.lose(TREE, 10, unasked=10)
    assert look() == (110, 30)
    ledger.lose(TREE, -4, unasked=-4)
    ledger.gain(TREE, 6)
    assert look() == (120, 20)
    ledger.refuse(TREE)
    assert look() == (120, 20)
    ledger.approve(TREE)
    assert look() == (120, 0)


def test_what_was_refused_is_remembered(ledger: Ledger) -> None:
    """Each path once; a tree that starts anew has forgotten it."""
    ledger.start_over(TREE, head(1), NOW, NOW, same_history=False)
    finish(ledger, 1, ["a", "b"])
    ledger.refuse(TREE)
    finish(ledger, 1, ["a"])
    ledger.refuse(TREE)
    assert ledger.refusals(TREE) == set(paths("a", "b"))
    assert (ledger.tree(TREE).refusals, ledger.tree(TREE).cleaned) == (2, 1)
    ledger.set_refusals(TREE, paths("b"))
    assert ledger.refusals(TREE) == set(paths("b"))
    ledger.open_tree(TREE, "another identity of it")
    assert ledger.refusals(TREE) == frozenset()


def test_what_stands_in_the_way_waits_for_the_operator_before_a_job_ends(ledger: Ledger) -> None:
    """It belongs to the serial after the one that is applied; once it is to be deleted it is like any other."""
    ledger.start_over(TREE, head(3), NOW, NOW, same_history=False)
    finish(ledger, 3)
    ledger.await_deletions(TREE, paths("folder"), NOW, in_the_way=True)
    assert [(d.path, d.serial, d.in_the_way) for d in ledger.deletions(TREE)] == [(b"folder", 4, True)]
    assert ledger.tree(TREE).cleaned == 3
    announce(ledger, 4, put("other"))
    finish(ledger, 4)
    assert ledger.tree(TREE).cleaned == 3
    finish(ledger, 4, ["folder"])
    assert [(d.path, d.in_the_way) for d in ledger.deletions(TREE)] == [(b"folder", False)]
