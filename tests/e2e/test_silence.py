"""No news differs from dead: an upstream that stops talking is shown as silent, and is heard again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import run_pushmirror
from tests.support.waiting import wait_until
from tests.support.world import PUBLISHER, World

pytestmark = pytest.mark.slow


def test_an_upstream_that_hangs_becomes_silent_and_what_it_says_later_is_applied(tmp_path: Path) -> None:
    """The connection stands and nothing comes, which `status` tells with its exit code; later the mirror catches up."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        subscriber.wait_exact(0)

        def state() -> str:
            return str(subscriber.status()["upstreams"][PUBLISHER]["state"])

        assert state() == "connected"
        os.kill(world.publisher.pid, signal.SIGSTOP)
        try:
            assert run_pushmirror("status", "--config", subscriber.config).returncode == 0
            wait_until(lambda: state() == "silent", deadline_seconds=30, what="silent")
            for arguments in (("--json",), ()):
                done = run_pushmirror("status", *arguments, "--config", subscriber.config)
                assert (done.returncode, PUBLISHER in done.stdout.decode()) == (1, True)
                assert done.stderr.decode().startswith(
                    f"pushmirror: upstream {PUBLISHER} is silent: it was last heard "
                )
                assert done.stderr.count(b"\n") == 1
            (world.tree / "file").write_text("changed")
            serial = world.publish("--path", "file")
        finally:
            os.kill(world.publisher.pid, signal.SIGCONT)
        subscriber.wait_exact(serial)
        # An update may be recorded, only a fresh heartbeat is a sign of life: it may come after the mirror is exact.
        wait_until(lambda: state() == "connected", deadline_seconds=30, what="connected")
        subscriber.program.wait_for_line("is heard again")
        assert subscriber.program.log_text().count("is silent") == 1
        subscriber.assert_exact()
