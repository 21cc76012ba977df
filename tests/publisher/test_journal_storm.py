"""Many processes announce while the journal is pruned, renewed and replaced: no printed serial is lost."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.model import Head
from pushmirror.core.retention import Retention
from pushmirror.core.wire import MAX_MESSAGE_BYTES, parse_object
from pushmirror.keys import PrivateKey
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.recovery import recover
from tests.publisher.conftest import START_MS
from tests.publisher.journals import announce, count, send
from tests.support.processes import clean_environment

pytestmark = pytest.mark.slow

PROCESSES = 4
KEEP_LITTLE = Retention(age_ms=-1, size_bytes=1)

ANNOUNCE_UNTIL_TOLD = """
import sys
from pathlib import Path
from pushmirror.errors import StateError
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.journal import Journal
from tests.publisher.journals import IDENTITY, one_path
stop = Path(sys.argv[2])
number = 0
while not stop.exists():
    number += 1
    try:
        journal = Journal(Path(sys.argv[1]))
        try:
            for _ in range(2):
                announced = journal.announce(Announcement(IDENTITY, "debian", one_path(number % 50)))
                print(announced.serial, announced.digest)
        finally:
            journal.close()
    except StateError as error:
        print(f"refused: {error}", file=sys.stderr)
"""


class Storm:
    """Processes that announce until the block ends, twice for each time they open it; then what they have printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.printed: list[tuple[int, str]] = []
        self.refused: list[str] = []
        self._stop = path.with_name("stop")
        self._outputs = [path.with_name(f"output{number}") for number in range(PROCESSES)]

    @contextlib.contextmanager
    def blowing(self) -> Iterator[None]:
        command = [sys.executable, "-u", "-c", ANNOUNCE_UNTIL_TOLD, str(self.path), str(self._stop)]
        with contextlib.ExitStack() as files:
            outputs = [files.enter_context(output.open("wb")) for output in self._outputs]
            errors = files.enter_context(self.path.with_name("errors").open("wb"))
            processes = [
                subprocess.Popen(command, stdout=output, stderr=errors, env=clean_environment()) for output in outputs
            ]
            try:
                yield
            finally:
                self._stop.touch()
                codes = [process.wait(60) for process in processes]
        assert codes == [0] * PROCESSES, self.path.with_name("errors").read_text()
        for output in self._outputs:
            lines = [line.split() for line in output.read_text().splitlines()]
            mine = [(int(serial), digest) for serial, digest in lines]
            self.printed += mine
        self.refused = self.path.with_name("errors").read_text().splitlines()

    def count_printed(self) -> int:
        """How many serials were printed so far."""
        return sum(output.read_bytes().count(b"\n") for output in self._outputs)


def test_a_storm_while_the_journal_is_pruned_and_gets_new_epochs(tmp_path: Path, key: PrivateKey, full: bool) -> None:
    """Each epoch is a chain without a gap, everything of the last one is sent, and what an older one had is made up for
    by the full syncs that a new epoch means. No announcer notices any of it."""
    path = tmp_path / "journal.sqlite"
    daemon = Journal(path)
    sent: dict[str, list[dict[str, object]]] = defaultdict(list)
    digests: set[str] = set()
    dropped: set[str] = set()
    epochs = [daemon.epoch]
    storm = Storm(path)

    def send_some() -> int:
        rows = daemon.unsent(50)
        for row in rows:
            msg = parse_object(row.signed, max_bytes=MAX_MESSAGE_BYTES)["msg"]
            sent[msg["epoch"]].append({**msg, "digest": row.digest})
            digests.add(row.digest)
        send(daemon, rows, key)
        return len(rows)

    turns = 12 if full else 3
    with storm.blowing():
        for turn in range(1, turns + 1):
            deadline = time.monotonic() + 60
            while storm.count_printed() < turn * 60:
                assert time.monotonic() < deadline, "the storm has died down"
                send_some()
                daemon.prune(KEEP_LITTLE)
                time.sleep(0.005)  # for the others to have the journal; nothing is waited for
            epoch = daemon.take_proof("debian", Head(daemon.epoch, 10**9, "f" * 64))
            assert epoch is not None
            epochs.append(epoch)
            dropped |= unsent_of_earlier_epochs(path)
    while send_some():
        pass
    while daemon.prune(KEEP_LITTLE):
        pass
    assert storm.refused == []
    assert len(storm.printed) >= turns * 60 and {digest for _, digest in storm.printed} == digests | dropped
    assert len(digests) + len(dropped) == len(storm.printed), "no serial was given twice"
    assert list(sent) == [epoch for epoch in epochs if epoch in sent]
    for updates in sent.values():
        assert [update["serial"] for update in updates] == list(range(1, len(updates) + 1))
        assert [update["previous_digest"] for update in updates] == [None, *(u["digest"] for u in updates[:-1])]
    assert daemon.head("debian").serial == daemon.oldest("debian") == len(sent[epochs[-1]])
    assert announce(daemon) == daemon.head("debian").serial + 1
    daemon.close()
    check_sound(path)


def find_aside(path: Path) -> list[Path]:
    return [found for found in path.parent.glob("*.damaged-*") if found.name[-1].isdigit()]


def unsent_of_earlier_epochs(path: Path) -> set[str]:
    database = sqlite3.connect(path)
    query = "SELECT digest FROM updates WHERE sent_ms IS NULL AND epoch < (SELECT max(number) FROM epochs)"
    found = {digest for (digest,) in database.execute(query)}
    database.close()
    return found


def check_sound(path: Path) -> None:
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_storm_while_the_journal_is_replaced(tmp_path: Path, full: bool) -> None:
    """Whatever was printed is in the journal of now, or in one that was moved aside before the new epoch began: no
    announcement falls between two files, and none is written into the wrong one."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    storm = Storm(path)
    moved: dict[Path, int] = {}
    with storm.blowing():
        for turn in range(1, (10 if full else 3) + 1):
            deadline = time.monotonic() + 60
            while storm.count_printed() < turn * 40:
                assert time.monotonic() < deadline, "the storm has died down"
                time.sleep(0.005)  # for the others to have the journal; nothing is waited for
            mark = sqlite3.connect(path, timeout=30)
            with mark:
                # What makes the check find something wrong, and nobody who announces.
                mark.execute("INSERT INTO heads VALUES ('broken', 7, 'x')")
            mark.close()
            recover(path, clock_ms=lambda: START_MS)
            moved |= {file: count(file, "updates") for file in set(find_aside(path)).difference(moved)}
    files = [path, *find_aside(path)]
    assert moved == {file: count(file, "updates") for file in find_aside(path)}, "nothing came into what was replaced"
    assert len(files) == 1 + (10 if full else 3)
    found: set[str] = set()
    for file in files:
        check_sound(file)
        database = sqlite3.connect(file)
        rows = database.execute("SELECT serial, digest FROM updates ORDER BY position").fetchall()
        database.close()
        assert [serial for serial, _ in rows] == list(range(1, len(rows) + 1))
        found |= {digest for _, digest in rows}
    assert storm.refused == []
    assert {digest for _, digest in storm.printed} == found
