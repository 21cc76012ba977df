"""One tree's detector: when it scans, what it does when that fails, and how it stops. Time is Twisted's Clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from pushmirror.core.model import ChangeList
from pushmirror.publisher.detect.detector import MARKER_SECONDS, RETRY_SECONDS, TreeDetector
from pushmirror.publisher.detect.scan_lock import held_for_scan
from pushmirror.publisher.detect.watch import PAUSE_SECONDS
from pushmirror.settings.publisher import Detect
from tests.publisher.detect.scanned import ScannedTree, names
from tests.support.reactor import Spin


class TimedReactor(Clock):
    """A clock that is turned by hand, and a real reactor's descriptors."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.addReader, self.removeReader = reactor.addReader, reactor.removeReader


class Detection:
    """A detector of a tree whose scans run at once, in the caller's thread."""

    def __init__(self, tree: ScannedTree, reactor: Any, **settings: object) -> None:
        self.tree = tree
        self.clock = TimedReactor(reactor)
        self.wakes: list[int] = []
        self.detector = TreeDetector(
            self.clock,
            tree.place,
            Detect.model_validate(settings),
            announced=lambda: self.wakes.append(tree.serial()),
            clock_ms=lambda: 1_790_000_000_000,
            run_in_thread=maybeDeferred,
        )

    def start(self) -> Detection:
        self.detector.startService()
        return self

    def stop(self) -> None:
        assert self.detector.stopService().called

    @property
    def status(self) -> dict[str, Any]:
        return self.detector.describe()


def test_a_tree_is_scanned_at_the_start_and_at_its_interval(scanned: ScannedTree, reactor: Any) -> None:
    """What changed before the start is found at once, the rest in its turn; the announcer is woken for each."""
    scanned.write("pool/a/before")
    detection = Detection(scanned, reactor, scan="5m").start()
    assert detection.wakes == [2]
    scanned.write("pool/a/after")
    detection.clock.advance(299)
    assert detection.wakes == [2]
    detection.clock.advance(1)
    assert detection.wakes == [2, 3]
    assert scanned.announced(3).changed == names("pool/a/after")
    detection.clock.advance(300)
    assert detection.wakes == [2, 3]
    detection.stop()
    assert detection.clock.getDelayedCalls() == []


def test_a_thorough_scan_is_spread_over_its_period(scanned: ScannedTree, reactor: Any) -> None:
    """Every edit in place is found within it, and not all of the tree is read at once."""
    for number in range(30):
        scanned.write(f"pool/d{number:02}/file", b"before")
    scanned.settle()
    for number in range(30):
        scanned.path(f"pool/d{number:02}/file").write_bytes(b"edited")
    detection = Detection(scanned, reactor, thorough="1h").start()
    detection.clock.pump([300] * 4)
    assert 0 < len(detection.wakes) <= 4
    detection.clock.pump([300] * 8)
    found = {path for serial in detection.wakes for path in scanned.announced(serial).changed}
    assert found == {f"pool/d{number:02}/file".encode() for number in range(30)}
    detection.stop()


def test_a_marker_that_changes_has_the_tree_scanned(scanned: ScannedTree, reactor: Any) -> None:
    """And nothing else does; also when it changed while the daemon was down, and not because the daemon was."""
    scanned.write("pool/a/new")
    detection = Detection(scanned, reactor, marker="project/trace/master").start()
    detection.clock.advance(10 * MARKER_SECONDS)
    assert detection.wakes == []
    scanned.write("project/trace/master", b"1")
    detection.clock.advance(MARKER_SECONDS)
    assert detection.wakes == [2]
    assert b"pool/a/new" in scanned.announced(2).changed
    scanned.write("pool/a/newer")
    detection.clock.advance(MARKER_SECONDS)
    detection.stop()
    later = Detection(scanned, reactor, marker="project/trace/master").start()
    assert later.wakes == []
    later.stop()
    scanned.write("project/trace/master", b"2")
    latest = Detection(scanned, reactor, marker=str(scanned.path("project/trace/master"))).start()
    assert latest.wakes == [3]
    latest.stop()


def test_a_scan_that_fails_is_told_and_done_again(scanned: ScannedTree, reactor: Any) -> None:
    """As when a disk is not mounted for a while; the status says so until it is over."""
    aside = scanned.root.with_name("aside")
    scanned.root.rename(aside)
    detection = Detection(scanned, reactor, scan="1d").start()
    assert "mounted" in detection.status["error"] and detection.status["state"] == "waiting"
    aside.rename(scanned.root)
    scanned.write("pool/a/new")
    detection.clock.advance(RETRY_SECONDS)
    assert detection.wakes == [2]
    assert (detection.status["error"], detection.status["state"]) == (None, "idle")
    detection.stop()


def test_the_status_tells_of_the_last_scan(scanned: ScannedTree, reactor: Any) -> None:
    """When it was, how long it took, what it found, and what it could not see."""
    scanned.settle()
    scanned.write("pool/a/new")
    scanned.path("pool/b/three.deb").unlink()
    detection = Detection(scanned, reactor, scan="5m")
    assert detection.status["last_scan_ms"] is None
    detection.start()
    status = detection.status
    assert (status["changed"], status["deleted"], status["directories_read"]) == (1, 1, 2)
    assert (status["last_scan_ms"], status["problems"], status["watched"]) == (1_790_000_000_000, [], None)
    assert 0 <= status["duration_ms"] < 60_000
    detection.stop()


def test_what_changes_is_announced_when_it_is_quiet(scanned: ScannedTree, reactor: Any, spin: Spin) -> None:
    """Each change puts the announcement off; edits in place and new directories are in it."""
    scanned.settle()
    detection = Detection(scanned, reactor, watch={"settle": "10s"}).start()
    assert detection.status["watched"] == 4

    def change(edit: Callable[[], object]) -> None:
        detection.clock.advance(PAUSE_SECONDS)  # the queue is read again
        edit()
        spin(lambda: detection.clock.getDelayedCalls() and detection.status["state"] == "waiting")
        spin(
            lambda: any(call.getTime() - detection.clock.seconds() > 9.9 for call in detection.clock.getDelayedCalls())
        )

    change(lambda: scanned.path("pool/a/one.deb").write_bytes(b"edited in place"))
    detection.clock.advance(9)
    change(lambda: scanned.write("pool/new/deep/file"))
    detection.clock.advance(9.5)
    assert detection.wakes == []
    detection.clock.advance(0.6)
    assert detection.wakes == [2]
    expected = names("pool/a/one.deb", "pool/new", "pool/new/deep", "pool/new/deep/file")
    assert scanned.announced(2).changed == expected
    detection.stop()
    assert detection.clock.getDelayedCalls() == []


def test_changes_from_before_the_watch_are_found_at_its_start(scanned: ScannedTree, reactor: Any, spin: Spin) -> None:
    """The first scan adds the watches, and looks at each directory after it is watched: nothing falls in between."""
    scanned.settle()
    scanned.write("pool/c/before")
    detection = Detection(scanned, reactor, watch={"settle": "1s"}).start()
    assert detection.wakes == [2]
    assert detection.status["watched"] == 5
    scanned.path("pool/c/before").write_bytes(b"edited")
    spin(lambda: detection.status["state"] == "waiting")
    detection.clock.advance(1)
    assert scanned.announced(3).changed == names("pool/c/before")
    detection.stop()


def test_lost_events_have_everything_looked_at(scanned: ScannedTree, reactor: Any) -> None:
    """After an overflow of the queue an edit in place may be anywhere."""
    scanned.settle()
    detection = Detection(scanned, reactor, watch={"settle": "1s"}).start()
    scanned.path("pool/a/one.deb").write_bytes(b"edited in place")
    watch = next(reader for reader in reactor.getReaders() if hasattr(reader, "watched"))
    watch.connectionLost(None)  # tells of a loss, as an overflow does
    detection.clock.advance(1)
    assert scanned.announced(2).changed == names("pool/a/one.deb")
    detection.stop()


class Threads:
    """Threads that run what they were given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Deferred[Any]:
        ended: Deferred[Any] = Deferred()
        self.waiting.append((ended, lambda: function(*arguments, **named)))
        return ended

    def finish_one(self) -> None:
        ended, function = self.waiting.pop(0)
        try:
            result = function()
        except Exception:
            ended.errback()
        else:
            ended.callback(result)


@pytest.fixture
def threads() -> Threads:
    return Threads()


def make_threaded(tree: ScannedTree, reactor: Any, threads: Threads) -> TreeDetector:
    return TreeDetector(
        TimedReactor(reactor),
        tree.place,
        Detect.model_validate({"scan": "1s"}),
        announced=lambda: None,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        run_in_thread=threads.run,
    )


def test_one_scan_at_a_time(scanned: ScannedTree, reactor: Any, threads: Threads) -> None:
    """What is asked for during a scan is done after it, in one scan."""
    from pushmirror.core.scanning import Scope

    detector = make_threaded(scanned, reactor, threads)
    detector.startService()
    for _ in range(3):
        detector.request(Scope(known=True))
    assert (len(threads.waiting), detector.describe()["state"]) == (1, "scanning")
    threads.finish_one()
    assert len(threads.waiting) == 1
    threads.finish_one()
    assert (len(threads.waiting), detector.describe()["state"]) == (0, "idle")
    assert detector.stopService().called


def test_a_stop_ends_the_scan_that_is_under_way(scanned: ScannedTree, reactor: Any, threads: Threads) -> None:
    """The stop waits for it, it ends at the next directory, and nothing of it is announced."""
    scanned.write("pool/a/new")
    detector = make_threaded(scanned, reactor, threads)
    detector.startService()
    stopped = detector.stopService()
    assert not stopped.called
    threads.finish_one()
    assert stopped.called
    assert (scanned.serial(), threads.waiting) == (1, [])
    assert scanned.find() != ChangeList()


def test_a_scan_of_an_operator_is_waited_for(scanned: ScannedTree, reactor: Any, threads: Threads) -> None:
    """Whoever has the lock announces; the daemon's scan comes later, and is no error to anybody."""
    detector = make_threaded(scanned, reactor, threads)
    detector.startService()
    with held_for_scan(scanned.place.lock_path, wait_seconds=0):
        assert os.path.exists(scanned.place.lock_path)
    threads.finish_one()
    assert detector.describe()["error"] is None
    assert detector.stopService().called
