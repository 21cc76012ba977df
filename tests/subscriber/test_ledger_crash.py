"""The ledger after its daemon was killed, or its disk was full, in the middle of anything."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.ledger_writer import DELETIONS, deletions_of
from tests.subscriber.upstream import IDENTITY, TREE, paths
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.waiting import wait_until

ROUNDS, ALL_ROUNDS = 8, 60


def write_and_be_killed(path: Path, told: Path, after_lines: int, delay_seconds: float) -> None:
    """Let a writer work until it has told so much, and kill it a moment later."""
    with told.open("wb") as output:
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.subscriber.ledger_writer", str(path)],
            stdout=output,
            cwd=REPOSITORY,
            env=clean_environment(),
        )
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


def test_a_full_disk_is_an_error_once_and_forgotten_when_there_is_room_again(tmp_path: Path) -> None:
    """What failed was not recorded, what came before stays, and the ledger works again without a restart."""
    program = textwrap.dedent(
        """
        import resource, sqlite3, sys
        from pathlib import Path
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
                except sqlite3.Error:
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
