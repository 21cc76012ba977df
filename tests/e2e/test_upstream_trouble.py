"""Upstreams that are unmounted, emptied or half-readable: nothing is lost here, and nothing counts as applied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.world import World

pytestmark = pytest.mark.slow

PLACES = [("", False), ("linux/sub", False), ("", True), ("linux/sub", True)]


@pytest.mark.parametrize(("below", "use_chroot"), PLACES)
def test_an_upstream_unmounted_after_the_announcement_deletes_nothing_and_does_not_count(
    tmp_path: Path, below: str, use_chroot: bool
) -> None:
    """Puts that are missing upstream leave `applied` where it is; when the disk is back the job is done."""
    with World(tmp_path, below=below, use_chroot=use_chroot) as world:
        for number in range(40):
            (world.tree / f"file{number:02}").write_text(str(number))
        world.start_publisher()
        subscriber = world.add_subscriber(missing_wait="1h")
        subscriber.start()
        subscriber.wait_exact(0)
        for number in range(40):
            (world.tree / f"file{number:02}").write_text(f"changed {number}")
        empty = tmp_path / "empty"
        (empty / below).mkdir(parents=True)
        world.rsyncd.set_module_path("demo", empty)
        serial = world.publish(*(f"--path=file{number:02}" for number in range(40)))
        tree = subscriber.wait_for("the job that found nothing", lambda tree: tree["reason"])
        assert (tree["announced"], tree["applied"], tree["state"]) == (serial, 0, "waiting")
        assert "40 announced paths are missing upstream" in tree["reason"]
        assert sum(1 for _ in subscriber.mirror.iterdir()) == 40
        world.rsyncd.set_module_path("demo", world.module)
        subscriber.ask("sync")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_a_full_sync_from_an_empty_upstream_deletes_nothing(tmp_path: Path) -> None:
    """After `missing_wait` a full sync decides, and an upstream without any content is not believed."""
    with World(tmp_path) as world:
        for number in range(5):
            (world.tree / f"file{number}").write_text(str(number))
        world.start_publisher()
        subscriber = world.add_subscriber(missing_wait="0s")
        subscriber.start()
        subscriber.wait_exact(0)
        empty = tmp_path / "empty"
        empty.mkdir()
        world.rsyncd.set_module_path("demo", empty)
        serial = world.publish("--path", "file1")
        tree = subscriber.wait_for("the full sync", lambda tree: "is empty" in (tree["reason"] or ""))
        assert (tree["announced"], tree["applied"], tree["state"]) == (serial, 0, "failed")
        assert sum(1 for _ in subscriber.mirror.iterdir()) == 5


def test_a_mirror_whose_own_disk_is_not_mounted_is_left_alone(tmp_path: Path) -> None:
    """A folder that had content and is empty now is not filled: its disk is somewhere else."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        shutil.rmtree(subscriber.mirror)
        subscriber.mirror.mkdir()
        (world.tree / "another").write_text("content")
        serial = world.publish("--path", "another")
        tree = subscriber.wait_for("the refusal", lambda tree: tree["state"] == "failed")
        assert "is its disk mounted?" in tree["reason"]
        assert list(subscriber.mirror.iterdir()) == []
        subscriber.ask("sync", full=True)
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


@pytest.mark.parametrize("below", ["", "linux/sub"])
def test_deletions_above_the_budget_wait_for_the_operator(tmp_path: Path, below: str) -> None:
    """They are held beside everything else, which still applies; `approve` releases exactly them."""
    with World(tmp_path, below=below) as world:
        (world.tree / "folder").mkdir()
        for number in range(30):
            (world.tree / "folder" / f"file{number}").write_text(str(number))
        (world.tree / "kept").write_text("kept")
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget={"count": 10, "percent": 5, "limit": 50})
        subscriber.start()
        subscriber.wait_exact(0)
        shutil.rmtree(world.tree / "folder")
        serial = world.publish("--delete", "folder")
        tree = subscriber.wait_for("the hold", lambda tree: tree["held"])
        assert "31 of 32 entries" in tree["held"]["reason"]
        (world.tree / "later").write_text("later")
        serial = world.publish("--path", "later")
        tree = subscriber.wait_for("the later update", lambda tree: tree["applied"] == serial)
        assert tree["cleaned"] < serial
        assert (subscriber.mirror / "folder" / "file1").exists()
        asked = subscriber.ask("approve")
        assert asked["paths"] == ["folder"]
        subscriber.ask("approve", release=True, digest=asked.get("digest"))
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_what_the_upstream_does_not_let_us_read_is_incomplete_and_the_rest_counts(tmp_path: Path) -> None:
    """A directory of mode 0700 upstream is shown, nothing below it here is deleted, and the update applies."""
    with World(tmp_path, unprivileged=True) as world:
        (world.tree / "secret").mkdir()
        (world.tree / "secret" / "inside").write_text("inside")
        (world.tree / "open").write_text("open")
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget={"count": 1000, "percent": 100, "limit": 100})
        subscriber.start()
        subscriber.wait_exact(0)
        (world.tree / "open").write_text("changed")
        (world.tree / "secret").chmod(0o700 if os.geteuid() == 0 else 0)
        serial = world.publish("--whole-tree")
        tree = subscriber.wait_exact(serial)
        assert tree["incomplete"] == ["secret"]
        assert (subscriber.mirror / "open").read_text() == "changed"
        assert (subscriber.mirror / "secret").exists()
        (world.tree / "open").write_text("changed again")
        serial = world.publish("--path=open", "--path=secret/inside", "--force")
        tree = subscriber.wait_exact(serial)
        assert tree["incomplete"] == ["secret", "secret/inside"]
        assert (subscriber.mirror / "open").read_text() == "changed again"
        (world.tree / "secret").chmod(0o755)


def test_a_link_that_takes_the_place_of_a_directory_is_put_within_the_budget(tmp_path: Path) -> None:
    """The old directory is moved aside and removed; a file in the place of a directory likewise, and the reverse."""
    with World(tmp_path) as world:
        for name in ("to-link", "to-file"):
            (world.tree / name).mkdir()
            (world.tree / name / "inside").write_text("inside")
        (world.tree / "to-directory").write_text("file")
        for number in range(20):
            (world.tree / f"other{number}").write_text("other")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        shutil.rmtree(world.tree / "to-link")
        shutil.rmtree(world.tree / "to-file")
        (world.tree / "to-directory").unlink()
        (world.tree / "to-link").symlink_to("other1")
        (world.tree / "to-file").write_text("now a file")
        (world.tree / "to-directory").mkdir()
        (world.tree / "to-directory" / "new").write_text("new")
        serial = world.publish("--path=to-link", "--path=to-file", "--path=to-directory", "--path=to-directory/new")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_recursive_directories_lose_their_surplus(tmp_path: Path) -> None:
    """A directory that is announced as such becomes equal, deletions included, and nothing beside it is touched."""
    with World(tmp_path) as world:
        for folder in ("a", "b"):
            (world.tree / folder / "deep").mkdir(parents=True)
            for number in range(10):
                (world.tree / folder / "deep" / f"file{number}").write_text(folder)
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        (world.tree / "a" / "deep" / "file1").unlink()
        (world.tree / "a" / "deep" / "file2").write_text("changed")
        (world.tree / "a" / "new").write_text("new")
        serial = world.publish("--directory", "a")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_deleted_and_put_again_while_the_subscriber_was_off(tmp_path: Path) -> None:
    """Old content of a directory that was deleted and came back goes, though no list names it."""
    with World(tmp_path) as world:
        (world.tree / "folder" / "old").mkdir(parents=True)
        (world.tree / "folder" / "old" / "file").write_text("old")
        for number in range(20):
            (world.tree / f"other{number}").write_text("other")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        subscriber.program.terminate()
        shutil.rmtree(world.tree / "folder")
        world.publish("--delete", "folder")
        (world.tree / "folder").mkdir()
        (world.tree / "folder" / "new").write_text("new")
        serial = world.publish("--path", "folder/new")
        subscriber.start()
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_a_first_sync_into_a_folder_with_content_adopts_it(tmp_path: Path) -> None:
    """What is there already is not fetched again, and surplus is deleted only within the budget."""
    with World(tmp_path) as world:
        for number in range(40):
            (world.tree / f"file{number:02}").write_text(f"content {number}")
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget={"count": 2, "percent": 1, "limit": 50})
        shutil.copytree(world.tree, subscriber.mirror, dirs_exist_ok=True)
        (subscriber.mirror / "surplus1").write_text("surplus")
        (subscriber.mirror / "surplus2").write_text("surplus")
        (subscriber.mirror / "surplus3").write_text("surplus")
        subscriber.start()
        tree = subscriber.wait_for("the hold", lambda tree: tree["held"] and tree["state"] == "idle")
        assert (tree["applied"], tree["held"]["deletions"]) == (0, 3)
        assert tree["last_sync"]["bytes"] == 0
        assert (subscriber.mirror / "surplus2").exists()
        subscriber.ask("approve", release=True, digest=subscriber.ask("approve").get("digest"))
        subscriber.wait_exact(0)
        subscriber.assert_exact()


def test_a_first_sync_refuses_a_link_where_the_upstream_has_a_directory(tmp_path: Path) -> None:
    """rsync would replace the link, and the content that it leads to would be fetched a second time."""
    with World(tmp_path) as world:
        (world.tree / "pool").mkdir()
        (world.tree / "pool" / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (subscriber.mirror / "pool").symlink_to(elsewhere)
        subscriber.start()
        tree = subscriber.wait_for("the refusal", lambda tree: tree["state"] == "failed")
        assert "symbolic links stand in" in tree["reason"] and "pool" in tree["reason"]
        assert (subscriber.mirror / "pool").is_symlink()
        assert list(elsewhere.iterdir()) == []
