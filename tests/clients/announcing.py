"""What changed in a tree between two looks at it, as the operator of an archive announces it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.world import World

Snapshot = dict[bytes, tuple[int, int, int]]


@dataclass(frozen=True)
class Changes:
    """Paths of files, relative to the tree: new or changed, and gone."""

    put: tuple[bytes, ...]
    deleted: tuple[bytes, ...]


def look(root: Path) -> Snapshot:
    """Return inode, size and time (ns) of every file below `root`."""
    top = os.fsencode(root)
    found: Snapshot = {}
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[os.path.relpath(path, top)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def compare(before: Snapshot, after: Snapshot) -> Changes:
    """Return what happened between two snapshots."""
    put = [path for path, status in after.items() if before.get(path) != status]
    return Changes(tuple(sorted(put)), tuple(sorted(before.keys() - after.keys())))


def announce(world: World, changes: Changes) -> int:
    """Announce changes with the real command; returns the serial that it printed."""
    deletions = [f"--delete={os.fsdecode(path)}" for path in changes.deleted]
    return world.publish(*deletions, "--paths-from=-", stdin=b"\0".join(changes.put))
