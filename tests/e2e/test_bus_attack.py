"""A stranger attacks the bus of a running publisher, again and again: it costs restarts of one process, no update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pushmirror.control.client import ask
from tests.support.bus_attacks import Attacker
from tests.support.world import World

pytestmark = pytest.mark.slow

UPDATES = 5


def test_updates_arrive_while_strangers_subscribe_to_everything(tmp_path: Path) -> None:
    """While one stranger fills the bus with subscriptions, over and over, each update is applied within twenty
    seconds; the publisher is the same process as before, and its status and log tell of it."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("0")
        subscriber = world.add_subscriber()
        world.start_publisher()
        subscriber.start()
        subscriber.wait_exact(0)
        pid = world.publisher.pid
        port = int(world.publish_endpoint.rpartition(":")[2])
        with Attacker(port, "subscriptions", again=True):
            world.publisher.wait_for_line("the process of the bus", deadline_seconds=60)
            for number in range(1, UPDATES + 1):
                (world.tree / "file").write_text(str(number))
                assert world.publish("--path", "file") == number
                subscriber.wait_exact(number, deadline_seconds=20)
        status: dict[str, Any] = ask(world.publisher_folder / "control.sock", {"command": "status"})
        assert status["bus"]["restarts"] >= 1
        assert (world.publisher.pid, world.publisher.running) == (pid, True)
        assert subscriber.tree()["last_sync"]["scope"] == "list"
        subscriber.assert_exact()
