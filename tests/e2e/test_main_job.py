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


def test_what_is_announced_while_a_subscriber_connects_is_not_lost_until_the_next_heartbeat(tmp_path: Path) -> None:
    """A newcomer on the bus is told at once where every tree is, however long it is to the next heartbeat."""
    with World(tmp_path) as world:
        world.heartbeat = "1h"
        (world.tree / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        (world.tree / "new").write_text("new")
        serial = world.publish("--path", "new")
        subscriber.wait_exact(serial, deadline_seconds=20)
        world.publisher.terminate()
        (world.tree / "later").write_text("later")
        serial = world.publish("--path", "later")
        world.start_publisher()
        subscriber.wait_exact(serial, deadline_seconds=20)
        subscriber.assert_exact()
