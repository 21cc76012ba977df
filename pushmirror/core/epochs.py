"""Epochs of journals: which text is one, and which is the next one after others."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.messages import epoch_order, read_epoch
from pushmirror.core.wire import Fields
from pushmirror.errors import MalformedMessage


def is_epoch(text: str) -> bool:
    """Tell whether `text` is an epoch."""
    try:
        read_epoch(Fields({"epoch": text}))
    except MalformedMessage:
        return False
    return True


def next_created_ms(now_ms: int, earlier: Iterable[str]) -> int:
    """Return when a new epoch is said to be made: now, or just after the youngest of the `earlier` ones.

    A clock that went back would otherwise make an epoch that no subscriber believes.
    """
    return max((now_ms, *(epoch_order(epoch)[0] + 1 for epoch in earlier)))
