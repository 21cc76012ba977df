"""What ``pushmirror status`` tells of a publisher."""

from __future__ import annotations

from typing import Any

import pushmirror
from pushmirror.core.messages import format_report
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.reports import LastReport, Reports
from pushmirror.settings.publisher import PublisherSettings


def compose_status(
    settings: PublisherSettings, journal: Journal, reports: Reports, *, endpoint: str, heartbeat: int, now_ms: int
) -> dict[str, Any]:
    """Return the answer to the control command ``status``; `endpoint` is where the bus is bound."""
    reports.forget_strangers()
    return {
        "role": "publisher",
        "name": settings.name,
        "version": pushmirror.__version__,
        "epoch": journal.epoch,
        "endpoint": endpoint,
        "service": settings.service,
        "heartbeat": heartbeat,
        "trees": {name: _describe_tree(journal, name, tree.url) for name, tree in settings.trees.items()},
        "history": _describe_history(journal, settings, now_ms),
        "nodes": {
            node: {tree: _describe_report(last) for tree, last in trees.items()} for node, trees in reports.last.items()
        },
        "reports": {"accepted": reports.accepted, "refused": dict(reports.refused)},
    }


def _describe_history(journal: Journal, settings: PublisherSettings, now_ms: int) -> dict[str, Any]:
    """`age_ms` is how old the oldest update is that is kept; `proofs` how often the journal was found to be a copy."""
    kept = journal.history()
    return {
        "bytes": kept.used_bytes,
        "age_ms": None if kept.oldest_ms is None else max(0, now_ms - kept.oldest_ms),
        "size_bytes": settings.history.size_bytes,
        "keep_ms": settings.history.age_ms,
        "proofs": kept.proofs,
    }


def _describe_tree(journal: Journal, tree: str, url: str | None) -> dict[str, Any]:
    """`serial` is the newest announced, `sent` the newest that the history has and the bus is told."""
    newest = journal.newest_sent(tree)
    return {
        "serial": journal.announced_head(tree).serial,
        "sent": newest.serial if newest else 0,
        "oldest": journal.oldest(tree),
        "digest": newest.digest if newest else None,
        "last_announced_ms": newest.at_ms if newest else None,
        "url": url,
    }


def _describe_report(last: LastReport) -> dict[str, Any]:
    told = {key: value for key, value in format_report(last.report).items() if key not in ("format", "publisher")}
    return {"event": last.report.event.value, **told, "received_ms": last.received_ms}
