"""What a relay says on its bus, and when."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from pushmirror.bus.greeting import GREETING_SECONDS
from pushmirror.core.messages import HEARTBEAT, UPDATED, topic
from pushmirror.core.model import Head, RelayHeartbeat
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, parse_relay_heartbeat
from pushmirror.core.wire import open_envelope
from pushmirror.keys import verify_envelope
from pushmirror.subscriber.relay.herald import LOOK_SECONDS, MAX_SENT_UPDATES, SOON_SECONDS, Herald
from tests.subscriber.relay.node import RELAY, RelayNode
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE, Upstream, paths, put

UPDATES = topic(PREFIX, ENVIRONMENT, UPDATED).encode()
BEATS = topic(PREFIX, ENVIRONMENT, RELAY_HEARTBEAT).encode()


def beats(node: RelayNode) -> list[RelayHeartbeat]:
    """Return the heartbeats that were sent, each verified by the relay's key."""
    found = [open_envelope(body) for name, body in node.sent if name == BEATS]
    for envelope in found:
        verify_envelope(envelope, [node.key.public])
        assert envelope.topic.encode() == BEATS
    return [parse_relay_heartbeat(envelope.msg) for envelope in found]


def updates(node: RelayNode) -> list[bytes]:
    """Return the updates that were sent."""
    return [body for name, body in node.sent if name == UPDATES]


@pytest.fixture
def clock() -> Any:
    return Clock()


@pytest.fixture
def herald(node: RelayNode, upstream: Upstream, clock: Any) -> Herald:
    """The herald of a relay at serial 0; it runs, and what it said at its start is forgotten."""
    node.begin(upstream.head())
    node.apply(0, full_sync_ms=1)
    herald = node.herald(clock)
    herald.startService()
    assert beats(node)
    node.sent.clear()
    return herald


def test_updates_go_out_unchanged_and_in_order_once_they_are_applied_and_a_heartbeat_after_them(
    herald: Herald, node: RelayNode, upstream: Upstream, clock: Any
) -> None:
    """Nothing is said of those that are only announced."""
    rows = upstream.announce(put("a"), put("b"), put("c"))
    node.hear(upstream, *rows)
    clock.advance(LOOK_SECONDS)
    assert node.sent == []
    node.apply(2)
    clock.advance(LOOK_SECONDS)
    assert updates(node) == [row.envelope() for row in rows[:2]]
    (beat,) = beats(node)
    assert node.sent[-1][0] == BEATS
    assert (beat.publisher, beat.relay) == (PUBLISHER, RELAY)
    assert (beat.trees[TREE].applied.serial, beat.trees[TREE].cleaned) == (2, 2)


def test_waking_sends_soon_and_once(herald: Herald, node: RelayNode, upstream: Upstream, clock: Any) -> None:
    """However often it is told: what changes together is told together."""
    node.hear(upstream, *upstream.announce(put("a")))
    node.apply(1)
    for _ in range(10):
        herald.wake()
    assert node.sent == []
    clock.advance(SOON_SECONDS)
    assert (len(updates(node)), len(beats(node))) == (1, 1)


def test_that_deletions_are_done_is_told_too(herald: Herald, node: RelayNode, upstream: Upstream, clock: Any) -> None:
    """Those below wait for it."""
    node.hear(upstream, *upstream.announce(put("a")))
    node.apply(1, deletions=paths("gone"))
    clock.advance(LOOK_SECONDS)
    node.ledger.finish_deletions(TREE, paths("gone"), (), 0)
    clock.advance(LOOK_SECONDS)
    assert [beat.trees[TREE].cleaned for beat in beats(node)] == [0, 1]


def test_many_updates_at_once_are_left_to_history(
    herald: Herald, node: RelayNode, upstream: Upstream, clock: Any
) -> None:
    """The newest go out, and the heartbeat shows the gap."""
    rows = upstream.announce(*(put(f"f{number}") for number in range(MAX_SENT_UPDATES + 20)))
    node.hear(upstream, *rows)
    node.apply(len(rows))
    clock.advance(LOOK_SECONDS)
    assert updates(node) == [row.envelope() for row in rows[-MAX_SENT_UPDATES:]]
    assert beats(node)[-1].trees[TREE].applied.serial == len(rows)


def test_a_tree_that_is_not_handed_on_any_more_disappears_from_the_heartbeat(
    herald: Herald, node: RelayNode, clock: Any
) -> None:
    """And what comes after another history begins with a heartbeat, without updates of the old one."""
    node.begin(Head("1790000000001-0123456789abcdef", 7, "f" * 64))
    clock.advance(LOOK_SECONDS)
    assert beats(node)[-1].trees == {}
    node.apply(7)
    clock.advance(LOOK_SECONDS)
    assert (beats(node)[-1].trees[TREE].applied.serial, updates(node)) == (7, [])


def test_heartbeats_come_at_intervals_with_growing_counters(herald: Herald, node: RelayNode, clock: Any) -> None:
    """Also over a start, without a note of it anywhere."""
    clock.advance(30)
    clock.advance(30)
    herald.stopService()
    node.time.now_ms += 60_000
    again = RelayNode(node.path.parent, now_ms=node.time.now_ms)
    again.herald(clock).startService()
    counters = [beat.counter for beat in (*beats(node), *beats(again))]
    assert len(counters) == 3
    assert counters == sorted(set(counters))
    again.ledger.close()


def test_a_newcomer_is_greeted_with_a_heartbeat(herald: Herald, node: RelayNode, clock: Any) -> None:
    """Only whoever listens to such heartbeats; several newcomers share one."""
    herald.greet(topic(PREFIX, ENVIRONMENT, HEARTBEAT).encode())
    clock.advance(GREETING_SECONDS)
    assert node.sent == []
    for _ in range(5):
        herald.greet(BEATS)
    clock.advance(GREETING_SECONDS)
    assert len(beats(node)) == 1


def test_whoever_subscribes_over_and_over_has_little_told(herald: Herald, node: RelayNode, clock: Any) -> None:
    """A minute of it costs twenty heartbeats and one in three seconds, and those of every thirty."""
    for _ in range(600):
        herald.greet(BEATS)
        clock.advance(0.1)
    assert 2 + 20 <= len(beats(node)) <= 2 + 20 + 20
