"""The main job, end to end: separate processes, a real rsync daemon, one announcement, three exact mirrors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.trees import change_tree, make_tree
from tests.support.world import World

pytestmark = pytest.mark.slow


def test_three_subscribers_become_exact_by_one_announcement_without_walking_the_tree(tmp_path: Path) -> None:
    """After a first sync, one `publish` makes three mirrors exact, and none of them lists the whole tree for it."""
    with World(tmp_path) as world:
        made = make_tree(world.tree, files=2000)
        world.start_publisher()
        subscribers = [world.add_subscriber(f"t2-{number}.example.net") for number in range(3)]
        for subscriber in subscribers:
            subscriber.start()
        for subscriber in subscribers:
            subscriber.wait_exact(0)
            subscriber.assert_exact()
        change = change_tree(made)
        before = len(world.rsyncd.connections())
        serial = world.publish(
            "--paths-from", "-", *(f"--delete={os.fsdecode(path)}" for path in change.deleted),
            stdin=b"\0".join(change.put) + b"\0",
        )  # fmt: skip
        for subscriber in subscribers:
            tree = subscriber.wait_exact(serial, deadline_seconds=20)
            assert tree["last_sync"]["scope"] == "list"
        for connection in world.rsyncd.connections()[before:]:
            assert connection.sent_bytes is not None and connection.sent_bytes < 100_000, connection
        for subscriber in subscribers:
            subscriber.assert_exact()
