"""The token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.rate import TokenBucket


def test_burst_and_refill() -> None:
    """A burst passes at once, then as much as time brings, never more than a burst saved up."""
    bucket = TokenBucket(per_second=2.0, burst=3, now_s=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.4), bucket.take(10.5), bucket.take(10.6)] == [False, True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.floats(0.5, 4))
def test_never_more_than_promised(pauses_s: list[float], burst: int, per_second: float) -> None:
    """In any time no more passes than a burst and what that time brings."""
    bucket = TokenBucket(per_second, burst, 0.0)
    now_s, passed = 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        passed += bucket.take(now_s)
    assert passed <= burst + now_s * per_second + 1e-6


def test_clock_that_goes_back() -> None:
    """A clock that goes back brings no tokens."""
    bucket = TokenBucket(per_second=1.0, burst=1, now_s=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert bucket.take(51.0)


def test_what_is_spent_is_owed() -> None:
    """More can be spent than there is; the wait is for what is owed and for one token."""
    bucket = TokenBucket(per_second=10.0, burst=5, now_s=0.0)
    assert bucket.wait_s(0.0) == 0
    bucket.spend(25, 0.0)
    assert bucket.wait_s(0.0) == 2.1
    assert not bucket.take(2.0) and bucket.wait_s(2.05) > 0 and bucket.take(2.15)
