"""A network that is cut for longer than the heartbeat, and connections that are dead and look alive."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.scene import Scene
from tests.faults.test_bus import follow_by
from tests.support.namespaces import FarMachine
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until
from tests.support.world import TREE, Subscriber

pytestmark = pytest.mark.slow
CHANGES = 12


def place_far_away(scene: Scene, far: FarMachine, rsync_port: int) -> Subscriber:
    """Return a subscriber whose daemon runs on the other machine; the publisher listens on the cable to it."""
    scene.publish_endpoint = f"tcp://{far.near_address}:{free_port()}"
    scene.service_url = f"http://{far.near_address}:{free_port()}"
    subscriber = scene.add_subscriber()
    subscriber.settings["trees"][TREE]["source"] = f"rsync://{far.near_address}:{rsync_port}/{TREE}/"
    subscriber.program = Program(
        ["subscriber", "--config", subscriber.config], log_path=subscriber.folder / "log", command=far.command
    )
    return subscriber


@pytest.mark.parametrize("how", ["packets vanish", pytest.param("the cable is pulled", marks=pytest.mark.full)])
def test_a_network_cut_for_longer_than_the_heartbeat_shows_as_silence_and_is_made_up_for(
    tmp_path: Path, how: str
) -> None:
    """``status`` says silent meanwhile; what was announced is fetched from the history afterwards."""
    with (
        Scene(tmp_path, seed=41) as scene,
        FarMachine() as far,
        TcpProxy(scene.rsyncd.port, host=far.near_address) as rsync,
    ):
        subscriber = place_far_away(scene, far, rsync.port)
        scene.start_publisher()
        scene.start_mirrors()
        serial = scene.change()
        subscriber.wait_exact(serial)
        (far.lose_packets if how == "packets vanish" else far.pull_cable)()
        for _ in range(CHANGES):
            scene.change()
        scene.wait_for_upstream(subscriber, "silent")
        subscriber.program.wait_for_line("is silent")
        assert subscriber.tree()["applied"] == serial
        (far.deliver_packets if how == "packets vanish" else far.plug_cable)()
        scene.wait_for_upstream(subscriber, "connected", deadline_seconds=60)
        scene.end_exact()
        assert subscriber.program.log_text().count("is silent") == 1


def test_a_connection_that_is_dead_and_looks_alive_is_left_for_a_new_one(tmp_path: Path) -> None:
    """TCP says that all is well and nothing comes through: missing heartbeats tell, and a new connection works."""
    with Scene(tmp_path, seed=42) as scene:
        scene.start_publisher()
        port = urlsplit(scene.publish_endpoint).port
        assert port is not None
        with TcpProxy(port) as bus:
            subscriber = scene.add_subscriber()
            follow_by(subscriber, publish=f"tcp://127.0.0.1:{bus.port}")
            scene.start_mirrors()
            subscriber.wait_exact(scene.change())
            bus.swallow()
            for _ in range(CHANGES):
                scene.change()
            # Silent for a moment only: it reconnects at once.
            wait_until(lambda: "is silent" in subscriber.program.log_text(), deadline_seconds=30, what="silence")
            scene.wait_for_upstream(subscriber, "connected")
            subscriber.wait_exact(scene.change())
            scene.end_exact()
