"""The serials of one tree: what a subscriber makes of what it hears (rules 2 and 3 of ``docs/protocol.md``)."""

from __future__ import annotations

from enum import Enum

from pushmirror.core.messages import epoch_order
from pushmirror.core.model import Head, TreeState, Update


class Verdict(Enum):
    """What follows from a believed message for the tree that it is about."""

    NOTHING_NEW = "nothing new"
    NEXT = "next"
    """The update follows on what was heard: take it."""
    GAP = "gap"
    """There are updates in between: fetch those after what was heard."""
    FORK = "fork"
    """The publisher's history is not the one that was heard: the whole tree becomes pending at the new head."""
    NEW_EPOCH = "new epoch"
    """A younger journal, or the first that is heard of: the whole tree becomes pending at the new head."""
    OLD_EPOCH = "old epoch"
    """An older journal than the one that is followed: drop it, unless a freshly asked state confirms it."""
    TOO_FAR = "too far"
    """A jump that a fresh state, or the operator, has to confirm (`pushmirror.core.leaps`)."""
    WENT_BACK = "went back"
    """A serial below what was heard: ask for a fresh state."""


def judge_update(heard: Head | None, update: Update) -> Verdict:
    """Judge an announcement against what was `heard` of its tree (None: nothing yet)."""
    if heard is None or epoch_order(update.epoch) > epoch_order(heard.epoch):
        return Verdict.NEW_EPOCH
    if update.epoch != heard.epoch:
        return Verdict.OLD_EPOCH
    if update.serial <= heard.serial:
        return Verdict.NOTHING_NEW
    if update.previous > heard.serial:
        return Verdict.GAP
    if update.previous == heard.serial and update.previous_digest == heard.digest:
        return Verdict.NEXT
    return Verdict.FORK


def judge_head(heard: Head | None, head: Head) -> Verdict:
    """Judge what a heartbeat says of a tree."""
    if heard is None or epoch_order(head.epoch) > epoch_order(heard.epoch):
        return Verdict.NEW_EPOCH
    if head.epoch != heard.epoch:
        return Verdict.OLD_EPOCH
    if head.serial < heard.serial:
        return Verdict.WENT_BACK
    if head.serial > heard.serial:
        return Verdict.GAP
    return Verdict.NOTHING_NEW if head.digest == heard.digest else Verdict.FORK


def newest_head(head: Head | None, other: Head) -> Head:
    """Return which of two heads is more to be reached: that of the younger epoch, or there the higher serial.

    Of two that contradict each other it is `other`.
    """
    return head if head is not None and _order(head) > _order(other) else other


def _order(head: Head) -> tuple[int, str, int]:
    return (*epoch_order(head.epoch), head.serial)


def judge_state(heard: Head | None, state: TreeState) -> Verdict:
    """Judge a state that was asked for with a fresh nonce: the publisher's own word on where it is now.

    Other than a heartbeat it settles every doubt, so that it never answers OLD_EPOCH or WENT_BACK: an older epoch, or a
    serial below what was heard, is a journal that was replaced. GAP means that the updates after `heard` are kept.
    """
    verdict = judge_head(heard, state.head)
    if verdict is Verdict.OLD_EPOCH:
        return Verdict.NEW_EPOCH
    if verdict is Verdict.WENT_BACK:
        return Verdict.FORK
    if verdict is Verdict.GAP and heard is not None and not 0 < state.oldest <= heard.serial + 1:
        return Verdict.FORK
    return verdict


def shows_fork(heard: Head | None, told: Head) -> bool:
    """Tell whether a publisher that says `told` of itself has lost or replaced what was `heard` of the same epoch."""
    if heard is None or heard.epoch != told.epoch:
        return False
    return told.serial < heard.serial or (told.serial == heard.serial and told.digest != heard.digest)
