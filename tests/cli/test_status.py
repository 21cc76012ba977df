"""`pushmirror status`, against real daemons."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from pushmirror.cli.demo.world import PUBLISHER, TREE, Site, World
from tests.cli.world import ask, world
from tests.support.processes import Program

__all__ = ["world"]

pytestmark = pytest.mark.slow


def test_json_of_a_subscriber(world: World) -> None:
    """The answer of the daemon comes as it is, with what the contract names."""
    done = ask(world.mirrors[0], "status", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    answer = json.loads(done.stdout)
    assert answer["node"] == world.mirrors[0].name
    assert answer["upstreams"][PUBLISHER]["state"] == "connected"
    tree = answer["trees"][TREE]
    assert {"state", "epoch", "announced", "applied", "cleaned", "pending_paths", "held", "last_sync"} <= tree.keys()


def test_json_of_a_publisher(world: World) -> None:
    """A publisher tells its trees and what its nodes have reported."""
    world.processes.wait(lambda: (world.tier1.status() or {})["nodes"], "the node has reported", 20)
    answer = json.loads(ask(world.tier1, "status", "--json").stdout)
    assert answer["name"] == PUBLISHER
    assert answer["nodes"][world.mirrors[0].name][TREE]["event"] == "completed"


def test_tables(world: World) -> None:
    """Without --json both are tables that fit into eighty columns, without escape sequences when piped."""
    for site in (world.tier1, world.mirrors[0]):
        done = ask(site, "status")
        text = done.stdout.decode()
        assert done.returncode == 0
        assert TREE in text
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 80


def test_watch_shows_it_until_it_is_interrupted(world: World, tmp_path: Path) -> None:
    """--watch goes on until Ctrl-C, and ends with the exit code for that and without a traceback."""
    arguments = ["status", "--watch", "--config", world.mirrors[0].settings]
    with Program(arguments, log_path=tmp_path / "log", environment={"FORCE_COLOR": "1", "COLUMNS": "100"}) as program:
        program.wait_for_line(TREE)
        program.send(signal.SIGINT)
        assert program.wait() == 130
        assert "Traceback" not in program.log_text()


def test_json_is_not_watched(world: World) -> None:
    """A stream of objects is nothing that --json promises."""
    assert ask(world.mirrors[0], "status", "--json", "--watch").returncode == 2


def test_a_daemon_that_is_down_exits_with_3(world: World, tmp_path: Path) -> None:
    """Status of a daemon that does not run is told in one line."""
    site = Site("x", tmp_path)
    text = world.mirrors[0].settings.read_text()
    site.settings.write_text(text.replace(str(world.mirrors[0].control), str(tmp_path / "nobody.sock")))
    done = ask(site, "status", "--json")
    assert (done.returncode, done.stdout) == (3, b"")
    assert len(done.stderr.splitlines()) == 1
