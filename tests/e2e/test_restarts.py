"""A subscriber that is killed in the middle of a job, and one that was away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.support.compare import differences
from tests.support.processes import run_pushmirror
from tests.support.waiting import wait_until
from tests.support.world import World

pytestmark = pytest.mark.slow
LARGE_BYTES = 24 * 1024 * 1024


def rsyncs_of(mirror: Path) -> list[int]:
    """Return the processes whose command line names the mirror as their target."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                arguments = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if arguments[0].endswith(b"rsync") and os.fsencode(f"{mirror}/") in arguments:
                found.append(int(entry))
    return found


def test_a_subscriber_killed_while_a_large_file_is_written_makes_the_tree_right_after_a_start(tmp_path: Path) -> None:
    """The rsync that outlived the daemon is ended first, so that it cannot put an old file over a newer one."""
    with World(tmp_path) as world:
        (world.tree / "small").write_text("before")
        world.start_publisher()
        subscriber = world.add_subscriber(bandwidth="4MB")
        subscriber.start()
        subscriber.wait_exact(0)
        large = world.tree / "large"
        large.write_bytes(os.urandom(LARGE_BYTES))
        serial = world.publish("--path", "large")
        temporary = subscriber.mirror / ".~pushmirror~" / "tmp"
        wait_until(lambda: temporary.is_dir() and any(temporary.iterdir()), what="rsync writes")
        subscriber.program.kill_alone()
        assert rsyncs_of(subscriber.mirror), "rsync has a session of its own and outlives the daemon"
        large.write_bytes(b"another, smaller content")
        os.utime(large, ns=(1, 1_700_000_000_000_000_001))
        subscriber.start()
        subscriber.wait_exact(serial)
        subscriber.assert_exact()
        assert rsyncs_of(subscriber.mirror) == []
        jobs = subscriber.ask("history")["jobs"]
        assert [job["outcome"] for job in jobs[:2]] == ["done", "interrupted"]


def test_announcements_made_while_a_subscriber_is_off_are_made_up_for_from_the_history(tmp_path: Path) -> None:
    """Ten updates that nobody heard become one list job at the start, and no full sync."""
    with World(tmp_path) as world:
        (world.tree / "first").write_text("first")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        full_sync = subscriber.tree()["last_full_sync"]
        subscriber.program.terminate()
        for number in range(10):
            (world.tree / f"file{number}").write_text(str(number))
            serial = world.publish("--path", f"file{number}")
        subscriber.start()
        tree = subscriber.wait_exact(serial)
        assert tree["last_full_sync"] == full_sync
        assert tree["last_sync"]["scope"] == "list"
        subscriber.assert_exact()


def test_an_update_that_the_bus_lost_is_fetched_when_the_next_one_shows_the_gap(tmp_path: Path) -> None:
    """The service hands out what was missed; also a list that is too long for the bus comes from there."""
    with World(tmp_path) as world:
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        for number in range(3000):
            (world.tree / f"a-rather-long-name-so-that-the-list-does-not-fit-inline-{number:06}").touch()
        names = "\n".join(path.name for path in world.tree.iterdir()).encode()
        serial = world.publish("--paths-from", "-", stdin=names)
        tree = subscriber.wait_exact(serial)
        assert tree["last_sync"]["scope"] == "list"
        subscriber.assert_exact()


def test_a_new_journal_makes_the_whole_tree_pending_once(tmp_path: Path) -> None:
    """A publisher that was installed anew has a younger epoch: the mirror syncs in full and follows the new serials."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("one")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        world.publish("--path", "file")
        serial = world.publish("--path", "file")
        subscriber.wait_exact(serial)
        world.publisher.terminate()
        for file in (world.publisher_folder / "state").glob("journal*"):
            file.unlink()
        (world.tree / "file").write_text("changed while nobody kept a journal")
        world.start_publisher()
        subscriber.wait_for("the new epoch", lambda tree: tree["announced"] == 0)
        subscriber.wait_exact(0)
        subscriber.assert_exact()
        serial = world.publish("--path", "file")
        assert serial == 1
        subscriber.wait_exact(1)
        assert differences(world.tree, subscriber.mirror) == []


def test_a_second_subscriber_on_one_ledger_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """It ends at once, with the reason; after the first has ended, however it did, another may start."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        other = yaml.safe_dump({**subscriber.settings, "control": str(tmp_path / "other.sock")})
        (tmp_path / "other.yaml").write_text(other)
        done = run_pushmirror("subscriber", "--config", tmp_path / "other.yaml")
        assert done.returncode == 1
        assert b"another subscriber is running on" in done.stderr
        serial = world.publish("--path", "file")
        subscriber.wait_exact(serial)
        subscriber.program.kill_alone()
        subscriber.start()
        subscriber.wait_exact(serial)


def test_a_damaged_ledger_costs_a_full_sync_and_nothing_else(tmp_path: Path) -> None:
    """It is moved aside with a loud line, the mirror is adopted, and goes on with list jobs."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)
        subscriber.program.terminate()
        ledger = subscriber.folder / "state" / "ledger.sqlite"
        ledger.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
        subscriber.start()
        subscriber.wait_exact(0)
        assert "was moved to ledger.sqlite.damaged-1" in subscriber.program.log_text()
        (world.tree / "file").write_text("changed")
        subscriber.wait_exact(world.publish("--path", "file"))
        subscriber.assert_exact()
        assert [job["scope"] for job in subscriber.ask("history")["jobs"]] == ["list", "whole"]
