"""What the subscriber's tests share: a reactor that is turned by hand, a ledger, an upstream with a real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.following import Following
from tests.subscriber.upstream import IDENTITY, TREE, Upstream
from tests.support.reactor import Spin, spin

__all__ = ["spin"]


@pytest.fixture(autouse=True)
def nothing_unhandled() -> Iterator[None]:
    """Fails a test during which Twisted met an exception that nobody handled."""
    unhandled: list[str] = []
    publisher: Any = globalLogPublisher

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            unhandled.append(f"{formatEvent(event)}: {event['log_failure'].getTraceback()}")

    publisher.addObserver(observe)
    yield
    publisher.removeObserver(observe)
    assert not unhandled, unhandled[0]


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor of its own, with its thread pool running, that turns only while a test spins it."""
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
    reactor.startRunning(installSignalHandlers=False)
    reactor.iterate(0)
    yield reactor
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor.removeAll()
    reactor.getThreadPool().stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that knows the tree."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.open_tree(TREE, IDENTITY)
    yield ledger
    ledger.close()


@pytest.fixture
def upstream(reactor: Any, spin: Spin, tmp_path: Path) -> Iterator[Upstream]:
    """A publisher whose HTTP service listens; what is on its bus is in the hands of the test."""
    upstream = Upstream(reactor, tmp_path)
    yield upstream
    stopped = upstream.stop()
    spin(lambda: stopped.called)
    upstream.close()


@pytest.fixture
def following(reactor: Any, upstream: Upstream, ledger: Ledger) -> Iterator[Following]:
    """A listener and a tracker that have heard nothing yet."""
    following = Following(reactor, upstream, ledger)
    yield following
    following.tracker.stop()
