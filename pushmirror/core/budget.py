"""How much may be deleted without asking: the same judgement for every deletion, whatever caused it."""

from __future__ import annotations

from pushmirror.core.model import DeleteBudget


def judge_deletions(deletions: int, entries: int, budget: DeleteBudget) -> str | None:
    """Return None when that many `deletions` may go ahead, otherwise why they are held.

    `deletions` counts every entry that would go, those inside deleted directories too; `entries` is what the mirror has
    now, the deletions included. Held when above ``count`` and above ``percent``, or above ``limit`` percent in any
    case.
    """
    if deletions * 100 > entries * budget.limit:
        return f"{deletions} of {entries} entries would be deleted, above the limit of {budget.limit} percent"
    if deletions > budget.count and deletions * 100 > entries * budget.percent:
        return (
            f"{deletions} of {entries} entries would be deleted, above the budget of {budget.count} "
            f"and of {budget.percent} percent"
        )
    return None
