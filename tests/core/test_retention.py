"""Which of the oldest updates go, decided over plain numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.retention import Candidate, Retention, count_surplus

NOW_MS = 1_000_000
KEEP = Retention(age_ms=1_000, size_bytes=100)
EVERYTHING = 1 << 40


def old(count: int, size_bytes: int = 10) -> list[Candidate]:
    return [Candidate(NOW_MS - 1_001, size_bytes)] * count


def young(count: int, size_bytes: int = 10) -> list[Candidate]:
    return [Candidate(NOW_MS - 1_000, size_bytes)] * count


@pytest.mark.parametrize(
    ("candidates", "used_bytes", "count"),
    [
        ([], 500, 0),
        (young(5), 100, 0),
        (young(5), 101, 1),
        (young(5), 130, 3),
        (young(5), 500, 5),
        (old(3) + young(2), 0, 3),
        (old(3) + young(2), 135, 4),
        (young(1) + old(3), 0, 0),
        ([Candidate(NOW_MS + 5_000, 10), *old(3)], 0, 0),
        ([Candidate(NOW_MS + 5_000, 10), *old(3)], 105, 4),
    ],
)
def test_what_is_too_old_or_too_much_goes_from_the_beginning(
    candidates: list[Candidate], used_bytes: int, count: int
) -> None:
    """Age and size are limits of their own; nothing goes that would leave a hole, and no future time makes one."""
    assert count_surplus(candidates, KEEP, now_ms=NOW_MS, used_bytes=used_bytes, most_bytes=EVERYTHING) == count


def test_only_so_much_goes_at_once() -> None:
    """The work of one step is bounded by its bytes; it is never nothing when something has to go."""
    assert count_surplus(old(9), KEEP, now_ms=NOW_MS, used_bytes=0, most_bytes=25) == 3
    assert count_surplus(old(9, size_bytes=1000), KEEP, now_ms=NOW_MS, used_bytes=0, most_bytes=25) == 1


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 50))), st.integers(0, 2_000))
def test_what_stays_is_within_the_limits(drawn: list[tuple[int, int]], more_bytes: int) -> None:
    """After the surplus has gone the first that stays is young, and the size fits or nothing is left to go."""
    candidates = [Candidate(NOW_MS - age_ms, size) for age_ms, size in drawn]
    used_bytes = sum(size for _, size in drawn) + more_bytes
    count = count_surplus(candidates, KEEP, now_ms=NOW_MS, used_bytes=used_bytes, most_bytes=EVERYTHING)
    left = candidates[count:]
    assert not left or NOW_MS - left[0].at_ms <= KEEP.age_ms
    assert not left or used_bytes - sum(gone.size_bytes for gone in candidates[:count]) <= KEEP.size_bytes
