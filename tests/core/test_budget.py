"""When deletions are held."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.budget import judge_deletions
from pushmirror.core.model import DeleteBudget

DEFAULT = DeleteBudget()


@pytest.mark.parametrize(
    ("deletions", "entries", "held"),
    [
        (0, 0, None),
        (0, 10, None),
        (1, 0, "limit"),
        (1, 1, "limit"),
        (1, 2, None),
        (2, 3, "limit"),
        (50, 100, None),
        (51, 100, "limit"),
        (1000, 2000, None),
        (1001, 2002, "budget"),
        (1001, 2001, "limit"),
        (1000, 1_000_000, None),
        (1001, 20_019, "budget"),
        (1001, 20_020, None),
        (50_000, 1_000_000, None),
        (50_001, 1_000_000, "budget"),
        (500_001, 1_000_000, "limit"),
    ],
)
def test_default_budget(deletions: int, entries: int, held: str | None) -> None:
    """Held above 1000 and above 5 percent, or above 50 percent in any case; a limit that is just met is kept."""
    reason = judge_deletions(deletions, entries, DEFAULT)
    assert (reason is None) == (held is None)
    assert reason is None or f"above the {held} of" in reason


@pytest.mark.parametrize(
    ("budget", "deletions", "held"),
    [
        (DeleteBudget(0, 0, 0), 1, True),
        (DeleteBudget(0, 0, 0), 0, False),
        (DeleteBudget(0, 0, 100), 1, True),
        (DeleteBudget(0, 100, 100), 100, False),
        (DeleteBudget(100, 0, 100), 100, False),
        (DeleteBudget(10**9, 0, 100), 100, False),
    ],
)
def test_extreme_budgets(budget: DeleteBudget, deletions: int, held: bool) -> None:
    """A budget of nothing holds every deletion, a budget of everything none."""
    assert (judge_deletions(deletions, 100, budget) is not None) == held


percents = st.integers(0, 100)
counts = st.integers(0, 200)


@given(counts, counts, st.builds(DeleteBudget, counts, percents, percents), counts)
def test_formula(deletions: int, entries: int, budget: DeleteBudget, lost: int) -> None:
    """Held if and only if the formula says so, without rounding; the reason has both numbers."""
    gone, had = deletions + lost, entries + lost
    share = Fraction(gone * 100, had) if had else Fraction(101 if gone else 0)
    held = deletions > 0 and ((gone > budget.count and share > budget.percent) or share > budget.limit)
    reason = judge_deletions(deletions, entries, budget, lost)
    assert (reason is not None) == held
    assert reason is None or reason.startswith(f"{deletions} of {had} entries")
    assert reason is None or (f"beside {lost} " in reason) == (lost > 0)


@given(counts, st.builds(DeleteBudget, counts, percents, percents), st.lists(st.integers(1, 20)))
def test_small_steps_lead_no_further_than_a_large_one(entries: int, budget: DeleteBudget, steps: list[int]) -> None:
    """However a loss is divided, what is gone before something is held would not have been held at once."""
    lost = 0
    for step in steps:
        deletions = min(step, entries - lost)
        if judge_deletions(deletions, entries - lost, budget, lost) is not None:
            break
        lost += deletions
    assert judge_deletions(lost, entries, budget) is None
