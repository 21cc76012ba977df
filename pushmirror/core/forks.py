"""Whether a header that a publisher has signed proves that its journal is a copy from before: a fork."""

from __future__ import annotations

from pushmirror.core.model import Head


def proves_fork(shown: Head, announced: Head, kept_digest: str | None) -> bool:
    """Tell whether an update that this publisher has signed cannot come from the journal as it is.

    `announced` is the newest update of the same tree in the journal, sent or not: nothing is signed before it is
    committed there. `kept_digest` is the digest of the journal's own update with the serial that is shown; None when it
    keeps none: what was pruned proves nothing. An update of another epoch is of another journal, and proves nothing.
    """
    if shown.epoch != announced.epoch:
        return False
    return shown.serial > announced.serial or kept_digest not in (None, shown.digest)
