"""A subscriber with an rsync that is known to be bad says so wherever an operator looks, and works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.processes import run_pushmirror
from tests.support.world import World

pytestmark = pytest.mark.slow

OLD = """#!/bin/sh
[ "$1" = --version ] && echo "rsync  version 3.2.7  protocol version 31" && exit
exec {rsync} "$@"
"""


def test_a_bad_rsync_is_named_at_the_start_in_the_status_and_by_check_config(tmp_path: Path) -> None:
    """In each with the records of its faults; the first sync is done all the same."""
    with World(tmp_path) as world:
        program = tmp_path / "old-rsync"
        program.write_text(OLD.format(rsync=shutil.which("rsync")))
        program.chmod(0o755)
        world.start_publisher()
        mirror = world.add_subscriber()
        mirror.settings["rsync"] = str(program)
        mirror.start()
        warnings = [line for line in mirror.program.log_text().splitlines() if "rsync 3.2.7 has known faults" in line]
        assert len(warnings) == 1 and " WARNING " in warnings[0] and "CVE-2024-12084" in warnings[0]
        told = json.loads(mirror.command("status", "--json"))["rsync"]
        assert told["version"] == "3.2.7"
        assert any("CVE-2024-12084" in warning for warning in told["warnings"])
        assert "CVE-2024-12084" in mirror.command("status")
        done = run_pushmirror("check-config", mirror.config)
        assert (done.returncode, b"note: rsync 3.2.7 has known faults" in done.stdout) == (0, True)
        mirror.wait_exact(0)
