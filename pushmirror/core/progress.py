"""How far a running rsync is, read from what ``--info=progress2`` prints (rsync(1))."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PROGRESS = re.compile(
    rb"\r +([0-9]{1,18}) +([0-9]{1,3})% +\S+ +\S+"
    rb"(?: +\(xfr#([0-9]{1,18}), (?:to|ir)-chk=([0-9]{1,18})/([0-9]{1,18})\))?"
)


@dataclass(frozen=True)
class Progress:
    """What is done and what there is to do; totals are what rsync knows so far, and may still grow."""

    bytes_done: int
    bytes_total: int | None
    files_done: int
    """Entries that were looked at, transferred or found to be right already."""
    files_total: int | None


def parse_progress(tail: bytes) -> Progress | None:
    """Return the last progress that the `tail` of rsync's output tells, or None when there is none in it."""
    last = counts = None
    for match in _PROGRESS.finditer(tail):
        last = match
        counts = match if match[5] else counts
    if last is None:
        return None
    done, percent = int(last[1]), int(last[2])
    total = max(done, done * 100 // percent) if percent else None
    if counts is None:
        return Progress(done, total, 0, None)
    return Progress(done, total, max(0, int(counts[5]) - int(counts[4])), int(counts[5]))
