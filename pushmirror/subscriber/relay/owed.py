"""Has done what had to wait until a relay did its own deletions: told by its heartbeats, or by its absence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pushmirror.core.model import RelayHead
from pushmirror.subscriber.ledger import Ledger


class OwedNotes:
    """Takes note for `trees` of how clean their relays are. `changed` is called with a tree that has something due."""

    def __init__(
        self, trees: Iterable[str], ledger: Ledger, clock_ms: Callable[[], int], changed: Callable[[str], None]
    ) -> None:
        self._trees = tuple(trees)
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._changed = changed
        self._cleaned: dict[tuple[str, str], int] = {}

    def take_heads(self, relay: str, heads: Mapping[str, RelayHead]) -> None:
        """Take note of what a relay says."""
        for tree in self._trees:
            head, believed = heads.get(tree), self._ledger.head(tree)
            if head is None or believed is None or head.epoch != believed.epoch:
                continue
            moved = self._cleaned.get((tree, relay)) != head.cleaned
            self._cleaned[(tree, relay)] = head.cleaned
            self._note(tree, head.cleaned, moved=moved)

    def read_from_origin(self) -> None:
        """Take note that there is no relay to read from: whatever is compared again is compared with the origin."""
        for tree in self._trees:
            believed = self._ledger.head(tree)
            if believed is not None:
                self._note(tree, believed.serial, moved=False)

    def _note(self, tree: str, cleaned: int, *, moved: bool) -> None:
        if self._ledger.note_cleaned(tree, cleaned, self._clock_ms(), moved=moved):
            self._changed(tree)
