"""What does not count for a tree: keys of another one, jumps that nobody confirms, and whatever was recorded."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.leaps import LeapBounds
from pushmirror.core.messages import HEARTBEAT, UPDATED, UPDATING, format_heartbeat, format_updating
from pushmirror.core.model import Head, Heartbeat, Updating
from pushmirror.core.rotation import ROTATED, Rotation, format_rotation
from pushmirror.core.wire import MAX_INTEGER
from pushmirror.http.answers import Answer
from pushmirror.http.questions import Question, Refusal, UpdatesQuestion
from pushmirror.keys import PrivateKey
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.tracker import DEFAULT_BOUNDS
from tests.subscriber.following import Following, Frames
from tests.subscriber.test_service_client import entry, lines, state_body
from tests.subscriber.test_tracker import lie_about
from tests.subscriber.upstream import (
    IDENTITY,
    OTHER_TREE,
    PUBLISHER,
    START_MS,
    TREE,
    Upstream,
    make_key,
    put,
)

pytestmark = pytest.mark.slow

DOWN = Refusal(503, "out of order")
DAY_MS = 86_400_000
FAR = DEFAULT_BOUNDS.serials + 100


@pytest.fixture
def begun(following: Following, upstream: Upstream) -> Following:
    """Has serial 2 and everything before it."""
    upstream.announce(put("a"), put("b"))
    following.begin_at(upstream)
    return following


# --- keys of trees


@pytest.fixture
def tree_key(tmp_path: Path) -> PrivateKey:
    """The key that is pinned for `OTHER_TREE` alone."""
    return make_key(tmp_path, "other-tree.key")


@pytest.fixture
def two(reactor: Any, upstream: Upstream, ledger: Ledger, tree_key: PrivateKey) -> Iterator[Following]:
    """Follows `TREE` by the key of the upstream and `OTHER_TREE` by a key of its own; both have begun."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    following = Following(
        reactor, upstream, ledger, trees=(TREE, OTHER_TREE), tree_keys={OTHER_TREE: [tree_key.public]}
    )
    upstream.announce(put("a"))
    head = Head(upstream.journal.epoch, 0, None)
    following.hear(upstream.heartbeat_frames({TREE: head}), beat(upstream, tree_key, {OTHER_TREE: head}))
    assert ledger.head(TREE) == ledger.head(OTHER_TREE) == head
    yield following
    following.tracker.stop()


def beat(upstream: Upstream, key: PrivateKey, trees: dict[str, Head], counter: int = 1) -> Frames:
    """Return a heartbeat that is signed with `key`."""
    heartbeat = Heartbeat(PUBLISHER, counter, START_MS + counter, 1000, trees)
    return upstream.sealed(HEARTBEAT, format_heartbeat(heartbeat), key)


def records(following: Following) -> tuple[object, ...]:
    """Return all that the ledger knows of both trees."""
    return tuple(following.ledger.tree(tree) for tree in (TREE, OTHER_TREE))


def test_an_announcement_counts_by_the_key_of_its_tree_alone(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """Each key signs a good update of each tree: two of four count."""
    (row,) = upstream.journal.updates_after(TREE, 0, 1)
    before = records(two)
    msg = upstream.message(row)
    two.hear(upstream.sealed(UPDATED, msg, tree_key), upstream.sealed(UPDATED, {**msg, "tree": OTHER_TREE}))
    assert (records(two), two.dropped) == (before, {"signature": 2})
    two.hear(upstream.sealed(UPDATED, {**msg, "tree": OTHER_TREE}, tree_key), upstream.sealed(UPDATED, msg))
    assert [two.ledger.tree(tree).announced for tree in (TREE, OTHER_TREE)] == [1, 1]


def test_a_heartbeat_tells_only_of_the_trees_of_its_key(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """Of others it may say what it likes: a gap, a fork, a younger epoch; and nothing is asked because of it."""
    before = records(two)
    lies = [
        Head(upstream.journal.epoch, 7, "1" * 64), Head(f"{START_MS + 5}-0123456789abcdef", 1, "1" * 64),
        Head(f"{START_MS - 5}-0123456789abcdef", 1, "1" * 64),
    ]  # fmt: skip
    for counter, lie in enumerate(lies, start=10):
        two.hear(beat(upstream, tree_key, {TREE: lie}, counter))
        two.hear(beat(upstream, upstream.key, {OTHER_TREE: lie}, counter))
    two.turn()
    assert (records(two), upstream.service.asked) == (before, [])


def test_a_heartbeat_is_testimony_about_the_trees_of_its_key_alone(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """Nobody could verify what is kept beside the head of another tree; and nothing better is given up for it."""
    kept = two.ledger.header(TREE)
    heads = {tree: Head(f"{START_MS + 5}-0123456789abcdef", 1, "1" * 64) for tree in (TREE, OTHER_TREE)}
    told = beat(upstream, tree_key, heads, counter=10)
    two.hear(told)
    two.turn_until(lambda: two.ledger.head(OTHER_TREE) == heads[OTHER_TREE], waiting=True)
    assert two.ledger.header(OTHER_TREE) == told[1]
    assert two.ledger.header(TREE) == kept != told[1]


def test_the_key_of_a_tree_neither_makes_a_sign_of_life_nor_hides_one(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """A heartbeat of the year 9999 with it makes no honest one look old."""
    two.hear(beat(upstream, tree_key, {}, counter=MAX_INTEGER - START_MS - 1))
    assert two.dropped == {}
    two.time.now_ms += 3001
    two.hear(beat(upstream, tree_key, {}, counter=5))
    assert two.listener.state == "silent"
    (row,) = upstream.journal.updates_after(TREE, 0, 1)
    two.hear(upstream.heartbeat_frames({TREE: Head(upstream.journal.epoch, 1, row.digest)}, at_ms=START_MS + 3001))
    two.turn_until(lambda: two.announced == 1)
    assert two.listener.state == "connected"


def test_history_and_states_count_by_the_key_of_the_tree_alone(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """The service hands out good updates of the other tree, signed with the key of the publisher."""
    upstream.announce(put("x"), tree=OTHER_TREE)
    before = two.ledger.tree(OTHER_TREE)
    two.tracker.ask_about_all()
    two.turn_until(lambda: two.tracker.catching_up_trees == (), waiting=True)
    assert two.ledger.tree(OTHER_TREE) == before
    assert two.announced == 1


def test_no_other_key_says_that_a_tree_is_being_updated(
    two: Following, upstream: Upstream, tree_key: PrivateKey
) -> None:
    """Its jobs would wait for that."""
    for tree, key in ((TREE, tree_key), (OTHER_TREE, upstream.key)):
        updating = Updating(PUBLISHER, tree, START_MS, START_MS + 100_000)
        two.hear(upstream.sealed(UPDATING, format_updating(updating), key))
        assert two.tracker.busy_until_ms(tree) is None
    assert two.dropped == {"signature": 2}


def test_without_keys_of_its_own_any_key_of_the_upstream_counts_for_a_tree(
    reactor: Any, upstream: Upstream, ledger: Ledger, tree_key: PrivateKey
) -> None:
    """What pinning per tree is for: with both keys at the upstream the key for one tree moves the other."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    (row,) = upstream.announce(put("a"))
    following = Following(reactor, upstream, ledger, trees=(TREE, OTHER_TREE), more_keys=[tree_key.public])
    following.hear(upstream.heartbeat_frames({TREE: Head(upstream.journal.epoch, 0, None)}))
    following.hear(upstream.sealed(UPDATED, upstream.message(row), tree_key))
    assert following.announced == 1
    following.tracker.stop()


# --- jumps


def far_update(upstream: Upstream, serial: int) -> Frames:
    """Return an update that is signed and follows on serial 2, as an attacker with the key sends it."""
    newest = upstream.journal.newest_sent(TREE)
    assert newest is not None
    msg = upstream.message(newest)
    return upstream.sealed(UPDATED, {**msg, "serial": serial, "previous": 2, "previous_digest": newest.digest})


@pytest.mark.parametrize("by", ["update", "heartbeat", "a gap", "epoch"])
def test_a_jump_that_nobody_confirms_is_held_and_honest_updates_go_on(
    begun: Following, upstream: Upstream, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However it is told. The head stays where it was, nothing becomes pending, and what comes next is just next."""
    told = {
        "update": Head(upstream.journal.epoch, MAX_INTEGER, "1" * 64),
        "heartbeat": Head(upstream.journal.epoch, FAR, "1" * 64),
        "a gap": Head(upstream.journal.epoch, FAR, "1" * 64),
        "epoch": Head(f"{START_MS + 2 * DAY_MS}-0123456789abcdef", 1, "1" * 64),
    }[by]
    before = begun.ledger.tree(TREE)
    upstream.service.lie = lambda question: DOWN
    if by == "update":
        begun.hear(far_update(upstream, MAX_INTEGER))
        assert begun.dropped == {"leap": 1}
    else:
        begun.hear(upstream.heartbeat_frames({TREE: told}))
    begun.turn_until_done(waiting=True)
    leap = begun.ledger.leap(TREE)
    assert leap is not None and (leap.head.epoch, leap.head.serial) == (told.epoch, told.serial)
    assert begun.ledger.tree(TREE) == before
    assert "is held" in caplog.text
    upstream.service.lie = None
    begun.hear(*begun.frames(upstream, *upstream.announce(put("c"))))
    assert begun.pending == [3]


def test_without_a_bound_one_update_makes_all_honest_ones_look_old(
    reactor: Any, begun: Following, upstream: Upstream, ledger: Ledger
) -> None:
    """The same attack with the bound taken away: this is what it is for."""
    unbound = Following(reactor, upstream, ledger, bounds=LeapBounds(MAX_INTEGER, MAX_INTEGER))
    unbound.hear(far_update(upstream, MAX_INTEGER))
    assert unbound.announced == MAX_INTEGER
    unbound.hear(*unbound.frames(upstream, *upstream.announce(put("c"))))
    assert unbound.dropped == {"duplicate": 1}
    unbound.tracker.stop()


def test_a_jump_that_a_fresh_state_confirms_is_followed(begun: Following, upstream: Upstream) -> None:
    """The publisher says so itself, with the nonce of this question: history is no more, and a full sync begins."""
    far = Head(upstream.journal.epoch, FAR, "1" * 64)

    def has_come_so_far(question: Question) -> Answer | Refusal:
        if isinstance(question, UpdatesQuestion):
            return Refusal(410, "not kept")
        return state_body(upstream, question, head=far, oldest=FAR - 10)

    upstream.service.lie = has_come_so_far
    begun.hear(upstream.heartbeat_frames({TREE: far}))
    begun.turn_until_done()
    assert (begun.ledger.head(TREE), begun.ledger.leap(TREE), begun.pending) == (far, None, [-FAR])


def test_a_jump_that_a_fresh_state_denies_is_forgotten(begun: Following, upstream: Upstream) -> None:
    """Also one that was held since a time when nobody answered."""
    before = begun.ledger.tree(TREE)
    far = Head(upstream.journal.epoch, FAR, "1" * 64)
    upstream.service.lie = lambda question: DOWN
    begun.hear(upstream.heartbeat_frames({TREE: far}))
    begun.turn_until_done(waiting=True)
    assert begun.ledger.leap(TREE) is not None
    upstream.service.lie = None
    begun.time.now_ms += 61_000
    begun.hear(upstream.heartbeat_frames({TREE: far}))
    begun.turn_until_done()
    assert (begun.ledger.leap(TREE), begun.ledger.tree(TREE)) == (None, before)


def test_a_jump_inside_a_history_is_not_followed_unconfirmed(begun: Following, upstream: Upstream) -> None:
    """Whoever answers in the publisher's place hands out a signed update that jumps; its state does not know it."""
    _, body = far_update(upstream, FAR)
    before = begun.ledger.tree(TREE)
    upstream.service.lie = lie_about(UpdatesQuestion, lambda question: lines(entry(body)))
    begun.hear(upstream.heartbeat_frames({TREE: Head(upstream.journal.epoch, 3, "1" * 64)}))
    begun.turn_until_done(waiting=True)
    assert begun.ledger.tree(TREE) == before


def test_the_operator_can_follow_a_jump_that_is_held(begun: Following, upstream: Upstream) -> None:
    """By one full sync; what is applied stays applied in the same epoch."""
    far = Head(upstream.journal.epoch, FAR, "1" * 64)
    upstream.service.lie = lambda question: DOWN
    begun.hear(upstream.heartbeat_frames({TREE: far}))
    begun.turn_until_done(waiting=True)
    assert begun.tracker.adopt_leap(TREE)
    assert (begun.ledger.head(TREE), begun.pending, begun.ledger.leap(TREE)) == (far, [-FAR], None)
    assert begun.ledger.tree(TREE).applied == 2
    assert not begun.tracker.adopt_leap(TREE)


def test_a_held_jump_is_asked_about_once_a_minute(begun: Following, upstream: Upstream) -> None:
    """Heartbeats that tell it come every second."""
    upstream.service.lie = lambda question: DOWN
    for serial in range(50):
        begun.hear(upstream.heartbeat_frames({TREE: Head(upstream.journal.epoch, FAR + serial, "1" * 64)}))
        begun.time.now_ms += 1000
        begun.turn(1)
    begun.turn_until_done(waiting=True)
    assert len(upstream.service.asked) == 6


# --- whatever was recorded


class Recorded:
    """All that a publisher said in a long life, and then again in any order."""

    def __init__(self, upstream: Upstream, tmp_path: Path) -> None:
        self.frames: list[Frames] = []
        self._upstream = upstream
        self._strange = make_key(tmp_path, "strange.key")

    def live(self, count: int = 3) -> None:
        """Announce, and say so in heartbeats."""
        upstream = self._upstream
        for number in range(count):
            rows = upstream.announce(put(f"file-{number}"))
            self.frames += [upstream.update_frames(row) for row in rows]
            self.frames.append(upstream.heartbeat_frames())

    def speak_of_others(self) -> None:
        """Add what another publisher says, with its key, in its name and in this one's."""
        upstream, key = self._upstream, self._strange
        msg = upstream.message(next(upstream.journal.updates_after(TREE, 0, 1)))
        self.frames += [
            upstream.sealed(UPDATED, {**msg, "serial": 90, "previous": 89, "previous_digest": "2" * 64}, key),
            upstream.sealed(UPDATED, {**msg, "publisher": "t9.example.org"}, key),
            upstream.sealed(UPDATED, {**msg, "publisher": "t9.example.org"}),
            beat(upstream, key, {TREE: Head(f"{START_MS + 9}-0123456789abcdef", 1, "1" * 64)}),
        ]

    def rotate(self, new: PrivateKey) -> None:
        """Exchange the key, signed by the one in use."""
        rotation = Rotation(PUBLISHER, self._upstream.key.public.line, new.public.line, START_MS, DAY_MS)
        self.frames.append(self._upstream.sealed(ROTATED, format_rotation(rotation)))


@pytest.fixture
def recorded(upstream: Upstream, tmp_path: Path) -> Recorded:
    """Three journals were lost one after the other: the clock went on, went on, and then back by a day."""
    recorded = Recorded(upstream, tmp_path)
    recorded.live()
    upstream.new_journal(START_MS + 1_000_000)
    recorded.live()
    return recorded


class Mirror:
    """A mirror that is restarted now and then. `dropped` is what was counted over all of its lives."""

    def __init__(self, reactor: Any, upstream: Upstream, ledger: Ledger) -> None:
        self._reactor, self._upstream, self._ledger = reactor, upstream, ledger
        self.dropped: Counter[str] = Counter()
        self.following = self._start()

    def _start(self) -> Following:
        return Following(self._reactor, self._upstream, self._ledger, accept_rotation=True)

    def restart(self) -> None:
        self.stop()
        self.following = self._start()

    def stop(self) -> None:
        self.following.tracker.stop()
        self.dropped += self.following.listener.dropped

    def ask(self) -> None:
        """Ask where the tree is, and follow."""
        self.following.tracker.ask_about_all()
        self.following.turn_until(lambda: self._ledger.head(TREE) == self._upstream.head())

    def live_through(self, frames: list[Frames]) -> None:
        """Hear all as it was said, each after the one before has had its consequences."""
        for frame in frames:
            self.following.hear(frame)
            self._settle()

    def hear_again(self, frames: list[Frames], seed: int) -> None:
        """Hear all of it three times in some order, with a restart in between, and a minute after each time."""
        chance = random.Random(seed)
        for _ in range(3):
            order = chance.sample(frames, len(frames))
            for number, frame in enumerate(order):
                self.following.hear(frame)
                self.following.turn(1)
                if number == len(order) // 2:
                    self.restart()
            self._settle()
            self.following.time.now_ms += 61_000

    def _settle(self) -> None:
        self.following.turn_until(lambda: self.following.tracker.catching_up_trees == (), waiting=True)


@pytest.fixture
def mirror(reactor: Any, upstream: Upstream, ledger: Ledger) -> Iterator[Mirror]:
    mirror = Mirror(reactor, upstream, ledger)
    yield mirror
    mirror.stop()


def live_long(mirror: Mirror, upstream: Upstream, recorded: Recorded, folder: Path) -> None:
    """Live through all that is recorded, and then through a clock that went back and another key."""
    mirror.live_through(recorded.frames)
    upstream.new_journal(START_MS - DAY_MS)
    recorded.live(4)
    mirror.ask()
    recorded.rotate(make_key(folder, "new.key"))
    mirror.live_through(recorded.frames[-1:])
    recorded.speak_of_others()
    mirror.following.apply()
    mirror.following.time.now_ms += 61_000


@pytest.mark.parametrize("answers", [True, False], ids=["service up", "service down"])
@pytest.mark.parametrize("seed", range(3))
def test_no_replay_of_anything_recorded_makes_a_mirror_do_a_full_sync(
    mirror: Mirror, upstream: Upstream, ledger: Ledger, recorded: Recorded, tmp_path: Path, seed: int, answers: bool
) -> None:
    """Old epochs, updates, heartbeats, rotations, messages of another publisher: all of it in any order, also at a
    start of the subscriber, and while nobody can be asked. All is counted."""
    live_long(mirror, upstream, recorded, tmp_path)
    before, keys = ledger.tree(TREE), mirror.following.ring.of_tree(TREE)
    upstream.service.lie = None if answers else lambda question: DOWN
    mirror.hear_again(recorded.frames, seed)
    after = ledger.tree(TREE)
    assert (after.head, after.applied, after.generation) == (before.head, before.applied, before.generation)
    assert (after.pending_updates, after.whole_pending, ledger.leap(TREE)) == (0, False, None)
    assert mirror.following.ring.of_tree(TREE) == keys
    mirror.restart()
    heartbeats = sum(1 for topic, _ in recorded.frames if topic.decode().endswith(HEARTBEAT))
    assert mirror.dropped["stale"] > 0 and mirror.dropped["epoch"] > 0 and mirror.dropped["duplicate"] > 0
    assert mirror.dropped["publisher"] == 6
    assert sum(mirror.dropped.values()) >= 3 * (len(recorded.frames) - heartbeats)


def test_without_a_memory_for_epochs_that_are_over_a_replay_costs_a_full_sync(
    mirror: Mirror, upstream: Upstream, ledger: Ledger, recorded: Recorded, tmp_path: Path
) -> None:
    """The same attack while nobody can be asked, on a mirror that has forgotten them: this is what it is for."""
    live_long(mirror, upstream, recorded, tmp_path)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute("DELETE FROM epochs_over")
    before = ledger.tree(TREE)
    upstream.service.lie = lambda question: DOWN
    mirror.hear_again(recorded.frames, 1)
    after = ledger.tree(TREE)
    assert after.generation > before.generation and after.whole_pending


def test_a_dead_epoch_that_was_only_rumoured_is_remembered_as_one(begun: Following, upstream: Upstream) -> None:
    """The mirror never followed it. Once a fresh state has denied it nobody makes it look new, also without service."""
    rumour = Head(f"{START_MS + 5_000}-0123456789abcdef", 7, "1" * 64)
    before = begun.ledger.tree(TREE)
    begun.hear(upstream.heartbeat_frames({TREE: rumour}))
    begun.turn_until_done()
    upstream.service.lie = lambda question: DOWN
    begun.time.now_ms += 61_000
    begun.hear(upstream.heartbeat_frames({TREE: rumour}))
    begun.turn_until_done(waiting=True)
    assert begun.ledger.tree(TREE) == before


def test_an_epoch_that_comes_back_is_believed_on_the_publishers_own_word(begun: Following, upstream: Upstream) -> None:
    """It was over, and a backup brought it back: only a fresh state can say so."""
    old, backup = upstream.journal.epoch, upstream.backup()
    upstream.new_journal(START_MS + 1000)
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until_done()
    assert begun.ledger.is_over(TREE, Head(old, 1, None))
    upstream.restore(backup)
    begun.time.now_ms += 61_000
    begun.hear(upstream.heartbeat_frames())
    begun.turn_until_done()
    assert (begun.ledger.head(TREE), begun.ledger.is_over(TREE, Head(old, 1, None))) == (upstream.head(), False)


def test_a_first_sync_begins_where_the_publisher_says_and_not_where_a_replay_does(
    following: Following, upstream: Upstream
) -> None:
    """Whoever starts asks; what is replayed until the answer is here does not count."""
    upstream.announce(put("a"))
    replayed = upstream.heartbeat_frames()
    upstream.new_journal(START_MS + 1_000_000)
    upstream.announce(put("x"), put("y"))
    following.tracker.start()
    following.hear(replayed)
    assert following.ledger.head(TREE) is None
    following.turn_until_done()
    assert (following.ledger.head(TREE), following.ledger.tree(TREE).generation) == (upstream.head(), 1)


def test_a_first_sync_without_a_service_begins_at_the_heartbeat(following: Following, upstream: Upstream) -> None:
    """The service is a help and not a condition."""
    upstream.announce(put("a"))
    upstream.service.lie = lambda question: DOWN
    following.tracker.start()
    following.hear(upstream.heartbeat_frames())
    following.turn_until(lambda: following.ledger.head(TREE) == upstream.head())


def test_bounds_of_the_operator_hold(reactor: Any, begun: Following, upstream: Upstream, ledger: Ledger) -> None:
    """Three serials are too many for one who says so; the history brings them one by one."""
    careful = Following(reactor, upstream, ledger, bounds=LeapBounds(2, DAY_MS))
    rows = upstream.announce(put("c"), put("d"), put("e"))
    careful.hear(upstream.update_frames(rows[-1]))
    assert careful.dropped == {"leap": 1}
    careful.turn_until_done()
    assert careful.pending == [3, 4, 5]
    careful.tracker.stop()
