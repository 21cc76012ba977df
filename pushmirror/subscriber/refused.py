"""What the operator has refused to delete from one tree: left out of what a job would delete, until it is over."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.core.refusals import in_scope, still_refused, without_refused
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.mirror import Mirror


class Refused:
    """The refusals of `tree`, whose copy is `mirror`. A refusal is over when the upstream has the path again."""

    def __init__(self, tree: str, mirror: Mirror, ledger: Ledger) -> None:
        self._tree = tree
        self._mirror = mirror
        self._ledger = ledger
        self._paths = ledger.refusals(tree)

    def leave_out(self, deletions: tuple[TreePath, ...]) -> tuple[TreePath, ...]:
        """Return what of `deletions` may be deleted. Looks at the disk. Raises OSError."""
        return tuple(without_refused(deletions, self._paths, self._mirror.around))

    def note_list(self, changes: ChangeList, surplus: Iterable[TreePath], unknown: Iterable[TreePath]) -> None:
        """Take note that a list job brought `changes`, and of the `surplus` in its directories."""
        if not self._paths:
            return
        hidden = set(unknown)
        back = {path for path in self._paths.intersection(changes.changed) if not self._mirror.is_directory(path)}
        compared = in_scope(self._paths, changes.directories)
        left = still_refused(compared, surplus, hidden)
        self._set((self._paths - compared - (back - hidden)).union(left))

    def note_whole(self, surplus: Iterable[TreePath], unknown: Iterable[TreePath]) -> None:
        """Take note of the `surplus` that a full sync found; what is `unknown` stays refused."""
        if self._paths:
            self._set(frozenset(still_refused(self._paths, surplus, unknown)))

    def _set(self, paths: frozenset[TreePath]) -> None:
        if paths != self._paths:
            self._ledger.set_refusals(self._tree, paths)
            self._paths = paths
