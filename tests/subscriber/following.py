"""A listener and a tracker over a real ledger, with the tracker's time in the hands of the test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock

from pushmirror.core.leaps import LeapBounds
from pushmirror.core.liveness import Pulse
from pushmirror.keys import PublicKey
from pushmirror.publisher.journal_rows import UpdateRow
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.listener import Listener
from pushmirror.subscriber.service_client import ServiceClient
from pushmirror.subscriber.tracker import DEFAULT_BOUNDS, FIRST_CONTACT_S, Tracker
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE, Upstream

Frames = tuple[bytes, bytes]


class Following:
    """Follows one tree of an upstream, or `trees`. Its clock is the upstream's, `time`, so that both go on together.

    `trust` are more arguments of its key ring.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream,
        ledger: Ledger,
        *,
        url: str | None = None,
        page_updates: int = 200,
        trees: tuple[str, ...] = (TREE,),
        more_keys: Sequence[PublicKey] = (),
        bounds: LeapBounds = DEFAULT_BOUNDS,
        **trust: Any,
    ) -> None:
        self._reactor = reactor
        self.clock: Any = Clock()
        self.time = upstream.time
        self.ledger = ledger
        self.changed: list[str] = []
        keys = [upstream.key.public]
        self.ring = KeyRing(PUBLISHER, [*keys, *more_keys], ledger, self.time, **trust)
        self.pulse = Pulse(self.time())
        client = ServiceClient(
            reactor, url or upstream.url, PUBLISHER, self.ring.of_tree, PREFIX, ENVIRONMENT,
            page_updates=page_updates, tell_clock=lambda at_ms: self.pulse.confirm(at_ms, self.time()),
        )  # fmt: skip
        self.tracker = Tracker(
            self.clock, trees, ledger, client, self.time, self.time, self.changed.append, bounds
        )  # fmt: skip
        self.listener = Listener(
            PUBLISHER, self.ring, PREFIX, ENVIRONMENT, frozenset(trees), ledger, self.tracker, self.pulse, self.time,
            lambda: 0.5,
        )  # fmt: skip

    def hear(self, *messages: Frames) -> None:
        """Deliver messages from the bus."""
        for frames in messages:
            self.listener.deliver(*frames)

    def turn_until(self, condition: Any, *, waiting: bool = False, deadline_seconds: float = 20) -> float:
        """Turn the reactor until the condition holds; with `waiting` the clock goes on whenever the tracker waits.

        Returns how many seconds of the clock that took. The wait for the first contact is not among them.
        """
        deadline, waited = time.monotonic() + deadline_seconds, 0.0
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            self._reactor.iterate(0.005)
            calls = [call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls()]
            retries = [seconds for seconds in calls if seconds <= FIRST_CONTACT_S / 2]
            if waiting and retries:
                waited += min(retries)
                self.clock.advance(min(retries))
        return waited

    def turn_until_done(self, *, waiting: bool = False) -> float:
        """Turn until the tracker has said that it is done with a catch-up."""
        before = len(self.changed)
        return self.turn_until(lambda: len(self.changed) > before, waiting=waiting)

    def turn(self, rounds: int = 60) -> None:
        """Turn the reactor some times, for what must not happen."""
        for _ in range(rounds):
            self._reactor.iterate(0.005)

    @property
    def announced(self) -> int:
        return self.ledger.tree(TREE).announced

    @property
    def pending(self) -> list[int]:
        """The serials that are pending; negative for the whole tree."""
        return [-update.serial if update.changes is None else update.serial for update in self.ledger.pending(TREE)]

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped, without the zeros."""
        return {cause: count for cause, count in self.listener.dropped.items() if count}

    def apply(self) -> None:
        """Record that all that is announced is in place, as a job does."""
        record = self.ledger.tree(TREE)
        assert self.ledger.finish_puts(
            TREE, record.announced, record.generation, (), settled=(), due_ms=0, entries=10, incomplete=(),
            full_sync_ms=self.time.now_ms,
        )  # fmt: skip

    def begin_at(self, upstream: Upstream) -> None:
        """Know and have everything that the upstream has announced so far."""
        self.hear(upstream.heartbeat_frames())
        self.turn_until(lambda: self.announced == upstream.head().serial)
        self.apply()
        self.changed.clear()
        upstream.service.asked.clear()

    def frames(self, upstream: Upstream, *rows: UpdateRow) -> list[Frames]:
        return [upstream.update_frames(row) for row in rows]
