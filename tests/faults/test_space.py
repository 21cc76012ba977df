"""A disk without room keeps the trees on it waiting, and no others; they go on by themselves when there is room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import run_pushmirror
from tests.support.small_disk import SmallDisk
from tests.support.waiting import wait_until
from tests.support.world import TREE, Subscriber, World

pytestmark = pytest.mark.slow
DISK_BYTES = 8 << 20
BESIDE, ELSEWHERE = "beside", "elsewhere"


class ThreeTrees(World):
    """A publisher of three trees, which lie beside each other in one rsync module."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, below=TREE)
        for name in (BESIDE, ELSEWHERE):
            (self.module / name).mkdir()
        for name in (TREE, BESIDE, ELSEWHERE):
            (self.module / name / "file").write_text("content")

    def write_publisher(self) -> None:
        """Write the publisher's settings, with the other trees."""
        super().write_publisher()
        settings = yaml.safe_load(self.publisher_config.read_text())
        for name in (BESIDE, ELSEWHERE):
            settings["trees"][name] = {"path": str(self.module / name), "url": self.rsyncd.url(TREE, name)}
        self.publisher_config.write_text(yaml.safe_dump(settings))

    def put(self, tree: str, name: str, size_bytes: int, *, whole: bool = False) -> int:
        """Put a file into a tree and announce it; return the serial."""
        (self.module / tree / name).write_bytes(bytes(size_bytes))
        announced = ["--whole-tree"] if whole else [f"--path={name}"]
        done = run_pushmirror("publish", tree, *announced, "--config", self.publisher_config)
        assert done.returncode == 0, done.stderr.decode()
        return int(done.stdout)

    def mirror_all(self, disk: Path) -> Subscriber:
        """Return a subscriber that has the third tree elsewhere than on `disk`, where the others are."""
        subscriber = self.add_subscriber()
        trees = subscriber.settings["trees"]
        for name, parent in ((TREE, disk), (BESIDE, disk), (ELSEWHERE, subscriber.folder)):
            source = self.rsyncd.url(TREE, name)
            trees[name] = {**trees[TREE], "source": source, "path": str(parent / name)}
            (parent / name).mkdir()
        return subscriber


def tree_of(subscriber: Subscriber, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = subscriber.status()["trees"][name]
    return tree


def wait_applied(subscriber: Subscriber, name: str, serial: int) -> dict[str, Any]:
    def is_applied() -> dict[str, Any] | None:
        tree = tree_of(subscriber, name)
        return tree if tree["applied"] == serial else None

    what = f"serial {serial} of {name}\n{subscriber.program.log_tail()}"
    return wait_until(is_applied, deadline_seconds=60, what=what)


def wait_for_room(subscriber: Subscriber, name: str) -> dict[str, Any]:
    """Return the status of a tree when it waits for room."""

    def is_waiting() -> dict[str, Any] | None:
        tree = tree_of(subscriber, name)
        return tree if tree["space"] and tree["state"] == "waiting" else None

    return wait_until(is_waiting, deadline_seconds=60, what=f"{name} waits\n{subscriber.program.log_tail()}")


def test_a_full_disk_and_what_is_announced_for_it(tmp_path: Path) -> None:
    """Too much for the disk is not begun, whatever else is; what fills it keeps the trees on it waiting alone."""
    disk_folder = tmp_path / "disk"
    disk_folder.mkdir()
    with ThreeTrees(tmp_path) as world, SmallDisk(disk_folder, DISK_BYTES) as disk:
        world.start_publisher()
        subscriber = world.mirror_all(disk_folder)
        subscriber.settings["trees"][TREE]["min_free"] = "1MiB"
        subscriber.start()
        for name in (TREE, BESIDE, ELSEWHERE):
            wait_applied(subscriber, name, 0)

        # Announced is more than there is room for: nothing of it is brought, and others are not concerned.
        world.put(TREE, "large", 2 * DISK_BYTES)
        space = wait_for_room(subscriber, TREE)["space"]
        assert space["needed_bytes"] == 2 * DISK_BYTES > space["free_bytes"]
        assert "what is announced needs 16777216" in space["reason"]
        assert not (disk_folder / TREE / "large").exists()
        wait_applied(subscriber, BESIDE, world.put(BESIDE, "small", 1000))
        serial = world.put(TREE, "large", DISK_BYTES // 8)
        assert wait_applied(subscriber, TREE, serial)["space"] is None

        # A disk that fills up while something is brought: the other tree on it waits as well, the third does not.
        second = world.put(BESIDE, "huge", 2 * DISK_BYTES, whole=True)
        space = wait_for_room(subscriber, BESIDE)["space"]
        assert "No space left on device" in space["reason"]
        serial = world.put(TREE, "small", 1000)
        wait_for_room(subscriber, TREE)
        wait_applied(subscriber, ELSEWHERE, world.put(ELSEWHERE, "small", 1000))
        assert not (disk_folder / TREE / "small").exists()
        (world.module / BESIDE / "huge").write_bytes(bytes(1000))
        wait_applied(subscriber, TREE, serial)
        wait_applied(subscriber, BESIDE, second)
        log = subscriber.program.log_text()
        assert log.count("the disk of tree beside is full") == 1

        # Less is free than is to stay free: that tree waits until it is not so.
        disk.fill()
        serial = world.put(TREE, "another", 10)
        assert "below min_free (1048576 bytes)" in wait_for_room(subscriber, TREE)["reason"]
        disk.make_room()
        assert wait_applied(subscriber, TREE, serial)["reason"] is None
        subscriber.program.terminate()
        assert "Traceback" not in subscriber.program.log_text()
