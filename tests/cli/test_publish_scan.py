"""``pushmirror publish --scan`` as a command, and the daemon that scans by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.messages import parse_update
from pushmirror.core.model import Update
from pushmirror.core.wire import parse_object
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.publisher.daemon import Publisher
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def updates(publisher: Publisher) -> list[Update]:
    """Return what the journal has, in the order in which it was announced."""
    journal = Journal(publisher.state_dir / JOURNAL_NAME)
    try:
        rows = [*journal.updates_after("debian", 0, 100), *journal.unsent(100)]
    finally:
        journal.close()
    return [parse_update(parse_object(row.signed, max_bytes=1 << 20)["msg"]) for row in rows]


def test_a_scan_announces_what_changed_since_the_last(publisher: Publisher) -> None:
    """The first one the whole tree; the next what changed; and one that finds nothing prints no serial."""
    first = publisher.publish("debian", "--scan")
    assert (first.returncode, first.stdout) == (0, b"1\n")
    assert b"first scan" in first.stderr
    (publisher.tree / "pool" / "new.deb").write_bytes(b"new")
    (publisher.tree / "latest").unlink()
    second = publisher.publish("debian", "--scan")
    assert (second.returncode, second.stdout) == (0, b"2\n")
    third = publisher.publish("debian", "--scan")
    assert (third.returncode, third.stdout) == (0, b"")
    assert b"nothing has changed" in third.stderr
    whole, changes = updates(publisher)
    assert whole.whole and changes.changes is not None
    assert (changes.changes.changed, changes.changes.deleted) == ((b"pool/new.deb",), (b"latest",))
    assert (changes.bytes, changes.root_mtime_ns) == (3, publisher.tree.stat().st_mtime_ns)


def test_thorough_finds_edits_in_place(publisher: Publisher) -> None:
    """With or without --scan beside it."""
    publisher.publish("debian", "--scan")
    (publisher.tree / "pool" / "a.deb").write_bytes(b"edited in place")
    assert publisher.publish("debian", "--thorough").stdout == b"2\n"
    (publisher.tree / "pool" / "a.deb").chmod(0o600)
    assert publisher.publish("debian", "--scan", "--thorough").stdout == b"3\n"


def test_the_settings_say_what_is_passed_over(publisher: Publisher) -> None:
    """The patterns of the tree, as for the daemon."""
    text = publisher.config.read_text()
    publisher.config.write_text(text.replace("max_clients: 20", 'detect: {exclude: ["*.tmp"]}'))
    publisher.publish("debian", "--scan")
    before = publisher.tree.stat()
    (publisher.tree / "hidden.tmp").touch()
    os.utime(publisher.tree, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert publisher.publish("debian", "--scan").stdout == b""


@pytest.mark.parametrize("others", [["--path", "pool"], ["--whole-tree"], ["--from-rsync", "-"]])
def test_a_scan_is_given_alone(publisher: Publisher, others: list[str]) -> None:
    """It finds out by itself what changed."""
    done = publisher.publish("debian", "--scan", *others)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"alone" in done.stderr


def test_an_empty_tree_is_refused_with_advice(publisher: Publisher) -> None:
    """As an unmounted disk is, with one line and nothing announced."""
    publisher.publish("debian", "--scan")
    publisher.tree.rename(publisher.folder / "aside")
    publisher.tree.mkdir()
    done = publisher.publish("debian", "--scan")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is its disk mounted?" in done.stderr and b"Traceback" not in done.stderr
    assert len(updates(publisher)) == 1


def detection(publisher: Publisher) -> dict[str, Any]:
    status: Any = publisher.status()
    found: dict[str, Any] = status["detection"]["debian"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "detect", ["{scan: 1s}", "{watch: {settle: 200ms}}", "{thorough: 1m}", "{marker: pool/marker}"]
)
def test_the_daemon_finds_changes_by_itself(publisher: Publisher, detect: str) -> None:
    """In each of the four ways: what is written into the tree is sent without anybody's command."""
    text = publisher.config.read_text()
    publisher.config.write_text(text.replace("max_clients: 20", f"detect: {detect}"))
    (publisher.tree / "pool" / "marker").write_bytes(b"1")
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        wait_until(lambda: updates(publisher), deadline_seconds=30, what="the first scan")
        wait_until(lambda: detection(publisher)["state"] == "idle", what="its end")
        (publisher.tree / "pool" / "new.deb").write_bytes(b"new")
        (publisher.tree / "pool" / "marker").write_bytes(b"22")
        daemon.wait_for_line("announced debian serial 2", deadline_seconds=40)
        assert "Traceback" not in daemon.log_text()
    found = updates(publisher)
    assert found[0].whole and found[1].changes is not None
    put = {path for update in found[1:] if update.changes is not None for path in update.changes.changed}
    assert b"pool/new.deb" in put


@pytest.mark.slow
def test_the_daemon_stops_cleanly_while_it_detects(publisher: Publisher) -> None:
    """Scans, watches and timers end with it, and leave only what the next start needs."""
    text = publisher.config.read_text()
    detect = "detect: {scan: 1s, thorough: 1m, watch: {settle: 200ms}, marker: latest}"
    publisher.config.write_text(text.replace("max_clients: 20", detect))
    with publisher.daemon() as daemon:
        daemon.wait_for_line("announced debian serial 1")
        daemon.send(15)
        assert daemon.wait() == 0
    assert "CRITICAL" not in daemon.log_text() and "Traceback" not in daemon.log_text()
    left = sorted(path.name for path in publisher.state_dir.iterdir())
    assert left == [
        "index-debian.lock",
        "index-debian.sqlite",
        "journal.sqlite",
        "journal.sqlite.epoch",
        "publisher.lock",
    ]
