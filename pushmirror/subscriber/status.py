"""What ``status`` and ``history`` show of a subscriber; the form is documented in ``docs/operations.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from pushmirror import __version__
from pushmirror.core.model import Event
from pushmirror.core.paths import shorten
from pushmirror.core.progress import Progress
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.installed_rsync import InstalledRsync
from pushmirror.subscriber.leap_operations import show_leap
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import JobRecord, TreeRecord
from pushmirror.subscriber.relay.copies import Copies

_SHOWN_INCOMPLETE = 100


class Upstream(Protocol):
    """Whoever knows how one upstream is."""

    def show(self) -> dict[str, Any]:
        """Return what ``status`` tells of it."""


class Status:
    """Puts the status of the node together from its parts."""

    def __init__(
        self,
        node: str,
        upstreams: Mapping[str, Upstream],
        upstream_of: Mapping[str, str],
        ledger: Ledger,
        dispatcher: Dispatcher,
        copies: Copies,
        rsync: InstalledRsync,
    ) -> None:
        self._node = node
        self._rsync = rsync
        self._upstreams = upstreams
        self._copies = copies
        self._upstream_of = upstream_of
        self._ledger = ledger
        self._dispatcher = dispatcher

    def show(self) -> dict[str, Any]:
        """Return the whole status as a JSON object. Times are whole seconds since the epoch, durations milliseconds."""
        records = self._ledger.trees()
        return {
            "role": "subscriber",
            "node": self._node,
            "version": __version__,
            "rsync": self._rsync.show(),
            "upstreams": {name: upstream.show() for name, upstream in self._upstreams.items()},
            "trees": {name: self._show_tree(records[name]) for name in self._upstream_of},
        }

    def _show_tree(self, record: TreeRecord) -> dict[str, Any]:
        held = {"deletions": record.pending_deletions, "reason": record.held} if record.held else None
        space = self._dispatcher.show_space(record)
        last = next((job for job in self._ledger.jobs(record.tree, 5) if job.finished_ms is not None), None)
        return {
            "upstream": self._upstream_of[record.tree],
            "state": self._dispatcher.state(record),
            "epoch": record.head.epoch if record.head else None,
            "announced": record.announced,
            "applied": record.applied,
            "cleaned": record.cleaned,
            "pending_paths": record.pending_paths,
            "pending_deletions": record.pending_deletions,
            "held": held,
            "refused_deletions": record.refusals,
            "leap": show_leap(self._ledger.leap(record.tree)),
            "incomplete": [shorten(path) for path in record.incomplete[:_SHOWN_INCOMPLETE]],
            "entries": record.entries,
            "progress": _show_progress(self._dispatcher.progress(record.tree)),
            "last_sync": None if last is None else show_job(last),
            "last_full_sync": _seconds(record.last_full_sync_ms),
            "retry_at": _seconds(record.retry_at_ms or record.full_sync_retry_at_ms),
            "upstream_busy_until": _seconds(self._dispatcher.needs(record).upstream_busy_until_ms),
            **self._dispatcher.show_sources(record),
            "space": space,
            "reason": record.reason or (space or {}).get("reason") or self._dispatcher.why_no_source(record),
            "relay": self._copies.show(record.tree),
            "unannounced": {"total": record.unannounced_total, "last": record.unannounced_last},
        }


def _show_progress(progress: Progress | None) -> dict[str, Any] | None:
    return None if progress is None else asdict(progress)


def show_job(job: JobRecord) -> dict[str, Any]:
    """Return one job as a JSON object."""
    finished_ms = job.finished_ms
    return {
        "job": job.job,
        "scope": job.scope,
        "serial": job.serial,
        "outcome": job.outcome or Event.STARTED.value,
        "files": job.files,
        "bytes": job.bytes,
        "deleted": job.deleted,
        "duration_ms": None if finished_ms is None else max(0, finished_ms - job.started_ms),
        "lag_ms": job.lag_ms,
        "started": _seconds(job.started_ms),
        "finished": _seconds(finished_ms),
        "exit_code": job.exit_code,
        "reason": job.reason,
    }


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000
