"""Which job comes next and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.schedule import (
    FAILED_AFTER,
    Due,
    Needs,
    Work,
    busy_delay_ms,
    choose,
    is_for_age,
    next_due,
    retry_delay_ms,
    share_of,
    spread_max_age_ms,
    tree_state,
)

NOW = 1_000_000
DAY = 86_400_000
SYNCED = Needs("t", coalesce_ms=2_000, max_age_ms=DAY, missing_wait_ms=600_000, last_full_sync_ms=NOW - 1_000)
MAX_AGE_DUE = NOW - 1_000 + DAY

# What there is to do at NOW, and the next job.
TABLE: dict[str, tuple[Needs, tuple[int, Work] | None]] = {
    "never synced": (replace(SYNCED, last_full_sync_ms=None), (0, Work.WHOLE)),
    "never synced, pending": (replace(SYNCED, last_full_sync_ms=None, pending_since_ms=NOW), (0, Work.WHOLE)),
    "never synced, asking": (replace(SYNCED, last_full_sync_ms=None, awaiting_head=True), None),
    "never synced, retry later": (
        replace(SYNCED, last_full_sync_ms=None, retry_at_ms=NOW + 5),
        (NOW + 5, Work.WHOLE),
    ),
    "nothing pending": (SYNCED, (MAX_AGE_DUE, Work.WHOLE)),
    "too old": (replace(SYNCED, last_full_sync_ms=NOW - DAY), (NOW, Work.WHOLE)),
    "too old, and failed": (
        replace(SYNCED, last_full_sync_ms=NOW - DAY, full_sync_retry_at_ms=NOW + 7),
        (NOW + 7, Work.WHOLE),
    ),
    "too old, and failed, and a list": (
        replace(SYNCED, last_full_sync_ms=NOW - DAY, full_sync_retry_at_ms=NOW + 7, pending_since_ms=NOW - 2_000),
        (NOW, Work.LIST),
    ),
    "too old, and failed, and deletions due": (
        replace(SYNCED, last_full_sync_ms=NOW - DAY, full_sync_retry_at_ms=NOW + 7, deletion_due_ms=NOW - 1),
        (NOW - 1, Work.CLEAN),
    ),
    "too old, and failed, and the whole is pending": (
        replace(SYNCED, full_sync_retry_at_ms=NOW + 7, pending_since_ms=NOW - 2_000, whole_pending=True),
        (NOW, Work.WHOLE),
    ),
    "too old, and the list has failed": (
        replace(SYNCED, last_full_sync_ms=NOW - DAY, retry_at_ms=NOW + 5, full_sync_retry_at_ms=NOW + 7),
        (NOW + 7, Work.WHOLE),
    ),
    "gathering": (replace(SYNCED, pending_since_ms=NOW - 500), (NOW + 1_500, Work.LIST)),
    "gathered": (replace(SYNCED, pending_since_ms=NOW - 2_000), (NOW, Work.LIST)),
    "gathered long ago": (replace(SYNCED, pending_since_ms=NOW - 9_000), (NOW - 7_000, Work.LIST)),
    "no gathering": (replace(SYNCED, pending_since_ms=NOW, coalesce_ms=0), (NOW, Work.LIST)),
    "whole pending": (replace(SYNCED, pending_since_ms=NOW - 2_000, whole_pending=True), (NOW, Work.WHOLE)),
    "retry later": (replace(SYNCED, pending_since_ms=NOW - 9_000, retry_at_ms=NOW + 7), (NOW + 7, Work.LIST)),
    "retry due": (replace(SYNCED, pending_since_ms=NOW - 9_000, retry_at_ms=NOW), (NOW, Work.LIST)),
    "retry was due": (replace(SYNCED, pending_since_ms=NOW - 9_000, retry_at_ms=NOW - 3), (NOW - 3, Work.LIST)),
    "deletions due": (replace(SYNCED, deletion_due_ms=NOW - 1), (NOW - 1, Work.CLEAN)),
    "deletions in grace": (replace(SYNCED, deletion_due_ms=NOW + 9), (NOW + 9, Work.CLEAN)),
    "list and deletions due": (
        replace(SYNCED, pending_since_ms=NOW - 2_000, deletion_due_ms=NOW - 9),
        (NOW, Work.LIST),
    ),
    "deletions before the list": (
        replace(SYNCED, pending_since_ms=NOW, deletion_due_ms=NOW + 9),
        (NOW + 9, Work.CLEAN),
    ),
    "waiting for what is missing": (replace(SYNCED, missing_since_ms=NOW - 1), (NOW - 1 + 600_000, Work.WHOLE)),
    "waited long enough": (replace(SYNCED, missing_since_ms=NOW - 600_000), (NOW, Work.WHOLE)),
    "that and a list": (
        replace(SYNCED, missing_since_ms=NOW - 600_000, pending_since_ms=NOW - 9_000),
        (NOW, Work.WHOLE),
    ),
    "more history to come": (
        replace(SYNCED, pending_since_ms=NOW - 9_000, catching_up_until_ms=NOW + 7),
        (NOW + 7, Work.LIST),
    ),
    "history took too long": (
        replace(SYNCED, pending_since_ms=NOW - 9_000, catching_up_until_ms=NOW - 1),
        (NOW - 1, Work.LIST),
    ),
    "more history, but all of it is synced": (
        replace(SYNCED, pending_since_ms=NOW - 9_000, whole_pending=True, catching_up_until_ms=NOW + 7),
        (NOW - 7_000, Work.WHOLE),
    ),
    "more history, and deletions due": (
        replace(SYNCED, pending_since_ms=NOW - 9_000, catching_up_until_ms=NOW + 7, deletion_due_ms=NOW),
        (NOW, Work.CLEAN),
    ),
    "paused": (replace(SYNCED, paused=True, pending_since_ms=0), None),
    "running": (replace(SYNCED, running=True, pending_since_ms=0), None),
}


@pytest.mark.parametrize(("needs", "expected"), TABLE.values(), ids=TABLE.keys())
def test_next_due(needs: Needs, expected: tuple[int, Work] | None) -> None:
    """Of what is due the most comprehensive job comes; otherwise whatever is due first."""
    due = next_due(needs, NOW)
    assert due == (Due(expected[0], expected[1], "t") if expected else None)


AGED = replace(SYNCED, last_full_sync_ms=NOW - DAY)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (AGED, True),
        (replace(AGED, pending_since_ms=NOW), True),
        (replace(AGED, missing_since_ms=NOW - 1), True),
        (replace(AGED, missing_since_ms=NOW - 600_000), False),
        (replace(AGED, pending_since_ms=NOW, whole_pending=True), False),
        (replace(AGED, last_full_sync_ms=NOW - DAY + 1), False),
        (replace(AGED, last_full_sync_ms=None), False),
    ],
)
def test_a_full_sync_is_for_age_when_nothing_else_asks_for_it(needs: Needs, expected: bool) -> None:
    """A first one is not, nor one that was announced, nor one for what has been missing too long."""
    assert is_for_age(needs, NOW) is expected


times = st.integers(NOW - 5_000, NOW + 5_000)
needs_of_a_tree = st.builds(
    Needs,
    tree=st.sampled_from(["a", "b", "c", "d", "e"]),
    coalesce_ms=st.integers(0, 3_000),
    max_age_ms=st.integers(0, 8_000),
    missing_wait_ms=st.integers(0, 3_000),
    paused=st.booleans(),
    running=st.booleans(),
    pending_since_ms=st.none() | times,
    whole_pending=st.booleans(),
    last_full_sync_ms=st.none() | times,
    missing_since_ms=st.none() | times,
    deletion_due_ms=st.none() | times,
    retry_at_ms=st.none() | times,
    full_sync_retry_at_ms=st.none() | times,
    catching_up_until_ms=st.none() | times,
    awaiting_head=st.booleans(),
)
all_needs = st.lists(needs_of_a_tree, max_size=5, unique_by=lambda needs: needs.tree)


@given(all_needs, st.integers(-2, 6))
def test_choice(trees: list[Needs], slots: int) -> None:
    """At most one job per free slot starts, of trees that are due and neither paused nor running, longest due first."""
    choice = choose(trees, NOW, slots)
    idle = {needs.tree for needs in trees if not (needs.paused or needs.running or needs.awaiting_head)}
    found = [due for needs in trees if (due := next_due(needs, NOW)) is not None]
    ready = [due for due in found if due.at_ms <= NOW]
    assert len(choice.start) == min(max(0, slots), len(ready))
    assert {due.tree for due in choice.start} <= idle
    assert len({due.tree for due in choice.start}) == len(choice.start)
    assert [*choice.start] == sorted(ready)[: len(choice.start)]
    assert choice.wake_at_ms == min((due.at_ms for due in found if due.at_ms > NOW), default=None)


def test_order_and_waking() -> None:
    """Whatever has waited longest starts first, and the earliest of what is to come decides when to look again."""
    trees = [
        replace(SYNCED, tree="late", pending_since_ms=NOW - 2_001),
        replace(SYNCED, tree="soon", pending_since_ms=NOW - 1_000),
        replace(SYNCED, tree="early", pending_since_ms=NOW - 9_000),
        replace(SYNCED, tree="sooner", deletion_due_ms=NOW + 500),
        replace(SYNCED, tree="idle"),
    ]
    early, late = Due(NOW - 7_000, Work.LIST, "early"), Due(NOW - 1, Work.LIST, "late")
    for order in (trees, trees[::-1]):
        assert [choose(order, NOW, slots).start for slots in (0, 1, 2)] == [(), (early,), (early, late)]
        assert choose(order, NOW, 1).wake_at_ms == NOW + 500


@given(all_needs)
def test_waking_is_enough(trees: list[Needs]) -> None:
    """Nothing becomes due between now and the time to wake, and something is due then."""
    now = NOW
    choice = choose(trees, now, 99)
    started = {due.tree for due in choice.start}
    rest = [needs for needs in trees if needs.tree not in started]
    if choice.wake_at_ms is None:
        assert not choose(rest, now + 10**9, 99).start
        return
    assert choice.wake_at_ms > now
    assert not choose(rest, choice.wake_at_ms - 1, 99).start
    assert choose(rest, choice.wake_at_ms, 99).start


@given(needs_of_a_tree, st.integers(0, 20_000))
def test_a_retry_is_never_early(needs: Needs, later_ms: int) -> None:
    """After a failure nothing starts before the time of the retry, whatever else is due."""
    due = next_due(needs, NOW + later_ms)
    assert due is None or needs.retry_at_ms is None or due.at_ms >= needs.retry_at_ms


spreads = st.floats(0, 1)


@given(st.integers(1, 10**6), spreads)
def test_retry_delay(failures: int, spread: float) -> None:
    """The delay grows with the failures, to a quarter of an hour, give or take a quarter of that."""
    delay = retry_delay_ms(failures, spread)
    assert 3_750 <= delay <= 15 * 60_000 * 1.25
    assert delay <= retry_delay_ms(failures + 1, spread)


def test_retry_delays() -> None:
    """Delays double from five seconds on; chance moves them by a quarter."""
    assert [retry_delay_ms(failures, 0.5) for failures in (1, 2, 3, 4, 8, 9, 100)] == [
        5_000,
        10_000,
        20_000,
        40_000,
        640_000,
        900_000,
        900_000,
    ]
    assert [retry_delay_ms(1, spread) for spread in (0.0, 1.0)] == [3_750, 6_250]


@given(spreads)
def test_busy_delay(spread: float) -> None:
    """An upstream that is full is asked again after five to fifteen seconds."""
    assert 5_000 <= busy_delay_ms(spread) <= 15_000


FIRST = replace(SYNCED, last_full_sync_ms=None)
PENDING = replace(SYNCED, pending_since_ms=NOW - 9_000)


@pytest.mark.parametrize(
    ("needs", "failures", "hopeless", "state"),
    [
        (SYNCED, 0, False, "idle"),
        (replace(SYNCED, deletion_due_ms=NOW + 1), 0, False, "idle"),
        (replace(SYNCED, deletion_due_ms=NOW), 0, False, "queued"),
        (replace(SYNCED, pending_since_ms=NOW), 0, False, "waiting"),
        (PENDING, 0, False, "queued"),
        (replace(PENDING, retry_at_ms=NOW + 1), 1, False, "waiting"),
        (replace(PENDING, retry_at_ms=NOW + 1), FAILED_AFTER, False, "failed"),
        (replace(PENDING, retry_at_ms=NOW + 1), 1, True, "failed"),
        (PENDING, 0, True, "queued"),
        (FIRST, 0, False, "queued"),
        (replace(FIRST, awaiting_head=True), 0, False, "waiting"),
        (replace(FIRST, retry_at_ms=NOW + 1), 1, False, "waiting"),
        (replace(PENDING, running=True), FAILED_AFTER, True, "running"),
        (replace(PENDING, running=True, paused=True), 0, False, "running"),
        (replace(PENDING, paused=True), FAILED_AFTER, True, "paused"),
        (replace(SYNCED, last_full_sync_ms=NOW - DAY), 0, False, "queued"),
    ],
)
def test_state(needs: Needs, failures: int, hopeless: bool, state: str) -> None:
    """The state of a tree is the first of running, paused, failed, queued, waiting and idle that holds."""
    assert tree_state(needs, failures, hopeless, NOW) == state


@given(st.integers(1000, 10**11), spreads)
def test_a_full_sync_is_due_in_the_last_tenth_of_max_age(max_age_ms: int, share: float) -> None:
    """Never later than that, and not much earlier."""
    assert max_age_ms * 0.9 - 1 <= spread_max_age_ms(max_age_ms, share) <= max_age_ms
    assert spread_max_age_ms(max_age_ms, 1.0) == max_age_ms


def test_mirrors_spread_evenly_and_each_keeps_its_place() -> None:
    """A thousand of them, by their names alone: about as many in each tenth."""
    shares = [share_of(f"t2-{number}.example.net", "debian") for number in range(1000)]
    assert shares == [share_of(f"t2-{number}.example.net", "debian") for number in range(1000)]
    tenths = [int(share * 10) for share in shares]
    assert all(70 <= tenths.count(tenth) <= 130 for tenth in range(10))
    assert share_of("t2-1.example.net", "debian") != share_of("t2-1.example.net", "fedora")
