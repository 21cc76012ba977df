"""Jumps that nobody believes at once: a serial, or the age of an epoch, far beyond what a tree was at.

One message with the highest serial there is, or an epoch of the year 2200, would make every honest one after it look
old. So a jump beyond a bound has to be confirmed by a state that was freshly asked for, or by the operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.core.messages import epoch_order
from pushmirror.core.model import Head


@dataclass(frozen=True)
class LeapBounds:
    """How far a serial may be above the one that was heard, and an epoch begin after now, without being confirmed."""

    serials: int
    epoch_ms: int


@dataclass(frozen=True)
class Leap:
    """A head that is held for the operator, since when, and why. It was told at `at_ms` by the publisher's clock."""

    head: Head
    at_ms: int
    since_ms: int
    reason: str


def find_leap(heard: Head | None, told: Head, bounds: LeapBounds, now_ms: int) -> str | None:
    """Return why what is `told` of a tree is too far from what was `heard` to be believed at once; None if it is not.

    The first that is heard of a tree is no jump. Within an epoch serials are compared; the beginning of a younger one
    with now, or with that of the epoch that was heard when that is later: the clock of its publisher may be ahead.
    """
    if heard is None:
        return None
    if told.epoch == heard.epoch:
        jump = told.serial - heard.serial
        return f"serial {told.serial} is {jump} above {heard.serial}" if jump > bounds.serials else None
    ahead_ms = epoch_order(told.epoch)[0] - max(now_ms, epoch_order(heard.epoch)[0])
    if ahead_ms > bounds.epoch_ms:
        return f"the epoch {told.epoch} begins {ahead_ms // 1000} s after now"
    return None


def confirms(confirmed: Head | None, told: Head) -> bool:
    """Tell whether a publisher that freshly says `confirmed` of itself has come as far as `told`."""
    return confirmed is not None and confirmed.epoch == told.epoch and confirmed.serial >= told.serial
