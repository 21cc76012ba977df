"""The way from the journal to the bus, with a clock that the test moves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import HEARTBEAT, UPDATED, kind_of, parse_heartbeat, parse_update
from pushmirror.core.model import ChangeList, Head, Heartbeat, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import digest, open_envelope
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, verify_envelope
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.announcer import BATCH_UPDATES, LOOK_SECONDS, Announcer
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.signing import SingleKey
from tests.publisher.conftest import START_MS

HEARTBEAT_MS = 30_000


class Stage:
    """An announcer on a bus in memory; `heard` is what a subscriber that checks every signature took from it."""

    def __init__(self, path: Path, key: PrivateKey, identity: Identity) -> None:
        self.clock = Clock()
        self.key = key
        self.identity = identity
        self.journal = Journal(path, clock_ms=self.clock_ms)
        self.bus = MemoryBus(immediate=True)
        self.heard: list[Update | Heartbeat] = []
        self.bodies: list[bytes] = []
        self.bus.receiver([b""], self._hear).start()
        self.sender = self.bus.sender()
        self.announcer = self.make_announcer(self.sender)

    def make_announcer(self, sender: Any) -> Announcer:
        return Announcer(
            self.clock,
            journal=self.journal,
            keys=SingleKey(self.key),
            sender=sender,
            identity=self.identity,
            trees=("debian", "fedora"),
            heartbeat_ms=HEARTBEAT_MS,
            clock_ms=self.clock_ms,
        )

    def clock_ms(self) -> int:
        return START_MS + int(self.clock.seconds() * 1000)

    def _hear(self, topic: bytes, body: bytes) -> None:
        envelope = open_envelope(body)
        verify_envelope(envelope, [self.key.public])
        assert envelope.topic.encode() == topic
        kind = kind_of(envelope.topic)
        self.bodies.append(body)
        assert kind in (UPDATED, HEARTBEAT)
        self.heard.append(parse_update(envelope.msg) if kind == UPDATED else parse_heartbeat(envelope.msg))

    def announce(self, tree: str = "debian", count: int = 1) -> None:
        for number in range(count):
            changes = ChangeList(changed=(TreePath(b"path %d" % number),))
            self.journal.announce(Announcement(self.identity, tree, changes))

    @property
    def updates(self) -> list[tuple[str, int]]:
        return [(heard.tree, heard.serial) for heard in self.heard if isinstance(heard, Update)]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [heard for heard in self.heard if isinstance(heard, Heartbeat)]


@pytest.fixture
def stage(tmp_path: Path, key: PrivateKey, identity: Identity) -> Iterator[Stage]:
    stage = Stage(tmp_path / "journal.sqlite", key, identity)
    yield stage
    if stage.announcer.running:
        stage.announcer.stopService()
    stage.journal.close()


class BrokenSender:
    """A bus that takes `working` messages and no more."""

    def __init__(self, sender: Any, working: int) -> None:
        self.sender = sender
        self.working = working

    def send(self, topic: bytes, body: bytes) -> None:
        if self.working == 0:
            raise StateError("the bus is out of order")
        self.working -= 1
        self.sender.send(topic, body)

    def close(self) -> None:
        self.sender.close()


def test_what_was_announced_before_the_start_is_sent_at_the_start(stage: Stage) -> None:
    """Announcements that were made while the daemon was down go out first, in their order, over all trees."""
    for tree in ("debian", "fedora", "debian"):
        stage.announce(tree)
    assert stage.heard == []
    stage.announcer.startService()
    assert stage.updates == [("debian", 1), ("fedora", 1), ("debian", 2)]
    assert stage.journal.unsent(9) == []


def test_a_wake_sends_at_once(stage: Stage) -> None:
    """Whoever wakes the daemon finds the update sent when the answer comes."""
    stage.announcer.startService()
    stage.announce()
    stage.announcer.wake()
    assert stage.updates == [("debian", 1)]


def test_without_a_wake_the_journal_is_looked_at_anyway(stage: Stage) -> None:
    """A wake-up that was lost costs a few seconds."""
    stage.announcer.startService()
    stage.announce()
    stage.clock.advance(LOOK_SECONDS / 2)
    assert stage.updates == []
    stage.clock.advance(LOOK_SECONDS / 2)
    assert stage.updates == [("debian", 1)]


def test_the_signed_bytes_are_those_of_the_journal(stage: Stage) -> None:
    """What is sent has the digest that the next update will name, and is handed out later byte for byte."""
    stage.announce()
    stage.announcer.startService()
    (row,) = stage.journal.updates_after("debian", 0, 9)
    assert stage.bodies[0] == row.envelope()
    assert digest(open_envelope(stage.bodies[0]).signed) == stage.journal.head("debian").digest


def test_many_updates_go_out_over_several_turns(stage: Stage) -> None:
    """A backlog is sent in batches, between which others have their turn, and nothing is sent twice."""
    stage.announce(count=BATCH_UPDATES * 2 + 7)
    stage.announcer.startService()
    assert len(stage.updates) == BATCH_UPDATES
    stage.clock.advance(0)
    stage.clock.advance(0)
    assert stage.updates == [("debian", number) for number in range(1, BATCH_UPDATES * 2 + 8)]
    stage.clock.advance(LOOK_SECONDS)
    assert len(stage.updates) == BATCH_UPDATES * 2 + 7


def test_heartbeats_come_at_their_interval_and_count_up(stage: Stage) -> None:
    """The first comes at the start, the others as often as they say."""
    stage.announcer.startService()
    for _ in range(60):
        stage.clock.advance(1)
    assert [beat.at_ms - START_MS for beat in stage.heartbeats] == [0, 30_000, 60_000]
    assert {beat.interval_ms for beat in stage.heartbeats} == {HEARTBEAT_MS}
    counters = [beat.counter for beat in stage.heartbeats]
    assert counters == sorted(set(counters)) and counters[-1] == stage.announcer.heartbeat_counter


def test_the_counter_goes_on_after_a_restart(stage: Stage) -> None:
    """A daemon that starts later counts from above what the one before has said."""
    stage.announcer.startService()
    stage.clock.advance(60)
    stage.announcer.stopService()
    last = stage.heartbeats[-1].counter
    later = stage.make_announcer(stage.sender)
    later.startService()
    assert stage.heartbeats[-1].counter > last
    later.stopService()


def test_a_newcomer_is_greeted_with_a_heartbeat(stage: Stage) -> None:
    """A fifth of a second later, if it listens to heartbeats at all."""
    stage.announcer.startService()
    stage.announcer.greet(stage.identity.topic(UPDATED).encode())
    stage.clock.advance(1)
    assert len(stage.heartbeats) == 1
    stage.announcer.greet(b"")
    stage.clock.advance(0.2)
    assert [beat.at_ms - START_MS for beat in stage.heartbeats] == [0, 1200]


def test_whoever_subscribes_over_and_over_has_little_told(stage: Stage) -> None:
    """A minute of it costs twenty heartbeats and one in three seconds; those of every thirty come all the same."""
    stage.announcer.startService()
    for _ in range(600):
        stage.announcer.greet(b"")
        stage.clock.advance(0.1)
    assert len(stage.heartbeats) <= 3 + 20 + 20
    assert {0, 30_000} <= {round(beat.at_ms - START_MS, -2) for beat in stage.heartbeats}


def test_heartbeats_tell_only_what_was_sent(stage: Stage) -> None:
    """A serial that is in the journal and not yet on the bus is in no heartbeat; a tree without any has serial 0."""
    stage.announcer.startService()
    epoch = stage.journal.epoch
    nothing = Head(epoch, 0, None)
    assert stage.heartbeats[-1].trees == {"debian": nothing, "fedora": nothing}
    stage.announce()
    stage.announcer.wake()
    head = stage.journal.announced_head("debian")
    assert stage.heartbeats[-1].trees == {"debian": head, "fedora": nothing}
    assert isinstance(stage.heard[-1], Heartbeat)


def test_a_bus_that_fails_is_tried_again_and_nothing_is_skipped(stage: Stage) -> None:
    """The rest goes out when the bus works again, before what was announced since, and nothing goes out twice."""
    sender = BrokenSender(stage.sender, working=2)
    announcer = stage.make_announcer(sender)
    stage.announce(count=3)
    announcer.startService()
    assert stage.updates == [("debian", 1), ("debian", 2)]
    stage.announce()
    stage.clock.advance(HEARTBEAT_MS / 1000)
    sender.working = 1000
    stage.clock.advance(LOOK_SECONDS)
    assert stage.updates == [("debian", number) for number in (1, 2, 3, 4)]
    stage.clock.advance(HEARTBEAT_MS / 1000)
    assert stage.heartbeats[-1].trees["debian"].serial == 4
    announcer.stopService()


def test_what_the_bus_tells_is_in_the_history_already(stage: Stage) -> None:
    """A subscriber that asks at once must not be told that nothing of the kind was ever announced."""
    heads: list[int] = []
    stage.bus.receiver([b""], lambda name, body: heads.append(stage.journal.head("debian").serial)).start()
    stage.announce(count=3)
    stage.announcer.startService()
    assert stage.updates == [("debian", 1), ("debian", 2), ("debian", 3)]
    assert min(heads) == 3


def test_what_a_crash_kept_from_the_bus_is_told_by_the_first_heartbeat(stage: Stage) -> None:
    """It is in the history, from which everybody fetches it then."""
    stage.announce()
    broken = stage.make_announcer(BrokenSender(stage.sender, working=0))
    broken.startService()
    broken.stopService()
    assert stage.heard == []
    stage.announcer.startService()
    assert stage.heartbeats[0].trees["debian"] == stage.journal.announced_head("debian")


def test_the_signed_topic_is_used_though_the_settings_have_changed(stage: Stage) -> None:
    """An announcement that was committed under another topic prefix still passes every check."""
    other = Identity("mirror.example.org", "org.before", "stg")
    stage.journal.announce(Announcement(other, "debian", None))
    stage.announcer.startService()
    assert stage.updates == [("debian", 1)]


def test_nothing_is_sent_after_the_stop(stage: Stage) -> None:
    """A stopped announcer leaves no timer behind and sends nothing, even when it is woken."""
    stage.announce(count=BATCH_UPDATES + 1)
    stage.announcer.startService()
    stage.announcer.stopService()
    sent = len(stage.heard)
    stage.announcer.wake()
    assert stage.clock.getDelayedCalls() == []
    assert len(stage.heard) == sent


def test_while_the_disk_is_full_nothing_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be marked as sent is sent when there is room again, once; heartbeats tell nothing of it before."""
    stage.announce(count=3)
    blocker = sqlite3.connect(stage.journal.path)
    blocker.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON updates BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    )
    stage.announcer.startService()
    stage.clock.advance(LOOK_SECONDS)
    stage.clock.advance(LOOK_SECONDS)
    assert stage.updates == [] and stage.heartbeats[-1].trees["debian"].serial == 0
    assert len(caplog.records) == 1 and caplog.records[0].exc_info is None
    blocker.execute("DROP TRIGGER full")
    blocker.close()
    stage.announce()
    stage.clock.advance(LOOK_SECONDS)
    assert stage.updates == [("debian", number) for number in (1, 2, 3, 4)]
    assert stage.heartbeats[-1].trees["debian"].serial == 4


def test_a_new_epoch_is_told_at_once(stage: Stage) -> None:
    """After a proof the next heartbeat has the new epoch, and what was not sent of the old one stays unsent."""
    stage.announce(count=2)
    stage.announcer.startService()
    old = stage.journal.epoch
    stage.announce()
    assert stage.journal.take_proof("debian", Head(old, 9, "f" * 64))
    stage.announcer.beat()
    assert stage.heartbeats[-1].trees["debian"] == Head(stage.journal.epoch, 0, None) != Head(old, 0, None)
    stage.clock.advance(LOOK_SECONDS)
    assert stage.updates == [("debian", 1), ("debian", 2)]
    stage.announce()
    stage.announcer.wake()
    assert stage.updates[-1] == ("debian", 1)
