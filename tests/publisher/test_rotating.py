"""Exchanging the key of a publisher: each step, a crash after each, and with what the daemon signs then."""

from __future__ import annotations

import contextlib
import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pushmirror.core.rotation import MAX_ROTATIONS, ROTATED, Rotation, fingerprint, format_rotation
from pushmirror.core.wire import open_envelope
from pushmirror.errors import KeyFileError, Refused, StateError
from pushmirror.keys import PrivateKey, generate_key_file, load_private_key, parse_public_line, seal, verify_envelope
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.rotating import Rotator
from pushmirror.publisher.rotation_files import (
    RECORD_NAME,
    SignedRotation,
    find_old_files,
    next_file,
    read_record,
    write_record,
)
from pushmirror.publisher.signing import SigningKeys
from pushmirror.settings.disk import look_at_private_key

pytestmark = pytest.mark.slow
IDENTITY = Identity("t1.example.org", "org.example", "test")
START_MS = 1_790_000_000_000
DAY_MS = 86_400_000
STEPS = ("made", "recorded", "kept", "public", "exchanged")


class Crash(BaseException):
    """The process ends here: nothing tidies up."""


class Place:
    """A publisher's key and state; `now_ms` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "etc" / "publisher.key"
        self.state_dir = folder / "state"
        for path in (self.key.parent, self.state_dir):
            path.mkdir()
        self.first = generate_key_file(self.key, "t1.example.org").line
        self.now_ms = START_MS

    def rotator(self, *, overlap_ms: int = 7 * DAY_MS, crash_after: str = "") -> Rotator:
        def reached(step: str) -> None:
            if step == crash_after:
                raise Crash(step)

        return Rotator(self.key, self.state_dir, IDENTITY, overlap_ms, lambda: self.now_ms, reached)

    def rotate(self, **more: int) -> Rotation:
        rotation, new = self.rotator(**more).rotate()
        assert new
        return rotation

    def keys(self) -> SigningKeys:
        """Return the keys as a daemon that is started now finds them."""
        assert look_at_private_key(self.key) is None
        return SigningKeys(self.key, self.state_dir, lambda: self.now_ms)

    def signs_with(self) -> list[str]:
        """Return the public lines of what a daemon that is started now signs with, the newest last."""
        return [key.public.line for key in self.keys().valid()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_a_rotation_there_is_the_one_key(place: Place) -> None:
    """It is chosen whatever the other side believes, and nothing is announced."""
    keys = place.keys()
    assert place.signs_with() == [place.first]
    assert keys.choose(["0" * 16]).public.line == place.first
    assert (keys.announcements(), keys.rotations()) == ((), ())


def test_a_rotation_leaves_the_new_key_in_place_and_both_counting(place: Place) -> None:
    """The old one lies beside it, readable by its owner alone; what tells of it is signed by the old one."""
    rotation = place.rotate()
    assert load_private_key(place.key).public.line == rotation.new != place.first
    assert parse_public_line(place.key.with_name("publisher.key.pub").read_text()).line == rotation.new
    (old,) = find_old_files(place.key)
    assert load_private_key(old).public.line == rotation.old == place.first
    assert {stat.S_IMODE(path.stat().st_mode) for path in (place.key, old)} == {0o600}
    assert not next_file(place.key).exists()
    (signed,) = read_record(place.state_dir)
    envelope = open_envelope(signed.envelope)
    assert verify_envelope(envelope, [parse_public_line(place.first)]).line == place.first
    assert envelope.topic == "org.example.test.pushmirror.key.rotated"
    assert signed.rotation == rotation == Rotation("t1.example.org", place.first, rotation.new, START_MS, 7 * DAY_MS)
    assert place.signs_with() == [rotation.old, rotation.new]


def test_after_the_overlap_the_new_key_signs_alone(place: Place) -> None:
    """What tells of it is on the bus as long as it is news, and in the service for ever."""
    rotation = place.rotate()
    keys = place.keys()
    assert len(keys.announcements()) == 1
    place.now_ms = rotation.until_ms
    assert [key.public.line for key in keys.valid()] == place.signs_with() == [rotation.new]
    assert (keys.announcements(), len(keys.rotations())) == ((), 1)
    assert keys.show()["left_over"] == [str(path) for path in find_old_files(place.key)]


def test_an_answer_is_signed_with_the_newest_key_that_the_other_side_believes(place: Place) -> None:
    """Whoever says nothing gets the oldest that counts: everybody has known that for longest."""
    rotation = place.rotate()
    keys = place.keys()
    old, new = fingerprint(rotation.old), fingerprint(rotation.new)
    chosen = [keys.choose(wanted).public.line for wanted in ([], [old], [new], [old, new], ["f" * 16])]
    assert chosen == [rotation.old, rotation.old, rotation.new, rotation.new, rotation.old]


def test_rotations_within_the_overlap_of_others_are_a_chain(place: Place) -> None:
    """All of them count until their own overlap is over."""
    first = place.rotate()
    place.now_ms += DAY_MS
    second = place.rotate(overlap_ms=DAY_MS)
    assert (second.old, place.signs_with()) == (first.new, [first.old, first.new, second.new])
    place.now_ms += DAY_MS
    assert place.signs_with() == [second.new]


def test_an_overlap_of_nothing_ends_the_old_key_at_once(place: Place) -> None:
    """For one that leaked; it is told on the bus all the same."""
    rotation = place.rotate(overlap_ms=0)
    assert place.signs_with() == [rotation.new]
    assert len(place.keys().announcements()) == 1


def test_keys_of_before_that_count_no_more_are_removed_by_the_next_rotation(place: Place) -> None:
    """Nobody should find them."""
    place.rotate()
    place.now_ms += 8 * DAY_MS
    second = place.rotate()
    (old,) = find_old_files(place.key)
    assert load_private_key(old).public.line == second.old


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_after_any_step_leaves_a_publisher_that_works(place: Place, step: str) -> None:
    """It starts, and signs with what was in use; and with the next key as well once that is recorded."""
    with pytest.raises(Crash):
        place.rotator(crash_after=step).rotate()
    record = read_record(place.state_dir)
    assert len(record) == (0 if step == "made" else 1)
    new = [signed.rotation.new for signed in record]
    assert place.signs_with() == [place.first, *new]
    place.now_ms += 8 * DAY_MS
    assert place.signs_with() == ([place.first] if step == "made" else new)


@pytest.mark.parametrize("step", STEPS)
def test_what_a_crash_has_left_is_finished_by_the_next_call(place: Place, step: str) -> None:
    """What was recorded goes on, under the key that was told, and is told no second time; otherwise all is new."""
    with pytest.raises(Crash):
        place.rotator(crash_after=step).rotate()
    record = read_record(place.state_dir)
    rotation, new = place.rotator().rotate()
    unfinished = step in ("recorded", "kept", "public")
    assert new is not unfinished
    if unfinished:
        assert read_record(place.state_dir) == record and rotation == record[0].rotation
    assert load_private_key(place.key).public.line == rotation.new
    assert (look_at_private_key(place.key), next_file(place.key).exists()) == (None, False)
    assert place.signs_with()[-1] == rotation.new


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_two_crashes_in_a_row_are_survived_too(place: Place, first: str, second: str) -> None:
    """Of the first call and of the one that finishes it."""
    for step in (first, second):
        with contextlib.suppress(Crash):
            place.rotator(crash_after=step).rotate()
        assert place.first in place.signs_with()
    rotation, _ = place.rotator().rotate()
    assert place.signs_with()[0] == place.first and place.signs_with()[-1] == rotation.new
    chain = [signed.rotation for signed in read_record(place.state_dir)]
    assert [link.new for link in chain[:-1]] == [link.old for link in chain[1:]]


def test_a_running_daemon_notices_each_step(place: Place) -> None:
    """Whatever it finds when it looks, it can go on signing with what it knew."""
    keys = place.keys()
    seen: list[list[str]] = []

    def look(step: str) -> None:
        keys.refresh()
        seen.append([key.public.line for key in keys.valid()])

    Rotator(place.key, place.state_dir, IDENTITY, DAY_MS, lambda: place.now_ms, look).rotate()
    new = load_private_key(place.key).public.line
    assert seen == [[place.first]] + [[place.first, new]] * 4
    assert not keys.refresh()


def test_keys_that_cannot_be_read_any_more_leave_the_daemon_with_those_it_has(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once."""
    keys = place.keys()
    place.key.chmod(0o644)
    place.key.write_bytes(b"")
    for _ in range(3):
        assert not keys.refresh()
    assert [key.public.line for key in keys.valid()] == [place.first]
    assert caplog.text.count("could not be read anew") == 1


def test_a_key_that_the_operator_put_in_place_stands_for_itself(place: Place) -> None:
    """After a leak, for example: made by keygen, and told to everybody by hand."""
    place.rotate()
    place.key.unlink()
    place.key.with_name("publisher.key.pub").unlink()
    other = generate_key_file(place.key, "other").line
    assert place.signs_with() == [other]
    assert place.rotate().old == other


def test_a_lost_next_key_is_a_fault_that_says_what_to_do(place: Place) -> None:
    """It was announced and is gone: another one would be a conflict for every subscriber."""
    with pytest.raises(Crash):
        place.rotator(crash_after="recorded").rotate()
    next_file(place.key).unlink()
    with pytest.raises(KeyFileError, match="bring that back"):
        place.rotator().rotate()
    assert place.signs_with() == [place.first]


def test_a_record_that_was_tampered_with_is_a_fault(place: Place) -> None:
    """Each line is verified by itself."""
    place.rotate()
    path = place.state_dir / RECORD_NAME
    path.write_bytes(path.read_bytes().replace(b'"overlap_ms":6', b'"overlap_ms":7'))
    with pytest.raises(StateError, match="not what rotate-key has written"):
        place.rotator().rotate()


def test_a_folder_that_cannot_be_written_stops_it_before_anything_is_said(place: Place) -> None:
    """A file stands where the next key would be made."""
    next_file(place.key).mkdir()
    with pytest.raises(KeyFileError, match="cannot be made"):
        place.rotator().rotate()
    assert (read_record(place.state_dir), place.signs_with()) == ((), [place.first])


def test_two_at_once_are_refused(place: Place) -> None:
    """The second one while the first is at work."""
    refused: list[str] = []

    def start_another(step: str) -> None:
        with pytest.raises(Refused):
            place.rotator().rotate()
        refused.append(step)

    Rotator(place.key, place.state_dir, IDENTITY, DAY_MS, lambda: place.now_ms, start_another).rotate()
    assert refused == list(STEPS)


def test_there_is_an_end_to_the_chain(place: Place) -> None:
    """What subscribers would not follow any more is refused, with advice."""
    chain = [PrivateKey(Ed25519PrivateKey.generate()) for _ in range(MAX_ROTATIONS)] + [load_private_key(place.key)]
    signed = []
    for old, new in pairwise(chain):
        rotation = Rotation("t1.example.org", old.public.line, new.public.line, START_MS, 0)
        body = IDENTITY.compose(ROTATED, format_rotation(rotation), at_ms=START_MS, counter=1)
        signed.append(SignedRotation(rotation, seal(body, old)))
    write_record(place.state_dir, tuple(signed))
    with pytest.raises(Refused, match="by hand"):
        place.rotate()
    assert place.signs_with() == [place.first]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a key for another user")
def test_the_new_key_belongs_to_the_owner_of_the_old_one(place: Place) -> None:
    """Although root has exchanged it: the daemon has to read it."""
    for path in (place.key, place.state_dir):
        os.chown(path, 65534, 65534)
    place.rotate()
    paths = (place.key, *find_old_files(place.key), place.state_dir / RECORD_NAME)
    assert {path.stat().st_uid for path in paths} == {65534}
