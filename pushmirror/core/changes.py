"""Merging change lists: what ten announcements in a row amount to, as one job.

The order of updates matters, the order inside one update does not. A merge never needs the disk; what depends on the
mirror's own content is left open in `Merged.replaced` and decided by `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import TreePath, add_ancestors, lies_below, topmost


@dataclass
class Merged:
    """The sum of change lists so far.

    `replaced` are paths that were deleted and then put again, at or below. `plain` are those of `changed` that were no
    directories when they were announced.
    """

    changed: set[TreePath] = field(default_factory=set)
    deleted: set[TreePath] = field(default_factory=set)
    directories: set[TreePath] = field(default_factory=set)
    replaced: set[TreePath] = field(default_factory=set)
    plain: set[TreePath] = field(default_factory=set)
    linked: dict[TreePath, TreePath] = field(default_factory=dict)
    stamps: dict[TreePath, Stamp] = field(default_factory=dict)
    _above: set[TreePath] = field(default_factory=set)
    """Everything that ever had a path of a list below it."""

    def add(self, newer: ChangeList) -> None:
        """Add the list of the next update."""
        plain = set(plain_puts(newer))
        put = {*newer.changed, *newer.directories}
        above = _all_above(put)
        self._above |= above
        add_ancestors(self._above, newer.deleted)
        self._delete(set(newer.deleted))
        self._take_place(plain)
        self._put(put | above)
        self.directories.update(newer.directories)
        self.changed.update(newer.changed)
        for forgotten in (self.linked, self.stamps):
            for path in forgotten.keys() & newer.changed:
                del forgotten[path]
        self.plain |= plain
        self.stamps.update((stamp.path, stamp) for stamp in newer.stamps)
        self.linked.update(newer.linked)

    def _delete(self, gone: set[TreePath]) -> None:
        self._forget_below(gone)
        for kept in (self.changed, self.directories, self.replaced, self.plain):
            kept.difference_update(gone)
        self.deleted |= gone

    def _take_place(self, plain: set[TreePath]) -> None:
        """Whatever was a directory where a file or link is put now went with all that was in it."""
        self._forget_below(plain)
        for kept in (self.deleted, self.directories, self.replaced, self.plain):
            kept.difference_update(plain)

    def _forget_below(self, paths: set[TreePath]) -> None:
        if self._above.isdisjoint(paths):
            return  # as for nearly every list: otherwise ten thousand of them would cost that many looks at everything
        for kept in (self.changed, self.deleted, self.directories, self.replaced, self.plain):
            kept.difference_update([path for path in kept if lies_below(path, paths)])

    def _put(self, there: set[TreePath]) -> None:
        """What is put, or has something put below it, is there again."""
        again = self.deleted & there
        self.deleted -= again
        self.replaced |= again
        # A directory again, and what was in it before the file or link is in no list.
        turned = self.plain & there
        self.plain -= turned
        self.directories |= turned


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
    recursive = set(merged.directories)
    if merged.replaced:
        put = merged.changed | merged.directories
        put_in = put | _all_above(put)
        recursive.update(path for path in merged.replaced if path not in put_in or is_directory(path))
    directories = topmost(recursive)
    covered = set(directories)
    changed = tuple(sorted(p for p in merged.changed if p not in covered and not lies_below(p, covered)))
    put = set(changed)
    return ChangeList(
        changed=changed,
        deleted=tuple(sorted(p for p in topmost(merged.deleted) if not lies_below(p, covered))),
        directories=directories,
        linked=tuple(sorted(pair for pair in merged.linked.items() if pair[0] in put or lies_below(pair[0], covered))),
        bare=find_bare(put - merged.plain, (*changed, *directories)),
        stamps=tuple(sorted(stamp for path, stamp in merged.stamps.items() if path in put)),
    )


def find_bare(directories: Iterable[TreePath], put: Iterable[TreePath]) -> tuple[TreePath, ...]:
    """Return those of the changed `directories` below which nothing is `put`: a list has to say what they are."""
    return tuple(sorted(set(directories) - _all_above(put)))


def told_directories(changes: ChangeList) -> set[TreePath]:
    """Return the paths that were directories when `changes` was announced: it says so, or has something below them."""
    there = (*changes.changed, *changes.directories, *(sibling for _, sibling in changes.linked))
    return {*changes.bare, *changes.directories, *_all_above(there)}


def plain_puts(changes: ChangeList) -> tuple[TreePath, ...]:
    """Return the changed paths that were no directories when `changes` was announced."""
    told = told_directories(changes)
    return tuple(path for path in changes.changed if path not in told)


def _all_above(paths: Iterable[TreePath]) -> set[TreePath]:
    found: set[TreePath] = set()
    add_ancestors(found, paths)
    return found
