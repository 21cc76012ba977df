"""What the operator has refused to delete: it stays, with all that is below it, whoever lists it once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pushmirror.core.paths import TreePath, add_ancestors, lies_below, topmost

Around = Callable[[TreePath, frozenset[TreePath]], Iterable[TreePath]]
"""Returns what is in a directory, apart from some paths in it and from what is above and below these."""


def is_refused(path: TreePath, refused: frozenset[TreePath]) -> bool:
    """Tell whether `path` is one of the `refused`, or below one."""
    return path in refused or lies_below(path, refused)


def without_refused(deletions: Iterable[TreePath], refused: frozenset[TreePath], around: Around) -> list[TreePath]:
    """Return what of `deletions` may be deleted: not what was `refused`, nor a directory that has such a path in it.

    Of such a directory the rest goes, which `around` tells.
    """
    if not refused:
        return list(deletions)
    above: set[TreePath] = set()
    add_ancestors(above, refused)
    found: list[TreePath] = []
    for path in deletions:
        if path in above and not is_refused(path, refused):
            found.extend(around(path, refused))
        elif not is_refused(path, refused):
            found.append(path)
    return found


def still_refused(
    refused: frozenset[TreePath], surplus: Iterable[TreePath], unknown: Iterable[TreePath]
) -> tuple[TreePath, ...]:
    """Return what of the `refused` remains so after a comparison that found this `surplus`.

    What the upstream has again is its own once more; `unknown` are paths of which that could not be found out.
    """
    hidden = frozenset(unknown)
    kept = [path for path in refused if is_refused(path, hidden)]
    return topmost([*kept, *(path for path in surplus if is_refused(path, refused))])


def in_scope(refused: frozenset[TreePath], directories: Iterable[TreePath]) -> frozenset[TreePath]:
    """Return those of the `refused` that a comparison of whole `directories` looks at."""
    compared = frozenset(directories)
    return frozenset(path for path in refused if is_refused(path, compared))
