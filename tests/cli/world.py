"""A small world of the demonstration, with one mirror, for tests of the commands that talk to daemons."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pushmirror.cli.demo.processes import Interruptions, Processes
from pushmirror.cli.demo.tree import make_tree
from pushmirror.cli.demo.world import TREE, Site, World
from tests.support.processes import run_pushmirror

DEADLINE_S = 30.0


@contextmanager
def running_world(folder: Path, change_settings: Callable[[dict[str, Any]], None]) -> Iterator[World]:
    """A publisher and one mirror that is in step, whose settings were changed by `change_settings`."""
    processes = Processes(Interruptions())
    try:
        world = World(folder, 1, processes)
        site = world.mirrors[0]
        settings = yaml.safe_load(site.settings.read_text())
        change_settings(settings)
        site.settings.write_text(yaml.safe_dump(settings))
        make_tree(world.tier1.tree, 100)
        world.start_upstream()
        world.start_mirrors()
        world.wait_in_step(0, DEADLINE_S)
        yield world
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose mirror holds every deletion."""

    def hold_deletions(settings: dict[str, Any]) -> None:
        settings["trees"][TREE]["delete_budget"] = {"count": 0, "percent": 0, "limit": 0}

    with running_world(tmp_path_factory.mktemp("world"), hold_deletions) as world:
        yield world


def ask(site: Site, command: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a client command about a site."""
    return run_pushmirror(command, *arguments, "--config", site.settings)


def publish(world: World, *arguments: str) -> int:
    """Announce something; returns the serial."""
    done = ask(world.tier1, "publish", TREE, *arguments)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def tree_status(world: World) -> dict[str, Any]:
    """Return what the mirror tells of its tree."""
    status = world.mirrors[0].status()
    assert status is not None
    return dict(status["trees"][TREE])


def wait_applied(world: World, serial: int) -> None:
    """Return when the mirror has applied a serial and does nothing more."""

    def applied() -> bool:
        tree = tree_status(world)
        return bool(tree["applied"] >= serial and tree["state"] == "idle")

    world.processes.wait(applied, f"serial {serial} is applied", DEADLINE_S)
