"""What a publisher says while it goes over from one key to another: on the bus, in the service, to a proof."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import HEARTBEAT, UPDATED, kind_of, parse_heartbeat, parse_state, parse_update
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.core.rotation import ROTATED, fingerprint, parse_rotation
from pushmirror.core.wire import Envelope, digest, open_envelope, open_envelope_object
from pushmirror.http.answers import Answer
from pushmirror.http.questions import KeysQuestion, Refusal, StateQuestion, UpdatesQuestion
from pushmirror.keys import generate_key_file, parse_public_line, verify_envelope
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.announcer import Announcer
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.key_refresh import LOOK_SECONDS, KeyRefresh
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.rotating import Rotator
from pushmirror.publisher.signing import SigningKeys

IDENTITY = Identity("t1.example.org", "org.example", "test")
START_MS = 1_790_000_000_000
OVERLAP_MS = 3_600_000


class Stage:
    """A publisher with its bus in memory. `heard` is all that was on it, each with the public line of its signer."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.key = folder / "key"
        self.folder = folder
        self.old = generate_key_file(self.key, "t1.example.org").line
        self.keys = SigningKeys(self.key, folder, self.clock_ms)
        self.journal = Journal(folder / "journal.sqlite", clock_ms=self.clock_ms)
        self.heard: list[tuple[str, Envelope, str]] = []
        bus = MemoryBus(immediate=True)
        bus.receiver([b""], self._hear).start()
        sender, trees = bus.sender(), ("debian",)
        self.announcer = Announcer(
            self.clock, journal=self.journal, keys=self.keys, sender=sender, identity=IDENTITY, trees=trees,
            heartbeat_ms=30_000, clock_ms=self.clock_ms,
        )  # fmt: skip
        self.refresh = KeyRefresh(self.clock, self.keys, changed=self.announcer.beat)
        nodes = folder / "nodes"
        nodes.touch()
        reports = Reports(
            nodes=AuthorizedNodes(nodes), identity=IDENTITY, trees=trees, sender=sender, clock_ms=self.clock_ms
        )
        self.proofs = Proofs(
            journal=self.journal, keys=self.keys, identity=IDENTITY, clock_ms=self.clock_ms, renewed=lambda: None
        )
        self.answers = Answers(self.journal, self.keys, IDENTITY, trees, reports, self.proofs, self.clock_ms)
        self.announcer.startService()
        self.refresh.startService()

    def clock_ms(self) -> int:
        return START_MS + int(self.clock.seconds() * 1000)

    def _hear(self, topic: bytes, body: bytes) -> None:
        envelope = open_envelope(body)
        verify_envelope(envelope, [parse_public_line(envelope.certificate)])
        self.heard.append((str(kind_of(envelope.topic)), envelope, envelope.certificate))

    def rotate(self, overlap_ms: int = OVERLAP_MS) -> str:
        """Exchange the key, and let the daemon notice by itself."""
        rotation, _ = Rotator(self.key, self.folder, IDENTITY, overlap_ms, self.clock_ms).rotate()
        self.clock.advance(LOOK_SECONDS)
        return rotation.new

    def announce(self) -> None:
        self.journal.announce(Announcement(IDENTITY, "debian", ChangeList(changed=(TreePath(b"a"),))))
        self.announcer.wake()

    def signers(self, kind: str) -> list[str]:
        """Return with which keys what was heard of a kind was signed, and forget it."""
        found = [signer for heard, _, signer in self.heard if heard == kind]
        self.heard = [each for each in self.heard if each[0] != kind]
        return found

    def ask(self, question: UpdatesQuestion | StateQuestion | KeysQuestion) -> list[bytes]:
        answer = self.answers.answer(question, b"")
        assert isinstance(answer, Answer)
        return b"".join(answer.chunks).splitlines()

    def history(self, *keys: str) -> list[Envelope]:
        question = UpdatesQuestion("debian", self.journal.epoch, 0, 100, tuple(map(fingerprint, keys)))
        return [open_envelope_object(json.loads(line)["update"]) for line in self.ask(question)]

    def state(self, *keys: str) -> Envelope:
        (body,) = self.ask(StateQuestion("debian", "nonce-of-mine", tuple(map(fingerprint, keys))))
        return open_envelope(body)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.refresh.stopService()
    stage.announcer.stopService()
    stage.journal.close()


def test_in_the_overlap_everything_is_sent_once_with_each_key(stage: Stage) -> None:
    """The old one first; the update is the same but for its signature, each heartbeat has a counter of its own."""
    new = stage.rotate()
    assert stage.signers(ROTATED) == [stage.old]
    stage.heard.clear()
    stage.announce()
    updates = [envelope for kind, envelope, _ in stage.heard if kind == UPDATED]
    assert len({digest(envelope.signed) for envelope in updates}) == 1
    assert parse_update(updates[0].msg).serial == 1
    counters = [parse_heartbeat(envelope.msg).counter for kind, envelope, _ in stage.heard if kind == HEARTBEAT]
    assert counters[1] == counters[0] + 1
    assert (stage.signers(UPDATED), stage.signers(HEARTBEAT)) == ([stage.old, new], [stage.old, new])


def test_after_the_overlap_the_new_key_is_alone(stage: Stage) -> None:
    """On the bus, in states, and in the history of before, which the old one had signed."""
    stage.announce()
    new = stage.rotate()
    stage.clock.advance(OVERLAP_MS / 1000)
    stage.heard.clear()
    stage.announce()
    assert (stage.signers(UPDATED), set(stage.signers(HEARTBEAT))) == ([new], {new})
    assert stage.state().certificate == new
    history = stage.history()
    assert [verify_envelope(envelope, [parse_public_line(new)]).line for envelope in history] == [new, new]
    assert [parse_update(envelope.msg).serial for envelope in history] == [1, 2]
    assert parse_update(history[1].msg).previous_digest == digest(history[0].signed)


@pytest.mark.parametrize("asked", ["", "old", "new", "both", "strange"])
def test_whoever_asks_gets_the_newest_signature_that_it_believes(stage: Stage, asked: str) -> None:
    """Who names no key, or none that counts, gets the one that everybody has known for longest."""
    stage.announce()
    new = stage.rotate()
    names = {"": (), "old": (stage.old,), "new": (new,), "both": (stage.old, new), "strange": ("?",)}[asked]
    expected = new if asked in ("new", "both") else stage.old
    assert [envelope.certificate for envelope in stage.history(*names)] == [expected]
    state = stage.state(*names)
    assert verify_envelope(state, [parse_public_line(expected)]).line == expected
    assert parse_state(state.msg).nonce == "nonce-of-mine"


def test_the_service_hands_out_all_rotations_for_ever(stage: Stage) -> None:
    """The oldest first, for whoever was off; of another publisher there is nothing."""
    second = stage.rotate(overlap_ms=0)
    third = stage.rotate(overlap_ms=0)
    stage.clock.advance(40 * 86_400)
    told = [parse_rotation(open_envelope(line).msg) for line in stage.ask(KeysQuestion("t1.example.org"))]
    assert [(rotation.old, rotation.new) for rotation in told] == [(stage.old, second), (second, third)]
    refusal = stage.answers.answer(KeysQuestion("t9.example.org"), b"")
    assert isinstance(refusal, Refusal) and refusal.status == 404


def test_a_rotation_is_told_again_as_long_as_it_is_news(stage: Stage) -> None:
    """With every heartbeat, for an hour at least, and then no more."""
    stage.rotate(overlap_ms=0)
    stage.clock.pump([30] * 100)
    assert len(stage.signers(ROTATED)) > 90
    stage.clock.pump([30] * 40)
    stage.heard.clear()
    stage.clock.pump([30] * 10)
    assert stage.signers(ROTATED) == []


def test_a_proof_counts_by_the_keys_of_now(stage: Stage) -> None:
    """One that the old key has signed is taken within the overlap, and refused after it: it may have leaked."""
    stage.announce()
    stage.rotate()
    body = next(iter(stage.history(stage.old))).travelling
    assert stage.proofs.take(body) is None
    stage.clock.advance(OVERLAP_MS / 1000)
    refused = stage.proofs.take(body)
    assert refused is not None and refused.status == 403
