"""Both daemons and rsync, ended by SIGKILL at random moments while the tree changes."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pushmirror.publisher.journal import JOURNAL_NAME
from tests.faults.scene import Scene
from tests.support.process_tree import kill, rsyncs_below
from tests.support.processes import PUSHMIRROR, clean_environment
from tests.support.waiting import NeverHappened, wait_until
from tests.support.world import TREE, Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LONGEST_LIFE_SECONDS = 1.4
"""A daemon needs about half of that to start: it is killed at its start, at work and at rest."""

LONGEST_COMMAND_SECONDS = 0.3
_ANNOUNCED = re.compile(r"announced serial (?P<last>[0-9]+),.*?(?:, with all since (?P<first>[0-9]+))?$", re.MULTILINE)


def test_a_subscriber_killed_again_and_again_ends_exact_without_a_walk(tmp_path: Path, full: bool) -> None:
    """What was committed to its ledger is enough to go on from, at whatever instruction it was killed."""
    with Scene(tmp_path, seed=31) as scene:
        (subscriber,) = scene.begin()
        for _ in range(100 if full else 10):
            end = time.monotonic() + scene.chance.random() * LONGEST_LIFE_SECONDS
            while time.monotonic() < end:
                scene.change()
                scene.linger(0.2)
            subscriber.program.kill_alone()
            subscriber.program.start()
        scene.change()
        subscriber.program.kill_alone()
        subscriber.start()
        scene.end_exact()


class Crowd:
    """Announces by commands of their own, some of which are killed, until it is told to `stop`."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._announce)
        self._thread.start()
        self.killed = 0

    def stop(self) -> None:
        """Return when nobody announces any more."""
        self._stopping.set()
        self._thread.join()

    def _announce(self) -> None:
        while not self._stopping.is_set():
            self._announce_once(self._scene.edit())

    def _announce_once(self, arguments: tuple[str, ...]) -> None:
        command = [*PUSHMIRROR, "publish", TREE, *arguments, "--config", str(self._scene.publisher_config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                limit_seconds = 20.0
                if self._scene.chance.random() < 0.2:
                    limit_seconds = self._scene.chance.random() * LONGEST_COMMAND_SECONDS
                process.wait(limit_seconds)
            if process.poll() is None:
                process.kill()
                self.killed += 1
            assert process.stdout is not None
            printed = process.stdout.read().decode()
        if printed.endswith("\n"):
            self._scene.note_serial(printed)
        else:
            self._scene.announce(*arguments)  # nobody knows whether it was announced, so it is announced again


def journalled_serials(scene: Scene) -> list[int]:
    """Return the serials of all updates in the journal."""
    journal = scene.publisher_folder / "state" / JOURNAL_NAME
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        return [serial for (serial,) in database.execute("SELECT serial FROM updates ORDER BY serial")]


def heard_serials(subscriber: Subscriber) -> list[int]:
    """Return the serials that the subscriber has believed, in the order in which it did, by its log."""
    found = _ANNOUNCED.finditer(subscriber.program.log_text())
    ranges = [range(int(match["first"] or match["last"]), int(match["last"]) + 1) for match in found]
    return [serial for serials in ranges for serial in serials]


def test_every_serial_that_was_printed_arrives_however_often_the_publisher_is_killed(
    tmp_path: Path, full: bool
) -> None:
    """Commands commit to the journal by themselves; what the daemon has not sent when it dies it sends later."""
    with Scene(tmp_path, seed=32) as scene:
        (subscriber,) = scene.begin()
        crowd = Crowd(scene)
        try:
            for _ in range(100 if full else 10):
                scene.linger(LONGEST_LIFE_SECONDS)
                scene.publisher.kill_alone()
                scene.publisher.start()
        finally:
            crowd.stop()
        scene.change()
        scene.end_exact()
        kept, heard = journalled_serials(scene), heard_serials(subscriber)
        assert len(scene.serials) > len(set(kept)) // 2
        assert sorted(set(scene.serials)) == sorted(scene.serials), "no serial was printed twice"
        assert set(scene.serials) <= set(heard)
        assert heard == kept == list(range(1, len(kept) + 1)), "each arrived once, in order"


def kill_rsync(scene: Scene, subscriber: Subscriber) -> bool:
    """Kill an rsync of the subscriber a moment after it was seen; returns whether there was one."""
    with contextlib.suppress(NeverHappened):
        found = wait_until(lambda: rsyncs_below(subscriber.program.pid), deadline_seconds=5, what="an rsync")
        scene.linger(0.1)
        alive = [process_id for process_id in found if process_id in rsyncs_below(subscriber.program.pid)]
        for process_id in alive:
            kill(process_id)
        return bool(alive)
    return False


def test_an_rsync_that_is_killed_counts_for_nothing_and_its_job_is_run_again(tmp_path: Path, full: bool) -> None:
    """Nothing is taken for applied, and the daemon tries again by itself."""
    with Scene(tmp_path, seed=33) as scene:
        (subscriber,) = scene.begin()
        killed = 0
        for _ in range(100 if full else 10):
            serial = scene.change()
            if kill_rsync(scene, subscriber):
                killed += 1
                with contextlib.suppress(NeverHappened):
                    subscriber.wait_for("a failure", lambda tree: tree["reason"], deadline_seconds=0.5)
                subscriber.ask("sync")  # so that failures do not add up to minutes
            subscriber.wait_exact(serial)
        serial = scene.change()
        killed += kill_rsync(scene, subscriber)
        scene.end_exact()
        assert killed > 5
        assert "failed" in {job["outcome"] for job in subscriber.ask("history")["jobs"]}
