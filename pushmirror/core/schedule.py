"""Which tree syncs next, what kind of job it gets, and when to look again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

_FIRST_RETRY_MS = 5_000
_LONGEST_DELAY_MS = 15 * 60_000
LONGEST_RETRY_MS = _LONGEST_DELAY_MS * 5 // 4
_BUSY_RETRY_MS = 10_000
FAILED_AFTER = 3
"""So many failures in a row make the state of a tree ``failed``; it is retried all the same."""


class Work(IntEnum):
    """The kinds of jobs, the more comprehensive first: each covers what the ones after it would do."""

    WHOLE = 0
    LIST = 1
    CLEAN = 2
    """Only deletions that have come due."""


@dataclass(frozen=True)
class Needs:
    """What there is to do for one tree, from its ledger and its settings. Times are milliseconds since the epoch."""

    tree: str
    coalesce_ms: int
    max_age_ms: int
    missing_wait_ms: int
    paused: bool = False
    running: bool = False
    pending_since_ms: int | None = None
    """When the oldest update that is not applied yet was recorded."""
    whole_pending: bool = False
    last_full_sync_ms: int | None = None
    """None: never. The first sync does not wait for announcements to gather."""
    missing_since_ms: int | None = None
    deletion_due_ms: int | None = None
    retry_at_ms: int | None = None
    full_sync_retry_at_ms: int | None = None
    """A full sync that only its age asks for has failed, and is not tried again before. Nothing else waits for it."""
    catching_up_until_ms: int | None = None
    """The history is being fetched, and a list job should wait for the rest of it until then at the latest."""
    upstream_busy_until_ms: int | None = None
    """The upstream is half-way through an update of its own, and has said until when at the latest."""
    no_source_until_ms: Mapping[Work, int] = field(default_factory=dict)
    """For what no source of the tree is known to have what is wanted, and when to look at that again."""
    no_room_until_ms: Mapping[Work, int] = field(default_factory=dict)
    """For what the mirror's disk has no room, and when to look at that again."""
    awaiting_head: bool = False
    """The upstream is still being asked where it is; a first sync that did not wait for that would be done twice."""


@dataclass(frozen=True, order=True)
class Due:
    """`work` for `tree`, not before `at_ms`."""

    at_ms: int
    work: Work
    tree: str


@dataclass(frozen=True)
class Choice:
    """What to start now, and when to choose again if nothing happens before (None: nothing is to come)."""

    start: tuple[Due, ...]
    wake_at_ms: int | None


def next_due(needs: Needs, now_ms: int) -> Due | None:
    """Return the next job of a tree, or None when there is nothing to do for it."""
    if needs.paused or needs.running or needs.awaiting_head:
        return None
    floor = max(needs.retry_at_ms or 0, needs.upstream_busy_until_ms or 0)
    found = [
        Due(
            max(at_ms, floor, needs.no_source_until_ms.get(work, 0), needs.no_room_until_ms.get(work, 0)),
            work,
            needs.tree,
        )
        for at_ms, work in _wishes(needs)
    ]
    ready = [due for due in found if due.at_ms <= now_ms]
    if ready:
        return min(ready, key=lambda due: due.work)
    return min(found, key=lambda due: (due.at_ms, due.work), default=None)


def _wishes(needs: Needs) -> Iterable[tuple[int, Work]]:
    if needs.last_full_sync_ms is None:
        yield 0, Work.WHOLE
        return
    yield max(needs.last_full_sync_ms + needs.max_age_ms, needs.full_sync_retry_at_ms or 0), Work.WHOLE
    if needs.missing_since_ms is not None:
        yield needs.missing_since_ms + needs.missing_wait_ms, Work.WHOLE
    if needs.pending_since_ms is not None and needs.whole_pending:
        yield needs.pending_since_ms + needs.coalesce_ms, Work.WHOLE
    elif needs.pending_since_ms is not None:
        yield max(needs.pending_since_ms + needs.coalesce_ms, needs.catching_up_until_ms or 0), Work.LIST
    if needs.deletion_due_ms is not None:
        yield needs.deletion_due_ms, Work.CLEAN


def is_for_age(needs: Needs, now_ms: int) -> bool:
    """Return whether a full sync is due, and for nothing but the age of the last one."""
    if needs.last_full_sync_ms is None or now_ms < needs.last_full_sync_ms + needs.max_age_ms:
        return False
    missing = needs.missing_since_ms is not None and now_ms >= needs.missing_since_ms + needs.missing_wait_ms
    return not missing and not needs.whole_pending


def choose(all_needs: Iterable[Needs], now_ms: int, free_slots: int) -> Choice:
    """Return what to start in `free_slots` free places: whatever has waited longest comes first."""
    found = sorted(due for needs in all_needs if (due := next_due(needs, now_ms)))
    ready = [due for due in found if due.at_ms <= now_ms]
    later = [due.at_ms for due in found if due.at_ms > now_ms]
    return Choice(tuple(ready[: max(0, free_slots)]), min(later, default=None))


def retry_delay_ms(failures: int, spread: float) -> int:
    """Return how long to wait after that many `failures` in a row (1 or more): doubling, to a quarter of an hour.

    `spread`, from 0 to 1, is chance: it moves the delay by up to a quarter, so that mirrors do not come back together.
    """
    delay_ms = min(_LONGEST_DELAY_MS, _FIRST_RETRY_MS * 2 ** min(failures - 1, 20))
    return int(delay_ms * (0.75 + spread / 2))


def share_of(node: str, tree: str) -> float:
    """Return where a tree of a node has its place among all mirrors, from 0 to 1: by chance, and always the same."""
    return int.from_bytes(hashlib.sha256(f"{node} {tree}".encode()).digest()[:4], "big") / 2**32


def spread_max_age_ms(max_age_ms: int, share: float) -> int:
    """Return after how long a full sync is due: within the last tenth of `max_age_ms`, by the `share` of the mirror.

    Mirrors that were set up together, or heard of a new journal together, do not come together for ever.
    """
    return max_age_ms - int(max_age_ms * (1 - share)) // 10


def busy_delay_ms(spread: float) -> int:
    """Return how long to wait for an upstream that takes no more connections; it is nobody's failure."""
    return int(_BUSY_RETRY_MS * (0.5 + spread))


def tree_state(needs: Needs, failures: int, hopeless: bool, now_ms: int) -> str:
    """Return the state of a tree as ``status`` shows it; `hopeless` when its last failure is one for the operator."""
    if needs.running:
        return "running"
    if needs.paused:
        return "paused"
    if failures >= FAILED_AFTER or (hopeless and failures):
        return "failed"
    due = next_due(needs, now_ms)
    unfinished = needs.pending_since_ms is not None or needs.last_full_sync_ms is None
    if due is not None and due.at_ms <= now_ms:
        return "queued"
    return "waiting" if unfinished else "idle"
