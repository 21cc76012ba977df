"""Finds all names of files that were changed in place: a log tells of one name, and the others changed with it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from pushmirror.core.itemise import trust_placed
from pushmirror.core.paths import TreePath

InodeKey = tuple[int, int]
"""Device and number of an inode."""


def find_names(root: bytes, inodes: Collection[InodeKey]) -> Iterator[TreePath]:
    """Yield the names in the tree at `root` that files with the numbers of these inodes have.

    Another file system in the tree may have the same numbers. The names alone are read, which takes two seconds for a
    million of them; directories that cannot be read are passed over.
    """
    numbers = {number for _, number in inodes}
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = os.scandir(os.path.join(root, folder))
        except OSError:
            continue
        with entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.inode() in numbers and (trusted := trust_placed(path)) is not None:
                    yield trusted
