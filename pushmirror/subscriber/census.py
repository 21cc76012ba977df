"""What a run has made, counted on the disk.

What rsync tells of that may be the upstream's own words, and by what is new it would set its own budget.
"""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.paths import TreePath, add_ancestors, topmost
from pushmirror.subscriber.mirror import Mirror


class Census:
    """Remembers which of `paths`, and of the directories above them, are not in `mirror`, before a run brings them.

    If that is `recursive`, all that is below them counts as well.
    """

    def __init__(self, mirror: Mirror, paths: Iterable[TreePath], *, recursive: bool) -> None:
        self._mirror = mirror
        self._folders = topmost(paths) if recursive else ()
        single = () if recursive else tuple(paths)
        add_ancestors(above := set[TreePath](), self._folders or single)
        # In the order of the disk, which is quicker to look at.
        self._absent = mirror.absent((*sorted(above), *single))
        self._below = mirror.count_entries(self._folders)

    def gained(self) -> int:
        """Return how many entries there are now that were not there before."""
        below = self._mirror.count_entries(self._folders) - self._below
        return len(self._mirror.present(self._absent)) + max(0, below)
