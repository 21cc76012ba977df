"""An upstream that loses its files, at once or little by little: its mirror keeps them until its operator says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.core.paths import STAGING_NAME
from tests.faults.scene import Scene
from tests.support.processes import clean_environment
from tests.support.world import Subscriber, World

pytestmark = pytest.mark.slow

FILES = 40
BUDGET = {"count": 3, "percent": 5, "limit": 50}
NO_BUDGET = {"count": 10**6, "percent": 100, "limit": 100}


def fill(world: World) -> list[str]:
    """Make a tree of files; return their names."""
    names = [f"pool/{number:02}" for number in range(FILES - 1)] + ["index"]
    (world.tree / "pool").mkdir()
    for name in names:
        (world.tree / name).write_text(f"the content of {name}")
    return names


def files_of(folder: Path) -> list[str]:
    """Return the files of a mirror, also while a job of it comes to its end and takes its staging folder away."""
    found = [Path(above, name) for above, _, names in os.walk(folder) for name in names]
    return sorted(str(path.relative_to(folder)) for path in found if STAGING_NAME.decode() not in path.parts)


def mirror_plainly(source: str, folder: Path, *options: str, listing: bytes = b"") -> tuple[int, list[str]]:
    """Sync a copy of `folder` as a mirror without a budget does; return rsync's exit code and which files are left."""
    copy = folder.with_name(f"{folder.name} copy")
    shutil.copytree(folder, copy)
    environment = {**clean_environment(), "LC_ALL": "C"}
    command = ["rsync", *(options or ("-a", "--delete")), source, f"{copy}/"]
    done = subprocess.run(command, env=environment, input=listing, capture_output=True, timeout=60, check=False)
    left = files_of(copy)
    shutil.rmtree(copy)
    return done.returncode, left


def wait_held(subscriber: Subscriber, text: str) -> None:
    subscriber.wait_for(f"the hold for {text!r}", lambda tree: text in (tree["held"] or {}).get("reason", ""))


# --- all at once


def reduce_to_a_tenth(world: World, names: list[str]) -> Callable[[], None]:
    backup = world.folder / "backup"
    shutil.copytree(world.tree, backup)
    for name in names[FILES // 10 :]:
        (world.tree / name).unlink()

    def mend() -> None:
        shutil.copytree(backup, world.tree, dirs_exist_ok=True)
        shutil.rmtree(backup)

    return mend


def empty_it(world: World, names: list[str]) -> Callable[[], None]:
    backup = world.folder / "backup"
    backup.mkdir()
    for path in tuple(world.tree.iterdir()):
        path.rename(backup / path.name)

    def mend() -> None:
        for path in tuple(backup.iterdir()):
            path.rename(world.tree / path.name)
        backup.rmdir()

    return mend


def unmount_it(world: World, names: list[str]) -> Callable[[], None]:
    mount_point = world.folder / "mount point"
    mount_point.mkdir()
    world.rsyncd.set_module_path("demo", mount_point)

    def mend() -> None:
        world.rsyncd.set_module_path("demo", world.module)
        mount_point.rmdir()

    return mend


@pytest.mark.parametrize(
    ("break_it", "left", "few", "found"),
    [
        (reduce_to_a_tenth, FILES // 10, False, "above the limit"),
        (empty_it, 0, True, "is its disk mounted?"),
        (unmount_it, 0, True, "is its disk mounted?"),
    ],
    ids=["reduced to a tenth", "emptied", "unmounted"],
)
def test_an_upstream_that_loses_its_files(
    tmp_path: Path, break_it: Callable[[World, list[str]], Callable[[], None]], left: int, few: bool, found: str
) -> None:
    """Told by a list (also one within the budget), by an update of the whole tree, or found by a full sync."""
    with World(tmp_path) as world:
        names = fill(world)
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget=BUDGET)
        subscriber.start()
        subscriber.wait_exact(0)
        told = names[-2:] if few else names[FILES // 10 :]
        ways: list[Callable[[], object]] = [
            lambda: world.publish("--force", *(f"--delete={name}" for name in told)),
            lambda: world.publish("--whole-tree", "--force"),
            lambda: subscriber.ask("sync", full=True),
        ]
        for tell in ways:
            mend = break_it(world, names)
            assert mirror_plainly(world.source, subscriber.mirror) == (0, sorted(names[:left]))
            tell()
            wait_held(subscriber, found)
            assert files_of(subscriber.mirror) == sorted(names)
            mend()
            subscriber.ask("sync", full=True)
            subscriber.wait_for("that all is well again", lambda tree: not tree["held"] and not tree["reason"])
            assert subscriber.tree()["pending_deletions"] == 0
        break_it(world, names)
        subscriber.ask("sync", full=True)
        wait_held(subscriber, found)
        subscriber.command("approve", "demo", "--yes")
        subscriber.ask("sync", full=True)
        tree = subscriber.wait_for("the end", lambda tree: not tree["pending_deletions"] and tree["state"] == "idle")
        assert (files_of(subscriber.mirror), tree["held"]) == (sorted(names[:left]), None)


def test_a_tree_that_is_a_folder_of_its_module(tmp_path: Path) -> None:
    """The module is there, and the folder is missing, or is an empty place to mount a disk at."""
    with World(tmp_path, below="linux/sub") as world:
        names = fill(world)
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget=BUDGET)
        subscriber.start()
        subscriber.wait_exact(0)
        subscriber.ask("pause")
        world.tree.rename(world.module / "linux" / "elsewhere")
        world.tree.mkdir()
        serial = world.publish("--force", *(f"--delete={name}" for name in names[:2]))
        world.tree.rmdir()
        subscriber.ask("resume")
        subscriber.wait_for("a failure", lambda tree: "No such file" in (tree["reason"] or ""))
        world.tree.mkdir()
        options = ("-lptH", "--from0", "--files-from=-", "--delete-missing-args")
        listing = b"".join(b"linux/sub/./" + os.fsencode(name) + b"\0" for name in names[:2])
        _, left = mirror_plainly(world.rsyncd.url("demo"), subscriber.mirror, *options, listing=listing)
        assert left == sorted(names[2:])
        subscriber.ask("sync")
        wait_held(subscriber, "is its disk mounted?")
        assert subscriber.tree()["applied"] == serial
        assert files_of(subscriber.mirror) == sorted(names)


# --- little by little


def test_fifty_updates_of_two_percent(tmp_path: Path) -> None:
    """They are summed up: the mirror keeps what is above the budget, and applies everything else meanwhile."""
    with Scene(tmp_path) as scene:
        shutil.rmtree(scene.tree / "pool")
        (scene.tree / "bulk" / "ballast").write_text("short")
        names = [f"{number:02}" for number in range(98)]
        for name in names:
            (scene.tree / name).write_text(name)
        subscriber, careless = scene.begin(2)
        careless.program.terminate()
        careless.settings["trees"]["demo"]["delete_budget"] = NO_BUDGET
        subscriber.program.terminate()
        subscriber.settings["trees"]["demo"]["delete_budget"] = BUDGET
        for each in (subscriber, careless):
            each.start()
        for number in range(49):
            told = names[2 * number : 2 * number + 2]
            for name in told:
                (scene.tree / name).unlink()
            serial = scene.announce(*(f"--delete={name}" for name in told))
            subscriber.wait_for(f"serial {serial}", lambda tree, serial=serial: tree["applied"] == serial)
        careless.wait_exact(scene.serials[-1])
        assert files_of(careless.mirror) == ["bulk/ballast"]
        held = subscriber.tree()["held"]
        assert "beside 4 that are gone already" in held["reason"]
        assert files_of(subscriber.mirror) == [*names[4:], "bulk/ballast"]
        (scene.tree / "new").write_text("new")
        serial = scene.announce("--path=new")
        subscriber.wait_for("the put", lambda tree: tree["applied"] == serial)
        assert (subscriber.mirror / "new").read_text() == "new"
        subscriber.command("approve", "demo", "--yes")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


# --- the operator's word


def test_what_is_refused_stays(tmp_path: Path) -> None:
    """Also when a full sync finds it once more, and when the directory above goes; what the upstream has again does not
    count as refused any longer."""
    with World(tmp_path) as world:
        names = fill(world)
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget=BUDGET)
        subscriber.start()
        subscriber.wait_exact(0)
        for name in names[:30]:
            (world.tree / name).unlink()
        serial = world.publish(*(f"--delete={name}" for name in names[:30]))
        wait_held(subscriber, "30 of 41 entries")
        assert "30 kept" in subscriber.command("refuse", "demo")
        tree = subscriber.wait_for("the end of it", lambda tree: tree["cleaned"] == serial)
        assert (tree["held"], tree["refused_deletions"]) == (None, 30)
        subscriber.command("sync", "demo", "--full", "--wait")
        tree = subscriber.tree()
        assert tree["last_sync"]["scope"] == "whole"
        assert (tree["held"], tree["refused_deletions"]) == (None, 30)
        assert files_of(subscriber.mirror) == sorted(names)
        (world.tree / names[0]).write_text("back again")
        subscriber.wait_exact(world.publish(f"--path={names[0]}"))
        assert subscriber.tree()["refused_deletions"] == 29
        shutil.rmtree(world.tree / "pool")
        subscriber.ask("approve")
        serial = world.publish("--delete=pool")
        wait_held(subscriber, "10 of 41 entries")
        subscriber.command("approve", "demo", "--yes")
        subscriber.wait_exact(serial)
        assert files_of(subscriber.mirror) == sorted([*names[1:30], "index"])
        subscriber.command("refuse", "demo", "--forget")
        subscriber.ask("sync", full=True)
        wait_held(subscriber, "30 of 31 entries")


@pytest.mark.parametrize(("profile", "name"), [("plain", "pool"), ("deb", "dists")])
def test_a_directory_that_has_to_make_way(tmp_path: Path, profile: str, name: str) -> None:
    """Above the budget the file that is to take its place waits, and nothing else; approved, it comes."""
    with World(tmp_path) as world:
        world.profile = profile
        fill(world)
        if name != "pool":
            (world.tree / "pool").rename(world.tree / name)
        world.start_publisher()
        settings = {"profile": profile, "delete_grace": "0s"}
        subscriber = world.add_subscriber(delete_budget=BUDGET, **settings)
        careless = world.add_subscriber("careless.example.net", delete_budget=NO_BUDGET, **settings)
        for each in (subscriber, careless):
            each.start()
        for each in (subscriber, careless):
            each.wait_exact(0)
        before = files_of(subscriber.mirror)
        shutil.rmtree(world.tree / name)
        (world.tree / name).write_text("a file")
        (world.tree / "other").write_text("another")
        careless.wait_exact(world.publish(f"--path={name}", "--path=other"))
        assert files_of(careless.mirror) == sorted(["index", name, "other"])
        careless.program.terminate()
        wait_held(subscriber, "40 of 4")
        assert files_of(subscriber.mirror) == sorted([*before, "other"])
        (world.tree / "later").write_text("later")
        serial = world.publish("--path=later")
        tree = subscriber.wait_for("the later update", lambda tree: tree["applied"] == serial)
        assert (tree["reason"], tree["cleaned"]) == (None, 0)
        assert "  (a file or a link is to take its place)" in subscriber.command("approve", "demo", "--list")
        subscriber.command("refuse", "demo")
        subscriber.command("sync", "demo", "--full", "--wait")
        tree = subscriber.tree()
        assert tree["last_sync"]["scope"] == "whole"
        assert (tree["held"], tree["reason"], tree["refused_deletions"]) == (None, None, 1)
        assert files_of(subscriber.mirror) == sorted([*before, "later", "other"])
        subscriber.command("refuse", "demo", "--forget")
        subscriber.ask("sync", full=True)
        wait_held(subscriber, "40 of 4")
        subscriber.command("approve", "demo", "--yes")
        subscriber.wait_exact(serial)
        subscriber.assert_exact()
