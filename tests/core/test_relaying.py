"""What relays may hand on, what is believed of them, and what is owed after reading from one, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pushmirror.core.changes import merge, settle
from pushmirror.core.model import ChangeList, Head, RelayHead, RelayState
from pushmirror.core.paths import TreePath
from pushmirror.core.relaying import (
    Comparison,
    Deleting,
    Recheck,
    Standing,
    adopt_state,
    choose_beginning,
    choose_word,
    join_states,
    judge_deletion,
    judge_list,
    judge_relay,
    judge_whole,
    refuse_relay,
)
from pushmirror.core.tracking import Verdict

OLD, EPOCH, NEW = "1000-aaaaaaaa", "2000-aaaaaaaa", "3000-aaaaaaaa"
SOUND = Standing(filtered=False, incomplete=0, applied=3, doubted=False, known=True)


def path(text: str) -> TreePath:
    return TreePath(text.encode())


def head(serial: int, epoch: str = EPOCH, digest: str = "a") -> Head:
    return Head(epoch, serial, digest * 64 if serial else None)


def state(applied: int, cleaned: int, oldest: int, *, known: bool = True, epoch: str = EPOCH) -> RelayState:
    relay_head = RelayHead(epoch, head(applied, epoch), cleaned)
    cleaned_digest = "c" * 64 if known and cleaned > 0 else None
    return RelayState("t1.example.org", "r.example.net", "debian", relay_head, cleaned_digest, oldest, "nonce-nonce")


def settled(lists: list[ChangeList]) -> ChangeList:
    """Return what lists amount to on a mirror where every path is a directory."""
    return settle(merge(lists), lambda _: True)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"applied": 0}, None),
        ({"filtered": True}, "include and exclude hide"),
        ({"incomplete": 2}, "2 of its paths cannot be read"),
        ({"applied": -1}, "first full sync"),
        ({"doubted": True}, "full sync of it was asked for"),
        ({"known": False}, "not come to a serial"),
    ],
)
def test_a_tree_is_relayed_only_when_it_is_what_the_origin_has(changed: dict[str, int], reason: str | None) -> None:
    """Each thing that a relay lacks is a reason of its own."""
    told = refuse_relay(replace(SOUND, **changed))
    assert told == reason if reason is None else reason in (told or "")


@pytest.mark.parametrize(
    ("heard", "told", "verdict"),
    [
        (None, head(3), Verdict.NEW_EPOCH),
        (head(3), head(3), Verdict.NOTHING_NEW),
        (head(3), head(2), Verdict.NOTHING_NEW),
        (head(3), head(0), Verdict.NOTHING_NEW),
        (head(3), head(4), Verdict.GAP),
        (head(3), head(3, digest="b"), Verdict.FORK),
        (head(3), head(1, NEW), Verdict.NEW_EPOCH),
        (head(3), head(9, OLD), Verdict.OLD_EPOCH),
    ],
)
def test_a_relay_that_is_behind_is_nothing_out_of_the_way(heard: Head | None, told: Head, verdict: Verdict) -> None:
    """Everything else is judged as of a publisher."""
    assert judge_relay(heard, told) is verdict


BEHIND, SAME, AHEAD = state(2, 2, 1), state(3, 3, 1), state(4, 4, 1)
YOUNGER, OLDER = state(1, 1, 1, epoch=NEW), state(9, 9, 1, epoch=OLD)
OTHER = replace(SAME, head=RelayHead(EPOCH, head(3, digest="b"), 3))


@pytest.mark.parametrize(
    ("words", "elsewhere", "chosen"),
    [
        ([], False, None),
        ([BEHIND], False, None),
        ([BEHIND, SAME], False, SAME),
        ([SAME, AHEAD, YOUNGER], False, YOUNGER),
        ([SAME, AHEAD], False, AHEAD),
        ([OTHER], False, OTHER),
        ([OTHER, SAME], False, SAME),
        ([OLDER], False, OLDER),
        ([OLDER], True, None),
        ([OLDER, SAME], False, SAME),
        ([OLDER, BEHIND], False, OLDER),
    ],
)
def test_of_several_relays_one_with_news_is_believed_and_none_that_is_merely_behind(
    words: list[RelayState], elsewhere: bool, chosen: RelayState | None
) -> None:
    """What contradicts counts when nobody confirms; an older epoch when nobody may tell the one that was heard."""
    assert choose_word(head(3), words, lambda _: elsewhere) is chosen


def test_a_mirror_that_knows_nothing_believes_the_first_relay() -> None:
    """Whichever serial it has."""
    assert choose_word(None, [BEHIND, AHEAD], lambda _: False) is BEHIND


@pytest.mark.parametrize(
    ("told", "serial"),
    [
        (state(10, 8, 5), 8),
        (state(10, 8, 9), 8),
        (state(10, 8, 10), 10),
        (state(10, 8, 0), 10),
        (state(10, 8, 5, known=False), 10),
        (state(10, 10, 0), 10),
        (state(10, 0, 1), 0),
        (state(10, -1, 1), 10),
        (state(0, 0, 0), 0),
        (state(0, -1, 0), 0),
    ],
)
def test_a_mirror_begins_where_its_relay_was_clean_if_history_leads_on_from_there(
    told: RelayState, serial: int
) -> None:
    """Otherwise it begins at what is applied, and cannot tell what is still to be deleted."""
    beginning = choose_beginning(told)
    assert beginning.serial == serial
    assert (beginning.digest is None) == (serial == 0)


@pytest.mark.parametrize(
    ("heard", "told", "serial"),
    [
        (head(6), state(10, 8, 5), 10),
        (head(6), state(10, 8, 7), 10),
        (head(6), state(10, 8, 8), 8),
        (head(6), state(10, 4, 8), 10),
        (None, state(10, 8, 5), 8),
        (head(6, OLD), state(10, 8, 5), 8),
        (head(10), state(10, 8, 0), 10),
    ],
)
def test_the_word_of_a_relay_tells_what_to_fetch_or_where_to_begin(
    heard: Head | None, told: RelayState, serial: int
) -> None:
    """Where history leads on from what was heard there is nothing to begin anew."""
    adopted = adopt_state(heard, told)
    assert (adopted.head.serial, adopted.oldest, adopted.nonce) == (serial, told.oldest, told.nonce)


def test_directories_are_compared_again_when_the_source_was_not_clean_up_to_the_serial_of_the_job() -> None:
    """With the origin, or a relay that has deleted everything up to there, nothing is left to do."""
    directories = (path("pool"), path("pool/a"), path("dists"))
    compared = (path("dists"), path("pool"))
    assert judge_list(directories, 5, None) == Comparison(compared, None)
    assert judge_list(directories, 5, 5) == Comparison(compared, 5)
    owed = judge_list(directories, 5, 3)
    assert owed.rechecks == (Recheck(path("dists"), 4, 5), Recheck(path("pool"), 4, 5))
    assert owed.unsure
    assert not judge_list((), 5, 3).unsure


def test_a_full_sync_from_a_clean_source_leaves_nothing_to_be_found_out() -> None:
    """Deletions of before that are no surplus there are void."""
    for cleaned in (None, 5, 6):
        compared = judge_whole([path("old")], [ChangeList(deleted=(path("a"),))], 5, cleaned, settled)
        assert compared == Comparison(None, cleaned)


def test_after_a_full_sync_from_a_relay_what_was_deleted_since_it_was_clean_is_still_to_be_deleted() -> None:
    """A later put makes a deletion void; directories that were told are compared again."""
    kept = [
        ChangeList(deleted=(path("a"), path("b"))),
        ChangeList(changed=(path("b"),), directories=(path("d"),)),
        ChangeList(deleted=(path("c"),)),
    ]
    compared = judge_whole([path("old")], kept, 5, 2, lambda lists: settle(merge(lists), lambda _: False))
    assert compared.deletions == (path("a"), path("c"), path("old"))
    assert compared.rechecks == (Recheck(path("d"), 3, 5),)


@pytest.mark.parametrize("kept", [None, [ChangeList(deleted=(path("a"),)), None]])
def test_a_whole_tree_is_compared_again_when_what_was_deleted_is_not_known(
    kept: list[ChangeList | None] | None,
) -> None:
    """Either the updates are not kept any more, or one of them told no list."""
    compared = judge_whole([path("old")], kept, 5, 2, settled)
    assert compared == Comparison(None, 2, (path("old"),), (Recheck(None, 3, 5),))


@pytest.mark.parametrize(
    ("states", "joined"),
    [
        (["silent"], "silent"),
        (["silent", "silent"], "silent"),
        (["silent", "connected"], "connected"),
        (["silent", "connecting"], "connecting"),
        (["connecting"], "connecting"),
        (["connected", "connecting"], "connected"),
    ],
)
def test_an_upstream_is_silent_only_when_all_who_tell_of_it_are(states: list[str], joined: str) -> None:
    """One that is heard is enough."""
    assert join_states(states) == joined


@pytest.mark.parametrize(
    ("cleaned", "cleaned_by_now", "stands", "expected"),
    [
        (None, None, False, Deleting.DONE),
        (None, None, True, Deleting.LATER),
        (5, 5, False, Deleting.DONE),
        (6, 7, False, Deleting.DONE),
        (5, 5, True, Deleting.LATER),
        (4, 4, False, Deleting.LATER),
        (4, 4, True, Deleting.LATER),
        (-1, -1, False, Deleting.LATER),
        (4, 5, False, Deleting.AGAIN),
        (4, 9, True, Deleting.AGAIN),
    ],
)
def test_a_deletion_is_done_when_a_clean_source_says_so(
    cleaned: int | None, cleaned_by_now: int | None, stands: bool, expected: Deleting
) -> None:
    assert judge_deletion(5, stands=stands, cleaned=cleaned, cleaned_by_now=cleaned_by_now) == expected
