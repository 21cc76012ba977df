"""A path that is a directory, then a file or link, then a directory: a list names it, and what was in it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.world import Subscriber, World

pytestmark = pytest.mark.slow


def start(world: World, **settings: object) -> Subscriber:
    """Start a publisher and a subscriber of a tree with a directory in it, synced."""
    (world.tree / "name" / "deep").mkdir(parents=True)
    (world.tree / "name" / "old").write_text("old")
    (world.tree / "name" / "deep" / "old").write_text("old")
    world.start_publisher()
    generous = {"count": 100, "percent": 100, "limit": 100}
    subscriber = world.add_subscriber(delete_budget=generous, **settings)
    subscriber.start()
    subscriber.wait_exact(0)
    return subscriber


def make_file(world: World) -> int:
    """Put a file in the place of the directory; return the serial."""
    shutil.rmtree(world.tree / "name")
    (world.tree / "name").write_text("a file")
    return world.publish("--path", "name")


def make_directory(world: World, *, announce: bool = True) -> int:
    """Put a directory with other content in the place of the file; return the serial, 0 when it is not announced."""
    (world.tree / "name").unlink()
    (world.tree / "name").mkdir()
    (world.tree / "name" / "new").write_text("new")
    return world.publish("--path", "name", "--path", "name/new") if announce else 0


@pytest.mark.parametrize("profile", ["plain", "deb"])
def test_both_changes_in_one_job(tmp_path: Path, profile: str) -> None:
    """A mirror that hears of the file and of the new directory at once loses what was in the old one."""
    with World(tmp_path) as world:
        subscriber = start(world, profile=profile, delete_grace="0s")
        subscriber.ask("pause")
        make_file(world)
        serial = make_directory(world)
        subscriber.ask("resume")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


@pytest.mark.parametrize("profile", ["plain", "deb"])
def test_an_upstream_that_is_ahead(tmp_path: Path, profile: str) -> None:
    """The file is announced and is a directory again by the time of the job, which brings that as it is now."""
    with World(tmp_path) as world:
        subscriber = start(world, profile=profile, delete_grace="0s")
        subscriber.ask("pause")
        first = make_file(world)
        make_directory(world, announce=False)
        subscriber.ask("resume")
        subscriber.wait_exact(first)
        assert sorted(path.name for path in (subscriber.mirror / "name").iterdir()) == ["new"]
        serial = world.publish("--path", "name", "--path", "name/new")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_a_directory_that_a_filter_hides_is_not_made(tmp_path: Path) -> None:
    """A pattern for directories alone hides a new one that is announced by itself, and no file of that name."""
    with World(tmp_path) as world:
        subscriber = start(world, exclude=["debug/"])
        (world.tree / "debug").mkdir()
        (world.tree / "name" / "debug").write_text("a file")
        subscriber.wait_exact(world.publish("--path", "debug", "--path", "name/debug"))
        assert not (subscriber.mirror / "debug").exists()
        assert (subscriber.mirror / "name" / "debug").read_text() == "a file"
