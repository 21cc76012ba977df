"""A relay below a real upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.subscriber.relay.node import RelayNode
from tests.subscriber.upstream import Upstream


@pytest.fixture
def node(tmp_path: Path, upstream: Upstream) -> Iterator[RelayNode]:
    """A relay that has heard nothing yet."""
    node = RelayNode(tmp_path / "relay")
    yield node
    node.ledger.close()
