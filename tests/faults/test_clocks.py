"""Clocks that jump by a day, forward and back, under running daemons and across their starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.control.client import ask
from tests.faults.scene import Scene
from tests.faults.shifted import ShiftedClock
from tests.faults.test_history import empty
from tests.support.processes import Program
from tests.support.waiting import wait_until
from tests.support.world import Subscriber

pytestmark = pytest.mark.slow
DAY_SECONDS = 24 * 3600
PATIENCE_SECONDS = 25.0
"""What waits for a clock to come round again waits for a day."""


def shift_subscriber(subscriber: Subscriber) -> ShiftedClock:
    """Give the subscriber a clock of its own; it must not have been started."""
    clock = ShiftedClock(subscriber.folder / "clock")
    subscriber.program = Program(
        ["subscriber", "--config", subscriber.config], log_path=subscriber.folder / "log", command=clock.command()
    )
    return clock


def shift_publisher(scene: Scene) -> ShiftedClock:
    """Give the publisher a clock of its own; it must not have been started."""
    clock = ShiftedClock(scene.publisher_folder / "clock")
    scene.publisher = Program(
        ["publisher", "--config", scene.publisher_config],
        log_path=scene.publisher_folder / "log",
        command=clock.command(),
    )
    return clock


def check_that_news_arrives(scene: Scene, subscriber: Subscriber) -> None:
    """Fail unless an announcement is applied within seconds, and the upstream counts as connected."""
    subscriber.wait_exact(scene.change(), deadline_seconds=PATIENCE_SECONDS)
    scene.wait_for_upstream(subscriber, "connected", deadline_seconds=PATIENCE_SECONDS)


def test_a_subscriber_whose_clock_jumps_by_a_day_and_back_goes_on(tmp_path: Path) -> None:
    """What it waits for is not put off by a day, and another time is no reason to disbelieve its publisher."""
    with Scene(tmp_path, seed=61) as scene:
        scene.start_publisher()
        subscriber = scene.add_subscriber(coalesce="1s", max_age="30d")
        clock = shift_subscriber(subscriber)
        scene.start_mirrors()
        for days in (1, 0, -1, 0):
            scene.change()
            clock.set(days * DAY_SECONDS)
            check_that_news_arrives(scene, subscriber)
        scene.end_exact()


def test_a_publisher_whose_clock_jumps_by_a_day_and_back_goes_on(tmp_path: Path) -> None:
    """What it says is believed in spite of what it says of the time."""
    with Scene(tmp_path, seed=62) as scene:
        clock = shift_publisher(scene)
        scene.start_publisher()
        subscriber = scene.add_subscriber(max_age="30d")
        scene.start_mirrors()
        for days in (1, 0, -1, 0):
            scene.change()
            clock.set(days * DAY_SECONDS)
            check_that_news_arrives(scene, subscriber)
        scene.end_exact()


def test_heartbeats_go_on_when_the_clock_goes_back_by_a_day(tmp_path: Path) -> None:
    """Nobody has to wait for a day until the next one is due."""
    with Scene(tmp_path, seed=66) as scene:
        clock = shift_publisher(scene)
        clock.set(DAY_SECONDS)
        scene.start_publisher()

        def counter() -> int:
            return int(ask(scene.publisher_folder / "control.sock", {"command": "status"})["heartbeat"])

        clock.set(0)
        before = counter()
        wait_until(lambda: counter() >= before + 3, deadline_seconds=PATIENCE_SECONDS, what="three heartbeats")


def test_a_failed_job_is_tried_again_when_the_clock_goes_back_by_a_day(tmp_path: Path) -> None:
    """The time of the next try was noted by a clock that was a day ahead."""
    with Scene(tmp_path, seed=63) as scene:
        scene.start_publisher()
        subscriber = scene.add_subscriber(max_age="30d")
        clock = shift_subscriber(subscriber)
        clock.set(DAY_SECONDS)
        scene.start_mirrors()
        scene.rsyncd.stop()
        scene.change()
        subscriber.wait_for("a failure", lambda tree: tree["reason"])
        clock.set(0)
        scene.rsyncd.start()
        scene.end_exact(deadline_seconds=90)


def test_daemons_started_again_with_another_clock_go_on(tmp_path: Path) -> None:
    """What they noted before is a day ago or in the future; neither holds anything up."""
    with Scene(tmp_path, seed=64) as scene:
        clock = shift_publisher(scene)
        scene.start_publisher()
        subscriber = scene.add_subscriber(coalesce="1s", max_age="30d")
        own_clock = shift_subscriber(subscriber)
        scene.start_mirrors()
        for days in (1, 0):
            subscriber.program.terminate()
            scene.publisher.terminate()
            scene.change()
            clock.set(days * DAY_SECONDS)
            own_clock.set(days * DAY_SECONDS)
            scene.start_publisher()
            subscriber.start()
            check_that_news_arrives(scene, subscriber)
        scene.end_exact()


def test_a_journal_made_anew_by_a_clock_that_went_back_is_followed_all_the_same(tmp_path: Path) -> None:
    """Its epoch is older than the one that is followed: a freshly asked, signed state tells that it is the current."""
    with Scene(tmp_path, seed=65) as scene:
        clock = shift_publisher(scene)
        scene.start_publisher()
        subscriber = scene.add_subscriber()
        scene.start_mirrors()
        check_that_news_arrives(scene, subscriber)
        scene.end_exact()
        scene.forget_walks()
        epoch = subscriber.tree()["epoch"]
        scene.publisher.terminate()
        empty(scene.publisher_folder / "state")
        clock.set(-DAY_SECONDS)
        scene.start_publisher()
        tree = subscriber.wait_for("another epoch", lambda tree: tree["epoch"] not in (None, epoch))
        assert int(tree["epoch"].split("-")[0]) < int(epoch.split("-")[0])
        check_that_news_arrives(scene, subscriber)
        clock.set(0)
        check_that_news_arrives(scene, subscriber)
        scene.end_exact(full_syncs=1)
