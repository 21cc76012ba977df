"""A ledger that was damaged is moved aside and a new one begun: what it knew can be found out again."""

from __future__ import annotations

import logging
from pathlib import Path

from pushmirror.errors import DamagedLedger, StateError
from pushmirror.subscriber.ledger import Ledger

log = logging.getLogger(__name__)

_SUFFIXES = ("", "-wal", "-shm")


def open_or_replace(path: Path) -> Ledger:
    """Return the ledger in the file `path`; in place of a damaged one a new one, with which every tree starts anew.

    Raises StateError for a ledger that is sound and cannot be used all the same, and when it cannot be moved.
    """
    try:
        return Ledger(path)
    except DamagedLedger as damage:
        aside = _free_name(path)
        try:
            for suffix in _SUFFIXES:
                _move(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
        except OSError as error:
            raise StateError(f"{damage}; it could not be moved: {error.strerror}") from error
        log.error(
            "%s. It was moved to %s and a new one is begun: every tree is adopted by a full sync, deletions keep to the"
            " budget, and what was paused, held or approved has to be said again",
            str(damage).partition(". ")[0], aside.name,
        )  # fmt: skip
        return Ledger(path)


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def _move(path: Path, target: Path) -> None:
    if path.exists():
        path.rename(target)
