"""Merging change lists: what ten announcements in a row amount to, as one job.

The order of updates matters, the order inside one update does not. A merge never needs the disk; what depends on the
mirror's own content is left open in `Merged.replaced` and decided by `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import TreePath, ancestors, lies_below, topmost


@dataclass
class Merged:
    """The sum of change lists so far. `replaced` are paths that were deleted and then put again, at or below."""

    changed: set[TreePath] = field(default_factory=set)
    deleted: set[TreePath] = field(default_factory=set)
    directories: set[TreePath] = field(default_factory=set)
    replaced: set[TreePath] = field(default_factory=set)
    linked: dict[TreePath, TreePath] = field(default_factory=dict)
    stamps: dict[TreePath, Stamp] = field(default_factory=dict)

    def add(self, newer: ChangeList) -> None:
        """Add the list of the next update."""
        if newer.deleted:
            self._delete(newer.deleted)
        for path in newer.directories:
            self._put(path)
            self.directories.add(path)
        for path in newer.changed:
            self._put(path)
            self.changed.add(path)
            self.linked.pop(path, None)
            self.stamps.pop(path, None)
        self.stamps.update((stamp.path, stamp) for stamp in newer.stamps)
        self.linked.update(newer.linked)

    def _delete(self, paths: tuple[TreePath, ...]) -> None:
        gone = set(paths)
        for kept in (self.changed, self.deleted, self.directories, self.replaced):
            kept.difference_update([path for path in kept if path in gone or lies_below(path, gone)])
        self.deleted |= gone

    def _put(self, path: TreePath) -> None:
        for candidate in (path, *ancestors(path)):
            if candidate in self.deleted:
                self.deleted.remove(candidate)
                self.replaced.add(candidate)


def merge(lists: Iterable[ChangeList]) -> Merged:
    """Return the sum of `lists`, the oldest first."""
    merged = Merged()
    for changes in lists:
        merged.add(changes)
    return merged


def settle(merged: Merged, is_directory: Callable[[TreePath], bool]) -> ChangeList:
    """Return the change list that a job applies.

    A path that was deleted and put again becomes a recursive sync where the mirror still has a directory there
    (`is_directory`, without following links), because old content below it has to go; elsewhere its puts suffice, as
    long as there are any: a later update may have deleted them, but not what they stand in.
    """
    put_in = {above for path in merged.changed | merged.directories for above in (path, *ancestors(path))}
    recursive = merged.directories | {path for path in merged.replaced if path not in put_in or is_directory(path)}
    directories = topmost(recursive)
    covered = set(directories)
    changed = tuple(sorted(p for p in merged.changed if p not in covered and not lies_below(p, covered)))
    put = set(changed)
    return ChangeList(
        changed=changed,
        deleted=tuple(sorted(p for p in topmost(merged.deleted) if not lies_below(p, covered))),
        directories=directories,
        linked=tuple(sorted(pair for pair in merged.linked.items() if pair[0] in put or lies_below(pair[0], covered))),
        stamps=tuple(sorted(stamp for path, stamp in merged.stamps.items() if path in put)),
    )
