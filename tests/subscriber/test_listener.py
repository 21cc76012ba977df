"""What is believed of what comes from the bus, in which order it is checked, and how the rest is counted."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import HEARTBEAT, STATE, UPDATED, topic
from pushmirror.core.model import Head
from pushmirror.core.wire import attach, open_envelope
from pushmirror.http.questions import StateQuestion
from pushmirror.keys import seal
from pushmirror.subscriber.listener import ASK_AFTER_FLOOD_MS
from tests.subscriber.following import Following
from tests.subscriber.upstream import ENVIRONMENT, OTHER_TREE, PREFIX, START_MS, TREE, Upstream, make_key, put

TOPIC = topic(PREFIX, ENVIRONMENT, UPDATED).encode()
HEARTBEAT_TOPIC = topic(PREFIX, ENVIRONMENT, HEARTBEAT).encode()
LARGEST = 2**63 - 1


@pytest.fixture
def begun(following: Following, upstream: Upstream) -> Following:
    """Has heard of serial 0 and done its first sync."""
    following.begin_at(upstream)
    return following


def test_an_honest_announcement_over_the_bus_is_recorded(begun: Following, upstream: Upstream) -> None:
    """Its changes are pending, and whoever starts jobs is told."""
    bus = MemoryBus(immediate=True)
    bus.receiver([TOPIC], begun.listener.deliver).start()
    (row,) = upstream.announce(put("a"))
    bus.sender().send(*upstream.update_frames(row))
    assert begun.ledger.head(TREE) == upstream.head()
    assert [update.changes for update in begun.ledger.pending(TREE)] == [put("a")]
    assert begun.changed == [TREE]
    assert begun.dropped == {}


def hostile_messages(upstream: Upstream, folder: Path) -> list[tuple[str, bytes, bytes]]:
    """Return bad messages, each with the cause under which it is to be counted."""
    (row,) = upstream.announce(put("a"))
    honest, msg = row.envelope(), upstream.message(row)
    other = make_key(folder, "other")
    beat = upstream.heartbeat_frames()[1]

    def sealed(**replaced: Any) -> bytes:
        return upstream.sealed(UPDATED, {**msg, **replaced})[1]

    def beaten(**replaced: Any) -> bytes:
        fields = {
            "format": 1, "publisher": "t1.example.org", "counter": 9, "at_ms": START_MS + 9, "interval_ms": 1000,
            "trees": {},
        }  # fmt: skip
        return upstream.sealed(HEARTBEAT, {**fields, **replaced})[1]

    cases: list[tuple[str, bytes, bytes]] = [
        ("signature", TOPIC, row.signed),
        ("signature", TOPIC, seal(row.signed, other)),
        ("signature", TOPIC, attach(row.signed, other.sign(row.signed), upstream.key.public.line)),
        ("signature", TOPIC, honest.replace(b'"serial":1', b'"serial":2')),
        ("signature", HEARTBEAT_TOPIC, seal(upstream.identity.compose(HEARTBEAT, {**msg}, at_ms=1, counter=1), other)),
        ("topic", b"", honest),
        ("topic", TOPIC + b".more", honest),
        ("topic", HEARTBEAT_TOPIC, honest),
        ("topic", TOPIC, beat),
        ("topic", topic(PREFIX, "prod", UPDATED).encode(), honest),
        ("topic", *upstream.sealed(STATE, msg)),
        ("format", TOPIC, b""),
        ("format", TOPIC, honest[:-1]),
        ("format", TOPIC, b"\xff" * 100),
        ("format", TOPIC, b"[" * 100_000),
        ("format", TOPIC, b" " * 200_000),
        ("format", TOPIC, honest.replace(b"{", b'{"topic":"again",', 1)),
        ("format", TOPIC, sealed(format=2)),
        ("duplicate", TOPIC, sealed(serial=0)),
        ("duplicate", TOPIC, sealed(serial=-1)),
        ("format", TOPIC, sealed(serial="1")),
        ("format", TOPIC, sealed(serial=None)),
        ("format", TOPIC, sealed(previous=1)),
        ("format", TOPIC, sealed(epoch="yesterday")),
        ("format", TOPIC, sealed(epoch=["1"])),
        ("format", TOPIC, sealed(list_digest="0" * 64)),
        ("format", TOPIC, sealed(at_ms=LARGEST + 1)),
        ("publisher", TOPIC, sealed(publisher="t9.example.org")),
        ("publisher", TOPIC, sealed(publisher=None)),
        ("publisher", HEARTBEAT_TOPIC, beaten(publisher="t9.example.org")),
        ("tree", TOPIC, sealed(tree=OTHER_TREE)),
        ("tree", TOPIC, sealed(tree={"a": 1})),
        ("format", HEARTBEAT_TOPIC, beaten(trees=[])),
        ("format", HEARTBEAT_TOPIC, beaten(trees={"../x": {}})),
        ("format", HEARTBEAT_TOPIC, beaten(trees={TREE: {"epoch": "x", "serial": 1, "digest": None}})),
        ("format", HEARTBEAT_TOPIC, beaten(counter="9")),
    ]
    return cases


def test_bad_messages_are_counted_by_cause_and_change_nothing(
    begun: Following, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """None raises, none is recorded, nothing is asked; each cause has one line in the log."""
    before, heard_ago_ms = begun.ledger.tree(TREE), begun.listener.heard_ago_ms
    expected: dict[str, int] = {}
    begun.time.now_ms += 5
    with caplog.at_level(logging.WARNING):
        for cause, topic_frame, body in hostile_messages(upstream, tmp_path):
            begun.listener.deliver(topic_frame, body)
            expected[cause] = expected.get(cause, 0) + 1
            assert begun.dropped == expected, (cause, body[:300])
    assert begun.ledger.tree(TREE) == before
    assert heard_ago_ms is not None and begun.listener.heard_ago_ms == heard_ago_ms + 5
    assert upstream.service.asked == []
    lines = [record.getMessage() for record in caplog.records if "dropped a message" in record.getMessage()]
    assert len(lines) == len(set(expected) - {"tree", "duplicate"})


def test_an_honest_message_after_all_of_them_is_taken(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """Nothing that a stranger sends stands in its way."""
    for _, topic_frame, body in hostile_messages(upstream, tmp_path):
        begun.listener.deliver(topic_frame, body)
    row = next(upstream.journal.updates_after(TREE, 0, 1))
    begun.hear(upstream.update_frames(row))
    assert begun.announced == 1


BEGINNINGS = st.sampled_from([b"", b'{"msg":', b'{"topic":"', b'{"signature":"AA==","certificate":"x"}'])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(topic_frame=st.one_of(st.sampled_from([TOPIC, HEARTBEAT_TOPIC]), st.binary()), body=st.builds(
    bytes.__add__, BEGINNINGS, st.binary(max_size=300)
))  # fmt: skip
def test_no_bytes_raise(following: Following, topic_frame: bytes, body: bytes) -> None:
    """Whatever they are; each message is counted once."""
    before = following.listener.dropped.total()
    following.listener.deliver(topic_frame, body)
    assert following.listener.dropped.total() == before + 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        ["publisher", "tree", "serial", "previous", "previous_digest", "epoch", "at_ms", "list", "list_digest", "whole",
         "changed", "deleted", "bytes", "root_mtime_ns", "max_clients", "format"]
    ),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=80),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=5,
    ),
)  # fmt: skip
def test_no_signed_nonsense_raises(begun: Following, upstream: Upstream, key: str, value: object) -> None:
    """A publisher gone bad signs anything in any field of an announcement: it is dropped, or it is one."""
    row = next(upstream.journal.updates_after(TREE, 0, 1), None) or upstream.announce(put("a"))[0]
    begun.hear(upstream.sealed(UPDATED, {**upstream.message(row), key: value}))


def test_the_largest_numbers_can_be_recorded(begun: Following, upstream: Upstream) -> None:
    """The ledger takes whatever the protocol allows."""
    (row,) = upstream.announce(put("a"))
    before = Head(upstream.journal.epoch, LARGEST - 1, "0" * 64)
    begun.ledger.start_over(TREE, before, 0, 0, same_history=True)
    msg = {
        **upstream.message(row), "serial": LARGEST, "previous": before.serial, "previous_digest": before.digest,
        "at_ms": LARGEST, "root_mtime_ns": LARGEST, "bytes": LARGEST,
    }  # fmt: skip
    begun.hear(upstream.sealed(UPDATED, msg))
    assert begun.announced == LARGEST
    assert begun.ledger.pending(TREE)[-1].root_mtime_ns == LARGEST


def test_a_duplicate_costs_no_signature_check(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """One with a wrong signature is counted as a duplicate too, and floods of them use up no tokens."""
    first, second = upstream.announce(put("a"), put("b"))
    begun.hear(upstream.update_frames(first))
    for _ in range(3000):
        begun.hear((TOPIC, seal(first.signed, upstream.key)[:-3] + b'x"}'))
    assert begun.dropped == {"duplicate": 3000}
    begun.hear(upstream.update_frames(second))
    assert begun.announced == 2


def forged_heartbeat(upstream: Upstream, folder: Path) -> tuple[bytes, bytes]:
    """Return a heartbeat that names the key of the upstream, and was signed with another one."""
    name, body = upstream.heartbeat_frames()
    envelope = open_envelope(body)
    return name, attach(envelope.signed, make_key(folder, "other").sign(envelope.signed), envelope.certificate)


def test_signatures_are_checked_at_a_bounded_rate(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """What comes above the rate is dropped unchecked, also if it is honest; time makes room again. Where the limit is
    not met, every forged message costs a check."""
    (row,) = upstream.announce(put("a"))
    forged = forged_heartbeat(upstream, tmp_path)
    for _ in range(2500):
        begun.time.now_ms += 10
        begun.hear(forged)
    assert begun.dropped == {"signature": 2500}
    begun.time.now_ms += 10_000
    begun.listener.dropped.clear()
    for _ in range(2500):
        begun.hear(forged)
    assert begun.dropped["signature"] <= 2000
    assert begun.dropped["signature"] + begun.dropped["rate"] == 2500
    rate = begun.dropped["rate"]
    begun.hear(upstream.update_frames(row))
    assert (begun.dropped["rate"], begun.announced) == (rate + 1, 0)
    begun.time.now_ms += 1000
    begun.hear(upstream.update_frames(row))
    assert begun.announced == 1


def test_what_names_a_key_that_does_not_count_takes_no_place_of_others(
    begun: Following, upstream: Upstream, tmp_path: Path
) -> None:
    """It is refused without a check, however much of it there is; an honest message after it is heard."""
    (row,) = upstream.announce(put("a"))
    strange = seal(row.signed, make_key(tmp_path, "other"))
    for _ in range(5000):
        begun.hear((TOPIC, strange))
    assert begun.dropped == {"signature": 5000}
    begun.hear(upstream.update_frames(row))
    assert begun.announced == 1


def test_what_a_flood_has_drowned_is_asked_for(begun: Following, upstream: Upstream, tmp_path: Path) -> None:
    """After messages were dropped unchecked the service is asked, now and then, so that news arrives all the same."""
    forged = forged_heartbeat(upstream, tmp_path)
    upstream.announce(put("a"))
    for _ in range(2600):
        begun.hear(forged)
    begun.turn_until(lambda: begun.announced == 1)
    begun.turn()
    upstream.announce(put("b"))
    asked = len(upstream.service.asked)
    for _ in range(500):
        begun.hear(forged)
    begun.turn()
    assert (len(upstream.service.asked), begun.announced) == (asked, 1)
    begun.time.now_ms += ASK_AFTER_FLOOD_MS
    for _ in range(2600):
        begun.hear(forged)
    begun.turn_until(lambda: begun.announced == 2)


def test_a_replayed_heartbeat_is_stale(begun: Following, upstream: Upstream) -> None:
    """It neither counts as a sign of life nor starts anything."""
    frames = upstream.heartbeat_frames()
    begun.hear(frames)
    begun.time.now_ms += 500
    begun.hear(frames, upstream.heartbeat_frames(counter=1, at_ms=START_MS))
    assert begun.dropped == {"stale": 2}
    assert begun.listener.heard_ago_ms == 500


def test_a_publisher_whose_clock_went_back_is_still_heard(begun: Following, upstream: Upstream) -> None:
    """Its counter goes on; and one whose counter began anew has a clock that goes on."""
    begun.hear(upstream.heartbeat_frames(counter=500, at_ms=START_MS + 500))
    begun.hear(upstream.heartbeat_frames(counter=501, at_ms=START_MS - 3_600_000))
    begun.hear(upstream.heartbeat_frames(counter=1, at_ms=START_MS + 600))
    assert begun.dropped == {}


def test_a_heartbeat_tells_of_followed_trees_only(following: Following, upstream: Upstream) -> None:
    """Others are nobody's business here."""
    following.hear(upstream.heartbeat_frames({OTHER_TREE: Head(upstream.journal.epoch, 0, None)}))
    assert following.ledger.head(TREE) is None
    assert following.listener.state == "connected"


def test_an_upstream_is_connecting_connected_or_silent(
    following: Following, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Three intervals without a word are silence; the log says so once, and once that it is over."""
    listener = following.listener

    def watch(times: int = 3) -> list[str]:
        caplog.clear()
        for _ in range(times):
            listener.watch_silence()
        return [record.getMessage() for record in caplog.records]

    caplog.set_level(logging.INFO)
    assert (listener.state, listener.heard_ago_ms, watch()) == ("connecting", None, [])
    following.hear(upstream.heartbeat_frames(interval_ms=2000))
    assert (listener.state, watch()) == ("connected", [])
    following.time.now_ms += 6000
    assert (listener.state, watch()) == ("connected", [])
    following.time.now_ms += 1
    assert listener.state == "silent"
    assert [line.count("silent") for line in watch()] == [1]
    following.time.now_ms += 10_000
    assert watch() == []
    (row,) = upstream.announce(put("a"))
    following.hear(upstream.update_frames(row))
    assert listener.state == "silent", "an announcement may have been held up on its way"
    following.hear(upstream.heartbeat_frames(interval_ms=2000))
    assert [line.count("heard again") for line in watch()] == [1]
    following.time.now_ms += 6001
    assert len(watch()) == 1, "the next silence is told again"


def test_bad_messages_are_no_sign_of_life(following: Following, upstream: Upstream, tmp_path: Path) -> None:
    """Whoever floods us cannot make a dead publisher look alive."""
    frames = upstream.heartbeat_frames()
    other = make_key(tmp_path, "other")
    following.hear((frames[0], seal(upstream.identity.compose(HEARTBEAT, {}, at_ms=1, counter=1), other)))
    assert following.listener.state == "connecting"


def tries_within(following: Following, minutes: int = 0, seconds: int = 0) -> list[int]:
    """Watch every second; return after how many seconds the upstream was to be tried."""
    found = []
    for second in range(1, minutes * 60 + seconds + 1):
        following.time.now_ms += 1000
        if following.listener.watch_silence():
            found.append(second)
    return found


def test_a_silent_upstream_is_tried_again_and_again(following: Following, upstream: Upstream) -> None:
    """Soon, then after longer and longer pauses; a heartbeat ends that, and the next silence begins anew."""
    following.hear(upstream.heartbeat_frames(interval_ms=10_000))
    tries = tries_within(following, 60)
    assert tries == [36, 96, 216, 456, 936, 1836, 2736], "half an interval after it fell silent, then 1, 2, 4 minutes"
    following.hear(upstream.heartbeat_frames(interval_ms=10_000))
    assert tries_within(following, 2) == tries[:2]


def test_who_is_heard_and_lost_again_has_nobody_asked_all_the_time(
    following: Following, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A heartbeat just after each silence began: neither are services asked each time, nor is the log filled."""
    caplog.set_level(logging.INFO)
    tries = 0
    for _ in range(150):
        following.hear(upstream.heartbeat_frames(interval_ms=1000))
        tries += len(tries_within(following, seconds=5))
    assert 50 <= tries <= 75, "not 150"
    assert sum("silent" in record.getMessage() for record in caplog.records) <= 75


def test_heartbeats_that_come_late_are_no_sign_of_life_and_news_all_the_same(
    begun: Following, upstream: Upstream
) -> None:
    """Somebody in between holds them up: the upstream falls silent, and what they tell is fetched."""
    upstream.announce(put("a"))
    recorded = [upstream.heartbeat_frames(at_ms=begun.time() + 1000 * number) for number in range(1, 9)]
    begun.time.now_ms += 60_000
    for frames in recorded:
        begun.hear(frames)
        begun.time.now_ms += 1000
    assert begun.listener.state == "silent"
    assert begun.dropped == {"stale": 8}
    begun.turn_until(lambda: begun.announced == 1)


def test_a_publisher_that_starts_anew_with_a_clock_that_went_back_is_asked_and_heard_again(
    begun: Following, upstream: Upstream
) -> None:
    """Its heartbeats look like old ones; its answer to a fresh question tells its clock, and then they count."""

    def beat(number: int) -> tuple[bytes, bytes]:
        return upstream.heartbeat_frames(counter=day_before + number, at_ms=day_before + 1000 * number)

    begun.hear(upstream.heartbeat_frames(counter=START_MS))
    begun.time.now_ms += 5000
    day_before = START_MS - 86_400_000
    answers = upstream.service.honest
    upstream.service.honest = replace(answers, clock_ms=lambda: day_before)
    begun.hear(beat(1))
    assert begun.dropped == {"stale": 1}
    begun.turn_until_done()
    assert begun.listener.state == "silent"
    begun.hear(beat(2))
    assert (begun.listener.state, begun.dropped) == ("connected", {"stale": 1})
    for number in range(3, 20):
        begun.time.now_ms += 1000
        begun.hear(beat(number))
        assert begun.listener.state == "connected"


def test_doubtful_heartbeats_cause_a_question_a_minute(begun: Following, upstream: Upstream) -> None:
    """However many are replayed."""
    frames = upstream.heartbeat_frames()
    begun.hear(frames)
    for _ in range(100):
        begun.hear(frames)
        begun.time.now_ms += 1000
        begun.turn(3)
    begun.turn()
    assert sum(isinstance(question, StateQuestion) for question in upstream.service.asked) == 2
