"""A bus that loses a fifth of what it carries and mixes up the rest, and a service whose answers break off."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.scene import Scene
from tests.support.bus_proxy import BusProxy
from tests.support.tcp_proxy import TcpProxy
from tests.support.world import PUBLISHER, Subscriber

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARE_CUT = 0.4
LONGEST_ANSWER_BYTES = 3000


def follow_by(subscriber: Subscriber, **endpoints: str) -> None:
    """Have the subscriber reach its publisher in another way."""
    subscriber.settings["upstreams"][PUBLISHER] |= endpoints


def test_a_bus_that_loses_repeats_delays_and_reorders_costs_no_content_and_no_walk(tmp_path: Path, full: bool) -> None:
    """Whatever is missed of the announcements is found out and fetched from the service."""
    count = 500 if full else 50
    with Scene(tmp_path, seed=11) as scene, BusProxy(scene.publish_endpoint, random.Random(12)) as bus:
        scene.start_publisher()
        follow_by(scene.add_subscriber(), publish=bus.endpoint)
        scene.start_mirrors()
        for _ in range(count):
            scene.change()
            scene.linger()
        scene.end_exact()
        assert min(bus.counts["lost"], bus.counts["repeated"], bus.counts["delayed"]) > count // 20, bus.counts


def test_a_service_whose_answers_break_off_beside_such_a_bus_costs_no_content_either(
    tmp_path: Path, full: bool
) -> None:
    """What arrived before an answer broke off is kept, the rest is asked for again."""
    count = 500 if full else 50
    chance = random.Random(22)

    def cut_after_bytes() -> int | None:
        return chance.randrange(LONGEST_ANSWER_BYTES) if chance.random() < SHARE_CUT else None

    with Scene(tmp_path, seed=21) as scene, BusProxy(scene.publish_endpoint, random.Random(23)) as bus:
        service_port = urlsplit(scene.service_url).port
        assert service_port is not None
        with TcpProxy(service_port, cut_after_bytes=cut_after_bytes) as service:
            scene.start_publisher()
            follow_by(scene.add_subscriber(), publish=bus.endpoint, service=f"http://127.0.0.1:{service.port}")
            scene.start_mirrors()
            for _ in range(count):
                scene.change()
                scene.linger()
            scene.end_exact()
            assert service.cuts > 0
