"""What is believed of a relay's bus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pushmirror.core.liveness import Pulse
from pushmirror.core.messages import topic
from pushmirror.core.model import Head, RelayHead, RelayHeartbeat
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, format_relay_heartbeat
from pushmirror.errors import StateError
from pushmirror.subscriber.relay.hearing import RelayListener
from tests.subscriber.relay.node import RELAY, RelayNode
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, START_MS, TREE, Time, Upstream, put

EPOCH = "1790000000000-0123456789abcdef"
HEAD = RelayHead(EPOCH, Head(EPOCH, 12, "a" * 64), 11)
BEAT = RelayHeartbeat(PUBLISHER, RELAY, 7, START_MS, 1000, {TREE: HEAD})
BEATS = topic(PREFIX, ENVIRONMENT, RELAY_HEARTBEAT).encode()


class Hearing:
    """Listens to a relay; `heads` are those that were believed, `updates` the frames that others will check."""

    def __init__(self, node: RelayNode) -> None:
        self.time = Time(0)
        self.updates: list[tuple[bytes, bytes]] = []
        self.heads: list[Mapping[str, RelayHead]] = []
        self.asked = 0
        self.fault: StateError | None = None
        self.pulse = Pulse(self.time())
        self.listener = RelayListener(
            RELAY, PUBLISHER, [node.key.public], PREFIX, ENVIRONMENT, self.pulse, self.time,
            lambda name, body: self.updates.append((name, body)),
            self._take_heads,
            self._ask,
        )  # fmt: skip

    def _take_heads(self, relay: str, heads: Mapping[str, RelayHead], at_ms: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.heads.append(heads)

    def _ask(self) -> None:
        self.asked += 1

    @property
    def dropped(self) -> dict[str, int]:
        return {cause: count for cause, count in self.listener.dropped.items() if count}


@pytest.fixture
def hearing(node: RelayNode) -> Hearing:
    return Hearing(node)


def frames(upstream: Upstream, node: RelayNode, beat: RelayHeartbeat, **replaced: Any) -> tuple[bytes, bytes]:
    """Return the frames of a heartbeat that the relay has signed."""
    return upstream.sealed(RELAY_HEARTBEAT, {**format_relay_heartbeat(beat), **replaced}, node.key)


def test_a_heartbeat_of_the_relay_is_believed(hearing: Hearing, upstream: Upstream, node: RelayNode) -> None:
    """It is heard from then on."""
    hearing.listener.deliver(*frames(upstream, node, BEAT))
    assert (hearing.heads, hearing.listener.heads) == ([BEAT.trees], BEAT.trees)
    assert (hearing.pulse.state(0), hearing.dropped) == ("connected", {})


def test_a_heartbeat_that_cannot_be_recorded_is_told_in_one_line(
    hearing: Hearing, upstream: Upstream, node: RelayNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk here is no reason for a traceback with every heartbeat."""
    hearing.fault = StateError("the disk is full")
    for counter in (7, 8, 9):
        beat = replace(BEAT, counter=counter, at_ms=START_MS + counter)
        hearing.listener.deliver(*frames(upstream, node, beat))
    lines = [record for record in caplog.records if "the disk is full" in record.getMessage()]
    assert [(record.levelname, record.exc_info) for record in lines] == [("ERROR", None)]


def test_updates_are_left_to_whoever_knows_the_origins_keys(hearing: Hearing, upstream: Upstream) -> None:
    """And are no sign of life of the relay."""
    (row,) = upstream.announce(put("a"))
    hearing.listener.deliver(*upstream.update_frames(row))
    assert hearing.updates == [upstream.update_frames(row)]
    assert hearing.pulse.state(0) == "connecting"


@pytest.mark.parametrize(
    ("replaced", "cause"),
    [
        ({"relay": "other.example.net"}, "publisher"),
        ({"publisher": "other.example.org"}, "publisher"),
        ({"trees": {TREE: {}}}, "format"),
        ({"counter": -1}, "format"),
    ],
)
def test_what_is_not_this_relays_word_about_this_publisher_is_dropped(
    hearing: Hearing, upstream: Upstream, node: RelayNode, replaced: dict[str, Any], cause: str
) -> None:
    """And counted by cause."""
    hearing.listener.deliver(*frames(upstream, node, BEAT, **replaced))
    assert (hearing.heads, hearing.dropped) == ([], {cause: 1})


def test_only_the_relays_own_key_makes_its_heartbeat_good(
    hearing: Hearing, upstream: Upstream, node: RelayNode
) -> None:
    """Not the origin's, which vouches for updates alone."""
    hearing.listener.deliver(*upstream.sealed(RELAY_HEARTBEAT, format_relay_heartbeat(BEAT), upstream.key))
    assert (hearing.heads, hearing.dropped) == ([], {"signature": 1})


def test_the_origins_own_heartbeats_do_not_count_on_the_bus_of_a_relay(hearing: Hearing, upstream: Upstream) -> None:
    """Old ones could be played there by the relay, as if the origin lived."""
    name, body = upstream.heartbeat_frames()
    hearing.listener.deliver(name, body)
    hearing.listener.deliver(BEATS, body)
    assert (hearing.heads, hearing.updates, hearing.dropped) == ([], [], {"topic": 2})


def test_an_old_heartbeat_is_dropped_and_makes_us_ask(hearing: Hearing, upstream: Upstream, node: RelayNode) -> None:
    """Once a minute at most."""
    hearing.listener.deliver(*frames(upstream, node, BEAT))
    for _ in range(3):
        hearing.listener.deliver(*frames(upstream, node, BEAT))
    assert (len(hearing.heads), hearing.dropped, hearing.asked) == (1, {"stale": 3}, 1)
    newer = replace(BEAT, counter=8, at_ms=START_MS + 1000)
    hearing.listener.deliver(*frames(upstream, node, newer))
    assert len(hearing.heads) == 2


def test_a_flood_is_not_verified(hearing: Hearing, upstream: Upstream, node: RelayNode) -> None:
    """Signatures cost time."""
    body = frames(upstream, node, BEAT)
    for _ in range(150):
        hearing.listener.deliver(*body)
    assert hearing.dropped["rate"] == 50


def test_a_flood_of_updates_is_handed_on_in_part(hearing: Hearing, upstream: Upstream) -> None:
    """Whoever checks them has others to listen to; time makes room again."""
    (row,) = upstream.announce(put("a"))
    for _ in range(3000):
        hearing.listener.deliver(*upstream.update_frames(row))
    assert len(hearing.updates) + hearing.dropped["rate"] == 3000
    assert len(hearing.updates) <= 1000
    before = len(hearing.updates)
    hearing.time.now_ms += 1000
    hearing.listener.deliver(*upstream.update_frames(row))
    assert len(hearing.updates) == before + 1


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[]", b"{" * 5000, b"x" * 200_000])
def test_nonsense_raises_nothing(hearing: Hearing, body: bytes) -> None:
    """It is counted."""
    hearing.listener.deliver(BEATS, body)
    assert sum(hearing.dropped.values()) == 1
