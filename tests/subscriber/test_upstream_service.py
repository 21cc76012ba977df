"""All that belongs to one upstream, put together: what has to go on whatever fails."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from pushmirror.core.model import Head
from pushmirror.settings.subscriber import Upstream
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.upstream_service import Shared, UpstreamService
from tests.subscriber.upstream import ENVIRONMENT, NODE, PREFIX, PUBLISHER, TREE, Time, make_key, paths
from tests.support.ports import free_port

MINUTE_MS = 60_000
BROKEN = "CREATE TRIGGER broken BEFORE UPDATE ON deletions BEGIN INSERT INTO nowhere VALUES (1); END"
"""An operation that fails, which is what SQLite makes of a full disk as well."""


class SocketClock(Clock):
    """A clock that takes sockets, and never reads them."""

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...


def put_off(ledger: Ledger, now_ms: int) -> None:
    """Have a deletion that waits because the upstream still had its path."""
    ledger.start_over(TREE, Head("1790000000000-0123456789abcdef", 0, None), now_ms, now_ms, same_history=False)
    gone = paths("old")
    assert ledger.finish_puts(TREE, 0, 1, gone, settled=(), due_ms=now_ms, entries=1, incomplete=())
    ledger.finish_deletions(TREE, (), gone, now_ms + 5 * MINUTE_MS)


def test_a_ledger_that_fails_does_not_end_the_watch(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in one line, and what could not be noted is noted when there is room again."""
    time, clock, key = Time(), SocketClock(), make_key(tmp_path, "key")
    put_off(ledger, time())
    settings = Upstream.model_validate(
        {
            "publish": f"tcp://127.0.0.1:{free_port()}", "topic_prefix": PREFIX, "environment": ENVIRONMENT,
            "keys": [key.public.line],
        }
    )  # fmt: skip
    shared = Shared(clock, NODE, key, ledger, time, lambda tree: None)
    service = UpstreamService(shared, PUBLISHER, settings, frozenset([TREE]))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as database:
        database.execute(BROKEN)
        service.startService()
        clock.pump([1] * 30)
        assert [record.exc_info for record in caplog.records if "cannot be written" in record.getMessage()] == [None]
        database.execute("DROP TRIGGER broken")
    clock.pump([1] * 10)
    assert [deletion.due_ms for deletion in ledger.deletions(TREE)] == [time()]
    service.stopService()
