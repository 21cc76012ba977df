"""What the ledger remembers of a source that was not clean: deletions put off, and what is compared again."""

from __future__ import annotations

import pytest

from pushmirror.core.model import ChangeList, Head, RelayHead
from pushmirror.core.relaying import LONGEST_RECHECK_DELAY_MS, RECHECK_RETRY_MS, Comparison, Recheck
from pushmirror.subscriber.relay.owed import OwedNotes
from tests.subscriber.relay.node import RELAY, RelayNode
from tests.subscriber.upstream import TREE, Upstream, paths, put

GRACE_MS = 1000
(POOL,) = paths("pool")
(GONE,) = paths("pool/gone")


@pytest.fixture
def applied(node: RelayNode, upstream: Upstream) -> RelayNode:
    """A mirror that has applied serial 3 and is clean."""
    node.begin(upstream.head())
    node.apply(0, full_sync_ms=1)
    node.hear(upstream, *upstream.announce(put("a"), put("b"), put("c")))
    node.apply(3)
    return node


def owe(node: RelayNode, *rechecks: Recheck, cleaned: int = 1) -> None:
    """Record a list job up to serial 3 with a source that was clean up to `cleaned`."""
    directories = tuple(recheck.path for recheck in rechecks if recheck.path is not None)
    node.apply(3, compared=Comparison(directories, cleaned, rechecks=rechecks), due_ms=node.time() + GRACE_MS)


def cleaned(node: RelayNode) -> int:
    return node.ledger.tree(TREE).cleaned


def wanted(node: RelayNode) -> list[ChangeList | None]:
    """Return what is pending."""
    return [update.changes for update in node.ledger.pending(TREE)]


def note(node: RelayNode, upto: int, *, moved: bool = True) -> bool:
    return node.ledger.note_cleaned(TREE, upto, node.time(), moved=moved)


def test_a_directory_is_compared_again_when_its_source_is_clean_and_is_not_clean_before(applied: RelayNode) -> None:
    """Once, at the serial of the job; a job with the source as it is then settles it."""
    owe(applied, Recheck(POOL, 2, 3))
    assert (cleaned(applied), wanted(applied)) == (1, [])
    assert not note(applied, 2)
    assert note(applied, 3)
    assert wanted(applied) == [ChangeList(directories=(POOL,))]
    assert not note(applied, 3)
    applied.apply(3, compared=Comparison((POOL,), 3))
    assert (cleaned(applied), wanted(applied)) == (3, [])


def test_a_job_that_read_elsewhere_leaves_the_recheck_for_later(applied: RelayNode) -> None:
    """It is tried again after a while, as long as nothing better is heard."""
    owe(applied, Recheck(POOL, 2, 3))
    assert note(applied, 3)
    owe(applied, Recheck(POOL, 2, 3))
    assert not note(applied, 3)
    applied.time.now_ms += RECHECK_RETRY_MS + GRACE_MS
    assert note(applied, 3)
    assert cleaned(applied) == 1


def test_what_is_compared_in_vain_again_and_again_is_so_ever_more_seldom(applied: RelayNode) -> None:
    """After 10 minutes, 20, 40 and so on, up to a day; each pause begins when deletions of the last job are due."""
    owe(applied, Recheck(None, 2, 3))
    minutes = []
    for _ in range(10):
        begun_ms = applied.time.now_ms
        while not note(applied, 3):
            applied.time.now_ms += 60_000
        minutes.append((applied.time.now_ms - begun_ms) // 60_000)
        owe(applied, Recheck(None, 2, 3))
    assert minutes == [0, 11, 21, 41, 81, 161, 321, 641, 1281, LONGEST_RECHECK_DELAY_MS // 60_000 + 1]
    applied.apply(3, compared=Comparison(None, None), full_sync_ms=1)
    owe(applied, Recheck(None, 2, 3))
    assert note(applied, 3)


@pytest.mark.parametrize(
    ("compared", "settled"),
    [
        (Comparison((POOL,), None), True),
        (Comparison(None, None), True),
        (Comparison(None, 3), True),
        (Comparison(None, 2), False),
        (Comparison((POOL,), 2), False),
        (Comparison(paths("dists"), None), False),
        (Comparison((), None), False),
    ],
)
def test_a_recheck_is_settled_by_a_comparison_that_covers_it_with_a_clean_source(
    applied: RelayNode, compared: Comparison, settled: bool
) -> None:
    """The origin is clean, whatever serial it has."""
    owe(applied, Recheck(POOL, 2, 3))
    applied.apply(3, compared=compared)
    assert (cleaned(applied) == 3) is settled


def test_what_a_comparison_finds_holds_back_what_its_recheck_did(applied: RelayNode) -> None:
    """A path that the source had yet to delete was deleted at any serial from where it was clean."""
    owe(applied, Recheck(POOL, 2, 3))
    applied.apply(3, deletions=(GONE,), compared=Comparison((POOL,), 3))
    assert cleaned(applied) == 1


def test_a_directory_below_one_that_was_compared_is_settled_with_it(applied: RelayNode) -> None:
    """It was compared with all that is in it."""
    owe(applied, Recheck(paths("pool/a/b")[0], 2, 3))
    applied.apply(3, compared=Comparison((POOL,), None))
    assert cleaned(applied) == 3


def test_what_was_to_be_compared_again_ends_with_the_serials_that_it_waits_for(applied: RelayNode) -> None:
    """A new epoch begins far below them, and its full sync compares everything anyway."""
    owe(applied, Recheck(POOL, 2, 3))
    applied.begin(Head("1790000000001-0123456789abcdef", 2, "d" * 64))
    applied.apply(2, compared=Comparison(None, 2), full_sync_ms=1)
    assert cleaned(applied) == 2


def test_the_whole_tree_is_compared_again_by_a_full_sync_and_goes_on_being_relayed(applied: RelayNode) -> None:
    """It has too much, not too little: those below know by `cleaned`."""
    owe(applied, Recheck(None, 2, 3))
    assert note(applied, 3)
    assert wanted(applied) == [None]
    assert applied.applied == 3
    applied.apply(3, compared=Comparison((POOL,), None))
    assert cleaned(applied) == 1
    applied.apply(3, compared=Comparison(None, None), full_sync_ms=1)
    assert cleaned(applied) == 3


def test_deletions_that_a_full_sync_could_not_judge_hold_back_what_is_cleaned(applied: RelayNode) -> None:
    """Down to where the source was clean, although everything is applied and was clean before."""
    applied.apply(3, deletions=(GONE,), compared=Comparison(None, 1, deletions=(GONE,)), full_sync_ms=1)
    assert (cleaned(applied), applied.ledger.tree(TREE).applied) == (1, 3)


def test_a_deletion_that_was_put_off_is_due_when_the_source_has_done_its_own(applied: RelayNode) -> None:
    """One that waits for its own grace is not hastened."""
    waiting, put_off = paths("pool/b", "pool/gone")
    applied.apply(3, deletions=(waiting, put_off), due_ms=applied.time() + GRACE_MS)
    applied.ledger.finish_deletions(TREE, (), [put_off], applied.time() + RECHECK_RETRY_MS)
    due = {found.path: found.due_ms for found in applied.ledger.deletions(TREE)}
    assert note(applied, 3)
    after = {found.path: found.due_ms for found in applied.ledger.deletions(TREE)}
    assert after == {**due, put_off: applied.time()}


def test_a_deletion_that_was_tried_a_moment_ago_is_not_tried_again_with_every_heartbeat(applied: RelayNode) -> None:
    """Unless the relay has moved; after a minute it is, since heartbeats may be lost."""
    applied.apply(3, deletions=(GONE,))
    applied.ledger.finish_deletions(TREE, (), [GONE], applied.time() + RECHECK_RETRY_MS)
    assert not note(applied, 3, moved=False)
    applied.time.now_ms += 61_000
    assert note(applied, 3, moved=False)


def test_heartbeats_of_another_epoch_settle_nothing_and_the_origin_everything(applied: RelayNode) -> None:
    """Serials of another journal mean something else; the origin is read when no relay is heard."""
    changed: list[str] = []
    notes = OwedNotes([TREE], applied.ledger, applied.time, changed.append)
    owe(applied, Recheck(POOL, 2, 3))
    other = "1790000000001-0123456789abcdef"
    notes.take_heads(RELAY, {TREE: RelayHead(other, Head(other, 9, "a" * 64), 9)})
    assert changed == []
    head = applied.ledger.head(TREE)
    assert head is not None
    notes.take_heads(RELAY, {TREE: RelayHead(head.epoch, head, 2)})
    assert changed == []
    notes.read_from_origin()
    assert changed == [TREE]


def test_a_new_beginning_forgets_what_was_owed_in_another_history(applied: RelayNode) -> None:
    """Its serials mean nothing any more, and a full sync follows anyway."""
    owe(applied, Recheck(POOL, 2, 3))
    applied.begin(Head("1790000000001-0123456789abcdef", 1, "f" * 64))
    applied.apply(1, compared=Comparison(None, None), full_sync_ms=1)
    assert cleaned(applied) == 1
