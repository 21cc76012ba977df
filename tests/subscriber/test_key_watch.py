"""Asking for rotations: at once, and after that as often as strangers can make us and no more often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.core.wire import Envelope
from pushmirror.errors import ServiceError
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.key_watch import ASK_EVERY_MS, KeyWatch
from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.test_key_ring import Keys, keys
from tests.subscriber.upstream import PUBLISHER, TREE, Time

__all__ = ["keys"]


class Telling:
    """Hands out `told`, or fails; with `waits` it answers when the test fires that."""

    def __init__(self) -> None:
        self.told: list[Envelope] = []
        self.asked = 0
        self.fails = False
        self.waits: Deferred[None] | None = None

    async def rotations(self, take: Callable[[Envelope], None]) -> None:
        self.asked += 1
        if self.waits is not None:
            await self.waits
        if self.fails:
            raise ServiceError("out of order")
        for envelope in self.told:
            take(envelope)


@pytest.fixture
def watched(keys: Keys, ledger: Ledger) -> tuple[KeyWatch, Telling, Time, KeyRing]:
    time, telling = Time(), Telling()
    ring = KeyRing(PUBLISHER, [keys["b"].public], ledger, time, accept_rotation=True)
    return KeyWatch(PUBLISHER, ring, telling, time), telling, time, ring


def test_what_is_told_is_followed_from_where_it_concerns_us(watched: Any, keys: Keys) -> None:
    """The keys before the one that is pinned here are passed over."""
    watch, telling, _, ring = watched
    telling.told = [keys.exchanged("a", "b"), keys.exchanged("b", "c"), keys.exchanged("c", "d")]
    watch.ask()
    assert ring.of_tree(TREE) == tuple(keys[name].public for name in "bcd")


def test_it_is_asked_seldom_and_never_forgotten(watched: Any) -> None:
    """A thousand messages with a strange key: one question, and one more when it is due."""
    watch, telling, time, _ = watched
    for _ in range(1000):
        watch.ask()
    assert telling.asked == 1
    time.now_ms += ASK_EVERY_MS - 1
    watch.look()
    assert telling.asked == 1
    time.now_ms += 1
    for _ in range(3):
        watch.look()
    assert telling.asked == 2
    time.now_ms += 10 * ASK_EVERY_MS
    watch.look()
    assert telling.asked == 2


def test_one_question_is_under_way_at_a_time(watched: Any) -> None:
    """However slow the answer is; a stop leaves off."""
    watch, telling, time, _ = watched
    telling.waits = Deferred()
    watch.ask()
    time.now_ms += ASK_EVERY_MS
    watch.ask()
    assert telling.asked == 1
    watch.stop()
    assert telling.asked == 1


def test_a_service_that_fails_is_asked_again_when_there_is_a_reason(watched: Any, keys: Keys) -> None:
    """And what it told before it failed is good."""
    watch, telling, time, ring = watched
    telling.fails = True
    watch.ask()
    telling.fails, telling.told = False, [keys.exchanged("b", "c")]
    time.now_ms += ASK_EVERY_MS
    watch.ask()
    assert ring.of_tree(TREE)[-1] == keys["c"].public
