"""The last jobs of a tree as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pushmirror.monitor.quantities import UNKNOWN, format_bytes, format_duration_ms, format_time
from pushmirror.monitor.tables import make_table, show_lines, show_state, show_value

_SHOWN_REASONS = 5
_DAY_S = 86_400


def show_history(tree: str, jobs: Sequence[Mapping[str, Any]], now_s: int) -> RenderableType:
    """Return `jobs` (the newest first) as a table, with the reasons of the newest that did not go well below it.

    `now_s` is the time, in seconds since the epoch.
    """
    if not jobs:
        return Text(f"{tree}: no job has run yet")
    numbers = ("serial", "files", "bytes", "took", "lag")
    table = make_table(f"Jobs of {tree}", "job", "started", "outcome", *numbers, right=("job", *numbers))
    for job in jobs:
        table.add_row(
            show_value(job.get("job")),
            _show_start(job.get("started"), now_s),
            Text.assemble(f"{show_value(job.get('scope'))} ", show_state(job.get("outcome"))),
            show_value(job.get("serial")),
            _show_files(job),
            format_bytes(job.get("bytes")),
            format_duration_ms(job.get("duration_ms")),
            format_duration_ms(job.get("lag_ms")),
        )
    reasons = [f"job {show_value(job.get('job'))}: {show_value(job['reason'])}" for job in jobs if job.get("reason")]
    return Group(table, show_lines(reasons[:_SHOWN_REASONS])) if reasons else table


def _show_start(started_s: object, now_s: int) -> str:
    """The time of a job of the last 24 hours, the date of an earlier one."""
    if not isinstance(started_s, int):
        return UNKNOWN
    date, clock = format_time(started_s * 1000)[:-4].split()
    return clock if abs(now_s - started_s) < _DAY_S else date


def _show_files(job: Mapping[str, Any]) -> str:
    files = show_value(job.get("files"))
    return f"{files}, {show_value(job['deleted'])} del" if job.get("deleted") else files
