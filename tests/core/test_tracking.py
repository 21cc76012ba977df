"""Serials: the whole table of what follows from what is heard."""

from __future__ import annotations

import pytest

from pushmirror.core.model import Head, TreeState, Update
from pushmirror.core.tracking import Verdict, judge_head, judge_state, judge_update, newest_head, shows_fork

OLDER, SAME, NEWER = "9-zzzzzzzz", "10-mmmmmmmm", "10-nnnnnnnn"
OUR_SERIAL = 5
OURS, THEIRS = "a" * 64, "b" * 64
HEARD = Head(SAME, OUR_SERIAL, OURS)
FRESH = Head(SAME, 0, None)


def make_update(epoch: str, serial: int, previous: int, previous_digest: str | None) -> Update:
    """Return an announcement of which only the chain matters."""
    return Update("p", "t", epoch, serial, previous, previous_digest, 1, True, None, None, 0, 0, 0)


N, X, G, F = Verdict.NOTHING_NEW, Verdict.NEXT, Verdict.GAP, Verdict.FORK
NEW, OLD, BACK = Verdict.NEW_EPOCH, Verdict.OLD_EPOCH, Verdict.WENT_BACK

# Heard is serial 5. The columns: the digest of the previous update is ours, or another one.
UPDATES: dict[tuple[int, int], tuple[Verdict, Verdict]] = {
    # (serial, previous)
    (1, 0): (N, N),
    (3, 2): (N, N),
    (4, 3): (N, N),
    (5, 1): (N, N),
    (5, 4): (N, N),
    (6, 1): (F, F),
    (6, 3): (F, F),
    (6, 4): (F, F),
    (6, 5): (X, F),
    (7, 4): (F, F),
    (7, 5): (X, F),
    (7, 6): (G, G),
    (9, 5): (X, F),
    (9, 6): (G, G),
    (9, 8): (G, G),
}


@pytest.mark.parametrize(("serials", "verdicts"), UPDATES.items())
@pytest.mark.parametrize(("digest", "column"), [(OURS, 0), (THEIRS, 1)], ids=["our digest", "other digest"])
def test_update_of_the_same_epoch(
    serials: tuple[int, int], verdicts: tuple[Verdict, Verdict], digest: str, column: int
) -> None:
    """Within an epoch the serial, the serial before and the digest of the update before decide."""
    serial, previous = serials
    update = make_update(SAME, serial, previous, digest if previous else None)
    assert judge_update(HEARD, update) is verdicts[column]


@pytest.mark.parametrize("serials", [*UPDATES, (6, 0)])
@pytest.mark.parametrize("digest", [OURS, THEIRS])
def test_update_of_another_epoch(serials: tuple[int, int], digest: str) -> None:
    """Of another epoch its age alone decides, whatever the serials say."""
    serial, previous = serials
    made = {epoch: make_update(epoch, serial, previous, digest if previous else None) for epoch in (OLDER, NEWER)}
    assert judge_update(HEARD, made[OLDER]) is OLD
    assert judge_update(HEARD, made[NEWER]) is NEW
    assert judge_update(None, made[OLDER]) is NEW


def test_update_that_denies_history() -> None:
    """A first update beyond what was heard means that the history was replaced."""
    assert judge_update(HEARD, make_update(SAME, 6, 0, None)) is F


@pytest.mark.parametrize(
    ("serial", "previous", "digest", "verdict"),
    [(1, 0, None, X), (3, 0, None, X), (2, 1, OURS, G), (7, 6, THEIRS, G)],
)
def test_update_after_nothing(serial: int, previous: int, digest: str | None, verdict: Verdict) -> None:
    """Where nothing was announced yet, the first update is the next one."""
    assert judge_update(FRESH, make_update(SAME, serial, previous, digest)) is verdict


# The columns: the digest of the head is ours, or another one.
HEADS: dict[tuple[str, int], tuple[Verdict, Verdict]] = {
    (OLDER, 0): (OLD, OLD),
    (OLDER, 4): (OLD, OLD),
    (OLDER, 5): (OLD, OLD),
    (OLDER, 6): (OLD, OLD),
    (OLDER, 9): (OLD, OLD),
    (SAME, 0): (BACK, BACK),
    (SAME, 4): (BACK, BACK),
    (SAME, 5): (N, F),
    (SAME, 6): (G, G),
    (SAME, 9): (G, G),
    (NEWER, 0): (NEW, NEW),
    (NEWER, 4): (NEW, NEW),
    (NEWER, 5): (NEW, NEW),
    (NEWER, 6): (NEW, NEW),
    (NEWER, 9): (NEW, NEW),
}
HEAD_ROWS = [
    (Head(epoch, serial, digest if serial else None), verdicts[column])
    for (epoch, serial), verdicts in HEADS.items()
    for column, digest in enumerate((OURS, THEIRS))
]


@pytest.mark.parametrize(("head", "verdict"), HEAD_ROWS)
def test_head(head: Head, verdict: Verdict) -> None:
    """What a heartbeat says of a tree is nothing new, a reason to fetch, or a reason to doubt."""
    assert judge_head(HEARD, head) is verdict
    assert judge_head(None, head) is NEW


@pytest.mark.parametrize(("serial", "digest", "verdict"), [(0, None, N), (1, OURS, G), (9, OURS, G)])
def test_head_after_nothing(serial: int, digest: str | None, verdict: Verdict) -> None:
    """Where nothing was announced yet, any serial is a gap."""
    assert judge_head(FRESH, Head(SAME, serial, digest)) is verdict


# A fresh state settles every doubt. Rows where history has to be fetched depend on what is kept of it.
SETTLED = {OLD: NEW, BACK: F, NEW: NEW, N: N, F: F}


@pytest.mark.parametrize(("head", "doubt"), HEAD_ROWS)
def test_state(head: Head, doubt: Verdict) -> None:
    """A state that was asked for is believed: fetch what is kept, otherwise start over; it leaves no doubt."""
    for oldest in (0, 1, 5, 6, 7, 9):
        expected = (G if oldest in (1, 5, 6) else F) if doubt is G else SETTLED[doubt]
        assert judge_state(HEARD, TreeState("p", "t", head, oldest, "n")) is expected
        assert judge_state(None, TreeState("p", "t", head, oldest, "n")) is NEW


@pytest.mark.parametrize(
    ("heard", "oldest", "verdict"),
    [(0, 1, G), (0, 2, F), (0, 0, F), (4, 5, G), (4, 6, F), (8, 1, G), (8, 9, G), (8, 10, F)],
)
def test_what_is_kept(heard: int, oldest: int, verdict: Verdict) -> None:
    """The gap can be filled when the first update after what was heard is still there."""
    state = TreeState("p", "t", Head(SAME, 9, OURS), oldest, "n")
    assert judge_state(Head(SAME, heard, THEIRS if heard else None), state) is verdict


@pytest.mark.parametrize(("head", "doubt"), HEAD_ROWS)
def test_only_a_head_that_lost_what_was_heard_shows_a_fork(head: Head, doubt: Verdict) -> None:
    """Within an epoch: a lower serial, or the same one with another digest. Another epoch forks nothing."""
    assert shows_fork(HEARD, head) is (doubt in (BACK, F))
    assert not shows_fork(None, head)


@pytest.mark.parametrize(
    ("head", "other", "newest"),
    [
        (None, HEARD, HEARD),
        (HEARD, Head(SAME, OUR_SERIAL + 1, THEIRS), Head(SAME, OUR_SERIAL + 1, THEIRS)),
        (HEARD, Head(SAME, OUR_SERIAL - 1, THEIRS), HEARD),
        (HEARD, Head(NEWER, 0, None), Head(NEWER, 0, None)),
        (HEARD, Head(OLDER, OUR_SERIAL + 1, THEIRS), HEARD),
        (HEARD, Head(SAME, OUR_SERIAL, THEIRS), Head(SAME, OUR_SERIAL, THEIRS)),
    ],
)
def test_of_several_heads_the_newest_is_to_be_reached(head: Head | None, other: Head, newest: Head) -> None:
    """Whatever the order in which they were heard."""
    assert newest_head(head, other) == newest
