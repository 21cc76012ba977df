"""Stamps: what each metadata file of a list is when its update is announced (``docs/protocol.md``, "stamps").

By them a mirror sees whether the metadata that it fetched belongs to the update that it applies, or to a later one
whose packages it has not heard of.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import TreePath, format_text
from pushmirror.core.profiles import PROFILES, split


def with_stamps(changes: ChangeList | None, root: Path, profile: str) -> ChangeList | None:
    """Return `changes` with a stamp for every changed path that is a metadata file now, by the profile of that name.

    None, for a whole tree, stays None.
    """
    if changes is None:
        return None
    _, metadata = split(changes.changed, PROFILES[profile])
    return replace(changes, stamps=tuple(sorted(_stamp(os.fsencode(root), metadata))))


def _stamp(root: bytes, paths: Iterable[TreePath]) -> Iterator[Stamp]:
    for path in paths:
        try:
            found = os.lstat(os.path.join(root, path))
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_mtime_ns >= 0 and format_text(path) is not None:
            yield Stamp(path, found.st_size, found.st_mtime_ns)
