"""Rows of the ledger as values."""

from __future__ import annotations

import json
from typing import Any

from pushmirror.core.lists import open_changes
from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.subscriber.records import MAX_PENDING_PATHS, NEVER, Deletion, JobRecord, PendingUpdate, TreeRecord

TREE_QUERY = """
SELECT t.*,
    p.updates, p.since_ms, p.whole, p.paths,
    r.recheck_serial, r.recheck_due, r.recheck_whole_due,
    (SELECT count(*) FROM deletions d WHERE d.tree = t.tree) AS deletions,
    (SELECT min(serial) FROM deletions d WHERE d.tree = t.tree) AS lowest_serial,
    (SELECT count(*) FROM refusals f WHERE f.tree = t.tree) AS refusals,
    CASE WHEN t.held IS NULL THEN (SELECT min(due_ms) FROM deletions d WHERE d.tree = t.tree)
         ELSE (SELECT min(due_ms) FROM deletions d WHERE d.tree = t.tree AND d.approved) END AS due_ms
FROM trees t
LEFT JOIN (SELECT tree, min(serial) AS recheck_serial, min(due_serial) AS recheck_due,
                  max(CASE WHEN path = x'' THEN due_serial END) AS recheck_whole_due
           FROM rechecks GROUP BY tree) r ON r.tree = t.tree
LEFT JOIN (SELECT tree, count(*) AS updates, min(received_ms) AS since_ms, max(changes IS NULL) AS whole,
                  sum(paths) AS paths FROM pending GROUP BY tree) p ON p.tree = t.tree
"""
"""Deletions may be hundreds of thousands, and a tree is looked at all the time: an index answers each question."""


def read_changes(body: bytes | None) -> ChangeList | None:
    """Return a stored change list; None stands for the whole tree."""
    return None if body is None else open_changes(body)


def head_of(row: Any) -> Head | None:
    """Return the newest update that a row of ``trees`` knows of."""
    return None if row["epoch"] is None else Head(row["epoch"], row["announced"], row["digest"])


def tree_record(row: Any) -> TreeRecord:
    """Return a row of `TREE_QUERY`. `cleaned` is derived: what is still to be deleted holds it below its serial, and
    so does what has to be compared again with a source that is clean."""
    lowest = min((row[key] for key in ("lowest_serial", "recheck_serial") if row[key] is not None), default=None)
    return TreeRecord(
        tree=row["tree"],
        generation=row["generation"],
        head=head_of(row),
        applied=row["applied"],
        cleaned=row["applied"] if lowest is None else max(NEVER, min(row["applied"], lowest - 1)),
        entries=row["entries"],
        last_full_sync_ms=row["last_full_sync_ms"],
        exact_times=bool(row["exact_times"]),
        paused=bool(row["paused"]),
        failures=row["failures"],
        hopeless=bool(row["hopeless"]),
        retry_at_ms=row["retry_at_ms"],
        missing_since_ms=row["missing_since_ms"],
        reason=row["reason"] or row["full_sync_reason"],
        held=row["held"],
        lost=row["lost"],
        refusals=row["refusals"],
        incomplete=tuple(TreePath(bytes.fromhex(path)) for path in json.loads(row["incomplete"])),
        pending_updates=row["updates"] or 0,
        pending_since_ms=row["since_ms"],
        whole_pending=bool(row["whole"]) or (row["paths"] or 0) > MAX_PENDING_PATHS,
        pending_paths=row["paths"] or 0,
        pending_deletions=row["deletions"] or 0,
        deletion_due_ms=row["due_ms"],
        unannounced_total=row["unannounced_total"],
        unannounced_last=row["unannounced_last"],
        full_sync_failures=row["full_sync_failures"],
        full_sync_retry_at_ms=row["full_sync_retry_at_ms"],
        recheck_due=row["recheck_due"],
        recheck_whole_due=row["recheck_whole_due"],
    )


def job_record(row: Any) -> JobRecord:
    """Return a row of ``jobs``."""
    return JobRecord(**{key: row[key] for key in row.keys()})  # noqa: SIM118 - a Row iterates over its values


def pending_update(row: Any) -> PendingUpdate:
    """Return a row of ``pending``."""
    return PendingUpdate(
        number=row["number"],
        serial=row["serial"],
        at_ms=row["at_ms"],
        body=row["changes"],
        root_mtime_ns=row["root_mtime_ns"],
        bytes=row["bytes"],
    )


def deletion(row: Any) -> Deletion:
    """Return a row of ``deletions``."""
    path, in_the_way = TreePath(bytes(row["path"])), bool(row["in_the_way"])
    return Deletion(path, row["serial"], row["due_ms"], bool(row["approved"]), in_the_way)
