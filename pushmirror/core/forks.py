"""Journals that are a copy from before: what proves it, and when a mirror below relays has to bring the proof."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.model import Head
from pushmirror.core.tracking import newest_head


def proves_fork(shown: Head, announced: Head, kept_digest: str | None) -> bool:
    """Tell whether what a publisher has signed of a tree cannot come from the journal as it is.

    `announced` is the newest update of the same tree in the journal, sent or not: nothing is signed before it is
    committed there. `kept_digest` is the digest of the journal's own update with the serial that is shown; None when it
    keeps none: what was pruned proves nothing. An update of another epoch is of another journal, and proves nothing.

    A relay asks the same of what it has heard itself: what that contradicts, or goes beyond, is for its upstream to
    look at, and nothing else is.
    """
    if shown.epoch != announced.epoch:
        return False
    return shown.serial > announced.serial or kept_digest not in (None, shown.digest)


def is_left_behind(heard: Head | None, told: Iterable[Head]) -> bool:
    """Tell whether everybody who tells where a tree is is short of what was `heard`.

    They may come to it by and by; or their publisher has gone back, and nobody there knows what it has lost.
    """
    heads = tuple(told)
    if heard is None or heard.epoch not in {head.epoch for head in heads}:
        return False
    return all(newest_head(heard, head) is heard for head in heads)
