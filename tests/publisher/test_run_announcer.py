"""What subscribers hear of a tree that a run is writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import MAX_UPDATING_MS, UPDATING, format_updating, kind_of, parse_updating
from pushmirror.core.model import Updating
from pushmirror.core.wire import open_envelope
from pushmirror.errors import MalformedMessage
from pushmirror.keys import PrivateKey, verify_envelope
from pushmirror.publisher.detect.run_announcer import EXPIRES_MS, LOOK_SECONDS, REPEAT_MS, RunAnnouncer
from pushmirror.publisher.detect.run_lock import held_for_run
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.signing import SingleKey

START_MS = 1_790_000_000_000


class Stage:
    """A run announcer on a bus in memory; `heard` is what a subscriber that checks every signature took from it."""

    def __init__(self, state_dir: Path, key: PrivateKey, identity: Identity) -> None:
        self.clock = Clock()
        self.state_dir = state_dir
        self.heard: list[Updating] = []
        self.key = key
        bus = MemoryBus(immediate=True)
        bus.receiver([b""], self._hear).start()
        self.announcer = RunAnnouncer(
            self.clock,
            state_dir=state_dir,
            keys=SingleKey(key),
            sender=bus.sender(),
            identity=identity,
            trees=("debian", "fedora"),
            clock_ms=lambda: START_MS + int(self.clock.seconds() * 1000),
        )

    def _hear(self, topic: bytes, body: bytes) -> None:
        envelope = open_envelope(body)
        verify_envelope(envelope, [self.key.public])
        assert envelope.topic.encode() == topic and kind_of(envelope.topic) == UPDATING
        self.heard.append(parse_updating(envelope.msg))

    def pass_seconds(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))

    def told(self) -> list[tuple[str, int, int]]:
        """Return tree, time and time to expiry of what was heard, in ms from the start."""
        return [(heard.tree, heard.at_ms - START_MS, heard.expires_ms - heard.at_ms) for heard in self.heard]


@pytest.fixture
def stage(tmp_path: Path, key: PrivateKey, identity: Identity) -> Iterator[Stage]:
    stage = Stage(tmp_path, key, identity)
    stage.announcer.startService()
    yield stage
    stage.announcer.stopService()
    assert stage.clock.getDelayedCalls() == []


def test_nothing_is_said_of_trees_that_nobody_writes(stage: Stage) -> None:
    """A run that has ended before the daemon looked leaves nothing to tell."""
    with held_for_run(stage.state_dir, "debian"):
        pass
    stage.pass_seconds(60)
    assert stage.heard == []


def test_a_run_is_told_repeated_and_its_end_told(stage: Stage) -> None:
    """While the lock is held the message comes again; afterwards one that expires at once says that it is over."""
    with held_for_run(stage.state_dir, "debian"):
        stage.announcer.look()
        stage.pass_seconds(REPEAT_MS / 1000 + LOOK_SECONDS)
        assert stage.told() == [("debian", 0, EXPIRES_MS), ("debian", REPEAT_MS, EXPIRES_MS)]
    stage.announcer.look()
    stage.pass_seconds(60)
    assert stage.told()[2:] == [("debian", REPEAT_MS + LOOK_SECONDS * 1000, 0)]


def test_a_run_is_noticed_without_being_told(stage: Stage) -> None:
    """A wake-up that was lost costs seconds."""
    with held_for_run(stage.state_dir, "fedora"):
        stage.pass_seconds(LOOK_SECONDS)
        assert [tree for tree, _, _ in stage.told()] == ["fedora"]


def test_a_stopped_announcer_says_nothing(stage: Stage) -> None:
    """Nothing is sent after the stop, even when it is woken."""
    stage.announcer.stopService()
    with held_for_run(stage.state_dir, "debian"):
        stage.announcer.look()
    assert stage.heard == []
    stage.announcer.startService()


def test_updating_survives_the_wire() -> None:
    """Format and parse are inverse."""
    updating = Updating("mirror.example.org", "debian", 5, 5 + MAX_UPDATING_MS)
    assert parse_updating(format_updating(updating)) == updating


@pytest.mark.parametrize(
    "wrong", [{"expires_ms": 4}, {"expires_ms": 6 + MAX_UPDATING_MS}, {"tree": "a/b"}, {"at_ms": None}]
)
def test_a_wrong_updating_is_malformed(wrong: dict[str, object]) -> None:
    """One that expires before it was made, or holds everybody back for ever, is not believed."""
    with pytest.raises(MalformedMessage):
        parse_updating({**format_updating(Updating("mirror.example.org", "debian", 5, 6)), **wrong})
