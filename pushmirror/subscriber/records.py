"""What the ledger keeps, as frozen values. Times are milliseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.core.lists import open_changes
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.paths import TreePath

MAX_PENDING_PATHS = 1_000_000
"""A tree with more pending than this is synced as a whole: that costs less than to go through all the lists."""
MAX_PENDING_UPDATES = 100_000
MAX_PENDING_BYTES = 512 * 1024 * 1024
"""Nor are more updates, or longer lists, kept of a tree that cannot be synced: it is paused, or its source is away."""
NEVER = -1
"""The `applied` of a tree that does not even hold what its publisher had before serial 1."""


@dataclass(frozen=True)
class TreeRecord:
    """Where one tree is."""

    tree: str
    generation: int
    """Grows whenever the serials so far lose their meaning; a job that began before that proves nothing any more."""
    head: Head | None
    """The newest update that was heard of and believed."""
    applied: int
    cleaned: int
    entries: int
    last_full_sync_ms: int | None
    exact_times: bool
    """The mirror was written by us from empty, so that its times are exact to the nanosecond."""
    paused: bool
    failures: int
    hopeless: bool
    retry_at_ms: int | None
    missing_since_ms: int | None
    reason: str | None
    held: str | None
    """Why the pending deletions wait for the operator."""
    lost: int
    """Entries that were deleted since the operator's last word, and that nothing new has made up for."""
    refusals: int
    """Paths that the operator has refused to delete."""
    incomplete: tuple[TreePath, ...]
    pending_updates: int
    pending_since_ms: int | None
    whole_pending: bool
    pending_paths: int
    pending_deletions: int
    deletion_due_ms: int | None
    unannounced_total: int
    """Paths that full syncs found changed although nothing had told of them; it should be 0."""
    unannounced_last: int | None
    """Those of the last full sync that could tell; None before the first."""
    full_sync_failures: int
    """Of full syncs, since the last one, that nothing but its age asked for."""
    full_sync_retry_at_ms: int | None
    recheck_due: int | None
    """Up to which serial a source has to be clean for the first of what is to be compared again."""
    recheck_whole_due: int | None
    """The same for the whole tree."""

    @property
    def announced(self) -> int:
        """The serial of `head`; `NEVER` while there is none."""
        return self.head.serial if self.head else NEVER


@dataclass(frozen=True)
class HeardUpdate:
    """An update that is believed, from the bus or out of the history; `changes` None: the whole tree."""

    update: Update
    digest: str
    changes: ChangeList | None
    envelope: bytes = b""
    """The message that told of it, with its signature: proof that the publisher once said so."""
    listed: bytes | bytearray | None = None
    """The canonical JSON of its list, when that did not travel in the message."""


@dataclass(frozen=True)
class PendingUpdate:
    """An update that is announced and not applied. `number` grows with each.

    `body` is its list as it is kept; None: the whole tree, or it was left out.
    """

    number: int
    serial: int
    at_ms: int
    body: bytes | None
    root_mtime_ns: int | None
    bytes: int = 0
    """The size of what it put, by the publisher's word."""

    @property
    def changes(self) -> ChangeList | None:
        """The list, read out of `body` each time: where there may be many, this is nothing for the reactor."""
        return None if self.body is None else open_changes(self.body)


@dataclass(frozen=True)
class Deletion:
    """A path that is to be deleted, not before `due_ms`; `approved`: by the operator, whatever the budget says."""

    path: TreePath
    serial: int
    due_ms: int
    approved: bool
    in_the_way: bool = False
    """A directory whose place a file or link is to take, which waits for that."""


@dataclass(frozen=True)
class JobRecord:
    """One job, as the history shows it. `finished_ms` None: it is running, or the daemon was killed."""

    job: int
    tree: str
    scope: str
    serial: int
    started_ms: int
    finished_ms: int | None = None
    outcome: str | None = None
    files: int = 0
    bytes: int = 0
    deleted: int = 0
    lag_ms: int | None = None
    exit_code: int | None = None
    reason: str | None = None
