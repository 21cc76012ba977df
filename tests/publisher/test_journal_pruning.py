"""Retention: what goes, what never goes, and that nobody who reads meanwhile is told half of something."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from pushmirror.core.retention import Retention
from pushmirror.core.wire import digest
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_pruning import SPARE_PAGES, STEP_UPDATES
from pushmirror.publisher.pruning import LOOK_SECONDS, PAUSE_SECONDS, Pruner
from tests.publisher.conftest import START_MS
from tests.publisher.journals import announce, count, many_paths, one_path, send, send_all

DAY_MS = 86_400_000
NO_LIMIT = 1 << 50
A_DAY = Retention(DAY_MS, NO_LIMIT)


class Kept:
    """A journal with a clock that the test moves."""

    def __init__(self, path: Path, key: PrivateKey) -> None:
        self.now_ms = START_MS
        self.key = key
        self.journal = Journal(path, clock_ms=lambda: self.now_ms)

    def announce(self, updates: int, tree: str = "debian", *, sent: bool = True) -> None:
        for number in range(updates):
            announce(self.journal, one_path(number), tree)
        if sent:
            send_all(self.journal, self.key)

    def prune(self, retention: Retention) -> int:
        """Prune until nothing is left to do, and return in how many steps."""
        steps = 0
        while self.journal.prune(retention):
            steps += 1
            assert steps < 10_000
        return steps

    def serials(self, tree: str = "debian") -> list[int]:
        oldest = self.journal.oldest(tree)
        return [row.serial for row in self.journal.updates_after(tree, max(0, oldest - 1), 100_000)]


@pytest.fixture
def kept(tmp_path: Path, key: PrivateKey) -> Iterator[Kept]:
    kept = Kept(tmp_path / "journal.sqlite", key)
    yield kept
    kept.journal.close()


def test_old_updates_go_and_the_chain_goes_on(kept: Kept) -> None:
    """By age the beginning goes; whoever heard the last of it can go on, whoever heard less is told to start over."""
    kept.announce(5)
    kept.now_ms += DAY_MS
    kept.announce(3)
    kept.now_ms += 1
    assert kept.prune(A_DAY) > 0
    assert kept.serials() == [6, 7, 8]
    assert [kept.journal.keeps("debian", kept.journal.epoch, after) for after in (4, 5)] == [False, True]
    assert announce(kept.journal) == 9


def test_the_newest_sent_and_the_unsent_of_each_tree_stay_however_old(kept: Kept) -> None:
    """A quiet tree keeps its head, by which everything that follows is judged; what nobody has heard is never lost."""
    kept.announce(3)
    kept.announce(2, "fedora")
    kept.announce(4, "fedora", sent=False)
    head = kept.journal.head("fedora")
    kept.now_ms += 1000 * DAY_MS
    kept.prune(Retention(DAY_MS, 1))
    assert (kept.serials(), kept.serials("fedora")) == ([3], [2])
    assert kept.journal.head("fedora") == head
    assert [row.serial for row in kept.journal.unsent(99)] == [3, 4, 5, 6]
    send_all(kept.journal, kept.key)
    kept.prune(Retention(DAY_MS, 1))
    assert kept.serials("fedora") == [6]


def test_the_size_is_a_limit_of_its_own(kept: Kept) -> None:
    """Young updates go as well when there is too much of them, and no more of them than have to."""
    kept.announce(400)
    used_bytes = kept.journal.history().used_bytes
    limit = Retention(DAY_MS, used_bytes // 2)
    kept.prune(limit)
    left = kept.journal.history().used_bytes
    assert limit.size_bytes * 0.8 < left <= limit.size_bytes
    assert kept.serials() == list(range(kept.journal.oldest("debian"), 401))


def test_lists_go_with_the_last_update_that_names_them(kept: Kept) -> None:
    """A list that a younger update has as well stays, every part of it."""
    announce(kept.journal, many_paths(1))
    announce(kept.journal, many_paths(2))
    kept.now_ms += DAY_MS + 1
    announce(kept.journal, many_paths(2))
    rows = send_all(kept.journal, kept.key)
    kept.prune(A_DAY)
    gone, shared = rows[0].list_digest or "", rows[1].list_digest or ""
    assert kept.journal.list_body(gone) is None and not kept.journal.has_list("debian", gone)
    assert digest(kept.journal.list_body(shared) or b"") == shared
    assert count(kept.journal.path, "unused") == 0
    assert count(kept.journal.path, "lists") == 2


def test_a_list_that_is_announced_again_while_it_is_pruned_is_whole(kept: Kept) -> None:
    """Parts that have gone already come back; what is left of the noted ones is not taken away."""
    changes = many_paths(1, count=90_000)
    announce(kept.journal, changes)
    kept.now_ms += DAY_MS + 1
    announce(kept.journal)
    rows = send_all(kept.journal, kept.key)
    before = count(kept.journal.path, "lists")
    assert kept.journal.prune(A_DAY) and kept.journal.prune(A_DAY)
    assert 0 < count(kept.journal.path, "lists") < before
    announce(kept.journal, changes)
    send_all(kept.journal, kept.key)
    kept.prune(A_DAY)
    assert digest(kept.journal.list_body(rows[0].list_digest or "") or b"") == rows[0].list_digest


def test_a_reader_whose_next_update_was_pruned_gets_no_hole(kept: Kept) -> None:
    """An answer that is being read ends where the history ends, and asking again says that it is gone."""
    kept.announce(6)
    reading = kept.journal.updates_after("debian", 0, 100)
    assert next(reading).serial == 1
    kept.now_ms += DAY_MS + 1
    kept.announce(1)
    kept.prune(A_DAY)
    assert list(reading) == []
    assert not kept.journal.keeps("debian", kept.journal.epoch, 1)


def test_a_list_that_is_pruned_while_it_is_read_breaks_off_with_an_error(kept: Kept) -> None:
    """Half a list never looks like a whole one, neither from its middle nor when it is gone before its beginning."""
    announce(kept.journal, many_paths(1, count=10_000))
    (row,) = send_all(kept.journal, kept.key)
    parts = kept.journal.list_parts(row.list_digest or "")
    assert next(parts)
    kept.now_ms += DAY_MS + 1
    kept.announce(1)
    kept.prune(A_DAY)
    with pytest.raises(StateError, match="pruned"):
        next(parts)
    with pytest.raises(StateError, match="not in the journal"):
        next(kept.journal.list_parts(row.list_digest or ""))


def test_each_step_is_small(kept: Kept) -> None:
    """A long history goes in many transactions, between which others announce."""
    kept.announce(250)
    kept.now_ms += DAY_MS + 1
    kept.announce(1)
    before = count(kept.journal.path, "updates")
    assert kept.journal.prune(A_DAY)
    assert before - count(kept.journal.path, "updates") == STEP_UPDATES
    other = Journal(kept.journal.path, clock_ms=lambda: kept.now_ms)
    assert announce(other) == 252
    other.close()
    assert kept.prune(A_DAY) >= 2
    assert kept.serials() == [251]


def test_the_file_becomes_smaller(kept: Kept) -> None:
    """Pages that pruning has freed go back to the file system, all but some for what comes next."""
    for number in range(60):
        announce(kept.journal, many_paths(number))
    send_all(kept.journal, kept.key)
    checkpoint(kept.journal.path)
    before = kept.journal.path.stat().st_size
    kept.now_ms += DAY_MS + 1
    kept.announce(1)
    kept.prune(A_DAY)
    checkpoint(kept.journal.path)
    assert before > 15_000_000
    assert kept.journal.path.stat().st_size < 1_000_000 + SPARE_PAGES * 4096


def checkpoint(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def test_an_interrupted_pruning_is_gone_on_with(kept: Kept) -> None:
    """What is noted to go is in the journal itself, so that any later daemon finds it."""
    announce(kept.journal, many_paths(1))
    kept.now_ms += DAY_MS + 1
    kept.announce(1)
    assert kept.journal.prune(A_DAY)
    assert count(kept.journal.path, "unused") == 1
    later = Journal(kept.journal.path, clock_ms=lambda: kept.now_ms)
    while later.prune(Retention(1000 * DAY_MS, NO_LIMIT)):
        pass
    later.close()
    assert count(kept.journal.path, "lists") == 1


def test_the_history_that_is_kept_is_told(kept: Kept) -> None:
    """Its size, the time of the oldest update, and how often it was shown to be a copy."""
    assert kept.journal.history().oldest_ms is None
    kept.announce(2)
    kept.now_ms += 5
    kept.announce(2)
    history = kept.journal.history()
    assert (history.oldest_ms, history.proofs) == (START_MS, 0)
    assert 0 < history.used_bytes <= kept.journal.path.stat().st_size + 200_000


def test_the_daemon_prunes_by_itself_a_step_at_a_time(kept: Kept) -> None:
    """Once a minute it looks; while there is something to do it goes on after a pause; a stop ends it."""
    clock: Any = Clock()
    kept.announce(STEP_UPDATES * 2 + 1)
    kept.now_ms += DAY_MS + 1
    pruner = Pruner(clock, kept.journal, A_DAY, lambda: kept.now_ms)
    pruner.startService()
    assert len(kept.serials()) == STEP_UPDATES * 2 + 1
    clock.advance(LOOK_SECONDS)
    assert len(kept.serials()) == STEP_UPDATES + 1
    for _ in range(500):
        clock.advance(PAUSE_SECONDS)
    assert kept.serials() == [STEP_UPDATES * 2 + 1]
    pruner.stopService()
    assert clock.getDelayedCalls() == []


def test_a_journal_that_somebody_holds_is_pruned_later(tmp_path: Path, key: PrivateKey) -> None:
    """A step that fails is no end."""
    clock: Any = Clock()
    journal = Journal(tmp_path / "journal.sqlite", clock_ms=lambda: START_MS, busy_ms=10)
    for _ in range(3):
        announce(journal)
    send(journal, journal.unsent(9), key)
    holder = sqlite3.connect(journal.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    pruner = Pruner(clock, journal, Retention(-1, NO_LIMIT), lambda: START_MS)
    pruner.startService()
    clock.advance(LOOK_SECONDS)
    holder.execute("ROLLBACK")
    holder.close()
    assert journal.oldest("debian") == 1
    clock.advance(LOOK_SECONDS)
    assert journal.oldest("debian") == 3
    pruner.stopService()
    journal.close()
