"""The ledger after its daemon was killed, or its disk was full, in the middle of anything."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import IO

import pytest

from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.ledger_writer import DELETIONS, deletions_of
from tests.subscriber.upstream import IDENTITY, TREE, paths
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.waiting import wait_until

ROUNDS, ALL_ROUNDS = 8, 60
FILES = ("", "-wal")


def start_writer(path: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Return a process that works on the ledger `path` and tells what it has committed."""
    arguments = [sys.executable, "-m", "tests.subscriber.ledger_writer", str(path)]
    return subprocess.Popen(arguments, stdout=output, cwd=REPOSITORY, env=clean_environment())


def write_and_be_killed(path: Path, told: Path, after_lines: int, delay_seconds: float) -> None:
    """Let a writer work until it has told so much, and kill it a moment later."""
    with told.open("wb") as output:
        writer = start_writer(path, output)
    try:
        wait_until(lambda: told.read_bytes().count(b"\n") >= after_lines or writer.poll() is not None)
        deadline = time.monotonic() + delay_seconds
        while time.monotonic() < deadline:
            pass
        assert writer.poll() is None, "the writer ended by itself"
    finally:
        writer.kill()
        writer.wait()


def check(path: Path, told: str) -> None:
    """Open what the killed writer left: nothing that was told is lost, and nothing is half there."""
    ledger = Ledger(path)
    try:
        assert ledger.open_tree(TREE, IDENTITY) is False
        record = ledger.tree(TREE)
        words = [line.split() for line in told.splitlines(keepends=True) if line.endswith("\n")]
        announced = max((int(serial) for word, serial in words if word == "announced"), default=0)
        applied = max((int(serial) for word, serial in words if word == "applied"), default=0)
        assert announced <= record.announced and (not announced or record.announced <= announced + 1)
        assert applied <= record.applied and record.applied % 5 == 0
        pending = [update.serial for update in ledger.pending(TREE)]
        assert pending == list(range(record.applied + 1, record.announced + 1))
        assert all(update.changes is not None and len(update.changes.changed) == 10 for update in ledger.pending(TREE))
        deletions = [deletion.path for deletion in ledger.deletions(TREE)]
        assert len(deletions) in (0, DELETIONS)
        assert deletions in ([], list(paths(*deletions_of(record.applied))))
        assert record.cleaned <= record.applied <= record.announced
        assert all(job.outcome in ("done", "interrupted", None) for job in ledger.jobs(TREE, 300))
        assert len(ledger.interrupt_jobs(1)) <= 1
    finally:
        ledger.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_moment_leaves_a_ledger_that_is_right(tmp_path: Path, full: bool) -> None:
    """Again and again on the same file: what was told is there, and each transaction is there whole or not at all."""
    source = random.Random(20)
    path, told = tmp_path / "ledger", tmp_path / "told"
    for _ in range(ALL_ROUNDS if full else ROUNDS):
        write_and_be_killed(path, told, source.randrange(1, 40), source.random() * 0.01)
        check(path, told.read_text())


def copy_of_running(path: Path, told: Path, folder: Path, after_lines: int) -> tuple[Path, str]:
    """Let a writer work until it has told so much; return its files as they are then, and what it had told."""
    folder.mkdir()
    with told.open("wb") as output:
        writer = start_writer(path, output)
    try:
        wait_until(lambda: told.read_bytes().count(b"\n") >= after_lines)
        os.kill(writer.pid, signal.SIGSTOP)
        for suffix in FILES:
            shutil.copyfile(f"{path}{suffix}", folder / f"ledger{suffix}")
        return folder / "ledger", told.read_text()
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.slow
def test_a_copy_of_the_files_at_any_moment_is_a_ledger(tmp_path: Path, full: bool) -> None:
    """What a power cut leaves of a disk that keeps what it was told to keep."""
    source = random.Random(21)
    for number in range((ALL_ROUNDS if full else ROUNDS) // 2):
        told = tmp_path / "told"
        path, said = copy_of_running(tmp_path / "ledger", told, tmp_path / str(number), source.randrange(1, 400))
        check(path, said)


@pytest.mark.slow
def test_a_log_that_lost_its_end_is_a_state_that_there_was(tmp_path: Path, full: bool) -> None:
    """Cut off at any byte, or spoilt from there on: whole transactions are missing, and never parts of one."""
    source = random.Random(22)
    # So early nothing of the log has gone into the file yet; what has was made sure of on the disk before.
    path, _ = copy_of_running(tmp_path / "writing", tmp_path / "told", tmp_path / "copy", 100)
    contents = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in FILES}
    whole = contents["-wal"]
    found = set()
    for number in range(300 if full else 40):
        folder = tmp_path / str(number)
        folder.mkdir()
        kept = len(whole) - source.randrange(len(whole) // 2)
        rest = source.choice([b"", bytes(len(whole) - kept), source.randbytes(len(whole) - kept)])
        (folder / "ledger").write_bytes(contents[""])
        (folder / "ledger-wal").write_bytes(whole[:kept] + rest)
        check(folder / "ledger", "")
        ledger = Ledger(folder / "ledger")
        found.add(ledger.tree(TREE).announced)
        ledger.close()
        shutil.rmtree(folder)
    assert len(found) > 10, found


def test_a_full_disk_is_an_error_once_and_forgotten_when_there_is_room_again(tmp_path: Path) -> None:
    """What failed was not recorded, what came before stays, and the ledger works again without a restart."""
    program = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from pushmirror.errors import StateError
        from pushmirror.subscriber.ledger import Ledger
        from tests.subscriber.test_ledger import announce, begin_at, put, IDENTITY, TREE

        path = Path(sys.argv[1])
        ledger = Ledger(path)
        ledger.open_tree(TREE, IDENTITY)
        begin_at(ledger, 0)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        written = path.with_name(path.name + "-wal").stat().st_size
        for room in range(0, 40000, 1111):
            announced = ledger.tree(TREE).announced
            resource.setrlimit(resource.RLIMIT_FSIZE, (written + room, unlimited))
            failed = False
            for serial in range(announced + 1, announced + 50):
                try:
                    announce(ledger, serial, put(*(f"{serial}/{number}" * 9 for number in range(40))))
                except StateError:
                    failed = True
                    break
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            assert failed, "the disk was to be full"
            assert ledger.tree(TREE).announced == serial - 1, (ledger.tree(TREE), serial)
            announce(ledger, serial, put("room again"))
            assert [u.serial for u in ledger.pending(TREE)] == list(range(1, serial + 1))
            written = path.with_name(path.name + "-wal").stat().st_size
        ledger.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ledger")],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
