"""What the publisher's tests share: a reactor of their own that is turned by hand, keys, a name, and a journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from pushmirror.keys import PrivateKey, generate_key_file, load_private_key
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal

Spin = Callable[..., None]

START_MS = 1_790_000_000_000


@pytest.fixture
def identity() -> Identity:
    return Identity("mirror.example.org", "org.example", "prod")


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    generate_key_file(tmp_path / "publisher.key", "mirror.example.org")
    return load_private_key(tmp_path / "publisher.key")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite", clock_ms=lambda: START_MS)
    yield journal
    journal.close()


@pytest.fixture
def reactor() -> Iterator[Any]:
    reactor: Any = EPollReactor()
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
