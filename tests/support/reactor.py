"""A reactor of one's own for a test, which is turned by hand: fixtures that conftest files import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

Spin = Callable[..., None]


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor that turns only while a test spins it."""
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
    yield reactor
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor.removeAll()


@pytest.fixture
def spin(reactor: Any) -> Spin:
    """Turns the reactor until a condition holds; fails at the deadline."""

    def turn_until(condition: Callable[[], object], deadline_seconds: float = 20) -> None:
        deadline = time.monotonic() + deadline_seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            reactor.iterate(0.01)

    return turn_until
