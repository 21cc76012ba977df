"""Frozen value types that the rest of the program speaks in. Times are integer milliseconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from pushmirror.core.paths import TreePath


@dataclass(frozen=True, order=True)
class Stamp:
    """What one metadata file was when its update was announced. A file that differs belongs to a later state."""

    path: TreePath
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class ChangeList:
    """Which paths of a tree an update is about. Each tuple is sorted by bytes and has no duplicates."""

    changed: tuple[TreePath, ...] = ()
    """Put, or changed in their attributes: to be brought, each by itself."""
    deleted: tuple[TreePath, ...] = ()
    """Gone, with everything below them."""
    directories: tuple[TreePath, ...] = ()
    """To be synced recursively, surplus included."""
    linked: tuple[tuple[TreePath, TreePath], ...] = ()
    """Pairs: a changed path, and one settled other name of its inode, so that a mirror links instead of copying."""
    bare: tuple[TreePath, ...] = ()
    """Those of the changed paths that are directories, without any put below that would tell."""
    stamps: tuple[Stamp, ...] = ()
    """Of the changed paths that are metadata files, as far as the publisher knows which those are; sorted by path."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.deleted or self.directories)


@dataclass(frozen=True)
class Head:
    """The newest update of one tree, as its publisher tells it. `serial` 0 (`digest` None): nothing announced yet."""

    epoch: str
    serial: int
    digest: str | None


@dataclass(frozen=True)
class Update:
    """The header of one announcement (``tree.updated``), with its change list where that is inline."""

    publisher: str
    tree: str
    epoch: str
    serial: int
    previous: int
    previous_digest: str | None
    at_ms: int
    whole: bool
    list_digest: str | None
    changes: ChangeList | None
    """None when `whole`, or when the list has to be fetched by `list_digest`."""
    changed: int
    deleted: int
    bytes: int
    root_mtime_ns: int | None = None
    max_clients: int | None = None


@dataclass(frozen=True)
class Heartbeat:
    """What a publisher has sent so far (``tree.heartbeat``)."""

    publisher: str
    counter: int
    at_ms: int
    interval_ms: int
    trees: Mapping[str, Head]


@dataclass(frozen=True)
class Updating:
    """That a publisher's tree is half-way through an update (``tree.updating``): nothing new should be started on it
    until its next update or `expires_ms`. When that is `at_ms` the update has ended."""

    publisher: str
    tree: str
    at_ms: int
    expires_ms: int


@dataclass(frozen=True)
class TreeState:
    """A publisher's signed answer about one tree; `oldest` is the lowest serial that it still hands out (0: none).

    One that is not `of_origin` is a relay's in its place, which may be behind. `testimony` is the message in which the
    publisher itself told of the head, or of a later one (see `pushmirror.core.testimony`); None when there is none.
    """

    publisher: str
    tree: str
    head: Head
    oldest: int
    nonce: str
    of_origin: bool = True
    testimony: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class RelayHead:
    """What a relay says that its own copy of a tree holds: `applied` is the newest update of the origin of which every
    put is in place there, `cleaned` the serial up to which every deletion is done too."""

    epoch: str
    applied: Head
    cleaned: int


@dataclass(frozen=True)
class RelayHeartbeat:
    """What a relay has applied so far of the trees of `publisher` (``relay.heartbeat``)."""

    publisher: str
    relay: str
    counter: int
    at_ms: int
    interval_ms: int
    trees: Mapping[str, RelayHead]


@dataclass(frozen=True)
class RelayState:
    """A relay's signed answer about one tree of `publisher`.

    `oldest` is the lowest serial that it still hands out (0: none), `cleaned_digest` that of the update up to which
    every deletion is done (None: there is none, or the relay does not know it any more). `testimony` is the newest
    message that the relay has in which the publisher itself told where the tree is.
    """

    publisher: str
    relay: str
    tree: str
    head: RelayHead
    cleaned_digest: str | None
    oldest: int
    nonce: str
    testimony: bytes | None = None


class Event(Enum):
    """What a report tells; the value is the last word of its topic."""

    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    HELD = "held"


@dataclass(frozen=True)
class Report:
    """What a node says about a job of one of its trees."""

    event: Event
    node: str
    publisher: str
    tree: str
    epoch: str | None
    applied: int
    cleaned: int
    scope: str
    files: int = 0
    bytes: int = 0
    deleted: int = 0
    files_total: int | None = None
    """What there is to do in all, as far as it is known; told by ``sync.progress``."""
    bytes_total: int | None = None
    duration_ms: int = 0
    lag_ms: int | None = None
    exit_code: int | None = None
    reason: str | None = None


class ScopeKind(Enum):
    LIST = "list"
    WHOLE = "whole"


class StageKind(Enum):
    """What one rsync run of a job is for. Exit codes mean different things in different stages."""

    PLAN = "plan"
    """Dry: what a first sync into a folder with content would do."""
    LISTING = "listing"
    """Dry: which metadata has changed, in some directories or in the whole tree."""
    MARKER = "marker"
    """Dry: size and time of the one file that tells whether a mirror is as its origin is."""
    PROBE = "probe"
    """Dry: which of some paths the upstream has, and how much of that is not here."""
    METADATA = "metadata"
    """Metadata into the staging folder."""
    PAYLOAD = "payload"
    DIRECTORIES = "directories"
    WHOLE = "whole"
    SURPLUS = "surplus"
    DELETE = "delete"


@dataclass(frozen=True)
class Stage:
    """One rsync run: its kind and the paths it is given (none: the whole tree)."""

    kind: StageKind
    paths: tuple[TreePath, ...] = ()
    most_deletions: int | None = None
    """How many entries the delete stage may delete, if that is known."""

    @property
    def recursive(self) -> bool:
        """Whether the paths are whole directories."""
        return self.kind in (StageKind.DIRECTORIES, StageKind.LISTING, StageKind.SURPLUS)


@dataclass(frozen=True)
class DeleteBudget:
    """Deletions are held above `count` and above `percent`, or above `limit` percent of the entries a mirror has."""

    count: int = 1000
    percent: int = 5
    limit: int = 50
