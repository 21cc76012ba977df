"""How far a tree may jump at once without being confirmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.leaps import LeapBounds, confirms, find_leap
from pushmirror.core.messages import epoch_order
from pushmirror.core.model import Head

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000
BOUNDS = LeapBounds(serials=1000, epoch_ms=DAY_MS)


def head(serial: int, epoch_ms: int = NOW_MS) -> Head:
    return Head(f"{epoch_ms}-0123456789abcdef", serial, "0" * 64 if serial else None)


@pytest.mark.parametrize(
    ("heard", "told", "held"),
    [
        (None, head(2**63 - 1, NOW_MS + 10**12), False),
        (head(5), head(1005), False),
        (head(5), head(1006), True),
        (head(5), head(2**63 - 1), True),
        (head(5), head(4), False),
        (head(5), head(2**62, NOW_MS + DAY_MS), False),
        (head(5), head(0, NOW_MS + DAY_MS + 1), True),
        (head(5), head(1, NOW_MS - 10 * DAY_MS), False),
        (head(5, NOW_MS + 9 * DAY_MS), head(1, NOW_MS + 10 * DAY_MS), False),
        (head(5, NOW_MS + 9 * DAY_MS), head(1, NOW_MS + 11 * DAY_MS), True),
    ],
    ids=["the first", "just within", "just beyond", "the largest", "back", "another epoch counts anew", "the future",
         "an old one", "a clock that is ahead goes on", "and jumps"],
)  # fmt: skip
def test_a_jump_is_found(heard: Head | None, told: Head, held: bool) -> None:
    """Serials are compared within an epoch, the beginning of a younger one with now."""
    assert (find_leap(heard, told, BOUNDS, NOW_MS) is not None) == held


def test_the_reason_says_how_far() -> None:
    """For the operator."""
    assert find_leap(head(5), head(5005), BOUNDS, NOW_MS) == "serial 5005 is 5000 above 5"


@given(st.integers(0, 10**6), st.lists(st.integers(1, 1000), max_size=30))
def test_whoever_goes_step_by_step_is_never_held(begin: int, steps: list[int]) -> None:
    """Every step within the bound: a busy publisher, and a subscriber that hears all of it."""
    heard = head(begin)
    for step in steps:
        told = head(heard.serial + step)
        assert find_leap(heard, told, BOUNDS, NOW_MS) is None
        heard = told


@given(st.integers(1, 2**62), st.integers(1, 2**62))
def test_a_fresh_word_confirms_what_it_has_reached(said: int, told: int) -> None:
    """In its own epoch, and no further than it says."""
    assert confirms(head(said), head(told)) == (said >= told)
    assert not confirms(head(said, NOW_MS + 1), head(told))
    assert not confirms(None, head(told))


@given(st.integers(1, 10**18 - 1), st.integers(1, 10**18 - 1))
def test_a_younger_epoch_that_is_not_held_cannot_lock_out_honest_ones_for_long(epoch_ms: int, now_ms: int) -> None:
    """What is believed unconfirmed begins a day after now at the latest, or after what was believed before."""
    heard = head(5, 1)
    if find_leap(heard, head(1, epoch_ms), BOUNDS, now_ms) is None:
        assert epoch_order(head(1, epoch_ms).epoch)[0] <= now_ms + DAY_MS
