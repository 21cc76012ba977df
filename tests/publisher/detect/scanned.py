"""A tree on the disk with its index: edited as programs that keep mirrors edit, scanned, and the lists read back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pushmirror.core.lists import parse_changes
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.core.scanning import Scope
from pushmirror.core.wire import parse_object
from pushmirror.publisher.detect.announcing import Place, ScanResult, scan_and_announce
from pushmirror.publisher.detect.excludes import Excludes, make_excludes
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.support.waiting import wait_until

KNOWN = Scope(known=True)
THOROUGH = Scope(thorough=True)
MUCH_LATER_NS = 10**12
"""To a scan whose clock is ahead by this much, everything has settled that was ever written."""


class ScannedTree:
    """A tree at ``tree`` in a folder, and the state of its scans at ``state``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.state_dir = folder / "state"
        self.root.mkdir()
        self.state_dir.mkdir()
        self.excludes = Excludes()

    @property
    def place(self) -> Place:
        """What is scanned."""
        identity = Identity("mirror.example.org", "org.example", "prod")
        return Place("debian", self.root, self.excludes, self.state_dir, identity)

    def exclude(self, *patterns: str) -> None:
        """Pass over what these patterns hide, from the next scan on."""
        self.excludes = make_excludes(patterns)

    def scan(self, scope: Scope = KNOWN, *, ahead_ns: int = 0, **options: Any) -> ScanResult:
        """Scan, by a clock that may be ahead of the disk's, or by another one."""
        usual = {"wait_seconds": 0, "clock_ns": lambda: time.time_ns() + ahead_ns}
        return scan_and_announce(self.place, scope, **(usual | options))

    def settle(self) -> ScanResult:
        """Scan so that every directory counts as settled: from here on a scan reads those alone that change."""
        self.wait_for_tick()
        result = self.scan(ahead_ns=MUCH_LATER_NS)
        self.wait_for_tick()
        return result

    def wait_for_tick(self) -> None:
        """Wait until the file system's clock has moved, as settled says that it has."""
        probe = self.root.parent / "probe"
        probe.touch()
        before_ns = probe.stat().st_ctime_ns

        def has_ticked() -> bool:
            probe.touch()
            return probe.stat().st_ctime_ns > before_ns

        wait_until(has_ticked, what="a tick of the file system's clock")

    def find(self, scope: Scope = KNOWN, **options: Any) -> ChangeList:
        """Scan, and return the list that was announced, empty when nothing was."""
        result = self.scan(scope, **options)
        return ChangeList() if result.announced is None else self.announced(result.announced.serial)

    def announced(self, serial: int) -> ChangeList:
        """Return the list of an update in the journal."""
        journal = Journal(self.state_dir / JOURNAL_NAME)
        try:
            row = next(row for row in journal.unsent(10_000) if row.serial == serial)
            assert row.list_digest is not None, "the whole tree was announced"
            body = journal.list_body(row.list_digest)
        finally:
            journal.close()
        assert body is not None
        return parse_changes(parse_object(body, max_bytes=10**8))

    def serial(self) -> int:
        """Return the newest serial."""
        journal = Journal(self.state_dir / JOURNAL_NAME)
        try:
            return journal.announced_head("debian").serial
        finally:
            journal.close()

    def path(self, name: str) -> Path:
        """Return the full path of a name."""
        return self.root / name

    def write(self, name: str, content: bytes = b"content") -> Path:
        """Put a file in place by a rename, as rsync does; directories on the way are made."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(".beside")
        beside.write_bytes(content)
        beside.rename(path)
        return path

    def symlink(self, name: str, target: str) -> None:
        """Point a symlink somewhere, in the place of whatever link or file is there."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def during(name: bytes, action: Callable[[], None]) -> Callable[[bytes], None]:
    """Return a hook that does something once, when the directory of that name is about to be looked at."""
    done: list[bool] = []

    def hook(path: bytes) -> None:
        if path == name and not done:
            done.append(True)
            action()

    return hook


def names(*texts: str) -> tuple[TreePath, ...]:
    """Return names as they stand in a list."""
    return tuple(sorted(TreePath(os.fsencode(text)) for text in texts))
