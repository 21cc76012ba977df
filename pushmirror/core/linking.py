"""Which changed names need a settled one beside them, so that a mirror links instead of copying."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from pushmirror.core.paths import TreePath


class Inode(Protocol):
    """The part of `os.stat_result` that tells which names are one file."""

    @property
    def st_dev(self) -> int: ...

    @property
    def st_ino(self) -> int: ...

    @property
    def st_nlink(self) -> int: ...


StatOf = Callable[[TreePath], "Inode | None"]
OtherNameOf = Callable[[TreePath, Inode], "TreePath | None"]


def link_pairs(
    changed: Iterable[TreePath], stat_of: StatOf, other_name_of: OtherNameOf
) -> tuple[tuple[TreePath, TreePath], ...]:
    """Return for each changed name whose inode has more names than are listed the pair of it and a settled one.

    `stat_of` returns None for a directory and for what is not there. `other_name_of` is asked for a name of that
    inode which is in the tree and did not change, and returns None when it knows none; the path then has no pair.
    """
    found = {path: inode for path in changed if (inode := stat_of(path)) is not None and inode.st_nlink > 1}
    listed = Counter((inode.st_dev, inode.st_ino) for inode in found.values())
    pairs = []
    for path, inode in found.items():
        if listed[inode.st_dev, inode.st_ino] < inode.st_nlink:
            other = other_name_of(path, inode)
            if other is not None and other not in found:
                pairs.append((path, other))
    return tuple(sorted(pairs))
