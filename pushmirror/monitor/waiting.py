"""Waits for a sync that was asked for: until a job that began afterwards has ended and nothing is pending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pushmirror.errors import Refused, TimedOut
from pushmirror.monitor.quantities import format_bytes, format_count, format_duration_ms

Job = Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """One look: the tree as ``status`` shows it, and its jobs as ``history`` does, the newest first."""

    tree: Mapping[str, Any]
    jobs: Sequence[Job]


def watch_sync(
    tree: str,
    last_job: int,
    look: Callable[[], Progress],
    rest: Callable[[], None],
    clock_s: Callable[[], float],
    timeout_s: float,
) -> str:
    """Return what to tell once the sync of `tree` is done, looking again after each `rest`.

    `last_job` is the number of the last job before it was asked for. Raises Refused when it failed or cannot start,
    TimedOut after `timeout_s`.
    """
    started_s = clock_s()
    while True:
        progress = look()
        told = judge_progress(tree, last_job, progress)
        if told is not None:
            return told
        if clock_s() - started_s >= timeout_s:
            raise TimedOut(_why_late(tree, progress.tree))
        rest()


def judge_progress(tree: str, last_job: int, progress: Progress) -> str | None:
    """Return what to tell when the sync is done, None while it is not. Raises Refused when it failed or is paused."""
    state = progress.tree.get("state")
    ended = next((job for job in progress.jobs if job["job"] > last_job and job["finished"] is not None), None)
    if state == "paused":
        raise Refused(f"{tree}: the tree is paused; start it again with: pushmirror resume {tree}")
    if ended is not None and ended["outcome"] == "failed":
        raise Refused(f"{tree}: the sync failed: {ended['reason']}")
    if state != "idle" or progress.tree.get("pending_paths"):
        return None
    return _tell_end(tree, ended, progress.tree) + _tell_rest(progress.tree)


def _tell_end(tree: str, job: Job | None, found: Mapping[str, Any]) -> str:
    if job is None:
        return f"{tree}: in step with serial {found.get('applied')}, no further job was needed"
    volume = f"{format_count(job['files'], 'file')}, {format_bytes(job['bytes'])}, {job['deleted']} deleted"
    return f"{tree}: applied serial {job['serial']} in {format_duration_ms(job['duration_ms'])}: {volume}"


def _tell_rest(tree: Mapping[str, Any]) -> str:
    deletions = tree.get("pending_deletions")
    if not deletions:
        return ""
    return f"; {format_count(deletions, 'deletion')} {'held' if tree.get('held') else 'still to come'}"


def _why_late(tree: str, found: Mapping[str, Any]) -> str:
    reason = f": {found['reason']}" if found.get("reason") else ""
    return f"{tree}: not done in time, its state is {found.get('state')}{reason}; the subscriber goes on with it"
