"""One run of rsync, with small scripts in its place: real processes, real limits, real signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.core.command import Command
from pushmirror.core.exits import Outcome
from pushmirror.core.model import StageKind
from pushmirror.core.source import Source, parse_source
from pushmirror.core.watchdog import Limits
from pushmirror.errors import StateError
from pushmirror.subscriber.confinement import find_version
from pushmirror.subscriber.environment import clean_environment
from pushmirror.subscriber.lock import TreeLock
from pushmirror.subscriber.runner import Runner, RunResult
from tests.subscriber.upstream import TREE, paths
from tests.support.reactor import Spin
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SOURCE = parse_source("rsync://127.0.0.1/module/")
NO_ARGUMENTS = Command(())
GENEROUS = Limits(no_progress_s=60, wall_clock_s=None, output_bytes=10_000_000)


class Field:
    """A folder with a script in the place of rsync, a lock, and a runner of it."""

    def __init__(self, reactor: Any, spin: Spin, folder: Path) -> None:
        self.reactor, self.spin, self.folder = reactor, spin, folder
        self.lock = TreeLock(folder / "tree.lock")
        self.script = folder / "rsync"
        self.runs = folder / "runs"
        self.environment: Mapping[str, str] = {"PATH": os.environ["PATH"]}
        self.held = self.lock.take() or -1

    def write(self, text: str) -> None:
        """Let the script do this; ``$D`` is the folder of the test."""
        beside = self.script.with_suffix(".new")
        beside.write_text(f"#!/bin/sh\nD={self.folder}\n{text}\n")
        beside.chmod(0o755)
        beside.replace(self.script)

    def runner(self) -> Runner:
        return Runner(self.reactor, str(self.script), self.runs, self.environment)

    def start(
        self, runner: Runner, *, tree: str = TREE, kind: StageKind = StageKind.PAYLOAD, limits: Limits = GENEROUS,
        command: Command = NO_ARGUMENTS, source: Source = SOURCE, lock: int | None = None,
    ) -> list[RunResult]:  # fmt: skip
        """Start a run; the list that is returned gets its result."""
        results: list[RunResult] = []
        lock = self.held if lock is None else lock
        writable = (str(self.folder),)
        started = Deferred.fromCoroutine(runner.run(tree, kind, command, source, limits, lock, writable))
        started.addCallback(results.append)
        started.addErrback(lambda failure: pytest.fail(failure.getTraceback()))
        return results

    def run(self, text: str, **options: Any) -> RunResult:
        """Run a script to its end."""
        self.write(text)
        results = self.start(self.runner(), **options)
        self.spin(lambda: results)
        return results[0]

    def told(self, name: str) -> str:
        """Return what the script wrote into a file, once it did."""
        path = self.folder / name
        self.spin(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text().strip()


@pytest.fixture
def field(reactor: Any, spin: Spin, tmp_path: Path) -> Iterator[Field]:
    field = Field(reactor, spin, tmp_path)
    yield field
    os.close(field.held)
    field.lock.signal_holders(signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether the process is there and not only waiting to be asked how it ended."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("kind", "code", "outcome"),
    [
        (StageKind.PAYLOAD, 0, Outcome.DONE),
        (StageKind.PAYLOAD, 12, Outcome.RETRY),
        (StageKind.PAYLOAD, 23, Outcome.RETRY),
        (StageKind.PAYLOAD, 11, Outcome.DISK),
        (StageKind.PAYLOAD, 1, Outcome.FAILED),
        (StageKind.PAYLOAD, 255, Outcome.FAILED),
        (StageKind.PLAN, 24, Outcome.RETRY),
        (StageKind.DELETE, 24, Outcome.DONE),
    ],
)
def test_the_exit_code_is_judged_by_its_stage(field: Field, kind: StageKind, code: int, outcome: Outcome) -> None:
    """It comes through as it was, and nothing raises for it."""
    result = field.run(f"exit {code}", kind=kind)
    assert (result.code, result.judgement.outcome) == (code, outcome)


@pytest.mark.parametrize("stream", ["output", "messages"])
def test_names_without_end_do_not_fill_the_memory_of_the_daemon(field: Field, stream: str) -> None:
    """The other side can have any number printed: more of them than `memory_limit` has room for are not even read."""
    line = ">f+++++++++ %.0f" if stream == "output" else 'file has vanished: "/%.0f" (in m)'
    names = f"seq -f '{line}' 1 2000{'' if stream == 'output' else ' >&2'}"
    small, large = (Limits(60, None, 10**7, memory_bytes=size) for size in (500_000, 5_000_000))
    result = field.run(names, limits=small)
    assert (result.judgement.outcome, result.judgement.of_source) == (Outcome.RETRY, True)
    assert "memory_limit" in result.judgement.reason
    assert not result.items.present and not result.notes.vanished
    result = field.run(names, limits=large)
    assert len(result.items.present | result.notes.vanished) == 2000
    assert result.judgement.outcome is Outcome.DONE


def test_a_signal_that_ended_rsync_is_a_negative_code(field: Field) -> None:
    """Whoever sent it."""
    result = field.run("kill -KILL $$")
    assert (result.code, result.judgement.outcome) == (-signal.SIGKILL, Outcome.RETRY)
    assert "signal 9" in result.judgement.reason


def test_what_rsync_prints_is_parsed(field: Field) -> None:
    """Items from its output, causes from its messages; bytes that are no text do no harm."""
    result = field.run(
        r"""
        printf '>f+++++++++ pool/a\n.f          pool/b\ncd+++++++++ pool/\n*deleting   old/\n\377\n'
        printf 'Number of files: 12\nTotal transferred file size: 345\n'
        printf 'file has vanished: "/pool/c" (in module)\n@ERROR: max connections (4) reached -- try again later\n' >&2
        exit 5
        """
    )
    assert result.items.present == set(paths("pool", "pool/a", "pool/b"))
    assert (result.items.created, result.items.entries, result.items.transferred_bytes) == (2, 11, 345)
    assert result.items.deleted == paths("old")
    assert result.notes.vanished == set(paths("pool/c"))
    assert result.judgement.outcome is Outcome.BUSY


def test_an_earlier_run_leaves_nothing_to_the_next(field: Field) -> None:
    """Each has output and messages of its own."""
    assert field.run("echo '>f+++++++++ a'; echo error >&2; exit 12").notes.errors
    result = field.run("exit 0")
    assert (result.items.present, result.notes.errors) == (frozenset(), ())


def test_arguments_and_listing_arrive_byte_by_byte(field: Field) -> None:
    """No shell, no option and no wildcard of theirs; standard input is a plain file with the listing."""
    listing = b"-rf\0new\nline\0\xff\xfe\0$(true)\0"
    arguments = ("--from0", "--", "rsync://h/m/", "a b", "*", "$HOME", "`true`", "-x", "'")
    field.run(
        """
        cat > $D/listing
        stat -Lc %F /proc/self/fd/0 > $D/kind
        for argument in "$@"; do printf '%s\\0' "$argument"; done > $D/arguments
        """,
        command=Command(arguments, listing),
    )
    assert (field.folder / "listing").read_bytes() == listing
    assert "regular" in (field.folder / "kind").read_text()
    assert (field.folder / "arguments").read_text() == "".join(f"{argument}\0" for argument in arguments)


def test_a_large_listing_needs_nobody_to_feed_it(field: Field) -> None:
    """Ten megabytes that rsync does not even read."""
    assert field.run("exit 0", command=Command((), b"x" * 10_000_000)).code == 0


def test_the_environment_is_free_of_what_changes_rsync(field: Field) -> None:
    """Its options, its password and every language go; messages come in the language that is parsed."""
    field.environment = {
        "PATH": os.environ["PATH"], "RSYNC_RSH": "evil", "RSYNC_PASSWORD": "secret", "RSYNC_PROXY": "evil:1",
        "RSYNC_CONNECT_PROG": "evil", "LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_MESSAGES": "de_DE.UTF-8",
        "LC_ALL": "de_DE.UTF-8", "HOME": "/somewhere",
    }  # fmt: skip
    field.run("env > $D/environment")
    found = dict(line.split("=", 1) for line in (field.folder / "environment").read_text().splitlines())
    assert not [name for name in found if name.startswith(("RSYNC", "LANG"))]
    assert {name: found[name] for name in found if name.startswith("LC_")} == {"LC_ALL": "C"}
    assert found["HOME"] == "/somewhere"
    assert clean_environment({}) == {"LC_ALL": "C", "TZ": "UTC0"}


def test_rsync_leads_a_session_without_a_terminal(field: Field) -> None:
    """It outlives nobody's terminal, and what it prints goes to files."""
    field.run("cut -d' ' -f1,5,6,7 < /proc/$$/stat > $D/session; test -t 1 || test -t 2 || echo none > $D/terminal")
    pid, group, session, terminal = field.told("session").split()
    assert pid == group == session
    assert int(pid) != os.getpid() and os.getsid(0) != int(session)
    assert terminal == "0"
    assert field.told("terminal") == "none"


def test_rsync_inherits_the_lock_of_its_tree_and_no_other_descriptor(field: Field, tmp_path: Path) -> None:
    """Another tree's lock above all: that one would stay held for as long as this run lasts."""
    other = TreeLock(tmp_path / "other.lock").take()
    assert other is not None
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    field.run("ls -l /proc/$$/fd > $D/descriptors")
    os.close(other)
    os.close(secret)
    found = [line.split(" -> ")[1] for line in (tmp_path / "descriptors").read_text().splitlines() if " -> " in line]
    assert str(tmp_path / "tree.lock") in found
    assert str(tmp_path / "other.lock") not in found
    assert str(tmp_path) not in found
    assert len(found) <= 6, found


def test_rsync_writes_in_its_folders_only(field: Field, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As far as the kernel can hold it to that; its output and its lock are not affected."""
    if not find_version():
        pytest.skip("this kernel has no Landlock, or does not let us use it")
    outside = tmp_path_factory.mktemp("outside")
    result = field.run(f"echo x > {outside}/evil; echo '>f+++++++++ a'; echo x > $D/good; exit 0")
    assert (list(outside.iterdir()), (field.folder / "good").exists()) == ([], True)
    assert result.items.present == set(paths("a"))
    assert "Permission denied" in result.notes.errors[0]


def test_the_lock_is_held_while_a_left_over_process_lives(field: Field, tmp_path: Path) -> None:
    """As after the daemon was killed: its own descriptor is closed, and the lock is still not to be had."""
    field.write("echo $$ > $D/pid; exec sleep 60")
    runner = field.runner()
    lock = TreeLock(tmp_path / "second.lock")
    held = lock.take()
    assert held is not None
    results = field.start(runner, lock=held)
    field.told("pid")
    os.close(held)
    assert lock.take() is None
    runner.stop(TREE, "enough")
    field.spin(lambda: results)
    again = wait_until(lock.take, what="the lock is free")
    os.close(again)


# --- limits and stops


def run_until_ended(field: Field, text: str, limits: Limits) -> tuple[RunResult, int]:
    """Run a script that would not end by itself, and return its result and process."""
    result = field.run(f"echo $$ > $D/pid\n{text}", limits=limits)
    pid = int(field.told("pid"))
    assert not is_alive(pid)
    return result, pid


def test_a_run_without_progress_is_ended(field: Field) -> None:
    """It may be retried; what ended it is said."""
    result, _ = run_until_ended(field, "exec sleep 60", Limits(0.3, None, 1000))
    assert (result.code, result.judgement.outcome) == (-signal.SIGTERM, Outcome.RETRY)
    assert "no progress" in result.judgement.reason


@pytest.mark.slow
def test_a_run_that_reads_or_writes_makes_progress_even_if_it_prints_nothing(field: Field) -> None:
    """A child that copies a large file counts, too."""
    result = field.run(
        "(for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat /bin/sh > $D/copy; sleep 0.2; done) & wait; exit 0",
        limits=Limits(1.2, None, 1000),
    )
    assert result.code == 0


def test_a_run_that_takes_too_long_is_ended_however_busy_it_is(field: Field) -> None:
    """Progress is no excuse."""
    result, _ = run_until_ended(
        field, "while :; do cat /bin/sh > /dev/null; sleep 0.05; done", Limits(60, 0.3, 1_000_000)
    )
    assert "took longer" in result.judgement.reason


def test_a_run_that_gives_a_byte_now_and_then_is_ended(field: Field) -> None:
    """Without a least rate it is progress, and goes on to its end."""
    drip = "for i in 1 2 3 4 5 6 7 8; do echo x; sleep 0.4; done"
    assert field.run(drip, limits=Limits(1.0, None, 1000)).code == 0
    result, _ = run_until_ended(field, drip, Limits(1.0, None, 1000, least_bytes_per_s=50_000))
    assert "less than `least_rate`" in result.judgement.reason


def test_a_run_that_does_not_come_to_its_transfer_is_ended(field: Field) -> None:
    """By time and by size, as long as it is one process; once it has started another one that does not count."""
    alone = "exec cat /dev/zero > /dev/null"
    result, _ = run_until_ended(field, alone, Limits(60, None, 1000, beginning_bytes=10**6))
    assert "greeting and file list are larger than 1000000 bytes" in result.judgement.reason
    result, _ = run_until_ended(field, alone, Limits(60, None, 1000, beginning_s=0.3))
    assert "greeting and file list took longer" in result.judgement.reason
    limits = Limits(60, None, 1000, beginning_bytes=10**6, beginning_s=1)
    assert field.run("sleep 2 & cat /bin/sh /bin/sh > /dev/null; wait; exit 0", limits=limits).code == 0


def test_a_run_that_takes_too_much_memory_is_ended(field: Field) -> None:
    """Any of its processes."""
    hog = "(exec python3 -c 'x = str(1) * 10**8; import time; time.sleep(60)') & wait"
    result, _ = run_until_ended(field, hog, Limits(60, None, 1000, memory_bytes=60 * 10**6))
    assert "more than 60000000 bytes of memory" in result.judgement.reason


def test_a_run_that_fills_the_disk_is_ended(field: Field) -> None:
    """It counts as a full disk, for which the source is not to blame."""
    result, _ = run_until_ended(field, "exec sleep 60", Limits(60, None, 1000, floor_bytes=10**18))
    assert "below min_free" in result.judgement.reason
    assert (result.judgement.outcome, result.judgement.of_source) == (Outcome.FULL, False)


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_run_that_prints_too_much_is_ended(field: Field, stream: str) -> None:
    """Output and messages are bounded together."""
    result, _ = run_until_ended(
        field, f"while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxx {stream}; done", Limits(60, None, 2000)
    )
    assert result.judgement.outcome is Outcome.RETRY
    assert "printed more than 2000 bytes" in result.judgement.reason


def test_a_stop_ends_all_processes_of_the_group(field: Field) -> None:
    """Children and grandchildren, also those whose parents are gone; the reason is the one that was given."""
    field.write(
        """
        (sleep 60 & echo $! > $D/orphan)
        sh -c 'echo $$ > '$D'/child; sleep 60; true' &
        echo $$ > $D/leader
        wait
        """
    )
    runner = field.runner()
    results = field.start(runner)
    pids = [int(field.told(name)) for name in ("orphan", "child", "leader")]
    assert all(is_alive(pid) for pid in pids)
    runner.stop("another tree", "not this one")
    runner.stop(TREE, "the daemon was stopped")
    field.spin(lambda: results)
    assert results[0].judgement.reason == "the daemon was stopped"
    wait_until(lambda: not any(is_alive(pid) for pid in pids), what="all have ended")


def test_children_that_outlive_their_leader_are_ended_with_it(field: Field) -> None:
    """When rsync has ended, nothing of it may write into the tree any more."""
    result = field.run("trap '' TERM; sleep 60 & echo $! > $D/child; exit 0")
    assert result.code == 0
    wait_until(lambda: not is_alive(int(field.told("child"))), what="the child has ended")


@pytest.mark.slow
def test_a_group_that_ignores_the_request_is_killed(field: Field) -> None:
    """TERM first, KILL five seconds later."""
    field.write("trap '' TERM INT HUP; echo $$ > $D/leader; (trap '' TERM; sleep 60; sleep 60) & wait; sleep 60")
    runner = field.runner()
    results = field.start(runner)
    leader = int(field.told("leader"))
    runner.stop(TREE, "first")
    runner.stop(TREE, "second")
    field.spin(lambda: results)
    assert results[0].code == -signal.SIGKILL
    assert results[0].judgement.reason == "first"
    assert not is_alive(leader)


def test_a_run_that_ends_well_in_spite_of_a_stop_does_not_count_as_done(field: Field) -> None:
    """It was cut short, whatever its exit code says."""
    field.write("trap 'exit 0' TERM; echo $$ > $D/leader; sleep 60 & wait")
    runner = field.runner()
    results = field.start(runner)
    field.told("leader")
    runner.stop(TREE, "enough")
    field.spin(lambda: results)
    assert (results[0].code, results[0].judgement.outcome) == (0, Outcome.RETRY)


def test_a_closed_runner_ends_what_runs_and_starts_nothing_more(field: Field) -> None:
    """Of any tree; a job between two runs meets the reason."""
    field.write("echo started >> $D/started; echo $$ > $D/leader; exec sleep 60")
    runner = field.runner()
    results = field.start(runner)
    field.told("leader")
    runner.close("the daemon was stopped")
    field.spin(lambda: results)
    assert results[0].judgement.reason == "the daemon was stopped"
    refused = field.start(runner)
    field.spin(lambda: refused)
    assert (refused[0].judgement.reason, refused[0].judgement.outcome) == ("the daemon was stopped", Outcome.RETRY)
    assert field.told("started").count("started") == 1


def test_runs_of_several_trees_do_not_mix(field: Field) -> None:
    """Each has its own input, output and end."""
    field.write('read name; echo ">f+++++++++ $name"; sleep 0.2; exit $1')
    runner = field.runner()
    found = {
        code: field.start(runner, tree=f"tree{code}", command=Command((str(code),), f"name{code}\n".encode()))
        for code in (0, 11, 12)
    }
    field.spin(lambda: all(found.values()))
    assert {code: (results[0].code, results[0].items.present) for code, results in found.items()} == {
        code: (code, frozenset(paths(f"name{code}"))) for code in found
    }


# --- programs that cannot be run


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_program_that_is_not_there_at_the_start_is_refused(field: Field, mode: int | None) -> None:
    """Missing, or not executable: the operator is told what to install or set."""
    if mode is not None:
        field.write("exit 0")
        field.script.chmod(mode)
    with pytest.raises(StateError, match="install rsync"):
        field.runner()


def remove(script: Path) -> None:
    script.unlink()


def spoil(script: Path) -> None:
    script.unlink()
    script.write_bytes(b"\x7fnot a program")
    script.chmod(0o755)


@pytest.mark.parametrize(("damage", "code"), [(remove, 127), (spoil, 126)])
def test_a_program_that_goes_away_while_the_daemon_runs_is_a_failure_in_words(
    field: Field, damage: Callable[[Path], None], code: int
) -> None:
    """As in the middle of an upgrade of the package."""
    field.write("exit 0")
    runner = field.runner()
    damage(field.script)
    results = field.start(runner)
    field.spin(lambda: results)
    assert (results[0].code, results[0].judgement.outcome) == (code, Outcome.FAILED)
    assert "rsync program" in results[0].judgement.reason
    field.write("exit 0")
    results = field.start(runner)
    field.spin(lambda: results)
    assert results[0].code == 0


@pytest.mark.slow
def test_a_thousand_runs_leak_neither_descriptors_nor_threads_nor_processes(field: Field, full: bool) -> None:
    """What a daemon does in a busy week."""
    field.write("exit 0")
    runner = field.runner()

    def run(count: int) -> None:
        for _ in range(count):
            results = field.start(runner)
            field.spin(lambda results=results: results)
            assert results[0].code == 0

    def count() -> tuple[int, int, int]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)

    run(20)
    before = count()
    run(1000 if full else 150)
    wait_until(
        lambda: all(now < then + 15 for now, then in zip(count(), before, strict=True)),
        what=f"hardly more than before: {before}",
    )
    assert not field.reactor.getDelayedCalls()
