"""How much of its history a publisher keeps: which of the oldest updates go, by their age and by their size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retention:
    """What is kept: updates up to `age_ms` old, as far as the journal with its lists stays below `size_bytes`."""

    age_ms: int
    size_bytes: int


@dataclass(frozen=True)
class Candidate:
    """An update that may go: when it was announced, and what it takes up with its list."""

    at_ms: int
    size_bytes: int


def count_surplus(
    candidates: Iterable[Candidate], retention: Retention, *, now_ms: int, used_bytes: int, most_bytes: int
) -> int:
    """Return how many of the `candidates`, the oldest of which comes first, have to go.

    Only a beginning goes: a history with a hole is of no use. One that the clock says is still to come is kept, and
    what follows it: it was the clock that was wrong. Not much more than `most_bytes` goes at once.
    """
    count = removed_bytes = 0
    for candidate in candidates:
        young = now_ms - candidate.at_ms <= retention.age_ms
        if removed_bytes >= most_bytes or (young and used_bytes - removed_bytes <= retention.size_bytes):
            break
        count += 1
        removed_bytes += candidate.size_bytes
    return count
