"""What the publisher's tests share: a reactor of their own that is turned by hand, keys, a name, and a journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.keys import PrivateKey, generate_key_file, load_private_key
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from tests.support.reactor import reactor, spin

__all__ = ["identity", "journal", "key", "reactor", "spin"]

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
