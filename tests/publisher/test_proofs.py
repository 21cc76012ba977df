"""A journal that is a copy from before: found out by a header that its publisher has signed, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.messages import HEARTBEAT, STATE, epoch_order, format_heartbeat, format_state
from pushmirror.core.model import Head, Heartbeat, TreeState
from pushmirror.core.retention import Retention
from pushmirror.core.wire import MAX_MESSAGE_BYTES, digest, open_envelope, parse_object
from pushmirror.http.questions import Refusal
from pushmirror.keys import PrivateKey, generate_key_file, load_private_key, seal
from pushmirror.publisher.epoch_note import read_epoch_note
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.proofs import SIGNATURES_AT_ONCE, Proofs
from pushmirror.publisher.signing import SingleKey
from tests.publisher.conftest import START_MS
from tests.publisher.journals import IDENTITY, announce, copy_journal, count, many_paths, one_path, send_all


class Restored:
    """A publisher whose journal had ten updates, and is now the backup that was made after the fifth.

    `headers` are the ten as they were sent, by serial; the journal has gone on to serial seven since.
    """

    def __init__(self, folder: Path, key: PrivateKey) -> None:
        self.key = key
        self.now_ms = START_MS
        before = Journal(folder / "journal.sqlite", clock_ms=lambda: START_MS)
        self.headers = {number: self._announce(before, number) for number in range(1, 6)}
        backup = copy_journal(before.path, folder / "restored.sqlite")
        self.headers |= {number: self._announce(before, number) for number in range(6, 11)}
        before.close()
        self.journal = Journal(backup, clock_ms=lambda: self.now_ms)
        self.now_ms += 1000
        self.ours = {number: self._announce(self.journal, 100 + number) for number in range(6, 8)}
        self.renewed = 0
        self.proofs = Proofs(
            journal=self.journal,
            keys=SingleKey(key),
            identity=IDENTITY,
            clock_ms=lambda: self.now_ms,
            renewed=self._count,
        )

    def _count(self) -> None:
        self.renewed += 1

    def _announce(self, journal: Journal, number: int) -> bytes:
        announce(journal, one_path(number))
        send_all(journal, self.key)
        row = journal.newest_sent("debian")
        assert row is not None
        return row.envelope()

    def show(self, body: bytes) -> Refusal | None:
        return self.proofs.take(body)


@pytest.fixture
def restored(tmp_path: Path, key: PrivateKey) -> Iterator[Restored]:
    restored = Restored(tmp_path, key)
    yield restored
    restored.journal.close()


@pytest.mark.parametrize("serial", [6, 7, 8, 10])
def test_a_header_that_the_journal_does_not_hold_gives_it_a_new_epoch(restored: Restored, serial: int) -> None:
    """Another digest under a serial that is there, or a serial that is not: both begin a younger epoch, at zero."""
    before = restored.journal.epoch
    assert restored.show(restored.headers[serial]) is None
    assert epoch_order(restored.journal.epoch) > epoch_order(before)
    assert restored.journal.head("debian") == Head(restored.journal.epoch, 0, None)
    assert restored.journal.history().proofs == restored.renewed == 1
    assert read_epoch_note(restored.journal.path) == restored.journal.epoch


def said_once(restored: Restored, serial: int) -> tuple[bytes, bytes]:
    """Return what the publisher said when its journal was at `serial`: a state that was asked for, and a heartbeat."""
    epoch = restored.journal.epoch
    head = Head(epoch, serial, digest(open_envelope(restored.headers[serial]).signed))
    state = TreeState(IDENTITY.name, "debian", head, 1, "nonce-of-mine")
    heartbeat = Heartbeat(IDENTITY.name, 1, START_MS, 30_000, {"a": Head(epoch, 0, None), "debian": head})
    told = (STATE, format_state(state)), (HEARTBEAT, format_heartbeat(heartbeat))
    first, second = (
        seal(IDENTITY.compose(kind, msg, at_ms=START_MS, counter=1), restored.key) for kind, msg in told
    )  # fmt: skip
    return first, second


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("serial", [6, 7, 8, 10])
def test_what_the_publisher_said_of_itself_proves_as_much(restored: Restored, serial: int, number: int) -> None:
    """Whoever began with a state or a heartbeat has heard no update, and can show that it was there."""
    before = restored.journal.epoch
    assert restored.show(said_once(restored, serial)[number]) is None
    assert epoch_order(restored.journal.epoch) > epoch_order(before)
    assert restored.journal.history().proofs == restored.renewed == 1


@pytest.mark.parametrize("serial", [1, 5])
def test_what_it_said_of_what_it_holds_changes_nothing(restored: Restored, serial: int) -> None:
    """States and heartbeats may be replayed by anybody."""
    before = restored.journal.epoch
    for body in said_once(restored, serial):
        assert restored.show(body) is None
    assert (restored.journal.epoch, restored.renewed) == (before, 0)


@pytest.mark.parametrize("serial", [1, 5])
def test_a_header_that_the_journal_holds_changes_nothing(restored: Restored, serial: int) -> None:
    """It is taken all the same: whoever shows it cannot know."""
    before = restored.journal.epoch
    assert restored.show(restored.headers[serial]) is None
    assert restored.show(restored.ours[7]) is None
    assert (restored.journal.epoch, restored.renewed) == (before, 0)


def test_the_same_proof_again_changes_nothing_more(restored: Restored) -> None:
    """A thousand mirrors may have it; the first one is enough, and the others are of an epoch that is over."""
    for serial in (10, 10, 8, 6):
        assert restored.show(restored.headers[serial]) is None
    assert (restored.journal.history().proofs, restored.renewed) == (1, 1)


def test_what_was_pruned_proves_nothing(restored: Restored) -> None:
    """Below the oldest serial that is kept the journal cannot tell what it had."""
    while restored.journal.prune(Retention(-1, 1 << 50)):
        pass
    assert restored.journal.oldest("debian") == 7
    before = restored.journal.epoch
    assert restored.show(restored.headers[6]) is None
    assert restored.journal.epoch == before


def test_an_update_that_is_not_sent_yet_is_in_the_journal(restored: Restored, key: PrivateKey) -> None:
    """A daemon that was killed before it could mark an update as sent is not taken for a copy."""
    announce(restored.journal, one_path(8))
    (row,) = restored.journal.unsent(1)
    assert restored.show(seal(row.signed, key)) is None
    assert restored.renewed == 0


def test_the_new_epoch_is_younger_than_the_old_one_also_by_a_clock_that_went_back(restored: Restored) -> None:
    """Subscribers would not believe it otherwise."""
    before = restored.journal.epoch
    restored.now_ms = 5
    assert restored.show(restored.headers[10]) is None
    assert epoch_order(restored.journal.epoch) > epoch_order(before)


def test_everything_begins_anew_in_the_new_epoch(restored: Restored) -> None:
    """Serials count from one, nothing of the old epoch is handed out or sent any more, and in the end it is pruned."""
    announce(restored.journal, many_paths(8))
    old = restored.journal.epoch
    reading = restored.journal.updates_after("debian", 0, 100)
    assert next(reading).serial == 1
    restored.show(restored.headers[10])
    assert restored.journal.unsent(10) == []
    assert not restored.journal.keeps("debian", old, 7)
    assert announce(restored.journal, one_path(1)) == 1
    (row,) = send_all(restored.journal, restored.key)
    msg = parse_object(row.signed, max_bytes=MAX_MESSAGE_BYTES)["msg"]
    assert (msg["epoch"], msg["previous"], msg["previous_digest"]) == (restored.journal.epoch, 0, None)
    assert [found.serial for found in reading] == [2, 3, 4, 5, 6, 7], "an answer that was begun stays of one epoch"
    while restored.journal.prune(Retention(1 << 50, 1 << 50)):
        pass
    assert (count(restored.journal.path, "updates"), count(restored.journal.path, "lists")) == (1, 1)
    assert [found.serial for found in restored.journal.updates_after("debian", 0, 100)] == [1]


def other_key(folder: Path) -> PrivateKey:
    generate_key_file(folder / "other.key", "other")
    return load_private_key(folder / "other.key")


def reseal(body: bytes, key: PrivateKey, **changed: Any) -> bytes:
    """The same message with other content, signed anew."""
    message = parse_object(body, max_bytes=MAX_MESSAGE_BYTES)
    msg = {**message["msg"], **changed}
    identity = Identity(msg["publisher"], "org.example", "prod")
    return seal(identity.compose("tree.updated", msg, at_ms=START_MS, counter=1), key)


Forge = Callable[[bytes, PrivateKey, Path], bytes]

FORGERIES: list[tuple[int, Forge]] = [
    (400, lambda body, key, folder: b""),
    (400, lambda body, key, folder: b"[]"),
    (400, lambda body, key, folder: body[:-40]),
    (400, lambda body, key, folder: reseal(body, key, serial="10")),
    (400, lambda body, key, folder: reseal(body, key, publisher="elsewhere.example.org")),
    (400, lambda body, key, folder: seal(IDENTITY.compose("tree.heartbeat", {}, at_ms=1, counter=1), key)),
    (403, lambda body, key, folder: reseal(body, other_key(folder))),
    (403, lambda body, key, folder: reseal(body, other_key(folder), list="is not even looked at")),
    (403, lambda body, key, folder: body.replace(b'"serial":10', b'"serial":11')),
    (403, lambda body, key, folder: body.replace(b'"signature":"', b'"signature":"AAAA')),
]


@pytest.mark.parametrize(("status", "forge"), FORGERIES)
def test_nobody_else_can_give_it_a_new_epoch(
    restored: Restored, key: PrivateKey, tmp_path: Path, status: int, forge: Forge
) -> None:
    """What is malformed, of somebody else, or signed by another key is refused and changes nothing."""
    before = restored.journal.epoch
    refusal = restored.show(forge(restored.headers[10], key, tmp_path))
    assert refusal is not None and refusal.status == status
    assert (restored.journal.epoch, restored.renewed) == (before, 0)


def test_only_so_many_signatures_are_checked(restored: Restored) -> None:
    """A flood of headers costs no more than so many checks a second; then there is room again."""
    for _ in range(SIGNATURES_AT_ONCE):
        assert restored.show(restored.headers[1]) is None
    refusal = restored.show(restored.headers[10])
    assert refusal is not None and refusal.status == 429 and restored.renewed == 0
    restored.now_ms += 1000
    assert restored.show(restored.headers[10]) is None and restored.renewed == 1
