"""Repository formats: payload is in place before metadata switches, deletions come after, and filters hide."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.world import Subscriber, World

pytestmark = pytest.mark.slow

PACKAGE_BYTES = 200_000


class Repository:
    """A toy in the shape of an rpm repository: repomd.xml names every package, one to a line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0
        (root / "Packages").mkdir()
        (root / "repodata").mkdir()

    def packages(self, version: int) -> list[str]:
        """Return the packages of a version."""
        return [f"Packages/p{number}-{version}.rpm" for number in range(4)]

    def step(self) -> list[str]:
        """Go to the next version as an archive does; return the arguments of the command that announces it."""
        old, new = self.packages(self.version), self.packages(self.version + 1)
        self.version += 1
        for name in new:
            (self.root / name).write_bytes(bytes([self.version % 256]) * PACKAGE_BYTES)
        primary = f"repodata/{self.version}-primary.xml"
        (self.root / primary).write_text("\n".join(new))
        repomd = self.root / "repodata" / "repomd.xml"
        temporary = self.root / "repodata" / ".repomd"
        temporary.write_text("\n".join([primary, *new]))
        temporary.rename(repomd)
        gone = [name for name in [*old, f"repodata/{self.version - 1}-primary.xml"] if (self.root / name).exists()]
        for name in gone:
            (self.root / name).unlink()
        put = [f"--path={name}" for name in [*new, primary, "repodata/repomd.xml"]]
        return [*put, *(f"--delete={name}" for name in gone)]


def broken_names(mirror: Path) -> list[str]:
    """Return what repomd.xml of the mirror names and is not there; a client reads it first and its packages then."""
    try:
        names = (mirror / "repodata" / "repomd.xml").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [name for name in names if not (mirror / name).exists()]


class Client(threading.Thread):
    """Reads the mirror without pause and counts what is broken."""

    def __init__(self, mirror: Path) -> None:
        super().__init__(daemon=True)
        self._mirror = mirror
        self.stopping = threading.Event()
        self.rounds = 0
        self.broken: list[list[str]] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            names = broken_names(self._mirror)
            self.rounds += 1
            if names:
                self.broken.append(names)


def start(world: World, **settings: object) -> tuple[Repository, Subscriber]:
    """Start a publisher and a subscriber of an rpm repository at version 1, synced."""
    world.profile = "rpm"
    repository = Repository(world.tree)
    repository.step()
    world.start_publisher()
    generous = {"count": 1000, "percent": 100, "limit": 100}
    subscriber = world.add_subscriber(profile="rpm", delete_budget=generous, **settings)
    subscriber.start()
    subscriber.wait_exact(0)
    subscriber.assert_exact()
    return repository, subscriber


def _is_announced(serial: int, tree: dict[str, Any]) -> bool:
    return bool(tree["announced"] == serial)


def test_a_client_never_sees_metadata_without_its_packages(tmp_path: Path) -> None:
    """Versions follow each other at Tier 1 without waiting; whoever reads the mirror meanwhile finds every package."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="2s", bandwidth="4MB")
        client = Client(subscriber.mirror)
        client.start()
        for _ in range(6):
            serial = world.publish(*repository.step())
            subscriber.wait_for("the announcement", partial(_is_announced, serial))
        subscriber.wait_exact(serial)
        client.stopping.set()
        client.join()
        assert client.rounds > 100
        assert client.broken == []
        subscriber.assert_exact()


def test_metadata_stays_old_while_a_package_is_missing_upstream(tmp_path: Path) -> None:
    """Nothing is switched, the serial does not count, and the next update makes up for all of it."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="0s")
        before = (subscriber.mirror / "repodata" / "repomd.xml").read_text()
        subscriber.program.terminate()
        announcement = repository.step()
        package = world.tree / repository.packages(repository.version)[0]
        content = package.read_bytes()
        serial = world.publish(*announcement)
        package.unlink()
        subscriber.start()
        tree = subscriber.wait_for("the job that waits", lambda tree: tree["reason"])
        assert (tree["applied"], tree["state"]) == (0, "waiting")
        assert "missing upstream" in tree["reason"]
        assert (subscriber.mirror / "repodata" / "repomd.xml").read_text() == before
        package.write_bytes(content)
        serial = world.publish(f"--path={package.relative_to(world.tree)}")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_metadata_that_is_newer_than_announced_is_not_switched(tmp_path: Path) -> None:
    """Tier 1 has moved on and has not told yet: the packages of the newer metadata are not known here."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="0s")
        before = (subscriber.mirror / "repodata" / "repomd.xml").read_text()
        subscriber.program.terminate()
        world.publish(*repository.step())
        untold = repository.step()
        for name in repository.packages(repository.version - 1):
            (world.tree / name).write_bytes(b"still there")
        (world.tree / f"repodata/{repository.version - 1}-primary.xml").write_text("still there")
        subscriber.start()
        tree = subscriber.wait_for("the job that waits", lambda tree: tree["reason"])
        assert "moved on" in tree["reason"]
        assert (subscriber.mirror / "repodata" / "repomd.xml").read_text() == before
        assert broken_names(subscriber.mirror) == []
        for name in [*repository.packages(repository.version - 1), f"repodata/{repository.version - 1}-primary.xml"]:
            (world.tree / name).unlink()
        serial = world.publish(*untold)
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_deletions_wait_for_the_grace_and_survive_a_restart(tmp_path: Path) -> None:
    """A client that read the old metadata a moment ago still finds its packages; only `cleaned` waits."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="4s")
        old = subscriber.mirror / repository.packages(1)[0]
        serial = world.publish(*repository.step())
        tree = subscriber.wait_for("applied", lambda tree: tree["applied"] == serial and tree["state"] == "idle")
        assert old.exists() and tree["cleaned"] < serial and tree["pending_deletions"] == 5
        subscriber.program.kill()
        subscriber.start()
        subscriber.wait_exact(serial)
        assert not old.exists()
        subscriber.assert_exact()


def test_a_recursive_directory_brings_its_metadata_last_too(tmp_path: Path) -> None:
    """What is metadata in an announced directory is found by a listing, fetched aside and switched."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="0s")
        repository.step()
        serial = world.publish("--directory=Packages", "--directory=repodata")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()
        assert "switched" in subscriber.program.log_text()


def test_a_full_sync_of_a_repository_switches_at_the_end(tmp_path: Path) -> None:
    """Also when nobody says what changed."""
    with World(tmp_path) as world:
        repository, subscriber = start(world, delete_grace="0s", bandwidth="4MB")
        client = Client(subscriber.mirror)
        client.start()
        for _ in range(2):
            repository.step()
            serial = world.publish("--whole-tree")
            subscriber.wait_exact(serial)
        client.stopping.set()
        client.join()
        assert client.broken == []
        subscriber.assert_exact()


def test_a_wholly_filtered_update_starts_no_rsync_and_counts(tmp_path: Path) -> None:
    """Filters are applied to change lists before a job exists; other filters than before cause a full sync."""
    with World(tmp_path) as world:
        (world.tree / "debug").mkdir()
        (world.tree / "debug" / "symbols").write_text("symbols")
        (world.tree / "file").write_text("file")
        world.start_publisher()
        subscriber = world.add_subscriber(exclude=["debug/"])
        subscriber.start()
        subscriber.wait_exact(0)
        assert not (subscriber.mirror / "debug").exists()
        connections = len(world.rsyncd.connections())
        (world.tree / "debug" / "symbols").write_text("changed")
        serial = world.publish("--path=debug/symbols")
        subscriber.wait_exact(serial)
        assert len(world.rsyncd.connections()) == connections
        subscriber.program.terminate()
        del subscriber.settings["trees"]["demo"]["exclude"]
        subscriber.start()
        wait_until((subscriber.mirror / "debug" / "symbols").exists, deadline_seconds=30, what="the full sync")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_a_full_sync_waits_while_a_debian_upstream_is_updating_itself(tmp_path: Path) -> None:
    """The file that ftpsync leaves while it works holds a full sync back, but not for ever, and is not mirrored."""
    with World(tmp_path) as world:
        world.profile = "deb"
        (world.tree / "dists" / "stable").mkdir(parents=True)
        (world.tree / "dists" / "stable" / "Release").write_text("release")
        (world.tree / "Archive-Update-in-Progress-t1.example.org").touch()
        world.start_publisher()
        subscriber = world.add_subscriber(profile="deb", missing_wait="6s")
        subscriber.start()
        tree = subscriber.wait_for("the wait", lambda tree: tree["reason"])
        assert "half-way" in tree["reason"] and tree["state"] == "waiting"
        assert not (subscriber.mirror / "dists").exists()
        subscriber.wait_exact(0)
        assert (subscriber.mirror / "dists" / "stable" / "Release").exists()
        assert not list(subscriber.mirror.glob("Archive-*"))
