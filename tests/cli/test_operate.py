"""The commands that steer a running subscriber, against a real one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pushmirror.cli.demo.world import TREE, Site, World
from pushmirror.control.client import ask as ask_daemon
from pushmirror.errors import Refused
from tests.cli.world import ask, publish, tree_status, wait_applied, world

__all__ = ["world"]

pytestmark = pytest.mark.slow


def hold_deletion(world: World, name: str) -> Path:
    """Publish a file and its deletion, which the mirror holds; returns where the mirror still has the file."""
    path = world.tier1.tree / name
    path.write_text("content")
    wait_applied(world, publish(world, "--path", name))
    path.unlink()
    wait_applied(world, publish(world, "--delete", name))
    world.processes.wait(lambda: tree_status(world)["held"], "the deletion is held", 20)
    return world.mirrors[0].tree / name


def test_sync_wait_returns_when_it_is_done(world: World) -> None:
    """A full sync is waited for, and what it did is told; afterwards it is in the history."""
    done = ask(world.mirrors[0], "sync", TREE, "--full", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{TREE}: applied serial ".encode())
    history = ask(world.mirrors[0], "history", TREE, "--json")
    assert json.loads(history.stdout)[0]["scope"] == "whole"


def test_sync_of_a_path_brings_it_back(world: World) -> None:
    """What somebody broke on the mirror is repaired by a sync of its folder, without an announcement."""
    victim = world.mirrors[0].tree / "dists/stable/Release"
    victim.unlink()
    done = ask(world.mirrors[0], "sync", TREE, "--path", "./dists/stable/", "--wait")
    assert done.returncode == 0, done.stderr
    assert victim.read_bytes() == (world.tier1.tree / "dists/stable/Release").read_bytes()


def test_sync_without_wait_returns_at_once(world: World) -> None:
    """Without --wait nothing is printed on stdout, and where to look is told."""
    done = ask(world.mirrors[0], "sync", TREE)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"pushmirror status --config" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sync", "no-such-tree"), b"there is no tree 'no-such-tree' here; there are: archive"),
        (("sync", TREE, "--full", "--path", "a"), b"either of some paths or of the whole tree"),
        (("sync", TREE, "--path", "../etc"), b"write paths relative to the tree"),
        (("sync", TREE, "--wait", "--timeout", "soon"), b"--timeout: "),
        (("history", "no-such-tree"), b"there is no tree"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(world: World, arguments: tuple[str, ...], told: bytes) -> None:
    """A wrong request exits with 2 and says what is wrong."""
    done = ask(world.mirrors[0], *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr


def test_a_publisher_is_not_steered(world: World) -> None:
    """The settings of the other daemon are refused, and not mistaken for a daemon that declines."""
    done = ask(world.tier1, "pause", TREE)
    assert done.returncode == 2
    assert b"these are the settings of a publisher" in done.stderr


def test_pause_and_resume(world: World) -> None:
    """A paused tree records announcements and does nothing; resumed, it applies them. Nobody waits for it meanwhile."""
    mirror = world.mirrors[0]
    assert ask(mirror, "pause", TREE).returncode == 0
    try:
        (world.tier1.tree / "paused.txt").write_text("later")
        serial = publish(world, "--path", "paused.txt")
        world.processes.wait(lambda: tree_status(world)["announced"] == serial, "it is announced", 20)
        assert tree_status(world)["state"] == "paused"
        waited = ask(mirror, "sync", TREE, "--wait")
        assert waited.returncode == 1
        assert f"pushmirror resume {TREE}".encode() in waited.stderr
        assert not (mirror.tree / "paused.txt").exists()
    finally:
        assert ask(mirror, "resume", TREE).returncode == 0
    wait_applied(world, serial)
    assert (mirror.tree / "paused.txt").read_text() == "later"


def test_approve_deletes_what_was_shown(world: World) -> None:
    """Held deletions are shown; without a terminal --yes is needed; then they are deleted."""
    held = hold_deletion(world, "approve me")
    asked = ask(world.mirrors[0], "approve", TREE)
    assert asked.returncode == 2
    assert asked.stdout.splitlines()[0] == b"  approve me"
    assert b"add --yes" in asked.stderr
    assert held.exists()
    done = ask(world.mirrors[0], "approve", TREE, "--yes")
    assert done.returncode == 0, done.stderr
    assert b"1 approved" in done.stdout
    world.processes.wait(lambda: not held.exists(), "it is deleted", 20)
    assert b"nothing waits" in ask(world.mirrors[0], "approve", TREE).stdout


def test_approve_list_does_nothing(world: World) -> None:
    """--list shows, and releases nothing even with --yes."""
    held = hold_deletion(world, "only look")
    assert b"only look" in ask(world.mirrors[0], "approve", TREE, "--list", "--yes").stdout
    assert tree_status(world)["held"]
    assert b"1 kept" in ask(world.mirrors[0], "refuse", TREE).stdout
    assert held.exists()
    assert tree_status(world)["pending_deletions"] == 0
    held.unlink()


def test_only_what_was_shown_is_released(world: World) -> None:
    """When deletions were added since they were shown, the approval is refused, and nothing is released."""
    held = hold_deletion(world, "first")
    request = {"command": "approve", "tree": TREE}
    shown = ask_daemon(world.mirrors[0].control, request)
    second = hold_deletion(world, "second")
    with pytest.raises(Refused, match="not those that were shown"):
        ask_daemon(world.mirrors[0].control, {**request, "release": True, "digest": shown["digest"]})
    with pytest.raises(Refused):
        ask_daemon(world.mirrors[0].control, {**request, "release": True})
    assert tree_status(world)["held"]["deletions"] == 2
    assert ask(world.mirrors[0], "refuse", TREE).returncode == 0
    assert held.exists()
    assert second.exists()
    held.unlink()
    second.unlink()


def test_history_is_a_table(world: World) -> None:
    """Without --json the jobs are a table."""
    done = ask(world.mirrors[0], "history", TREE)
    assert done.returncode == 0
    assert f"Jobs of {TREE}".encode() in done.stdout


def test_wait_times_out_with_4(world: World) -> None:
    """A put that is missing upstream is waited for; after the timeout the exit code is 4, and the reason is told."""
    serial = publish(world, "--force", "--path", "not-there")
    begun = time.monotonic()
    done = ask(world.mirrors[0], "sync", TREE, "--wait", "--timeout", "1s")
    assert done.returncode == 4
    assert b"missing upstream" in done.stderr
    assert 1 <= time.monotonic() - begun < 10
    (world.tier1.tree / "not-there").write_text("there now")
    serial = publish(world, "--path", "not-there")
    assert ask(world.mirrors[0], "sync", TREE, "--wait").returncode == 0
    assert tree_status(world)["applied"] == serial


def test_a_daemon_that_is_down_exits_with_3(world: World, tmp_path: Path) -> None:
    """Nothing that answers is told as that, with how to start it."""
    site = Site("x", tmp_path)
    text = world.mirrors[0].settings.read_text()
    site.settings.write_text(text.replace(str(world.mirrors[0].control), str(tmp_path / "nobody.sock")))
    for command in ("sync", "approve", "refuse", "pause", "resume", "history"):
        done = ask(site, command, TREE)
        assert (done.returncode, done.stdout) == (3, b""), command
        assert b"no daemon answers" in done.stderr
