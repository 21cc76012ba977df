"""A tree as a dictionary, how a publisher edits it and announces that, and what an rsync job does to a mirror of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pushmirror.core.changes import find_bare, plain_puts
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors, lies_below, topmost


@dataclass(frozen=True)
class Entry:
    """What stands at a path: ``file``, ``link`` or ``directory``, and its content or attributes."""

    kind: str
    value: int = 0

    @property
    def is_directory(self) -> bool:
        """Whether something can stand below it."""
        return self.kind == "directory"


Tree = dict[TreePath, Entry]


def remove(tree: Tree, path: TreePath) -> None:
    """Take away what stands at `path` and below."""
    for found in [found for found in tree if found == path or lies_below(found, {path})]:
        del tree[found]


def place(tree: Tree, path: TreePath, entry: Entry) -> None:
    """Put `entry` at `path`; directories above come by themselves, and whatever of another kind is in the way goes."""
    for above in reversed(tuple(ancestors(path))):
        if above not in tree or not tree[above].is_directory:
            remove(tree, above)
            tree[above] = Entry("directory")
    if not entry.is_directory or (path in tree and not tree[path].is_directory):
        remove(tree, path)
    tree[path] = entry


def below(tree: Tree, path: TreePath) -> list[TreePath]:
    """Return what stands below `path`."""
    return [found for found in tree if lies_below(found, {path})]


@dataclass(frozen=True)
class Style:
    """How a publisher words an announcement; each way tells the same."""

    parents_alone: bool = False
    """New directories are left out where something below them is named."""
    anew: TreePath | None = None
    """This directory is announced as deleted, and everything that it holds as put."""
    kinds_untold: bool = False
    """The list does not say which paths are directories."""
    recursive: TreePath | None = None
    """This directory is announced as one to be synced recursively, and nothing below it by itself."""


def announce(before: Tree, after: Tree, style: Style) -> ChangeList:
    """Return the list that tells how `before` became `after`.

    A deleted directory is named by itself; a file in the place of a directory is a put and nothing else, and so is a
    directory in the place of a file or link.
    """
    changed = {path for path in after if before.get(path) != after[path]}
    directories: set[TreePath] = set()
    gone = [
        path for path in before if path not in after and not lies_below(path, {p for p in after if is_plain(after, p)})
    ]
    deleted = set(topmost(gone))
    if style.recursive is not None and style.recursive in before and after.get(style.recursive, None) is not None:
        directories.add(style.recursive)
    changed -= directories
    changed -= {path for path in changed if lies_below(path, directories)}
    deleted -= {path for path in deleted if lies_below(path, directories)}
    if style.parents_alone:
        named_below = {above for path in changed for above in ancestors(path)}
        changed -= {path for path in named_below if path in changed and path not in before}
    anew = style.anew
    if anew is not None and can_be_told_anew(before, after, anew, directories):
        inside = set(below(after, anew))
        directories -= inside
        deleted = {path for path in deleted if not lies_below(path, {anew})} | {anew}
        changed |= inside
    bare = find_bare({path for path in changed if after[path].is_directory}, changed | directories)
    if style.kinds_untold:
        bare = ()
    return ChangeList(tuple(sorted(changed)), tuple(sorted(deleted)), tuple(sorted(directories)), bare=bare)


def can_be_told_anew(before: Tree, after: Tree, path: TreePath, directories: set[TreePath]) -> bool:
    """Tell whether `path` is a directory that stayed as it was, holds something, and is not told of recursively."""
    stayed = before.get(path) == after.get(path) == Entry("directory") and below(after, path)
    return bool(stayed) and path not in directories and not lies_below(path, directories)


def is_plain(tree: Tree, path: TreePath) -> bool:
    """Tell whether something other than a directory stands at `path`."""
    return path in tree and not tree[path].is_directory


def bring(mirror: Tree, upstream: Tree, changes: ChangeList) -> tuple[TreePath, ...]:
    """Do the puts of a job: each listed path with the directories above it. Returns those that the upstream lacks.

    A put that should be no directory and is one is synced recursively.
    """
    for path in changes.changed:
        if path in upstream:
            copy(mirror, upstream, path)
    turned = [path for path in plain_puts(changes) if path in upstream and upstream[path].is_directory]
    for directory in (*changes.directories, *turned):
        if directory in upstream:
            remove(mirror, directory)
            for path in [directory, *below(upstream, directory)]:
                copy(mirror, upstream, path)
    return tuple(path for path in (*changes.changed, *changes.directories) if path not in upstream)


def copy(mirror: Tree, upstream: Tree, path: TreePath) -> None:
    """Bring one path, and the attributes of the directories above it."""
    for part in (*reversed(tuple(ancestors(path))), path):
        place(mirror, part, upstream[part])


def delete(mirror: Tree, upstream: Tree, deleted: Iterable[TreePath]) -> tuple[TreePath, ...]:
    """Do the deletions of a job: of what the upstream lacks as well. Returns those that stay pending."""
    for path in deleted:
        if path not in upstream:
            remove(mirror, path)
    return tuple(path for path in deleted if path in mirror)
