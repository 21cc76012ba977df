"""A scan from its beginning to its end: one at a time, announced before the index is committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.profiles import PLAIN
from pushmirror.core.scanning import Scope
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.detect.excludes import Excludes
from pushmirror.publisher.detect.findings import SettledFindings
from pushmirror.publisher.detect.index import Index
from pushmirror.publisher.detect.run_lock import refuse_during_run
from pushmirror.publisher.detect.scan import Hook, Scanner, ignore_directory
from pushmirror.publisher.detect.scan_lock import held_for_scan
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.inspection import inspect_root
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from pushmirror.publisher.journal_rows import Announced
from pushmirror.publisher.stamps import with_stamps

EXCLUDES_NOTE = "excludes"
ROOT_NOTE = "root"
MARKER_NOTE = "marker"

WAIT_SECONDS = 3600.0
"""How long ``publish --scan`` waits for a scan that the daemon has begun: the first one of a large tree is long."""


@dataclass(frozen=True)
class Place:
    """A tree to be scanned: where it is, what of it is passed over, and what its announcements say."""

    tree: str
    root: Path
    excludes: Excludes
    state_dir: Path
    identity: Identity
    profile: str = PLAIN.name
    max_clients: int | None = None

    @property
    def index_path(self) -> Path:
        """The file of the tree's index. It may be removed at any time: the next scan announces the whole tree."""
        return self.state_dir / f"index-{self.tree}.sqlite"

    @property
    def lock_path(self) -> Path:
        """The file whose lock a scan holds."""
        return self.state_dir / f"index-{self.tree}.lock"


@dataclass(frozen=True)
class ScanResult:
    """What came of a scan. `announced` is None when nothing had changed; `first`: the index was built by it."""

    announced: Announced | None
    first: bool
    changed: int
    deleted: int
    bytes: int
    directories_read: int
    problems: tuple[str, ...]
    duration_ms: int


def scan_and_announce(
    place: Place,
    scope: Scope,
    *,
    force: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    before_reading: Hook = ignore_directory,
    marker: str | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> ScanResult:
    """Scan a tree and announce what changed since it was scanned last, in the journal; the index follows.

    A tree without an index is announced as a whole, since nobody knows what changed before. `marker` is noted with the
    index: how the file that called for this scan looked. Raises StateError or UsageError, with nothing announced, for a
    tree that is not as it should be, and TimedOut when another scan does not end.
    """
    started = time.monotonic()
    with held_for_scan(place.lock_path, wait_seconds=wait_seconds):
        if not force:
            refuse_during_run(place.state_dir, place.tree)
        root_mtime_ns = inspect_root(place.root, force=force)
        index = Index(place.index_path)
        try:
            with index.transaction():
                first, scope = _prepare(index, place, scope)
                scanner = Scanner(
                    os.fsencode(place.root),
                    index,
                    place.excludes,
                    clock_ns=clock_ns,
                    force=force,
                    before_reading=before_reading,
                )
                findings = scanner.run(scope)
                settled = findings.settle(os.fsencode(place.root), index)
                if marker is not None:
                    index.set_note(MARKER_NOTE, marker)
                if settled and not force:
                    # Once more: a run that began during the scan is half-way now.
                    refuse_during_run(place.state_dir, place.tree)
                announced = _announce(place, settled, root_mtime_ns) if settled else None
        finally:
            index.close()
    return ScanResult(
        announced=announced,
        first=first,
        changed=len(settled.changes.changed) if settled.changes else 0,
        deleted=len(settled.changes.deleted) if settled.changes else 0,
        bytes=settled.bytes,
        directories_read=findings.directories_read,
        problems=tuple(findings.problems),
        duration_ms=int((time.monotonic() - started) * 1000),
    )


def read_marker(place: Place, *, wait_seconds: float = WAIT_SECONDS) -> str | None:
    """Return how the marker looked when the last scan that it called for began. Raises as `scan_and_announce`."""
    with held_for_scan(place.lock_path, wait_seconds=wait_seconds):
        index = Index(place.index_path)
        try:
            return index.note(MARKER_NOTE)
        finally:
            index.close()


def _prepare(index: Index, place: Place, scope: Scope) -> tuple[bool, Scope]:
    """Return whether the index is new, and the scope: with other excludes everything has to be looked at once."""
    if index.note(ROOT_NOTE) not in (None, str(place.root)):
        index.clear()
    first = index.directory(b"") is None
    if index.note(EXCLUDES_NOTE) != place.excludes.mark and not first:
        scope |= Scope(thorough=True)
    index.set_note(EXCLUDES_NOTE, place.excludes.mark)
    index.set_note(ROOT_NOTE, str(place.root))
    return first, scope


def _announce(place: Place, settled: SettledFindings, root_mtime_ns: int | None) -> Announced:
    journal = Journal(place.state_dir / JOURNAL_NAME)
    try:
        return journal.announce(
            Announcement(
                identity=place.identity,
                tree=place.tree,
                changes=with_stamps(settled.changes, place.root, place.profile),
                bytes=settled.bytes,
                root_mtime_ns=root_mtime_ns,
                max_clients=place.max_clients,
            )
        )
    finally:
        journal.close()
