"""A flood at both daemons at once: it starts nothing, keeps nobody waiting, fills nothing, and honest work goes on."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.siege import Scale, Seen, Siege
from tests.support.world import PUBLISHER, World

pytestmark = pytest.mark.slow

MAX_LATE_S = 1.0
MAX_GROWTH_BYTES = 100_000_000
"""Queues may fill, which have an end: a thousand messages for each connection;"""
MAX_LATE_GROWTH_BYTES = 20_000_000
"""and then nothing more may come."""
MAX_LOG_BYTES = 64 * 1024
LEAST_BOUND_MS = 1000
"""Twice a tenth of a second would be a bound for the machine and not for the program."""


@pytest.fixture
def siege(tmp_path: Path) -> Iterator[Siege]:
    """A publisher, and a subscriber that is not started yet."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        siege = Siege(world, tmp_path)
        yield siege
        siege.close()


def assert_nothing_came_of_it(siege: Siege, seen: Seen) -> None:
    """No job but for honest changes, nothing believed, both alive and no larger in the end, and a log to be read."""
    print(seen)
    assert seen.connections == len(seen.during_ms)
    serial = len(seen.usual_ms) + len(seen.during_ms)
    tree, told = siege.subscriber.wait_exact(serial), siege.publisher_status()
    assert tree["epoch"] == told["epoch"] and told["history"]["proofs"] == 0
    assert set(told["nodes"]) <= {siege.subscriber.name}
    for probe in (seen.subscriber, seen.publisher):
        assert probe.program.running and "Traceback" not in probe.program.log_text()
        assert probe.asked > seen.seconds and probe.slowest_s < MAX_LATE_S + probe.machine_late_s
        assert probe.grown_bytes < MAX_GROWTH_BYTES
        assert probe.grew_late_bytes < MAX_LATE_GROWTH_BYTES
        assert probe.logged_bytes < MAX_LOG_BYTES
    assert seen.heartbeats >= seen.seconds / 2


@pytest.mark.timeout(900)
def test_a_flood_starts_nothing_and_keeps_nobody_from_working(siege: Siege, full: bool) -> None:
    """Of hostile messages on three connections, and of as many requests, nothing comes but counts; an honest change
    takes no more than twice its time meanwhile."""
    scale = Scale(100_000, 2_000, 100_000, 2_000) if full else Scale(4_000, 1_000, 4_000, 1_000)
    seen = siege.withstand(scale, usual=20 if full else 5)
    assert_nothing_came_of_it(siege, seen)
    assert sum(seen.sent.values()) >= scale.frames and seen.answers["sent"] >= scale.requests
    assert sum(seen.dropped.values()) > scale.frames / 2
    assert {"signature", "path", "format", "topic", "duplicate"} <= set(seen.dropped)
    # Five changes have no typical time on a machine that others use: there the slowest of them is the measure.
    usual_ms = statistics.median(seen.usual_ms) if full else max(seen.usual_ms)
    assert statistics.median(seen.during_ms) <= max(2 * usual_ms, 0 if full else LEAST_BOUND_MS)
    upstream = siege.subscriber.status()["upstreams"][PUBLISHER]
    assert upstream["state"] == "connected"


@pytest.mark.full
@pytest.mark.timeout(900)
def test_ten_thousand_messages_in_a_second_for_a_minute_stop_nothing(siege: Siege) -> None:
    """Heartbeats go out, jobs are done, timers and status are punctual, and neither memory nor log fills."""
    seen = siege.withstand(Scale(600_000, 10_000, 4_000, 1_000))
    assert_nothing_came_of_it(siege, seen)
    assert seen.seconds >= 50
