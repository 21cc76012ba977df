"""How much may be deleted without asking: the same judgement for every deletion, whatever caused it."""

from __future__ import annotations

from pushmirror.core.model import DeleteBudget

UPSTREAM_EMPTY = "the tree is empty at the upstream: is its disk mounted? Nothing is deleted"


def judge_deletions(deletions: int, entries: int, budget: DeleteBudget, lost: int = 0) -> str | None:
    """Return None when that many `deletions` may go ahead, otherwise why they are held.

    `deletions` counts every entry that would go, those inside deleted directories too; `entries` is what the mirror has
    now, the deletions included. `lost` is how many went before without the operator's word and without anything new in
    their place: they count as well, and so does what the mirror had then. Held when above ``count`` and above
    ``percent``, or above ``limit`` percent in any case.
    """
    if not deletions:
        return None
    gone, had = deletions + lost, entries + lost
    if gone * 100 > had * budget.limit:
        return f"{_word(deletions, had, lost)}, above the limit of {budget.limit} percent"
    if gone > budget.count and gone * 100 > had * budget.percent:
        return f"{_word(deletions, had, lost)}, above the budget of {budget.count} and of {budget.percent} percent"
    return None


def _word(deletions: int, had: int, lost: int) -> str:
    text = f"{deletions} of {had} entries would be deleted"
    return f"{text} beside {lost} that are gone already" if lost else text
