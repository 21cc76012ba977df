"""Long lists and long histories between real processes: what they cost in memory, on either side."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.publisher.daemon import Publisher
from tests.support.processes import REPOSITORY, Program, clean_environment
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LIST_PATHS = 100_000
MAX_SERVED_BYTES = 16_000_000
MAX_FETCHED_BYTES = 16_000_000
MAX_PARSED_BYTES = 32_000_000
"""A list of 100,000 paths of 90 bytes: its bytes as they came, and the paths that a job needs; not for long."""


def peak_bytes(daemon: Program) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def announce(publisher: Publisher, count: int, changes: ChangeList) -> None:
    """Commit updates while the daemon is down."""
    journal = Journal(publisher.state_dir / JOURNAL_NAME)
    identity = Identity("mirror.example.org", "org.example", "prod")
    for _ in range(count):
        journal.announce(Announcement(identity, "debian", changes))
    journal.close()


def fetch(publisher: Publisher, daemon: Program) -> tuple[dict[str, Any], int]:
    """Fetch the history by a process of its own; return what it tells, and by how much the publisher's peak grew."""
    wait_until(lambda: sent(publisher), deadline_seconds=60, what="everything on the bus")
    before_bytes = peak_bytes(daemon)
    status: Any = publisher.status()
    fetched = subprocess.run(
        [sys.executable, "-m", "tests.http.history_client", publisher.service, publisher.key.line, status["epoch"]],
        cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    return json.loads(fetched.stdout), peak_bytes(daemon) - before_bytes


def sent(publisher: Publisher) -> bool:
    status: Any = publisher.status()
    tree = status["trees"]["debian"]
    return bool(tree["serial"] == tree["sent"] > 0)


def test_a_history_of_ten_thousand_updates_is_streamed(tmp_path: Path, full: bool) -> None:
    """One answer has them all, and neither side needs memory for more than a piece of it."""
    publisher, count = Publisher(tmp_path), 10_000 if full else 1000
    changes = ChangeList(changed=tuple(TreePath(b"pool/%02d/%s" % (number, b"x" * 80)) for number in range(20)))
    announce(publisher, count, changes)
    with publisher.daemon() as daemon:
        daemon.wait_for_socket(publisher.control)
        told, served_bytes = fetch(publisher, daemon)
    print(f"{count} updates: {told}, the publisher's peak grew by {served_bytes}")
    assert (told["updates"], told["paths"], told["pages"]) == (count, 20 * count, 1)
    assert served_bytes < MAX_SERVED_BYTES and told["grown"] < MAX_FETCHED_BYTES


def test_a_list_of_a_hundred_thousand_paths_is_streamed(tmp_path: Path) -> None:
    """The publisher needs memory for a part of it; the client for the paths, once, however many lists there are."""
    publisher = Publisher(tmp_path)
    paths = tuple(TreePath(b"pool/%06d/%s" % (number, b"x" * 80)) for number in range(LIST_PATHS))
    announce(publisher, 1, ChangeList(changed=paths))
    with publisher.daemon() as daemon:
        daemon.wait_for_socket(publisher.control)
        one, served_bytes = fetch(publisher, daemon)
        announce(publisher, 3, ChangeList(changed=paths))
        four, served_again_bytes = fetch(publisher, daemon)
    print(f"one list: {one}, then four: {four}; the publisher's peak grew by {served_bytes} and {served_again_bytes}")
    assert (one["paths"], four["paths"]) == (LIST_PATHS, 4 * LIST_PATHS)
    assert served_bytes < MAX_SERVED_BYTES and served_again_bytes < MAX_SERVED_BYTES
    assert one["grown"] < MAX_PARSED_BYTES and four["grown"] < one["grown"] * 2
