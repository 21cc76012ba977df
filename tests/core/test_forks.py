"""What counts as proof that a journal is a copy from before, and which epoch follows."""

from __future__ import annotations

import pytest

from pushmirror.core.epochs import is_epoch, next_created_ms
from pushmirror.core.forks import is_left_behind, proves_fork
from pushmirror.core.messages import epoch_order
from pushmirror.core.model import Head

OURS = "1790000000000-0123456789abcdef"
OTHER = "1790000000001-0123456789abcdef"
OLD = "1780000000000-0123456789abcdef"


@pytest.mark.parametrize(
    ("shown", "announced", "kept_digest", "proof"),
    [
        (Head(OURS, 6, "six"), Head(OURS, 5, "five"), None, True),
        (Head(OURS, 1, "one"), Head(OURS, 0, None), None, True),
        (Head(OURS, 5, "other"), Head(OURS, 5, "five"), "five", True),
        (Head(OURS, 3, "other"), Head(OURS, 5, "five"), "three", True),
        (Head(OURS, 5, "five"), Head(OURS, 5, "five"), "five", False),
        (Head(OURS, 3, "other"), Head(OURS, 5, "five"), None, False),
        (Head(OTHER, 6, "six"), Head(OURS, 5, "five"), None, False),
        (Head(OTHER, 5, "other"), Head(OURS, 5, "five"), "five", False),
    ],
)
def test_only_what_the_journal_cannot_have_had_is_a_proof(
    shown: Head, announced: Head, kept_digest: str | None, proof: bool
) -> None:
    """A serial above the newest, or other content under one that is kept; never what was pruned or another epoch."""
    assert proves_fork(shown, announced, kept_digest) == proof


@pytest.mark.parametrize(
    ("told", "left_behind"),
    [
        ((), False),
        ((Head(OURS, 4, "four"),), True),
        ((Head(OURS, 4, "four"), Head(OURS, 0, None)), True),
        ((Head(OURS, 4, "four"), Head(OLD, 9, "nine")), True),
        ((Head(OLD, 9, "nine"),), False),
        ((Head(OURS, 5, "five"),), False),
        ((Head(OURS, 5, "other"),), False),
        ((Head(OURS, 4, "four"), Head(OURS, 6, "six")), False),
        ((Head(OURS, 4, "four"), Head(OTHER, 1, "one")), False),
    ],
)
def test_a_mirror_is_left_behind_when_nobody_is_where_it_has_been(told: tuple[Head, ...], left_behind: bool) -> None:
    """In its epoch; those in an older one are judged otherwise, and a younger one voids all that was heard."""
    assert is_left_behind(Head(OURS, 5, "five"), told) == left_behind
    assert not is_left_behind(None, told)


@pytest.mark.parametrize(
    ("now_ms", "earlier", "created_ms"),
    [(5, (), 5), (1_790_000_000_009, (OURS, OTHER), 1_790_000_000_009), (5, (OTHER, OURS), 1_790_000_000_002)],
)
def test_a_new_epoch_is_younger_than_all_before(now_ms: int, earlier: tuple[str, ...], created_ms: int) -> None:
    """Also when the clock says that it is not."""
    assert next_created_ms(now_ms, earlier) == created_ms
    assert all(epoch_order(f"{created_ms}-00000000") > epoch_order(epoch) for epoch in earlier)


@pytest.mark.parametrize(("text", "valid"), [(OURS, True), ("", False), ("x" * 2000, False), ("0-00000000", False)])
def test_what_an_epoch_looks_like(text: str, valid: bool) -> None:
    """Anything may stand in a file; only an epoch is one."""
    assert is_epoch(text) == valid
