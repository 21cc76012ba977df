"""The last jobs of a tree as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pushmirror.monitor.quantities import format_bytes, format_duration_ms, format_time
from pushmirror.monitor.status_tables import make_table, show_lines, show_state, show_value

_SHOWN_REASONS = 5


def show_history(tree: str, jobs: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return `jobs` (the newest first) as a table, with the reasons of the newest that did not go well below it."""
    if not jobs:
        return Text(f"{tree}: no job has run yet")
    numbers = ("serial", "files", "bytes", "deleted", "took", "lag")
    table = make_table(f"Jobs of {tree}", "job", "started", "scope", "outcome", *numbers, right=("job", *numbers))
    for job in jobs:
        started = job.get("started")
        table.add_row(
            show_value(job.get("job")),
            format_time(started * 1000 if isinstance(started, int) else None)[:-4],
            show_value(job.get("scope")),
            show_state(job.get("outcome")),
            show_value(job.get("serial")),
            show_value(job.get("files")),
            format_bytes(job.get("bytes")),
            show_value(job.get("deleted")),
            format_duration_ms(job.get("duration_ms")),
            format_duration_ms(job.get("lag_ms")),
        )
    reasons = [f"job {show_value(job.get('job'))}: {show_value(job['reason'])}" for job in jobs if job.get("reason")]
    return Group(table, show_lines(reasons[:_SHOWN_REASONS])) if reasons else table
