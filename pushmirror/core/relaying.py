"""Relays: what one may hand on, where a mirror begins that follows one, and what a mirror owes that read from one.

A relay has everything that was put up to the serial that it applied, but perhaps also what it has yet to delete: its
deletions wait for a grace period, or for its operator. Whoever reads from it then cannot tell such a path from one that
belongs there. So what was deleted since the relay was last clean stays to be deleted here, and directories that were
compared with it are compared again once it is clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from pushmirror.core.model import ChangeList, Head, RelayState, TreeState
from pushmirror.core.paths import TreePath, topmost
from pushmirror.core.tracking import Verdict, judge_head


@dataclass(frozen=True)
class Standing:
    """What decides whether a tree is relayed. `known` tells whether the digest of what is applied is."""

    filtered: bool
    incomplete: int
    applied: int
    doubted: bool
    known: bool


def refuse_relay(standing: Standing) -> str | None:
    """Return why a tree is not relayed, None when it is."""
    if standing.filtered:
        return "include and exclude hide a part of it"
    if standing.incomplete:
        return f"{standing.incomplete} of its paths cannot be read at its upstream"
    if standing.applied < 0:
        return "its first full sync is still to come"
    if standing.doubted:
        return "a full sync of it was asked for and is still to come"
    if not standing.known:
        return "it has not come to a serial since it is relayed"
    return None


@dataclass(frozen=True)
class Recheck:
    """Something to be compared once more, when the source has done its deletions up to `due_serial`.

    `path` is a directory, None the whole tree. Until then nothing from `serial` on is clean.
    """

    path: TreePath | None
    serial: int
    due_serial: int


RECHECK_RETRY_MS = 10 * 60_000
"""What was compared once more in vain, because the job read from another source, is compared again after this,"""
LONGEST_RECHECK_DELAY_MS = 24 * 3_600_000
"""and after ever longer pauses up to this one."""


def recheck_delay_ms(tries: int) -> int:
    """Return how long to wait after that many `tries` (1 or more) to compare something again, all of them in vain.

    A relay may say that it is clean, and not be readable for days: the others are not walked over and over for that.
    """
    return min(LONGEST_RECHECK_DELAY_MS, RECHECK_RETRY_MS << min(tries - 1, 20))


@dataclass(frozen=True)
class Comparison:
    """What a job compared with its source, and what it could not find out because the source was not clean.

    `directories` were compared with all that is in them (None: the whole tree) with a source that was clean up to
    `cleaned` (None: the origin itself, which always is). `deletions` stay to be done, `rechecks` to be compared again.
    """

    directories: tuple[TreePath, ...] | None = ()
    cleaned: int | None = None
    deletions: tuple[TreePath, ...] = ()
    rechecks: tuple[Recheck, ...] = ()

    @property
    def unsure(self) -> bool:
        """Whether anything is left to be found out."""
        return bool(self.deletions or self.rechecks)


def judge_relay(heard: Head | None, told: Head) -> Verdict:
    """Judge what a relay says that it has applied. One that is behind what was `heard` is nothing out of the way."""
    verdict = judge_head(heard, told)
    return Verdict.NOTHING_NEW if verdict is Verdict.WENT_BACK else verdict


def choose_word(
    heard: Head | None, words: Sequence[RelayState], may_be_told_elsewhere: Callable[[RelayState], bool]
) -> RelayState | None:
    """Return which of the fresh `words` of relays says where a tree is, when its origin cannot be asked; None: none.

    One that is only behind does not: in serials, or in an older epoch than that of `heard` while another relay may
    still tell that one. Silence proves nothing: content would go back and forth by full syncs as such a relay comes and
    goes. News goes before what is believed, and that before whatever contradicts it.
    """
    ranked = []
    for place, word in enumerate(words):
        verdict = judge_head(heard, word.head.applied)
        if verdict is Verdict.WENT_BACK or (verdict is Verdict.OLD_EPOCH and may_be_told_elsewhere(word)):
            continue
        ranked.append((_WORD_ORDER.index(verdict), place))
    return words[min(ranked)[1]] if ranked else None


_WORD_ORDER = (Verdict.NEW_EPOCH, Verdict.GAP, Verdict.NOTHING_NEW, Verdict.FORK, Verdict.OLD_EPOCH)


def adopt_state(heard: Head | None, state: RelayState) -> TreeState:
    """Return a relay's word on a tree in place of the origin's.

    Where its history does not lead on from what was `heard`, it tells where the mirror has to begin anew.
    """
    head, applied = state.head, state.head.applied
    leads_on = heard is not None and heard.epoch == head.epoch and 0 < state.oldest <= heard.serial + 1
    same = heard == applied
    told = applied if leads_on or same else choose_beginning(state)
    return TreeState(
        state.publisher, state.tree, told, state.oldest, state.nonce, of_origin=False, testimony=state.testimony
    )  # fmt: skip


def choose_beginning(state: RelayState) -> Head:
    """Return the head at which a mirror begins that has nothing but the relay's word.

    That is where the relay was last clean, if its history reaches back there, so that what it has yet to delete is
    announced to the mirror as well; otherwise what the relay has applied.
    """
    head = state.head
    reached = 0 < state.oldest <= head.cleaned + 1 or head.cleaned == head.applied.serial
    known = head.cleaned == 0 or state.cleaned_digest is not None
    if head.cleaned >= 0 and reached and known:
        return Head(head.epoch, head.cleaned, state.cleaned_digest)
    return head.applied


class Deleting(Enum):
    """What becomes of a deletion that was tried."""

    DONE = "done"
    LATER = "it is tried again when the source is clean, or in a while"
    AGAIN = "the source has become clean meanwhile: it is tried again at once"


def judge_deletion(serial: int, *, stands: bool, cleaned: int | None, cleaned_by_now: int | None) -> Deleting:
    """Return what becomes of a deletion that an update `serial` told, after it was checked against a source and done.

    The source was clean up to `cleaned`, and is up to `cleaned_by_now` (None: the origin, which always is); the path
    still `stands` here when the source has it. At a source that is not clean up to `serial` the path may be gone a
    moment before the directory above has its time again, which is copied: only a clean one tells the last word.
    """
    if cleaned is not None and cleaned < serial:
        return Deleting.LATER if cleaned_by_now is not None and cleaned_by_now < serial else Deleting.AGAIN
    return Deleting.LATER if stands else Deleting.DONE


def judge_list(directories: Iterable[TreePath], serial: int, cleaned: int | None) -> Comparison:
    """Return what a list job up to `serial` found out that compared `directories` with a source clean to `cleaned`."""
    compared = topmost(directories)
    if cleaned is None or cleaned >= serial:
        return Comparison(compared, cleaned)
    return Comparison(compared, cleaned, rechecks=tuple(Recheck(path, cleaned + 1, serial) for path in compared))


def judge_whole(
    existing: Iterable[TreePath],
    kept: Iterable[ChangeList | None] | None,
    serial: int,
    cleaned: int | None,
    settle: Callable[[list[ChangeList]], ChangeList],
) -> Comparison:
    """Return what a full sync up to `serial` found out that read from a source clean to `cleaned`.

    `existing` are the deletions that were pending before, `kept` what the updates after `cleaned` up to `serial` tell
    (None for one of the whole tree; None for all: they are not known any more, only a clean source can tell). `settle`
    returns what several lists amount to here.
    """
    if cleaned is None or cleaned >= serial:
        return Comparison(None, cleaned)
    everything = Recheck(None, cleaned + 1, serial)
    lists = None if kept is None else list(kept)
    if lists is None or None in lists:
        return Comparison(None, cleaned, tuple(sorted(existing)), (everything,))
    told = [ChangeList(deleted=tuple(sorted(existing))), *(changes for changes in lists if changes is not None)]
    amount = settle(told)
    rechecks = tuple(Recheck(path, cleaned + 1, serial) for path in amount.directories)
    return Comparison(None, cleaned, amount.deleted, rechecks)


def join_states(states: Iterable[str]) -> str:
    """Return the state of an upstream from those of all who tell of it: it is silent only when all of them are."""
    found = set(states)
    if "connected" in found:
        return "connected"
    return "silent" if found == {"silent"} else "connecting"
