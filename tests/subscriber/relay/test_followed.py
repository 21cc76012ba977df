"""What is known of several relays together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.liveness import Pulse
from pushmirror.core.model import Head, RelayHead, RelayHeartbeat
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, format_relay_heartbeat
from pushmirror.subscriber.relay.client import RelayAddress, RelayClient
from pushmirror.subscriber.relay.followed import FollowedRelay, FollowedRelays
from pushmirror.subscriber.relay.hearing import RelayListener
from pushmirror.subscriber.silence import SilenceWatch
from tests.subscriber.relay.node import RelayNode
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, START_MS, TREE, Time, Upstream

YOUNG, OLD = "1790000000001-0123456789abcdef", "1790000000000-0123456789abcdef"
ONE, TWO = "r1.example.net", "r2.example.net"
DAY_MS = 86_400_000


class Followed:
    """Two relays, which sign with the same key."""

    def __init__(self, reactor: Any, node: RelayNode, upstream: Upstream) -> None:
        self.time = Time(0)
        self.relays = FollowedRelays(self.time)
        self._node, self._upstream = node, upstream
        self._listeners = {name: self._follow(reactor, name) for name in (ONE, TWO)}

    def _follow(self, reactor: Any, name: str) -> RelayListener:
        keys, pulse = [self._node.key.public], Pulse(self.time())
        listener = RelayListener(
            name, PUBLISHER, keys, PREFIX, ENVIRONMENT, pulse, self.time,
            lambda topic, body: None, lambda relay, heads, at_ms: None, lambda: None,
        )  # fmt: skip
        address = RelayAddress(name, "http://127.0.0.1:9", tuple(keys))
        client = RelayClient(reactor, address, PUBLISHER, lambda tree: [self._upstream.key.public], PREFIX, ENVIRONMENT)
        receiver = MemoryBus().receiver(listener.topics, listener.deliver)
        watch = SilenceWatch(name, pulse, self.time, lambda: 0.5)
        self.relays.add(FollowedRelay(name, client, pulse, listener, receiver, watch))
        return listener

    def hear(self, name: str, epoch: str | None) -> None:
        """Hear a heartbeat of one that is at an epoch with the tree, or does not have it."""
        trees = {} if epoch is None else {TREE: RelayHead(epoch, Head(epoch, 0, None), 0)}
        beat = RelayHeartbeat(PUBLISHER, name, self.time() + 1, START_MS + self.time(), 1000, trees)
        frames = self._upstream.sealed(RELAY_HEARTBEAT, format_relay_heartbeat(beat), self._node.key)
        self._listeners[name].deliver(*frames)

    def may_be_young(self, besides: str) -> bool:
        return self.relays.may_tell(TREE, YOUNG, besides)


@pytest.fixture
def followed(reactor: Any, node: RelayNode, upstream: Upstream) -> Followed:
    return Followed(reactor, node, upstream)


@pytest.mark.parametrize(
    "say",
    [lambda followed: followed.hear(ONE, YOUNG), lambda followed: None],
    ids=["it said so", "it is still to be heard"],
)
def test_a_silent_relay_may_be_where_it_was_for_a_day(followed: Followed, say: Callable[[Followed], None]) -> None:
    """One that does not come back does not hold a mirror for ever."""
    say(followed)
    followed.time.now_ms += DAY_MS - 1
    followed.hear(TWO, OLD)
    assert (followed.may_be_young(TWO), followed.may_be_young(ONE)) == (True, False)
    followed.time.now_ms += 1
    assert not followed.may_be_young(TWO)


@pytest.mark.parametrize("now", [OLD, None], ids=["another epoch", "without the tree"])
def test_what_a_relay_says_replaces_what_it_said(followed: Followed, now: str | None) -> None:
    """Its last word counts."""
    followed.hear(ONE, YOUNG)
    followed.time.now_ms += 1000
    followed.hear(ONE, now)
    assert not followed.may_be_young(TWO)
