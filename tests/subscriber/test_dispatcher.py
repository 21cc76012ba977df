"""Which jobs run, and how they end: real ledgers, folders, locks and processes; a script stands in for rsync."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pushmirror.core.lists import list_digest
from pushmirror.core.model import ChangeList, Event, Head, Update
from pushmirror.core.paths import STAGING_NAME
from pushmirror.core.profiles import Profile
from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.records import NEVER, JobRecord, TreeRecord
from pushmirror.subscriber.runner import Runner, RunResult
from tests.subscriber.upstream import PUBLISHER, Time, paths, put
from tests.support.reactor import Spin

EPOCH = "1700000000000-0123456789abcdef"
SCRIPT = """#!/bin/sh
D={folder}
for target; do :; done
name=$(basename "$target")
echo "$name $*" >> $D/runs
if [ -e $D/$name.do ]; then . $D/$name.do; fi
echo 'Number of files: 4'
"""
WAIT = "echo $$ > $D/$name.pid; while ! test -e $D/go; do sleep 0.02; done"


class OpenRunner(Runner):
    """Does not confine the script to its tree: it notes its runs beside it."""

    async def run(self, *arguments: Any) -> RunResult:
        *known, _ = arguments
        return await super().run(*known)


class Fleet:
    """Some trees, each with a folder that has one file, and the dispatcher of their jobs."""

    def __init__(self, reactor: Any, spin: Spin, folder: Path, *names: str, max_jobs: int = 4, **settings: Any) -> None:
        self.reactor, self.spin, self.folder = reactor, spin, folder
        self.time = Time()
        self.events: list[tuple[Event, JobRecord]] = []
        self.awaiting: set[str] = set()
        self.catching_up: dict[str, int] = {}
        (folder / "locks").mkdir()
        script = folder / "rsync"
        script.write_text(SCRIPT.format(folder=folder))
        script.chmod(0o755)
        self.ledger = Ledger(folder / "ledger")
        self.parts = {}
        for name in names:
            (folder / name).mkdir()
            (folder / name / "file").write_text("content")
            tree = {
                "upstream": PUBLISHER, "source": f"rsync://127.0.0.1/{name}/", "path": str(folder / name),
                "coalesce": "0s", **settings,
            }  # fmt: skip
            self.parts[name] = make_parts(name, SubscriberTree.model_validate(tree), folder / "locks")
            self.ledger.open_tree(name, self.parts[name].identity)
            self.ledger.start_over(name, Head(EPOCH, 0, None), self.time(), self.time(), same_history=False)
        self.max_jobs = max_jobs
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self) -> Dispatcher:
        """Return what runs the jobs of the `parts` as they are now."""
        runner = OpenRunner(self.reactor, str(self.folder / "rsync"), self.folder / "runs-of-trees", os.environ)
        return Dispatcher(
            self.reactor, self.parts, self.ledger, runner, self.max_jobs, self.time, lambda: 0.5,
            lambda event, record, progress: self.events.append((event, record)), lambda tree: tree in self.awaiting,
            catching_up_until_ms=self.catching_up.get,
        )  # fmt: skip

    def do(self, name: str, text: str) -> None:
        """Let the script do this for one tree."""
        (self.folder / f"{name}.new").write_text(text + "\n")
        (self.folder / f"{name}.new").replace(self.folder / f"{name}.do")

    def behave(self, name: str) -> None:
        (self.folder / f"{name}.do").unlink()

    def announce(self, name: str, serial: int, changes: ChangeList | None) -> None:
        digest = f"{serial:064x}"
        update = Update(
            PUBLISHER, name, EPOCH, serial, serial - 1, None, self.time(), changes is None,
            None if changes is None else list_digest(changes), changes, 0, 0, 0,
        )  # fmt: skip
        self.ledger.announce(name, update, digest, changes, self.time())

    def look(self, after_ms: int = 0) -> None:
        """Let time pass and the dispatcher look."""
        self.time.now_ms += after_ms
        self.dispatcher.poke()

    def turn(self, rounds: int = 40) -> None:
        """Turn the reactor some times, for what must not happen."""
        for _ in range(rounds):
            self.reactor.iterate(0.005)

    def run_until_idle(self, after_ms: int = 0) -> None:
        """Let time pass; return when every job that was due has ended."""
        self.look(after_ms)
        idle_turns = 0
        while idle_turns < 3:  # a look that was asked for comes in the next turn
            self.spin(lambda: not self.running)
            self.reactor.iterate(0.005)
            idle_turns = 0 if self.running else idle_turns + 1

    @property
    def running(self) -> set[str]:
        return {name for name in self.parts if self.dispatcher.needs(self.record(name)).running}

    def record(self, name: str) -> TreeRecord:
        return self.ledger.tree(name)

    def state(self, name: str) -> str:
        return self.dispatcher.state(self.record(name))

    def outcomes(self, name: str) -> list[tuple[str, str | None]]:
        """Scope and outcome of each job of a tree, the oldest first."""
        return [(job.scope, job.outcome) for job in reversed(self.ledger.jobs(name, 100))]

    def runs(self, name: str) -> list[str]:
        """The arguments of each rsync run for a tree."""
        path = self.folder / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(f"{name} ")]

    def pid(self, name: str) -> int:
        path = self.folder / f"{name}.pid"
        self.spin(lambda: path.exists() and path.read_text().endswith("\n"))
        return int(path.read_text())

    def close(self) -> None:
        (self.folder / "go").touch()
        stopped = self.dispatcher.stop()
        self.spin(lambda: stopped.called)
        self.ledger.close()


@pytest.fixture
def fleets(reactor: Any, spin: Spin, tmp_path: Path) -> Iterator[Any]:
    """Makes a fleet, and stops it in the end."""
    made: list[Fleet] = []

    def make(*names: str, **options: Any) -> Fleet:
        made.append(Fleet(reactor, spin, tmp_path, *names, **options))
        return made[0]

    yield make
    for fleet in made:
        fleet.close()


def test_a_first_sync_is_done_by_itself_and_leaves_the_folder_clean(fleets: Any) -> None:
    """Planned, brought, and compared for surplus; the staging folder is gone and the root has its time."""
    fleet = fleets("debian")
    fleet.do("debian", "touch -d @1700000000.5 $target")
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done")]
    assert len(fleet.runs("debian")) == 3
    record = fleet.record("debian")
    assert (record.applied, record.cleaned, record.entries, fleet.state("debian")) == (0, 0, 1, "idle")
    assert not (fleet.folder / "debian" / os.fsdecode(STAGING_NAME)).exists()
    assert (fleet.folder / "debian").stat().st_mtime_ns == 1_700_000_000_500_000_000
    assert [event for event, _ in fleet.events] == [Event.STARTED, Event.COMPLETED]
    fleet.run_until_idle(after_ms=60_000)
    assert len(fleet.outcomes("debian")) == 1


class Noting(Profile):
    """A profile that notes the threads in which it is asked."""

    threads: ClassVar[list[int]] = []

    def is_metadata(self, path: bytes) -> bool:
        self.threads.append(threading.get_ident())
        return super().is_metadata(path)


def test_a_list_is_laid_out_beside_the_reactor(fleets: Any) -> None:
    """With a million paths that takes seconds, in which heartbeats are heard and the other jobs go on."""
    fleet = fleets("debian")
    fleet.run_until_idle()
    fleet.parts["debian"] = replace(fleet.parts["debian"], profile=Noting("plain"))
    fleet.dispatcher = fleet.new_dispatcher()
    fleet.do("debian", "echo '>f+++++++++ x'")
    fleet.announce("debian", 1, put("x"))
    Noting.threads.clear()
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done"), ("list", "done")]
    assert Noting.threads and threading.get_ident() not in Noting.threads


def test_no_more_jobs_run_at_a_time_than_allowed(fleets: Any) -> None:
    """The others are queued, and take their turn as soon as there is room."""
    fleet = fleets("one", "two", "three", "four", max_jobs=2)
    for name in fleet.parts:
        fleet.do(name, WAIT)
    fleet.look()
    fleet.spin(lambda: len(fleet.running) == 2)
    for _ in range(5):
        fleet.look(after_ms=1000)
        fleet.turn(5)
        assert len(fleet.running) == 2
    assert sorted(fleet.state(name) for name in fleet.parts) == ["queued", "queued", "running", "running"]
    (fleet.folder / "go").touch()
    fleet.spin(lambda: all(fleet.record(name).applied == 0 for name in fleet.parts))
    jobs = [job for name in fleet.parts for job in fleet.ledger.jobs(name, 9)]
    assert [job.outcome for job in jobs] == ["done"] * 4


def test_a_tree_runs_one_job_at_a_time(fleets: Any) -> None:
    """What is announced meanwhile is one job more, however much it is."""
    fleet = fleets("debian")
    fleet.do("debian", WAIT)
    fleet.look()
    fleet.spin(lambda: fleet.running)
    for serial in range(1, 11):
        fleet.announce("debian", serial, put(f"file{serial}"))
        fleet.look()
        fleet.turn(3)
    assert len(fleet.runs("debian")) == 1
    fleet.do("debian", "echo '>f+++++++++ x'; for n in 1 2 3 4 5 6 7 8 9 10; do echo \">f+++++++++ file$n\"; done")
    (fleet.folder / "go").touch()
    fleet.spin(lambda: fleet.record("debian").applied == 10)
    assert fleet.outcomes("debian") == [("whole", "done"), ("list", "done")]


def test_a_failing_tree_does_not_stop_another_and_its_delays_are_recorded(fleets: Any) -> None:
    """They double; after three failures its state says so, and a success forgets them."""
    fleet = fleets("bad", "good", max_jobs=1)
    fleet.do("bad", "touch $target; echo 'rsync: connection refused' >&2; exit 10")
    before_ns = (fleet.folder / "bad").stat().st_mtime_ns
    fleet.run_until_idle()
    assert (fleet.folder / "bad").stat().st_mtime_ns == before_ns
    assert (fleet.record("good").applied, fleet.state("good")) == (0, "idle")
    for failures, delay_ms in enumerate((5_000, 10_000, 20_000), start=1):
        record = fleet.record("bad")
        assert (record.failures, record.retry_at_ms, record.applied) == (failures, fleet.time() + delay_ms, NEVER)
        assert "connection failed" in (record.reason or "") and "refused" in (record.reason or "")
        assert fleet.state("bad") == ("failed" if failures == 3 else "waiting")
        fleet.run_until_idle(after_ms=delay_ms - 1)
        assert len(fleet.outcomes("bad")) == failures
        fleet.run_until_idle(after_ms=1)
    assert {outcome for _, outcome in fleet.outcomes("bad")} == {"failed"}
    fleet.behave("bad")
    fleet.run_until_idle(after_ms=40_000)
    record = fleet.record("bad")
    assert (record.applied, record.failures, record.reason, record.retry_at_ms) == (0, 0, None, None)
    assert not (fleet.folder / "bad" / os.fsdecode(STAGING_NAME)).exists()


def test_a_busy_upstream_is_nobodys_failure(fleets: Any) -> None:
    """It is asked again soon, without counting."""
    fleet = fleets("debian")
    fleet.do("debian", "echo '@ERROR: max connections (4) reached -- try again later' >&2; exit 5")
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert (record.failures, record.retry_at_ms) == (0, fleet.time() + 10_000)
    assert fleet.state("debian") == "waiting"


def test_a_tree_whose_folder_is_gone_does_not_stop_another(fleets: Any) -> None:
    """It fails at once, in words, and the next job starts in the same moment."""
    fleet = fleets("aaa", "bbb", max_jobs=1)
    (fleet.folder / "aaa" / "file").unlink()
    (fleet.folder / "aaa").rmdir()
    fleet.run_until_idle()
    assert fleet.record("bbb").applied == 0
    record = fleet.record("aaa")
    assert "mirror's disk" in (record.reason or "") and str(fleet.folder / "aaa") in (record.reason or "")
    assert fleet.state("aaa") == "failed"


def test_a_tree_that_lost_its_disk_is_not_filled_anew(fleets: Any) -> None:
    """An empty folder that had entries starts no rsync, and the job after it starts without delay."""
    fleet = fleets("aaa", "bbb", max_jobs=1)
    fleet.ledger.set_entries("aaa", 100)
    (fleet.folder / "aaa" / "file").unlink()
    fleet.look()
    fleet.spin(lambda: fleet.record("bbb").applied == 0, 10)
    assert "is its disk mounted?" in (fleet.record("aaa").reason or "")
    assert fleet.runs("aaa") == []


def test_a_tree_whose_record_is_spoilt_does_not_stop_another(fleets: Any, spin: Spin) -> None:
    """A fault of the ledger's content is told beside that tree, and tried again later."""
    fleet = fleets("aaa", "bbb", max_jobs=1)
    fleet.run_until_idle()
    for name in fleet.parts:
        fleet.announce(name, 1, put("file1"))
        fleet.do(name, "echo '>f+++++++++ file1'")
    with sqlite3.connect(fleet.folder / "ledger") as database:
        database.execute("UPDATE pending SET changes = X'00' WHERE tree = 'aaa'")
    fleet.look()
    fleet.spin(lambda: fleet.record("bbb").applied == 1, 10)
    record = fleet.record("aaa")
    assert record.failures == 1 and record.retry_at_ms is not None
    assert "fault of this program" in (record.reason or "")


def test_a_paused_tree_starts_nothing_until_it_is_resumed(fleets: Any) -> None:
    """The others go on."""
    fleet = fleets("paused", "other")
    fleet.ledger.set_paused("paused", True)
    fleet.run_until_idle()
    assert (fleet.state("paused"), fleet.runs("paused")) == ("paused", [])
    assert fleet.record("other").applied == 0
    fleet.ledger.set_paused("paused", False)
    fleet.run_until_idle()
    assert fleet.record("paused").applied == 0


def test_a_full_sync_comes_by_itself_when_the_last_is_old(fleets: Any) -> None:
    """At `max_age`, not before; list jobs do not put it off."""
    fleet = fleets("debian", max_age="1h")
    fleet.run_until_idle()
    fleet.do("debian", "echo '>f+++++++++ file1'")
    fleet.announce("debian", 1, put("file1"))
    fleet.run_until_idle(after_ms=1_800_000)
    assert fleet.outcomes("debian")[1:] == [("list", "done")]
    fleet.run_until_idle(after_ms=1_799_999)
    assert len(fleet.outcomes("debian")) == 2
    fleet.run_until_idle(after_ms=1)
    assert fleet.outcomes("debian")[2:] == [("whole", "done")]


NO_FULL_SYNC = """case "$*" in
*--files-from*) echo '>f+++++++++ file1';;
*) echo 'rsync: trouble' >&2; exit 12;;
esac"""


def test_a_full_sync_for_age_that_fails_keeps_nothing_else_waiting(fleets: Any) -> None:
    """It is tried again by itself, later each time, and list jobs that are done in between do not hasten it."""
    fleet = fleets("debian", max_age="1h")
    fleet.run_until_idle()
    fleet.do("debian", NO_FULL_SYNC)
    fleet.run_until_idle(after_ms=3_600_000)
    for serial, delay_ms in enumerate((5_000, 10_000, 20_000), 1):
        record, began = fleet.record("debian"), len(fleet.outcomes("debian"))
        assert (record.full_sync_failures, record.full_sync_retry_at_ms) == (serial, fleet.time() + delay_ms)
        assert (record.failures, record.retry_at_ms) == (0, None)
        assert "trouble" in (record.reason or "")
        fleet.announce("debian", serial, put("file1"))
        fleet.run_until_idle(after_ms=delay_ms - 1)
        assert (fleet.outcomes("debian")[began:], fleet.record("debian").applied) == ([("list", "done")], serial)
        assert fleet.state("debian") == ("failed" if serial == 3 else "idle")
        fleet.run_until_idle(after_ms=1)
        assert fleet.outcomes("debian")[began + 1 :] == [("whole", "failed")]
    fleet.behave("debian")
    fleet.run_until_idle(after_ms=40_000)
    record = fleet.record("debian")
    assert (record.full_sync_failures, record.full_sync_retry_at_ms, record.reason) == (0, None, None)
    assert (record.last_full_sync_ms, fleet.state("debian")) == (fleet.time(), "idle")


def test_an_operator_who_asks_has_a_full_sync_for_age_tried_at_once(fleets: Any) -> None:
    """As for every other job that waits for its next try."""
    fleet = fleets("debian", max_age="1h")
    fleet.run_until_idle()
    fleet.do("debian", NO_FULL_SYNC)
    fleet.run_until_idle(after_ms=3_600_000)
    fleet.behave("debian")
    fleet.ledger.retry_now("debian")
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done"), ("whole", "failed"), ("whole", "done")]


def test_what_a_full_sync_finds_that_nobody_announced_is_counted(fleets: Any) -> None:
    """It should be nothing, and is when nothing was found; what was announced does not count."""
    fleet = fleets("debian", max_age="1h")
    fleet.run_until_idle()
    assert fleet.record("debian").unannounced_last is None, "a first sync finds everything"
    fleet.run_until_idle(after_ms=3_600_000)
    assert (fleet.record("debian").unannounced_total, fleet.record("debian").unannounced_last) == (0, 0)
    fleet.do("debian", "echo '.d..t...... ./'; echo '>f.st...... file'")
    fleet.run_until_idle(after_ms=3_600_000)
    assert (fleet.record("debian").unannounced_total, fleet.record("debian").unannounced_last) == (1, 1)
    fleet.announce("debian", 1, None)
    fleet.run_until_idle()
    assert (fleet.record("debian").unannounced_total, fleet.record("debian").unannounced_last) == (1, 1)
    assert fleet.outcomes("debian") == [("whole", "done")] * 4


def test_a_list_job_waits_for_the_rest_of_the_history(fleets: Any) -> None:
    """Until that is there, or until the time for which it waits is over; deletions and other trees go on."""
    fleet = fleets("debian", "fedora")
    fleet.run_until_idle()
    for name in fleet.parts:
        fleet.do(name, "echo '>f+++++++++ file1'; echo '>f+++++++++ file2'")
        fleet.announce(name, 1, put("file1"))
    fleet.catching_up["debian"] = fleet.time() + 10_000
    fleet.run_until_idle()
    assert [fleet.record(name).applied for name in fleet.parts] == [0, 1]
    assert fleet.state("debian") == "waiting"
    fleet.announce("debian", 2, put("file2"))
    fleet.run_until_idle(after_ms=10_000)
    assert fleet.outcomes("debian") == [("whole", "done"), ("list", "done")]
    assert fleet.record("debian").applied == 2


def test_announcements_are_gathered(fleets: Any) -> None:
    """A list job starts `coalesce` after the first of them and takes them all."""
    fleet = fleets("debian", coalesce="2s")
    fleet.run_until_idle(after_ms=2000)
    fleet.do("debian", 'for n in 1 2 3; do echo ">f+++++++++ file$n"; done')
    for serial in (1, 2, 3):
        fleet.announce("debian", serial, put(f"file{serial}"))
        fleet.run_until_idle(after_ms=600)
    assert (len(fleet.outcomes("debian")), fleet.state("debian")) == (1, "waiting")
    fleet.run_until_idle(after_ms=200)
    assert fleet.outcomes("debian")[1:] == [("list", "done")]
    assert fleet.record("debian").applied == 3


def test_a_first_sync_waits_until_it_is_known_where_the_publisher_is(fleets: Any) -> None:
    """Otherwise it would be done twice."""
    fleet = fleets("debian")
    fleet.awaiting.add("debian")
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == []
    fleet.awaiting.clear()
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done")]


def test_what_is_missing_upstream_is_waited_for_and_then_decided_by_a_full_sync(fleets: Any) -> None:
    """`applied` stays, the tree waits with the reason, and nothing counts as a failure."""
    fleet = fleets("debian", missing_wait="1m")
    fleet.run_until_idle()
    fleet.do("debian", "echo '>f+++++++++ there'")
    fleet.announce("debian", 1, put("there", "missing", "missing too"))
    fleet.run_until_idle()
    record, since_ms = fleet.record("debian"), fleet.time()
    assert (record.announced, record.applied, record.failures, fleet.state("debian")) == (1, 0, 0, "waiting")
    assert "2 announced paths are missing upstream, the first is missing" in (record.reason or "")
    assert (record.missing_since_ms, record.retry_at_ms) == (since_ms, since_ms + 20_000)
    for number in (1, 2, 3):
        fleet.run_until_idle(after_ms=20_000)
        assert fleet.record("debian").missing_since_ms in (since_ms, None)
        assert len(fleet.outcomes("debian")) == 2 + number
    assert fleet.outcomes("debian") == [("whole", "done"), *[("list", "waiting")] * 3, ("whole", "done")]
    record = fleet.record("debian")
    assert (record.applied, record.missing_since_ms, record.reason, fleet.state("debian")) == (1, None, None, "idle")


def test_the_next_update_may_bring_what_was_missing(fleets: Any) -> None:
    """Both are applied by one list job, and there is no full sync."""
    fleet = fleets("debian", missing_wait="1m")
    fleet.run_until_idle()
    fleet.announce("debian", 1, put("late"))
    fleet.run_until_idle()
    fleet.do("debian", "echo '>f+++++++++ late'; echo '>f+++++++++ other'")
    fleet.announce("debian", 2, put("other"))
    fleet.run_until_idle(after_ms=20_000)
    assert fleet.outcomes("debian") == [("whole", "done"), ("list", "waiting"), ("list", "done")]
    assert (fleet.record("debian").applied, fleet.record("debian").missing_since_ms) == (2, None)


def test_a_delete_stage_that_failed_is_forgotten_when_it_succeeds(fleets: Any) -> None:
    """The serial counts as applied meanwhile, as cleaned only then; the state is not `failed` for ever."""
    fleet = fleets("debian")
    for number in range(9):
        (fleet.folder / "debian" / f"file{number}").touch()
    fleet.run_until_idle()
    fleet.ledger.set_entries("debian", 10)
    fleet.do("debian", "echo 'not an rsync of ours' >&2; exit 1")
    fleet.announce("debian", 1, ChangeList(deleted=paths("file1")))
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert (record.applied, record.cleaned, record.failures, fleet.state("debian")) == (1, 0, 1, "failed")
    fleet.do("debian", "echo '.f          file2'; case $* in *--delete-missing-args*) rm -f $target/file1;; esac")
    fleet.run_until_idle(after_ms=5_000)
    record = fleet.record("debian")
    assert (record.applied, record.cleaned, record.failures, fleet.state("debian")) == (1, 1, 0, "idle")
    assert (record.reason, record.retry_at_ms, record.entries) == (None, None, 9)


def test_deletions_above_the_budget_are_held_and_tell_so_once(fleets: Any) -> None:
    """No rsync runs for them until somebody approves."""
    fleet = fleets("debian", delete_budget={"count": 0, "percent": 5, "limit": 50})
    for number in range(2):
        (fleet.folder / "debian" / f"file{number}").touch()
    fleet.run_until_idle()
    fleet.announce("debian", 1, ChangeList(deleted=paths("file")))
    fleet.run_until_idle()
    record, runs = fleet.record("debian"), len(fleet.runs("debian"))
    assert "1 of 3 entries would be deleted" in (record.held or "")
    assert (record.applied, record.cleaned, record.deletion_due_ms) == (1, 0, None)
    fleet.run_until_idle(after_ms=600_000)
    assert len(fleet.runs("debian")) == runs
    assert [event for event, _ in fleet.events].count(Event.HELD) == 1
    fleet.ledger.approve("debian")
    fleet.do("debian", "rm -f $target/file; echo '*deleting   file'")
    fleet.run_until_idle()
    assert fleet.record("debian").cleaned == 1


def test_an_upstream_cannot_raise_the_budget(fleets: Any) -> None:
    """What it says that it has does not count, only what is here."""
    fleet = fleets("debian", delete_budget={"count": 0, "percent": 5, "limit": 50})
    for number in range(3):
        (fleet.folder / "debian" / f"file{number}").touch()
    surplus = "".join(f"echo '*deleting   file{number}'; " for number in range(3))
    fleet.do("debian", f"{surplus} echo 'Number of files: 1,000,000' | tr -d ,; exit 0")
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert record.entries == 4
    assert "3 of 4 entries would be deleted" in (record.held or "")


def test_an_upstream_that_shows_nothing_is_not_believed_that_something_is_gone(fleets: Any) -> None:
    """A look at what would be left goes before the first deletion; once it has that, what is due is deleted."""
    fleet = fleets("debian")
    for number in range(9):
        (fleet.folder / "debian" / f"file{number}").touch()
    fleet.run_until_idle()
    fleet.announce("debian", 1, ChangeList(deleted=paths("file1")))
    fleet.run_until_idle()
    record, runs = fleet.record("debian"), fleet.runs("debian")
    assert "is its disk mounted?" in (record.held or "")
    assert (record.applied, record.cleaned) == (1, 0)
    assert "--delete-missing-args" not in runs[-1]
    assert " -n " in runs[-1]
    fleet.do("debian", "echo '.f          file2'; case $* in *--delete-missing-args*) rm -f $target/file1;; esac")
    fleet.announce("debian", 2, ChangeList(deleted=paths("file3")))
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert (record.held, record.applied, record.pending_deletions, record.lost) == (None, 2, 1, 1)
    assert "--delete-missing-args" in fleet.runs("debian")[-1]


def test_a_run_that_breaks_off_does_not_hide_what_it_has_deleted(fleets: Any) -> None:
    """Whoever cuts the connection after each deletion does not get by the sum."""
    fleet = fleets("debian", delete_budget={"count": 2, "percent": 5, "limit": 50})
    for number in range(9):
        (fleet.folder / "debian" / f"file{number}").touch()
    fleet.run_until_idle()
    for number in range(3):
        script = f"echo '.f          file'; case $* in *delete-missing*) rm -f $target/file{number}; exit 12;; esac"
        fleet.do("debian", script)
        fleet.announce("debian", number + 1, ChangeList(deleted=paths(f"file{number}")))
        fleet.run_until_idle(after_ms=60_000)
    record = fleet.record("debian")
    assert (record.lost, record.entries) == (2, 8)
    assert "beside 2 that are gone already" in (record.held or "")


def test_a_job_that_a_new_epoch_overtakes_is_done_again(fleets: Any) -> None:
    """What it brought proves nothing about the new serials; nobody is to blame."""
    fleet = fleets("debian")
    fleet.do("debian", WAIT)
    fleet.look()
    fleet.pid("debian")
    head = Head("1800000000000-0123456789abcdef", 5, "5" * 64)
    fleet.ledger.start_over("debian", head, fleet.time(), fleet.time(), same_history=False)
    (fleet.folder / "go").touch()
    fleet.spin(lambda: not fleet.running)
    record = fleet.record("debian")
    assert (record.applied, record.failures, record.last_full_sync_ms) == (NEVER, 0, None)
    fleet.run_until_idle(after_ms=15_000)
    assert fleet.record("debian").applied == 5


# --- stopping


def test_a_stop_ends_what_runs_and_records_it_as_interrupted(fleets: Any) -> None:
    """It is over when the last job has ended; nothing is reported as a failure and nothing new starts."""
    fleet = fleets("one", "two", "three", max_jobs=2)
    for name in fleet.parts:
        fleet.do(name, WAIT)
    fleet.look()
    fleet.spin(lambda: len(fleet.running) == 2)
    running = sorted(fleet.running)
    pids = [fleet.pid(name) for name in running]
    stopped = fleet.dispatcher.stop()
    assert not stopped.called
    fleet.spin(lambda: stopped.called)
    for name in running:
        assert fleet.outcomes(name) == [("whole", "interrupted")]
        assert (fleet.record(name).failures, fleet.record(name).retry_at_ms) == (0, None)
        assert not (fleet.folder / name / os.fsdecode(STAGING_NAME)).exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    fleet.look(after_ms=100_000)
    fleet.turn()
    assert len(fleet.events) == 2
    assert [event for event, _ in fleet.events] == [Event.STARTED] * 2


def test_a_stop_between_two_runs_of_a_job_starts_no_other_run(fleets: Any) -> None:
    """Here: while the job waits for the lock, which an rsync of before still holds."""
    fleet = fleets("debian")
    lock = fleet.parts["debian"].lock
    held = lock.take()
    assert held is not None
    fleet.look()
    fleet.spin(lambda: fleet.running)
    stopped = fleet.dispatcher.stop()
    os.close(held)
    fleet.spin(lambda: stopped.called)
    assert fleet.outcomes("debian") == [("whole", "interrupted")]
    assert fleet.runs("debian") == []


def test_a_stop_with_nothing_to_stop_is_over_at_once(fleets: Any) -> None:
    """No job, no wait."""
    fleet = fleets("debian")
    assert fleet.dispatcher.stop().called


def test_what_a_killed_daemon_left_running_is_ended_before_a_job_begins(fleets: Any) -> None:
    """It holds the lock; TERM is enough for it, and the job goes on when the lock is free."""
    fleet = fleets("debian")
    held = fleet.parts["debian"].lock.take()
    assert held is not None
    left = subprocess.Popen(["sleep", "60"], pass_fds=[held])
    os.close(held)
    fleet.run_until_idle()
    assert left.wait(5) == -15
    assert fleet.outcomes("debian") == [("whole", "done")]
