"""What this node can hand on of each tree: as far as it is in place here, and as far back as it is kept."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pushmirror.core.model import Head, RelayHead
from pushmirror.core.relaying import Standing, refuse_relay
from pushmirror.core.wire import MAX_INLINE_BYTES
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import TreeRecord
from pushmirror.subscriber.relay.kept import KeptUpdates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Copy:
    """One tree as it is relayed. `oldest` is the lowest serial that can be handed out, 0 when there is none."""

    head: RelayHead
    cleaned_digest: str | None
    oldest: int


class Copies:
    """The trees of `publishers` (tree to publisher) that are relayed; those that are `filtered` are not."""

    def __init__(
        self, ledger: Ledger, kept: KeptUpdates, publishers: Mapping[str, str], filtered: Collection[str]
    ) -> None:
        self.publishers = publishers
        self._ledger = ledger
        self._kept = kept
        self._filtered = frozenset(filtered)
        self._told: dict[str, str | None] = {}

    def refusal(self, tree: str) -> str | None:
        """Return why `tree` is not handed on at the moment, None when it is. Raises StateError."""
        return self._refuse(self._ledger.tree(tree))

    def _refuse(self, record: TreeRecord) -> str | None:
        return refuse_relay(
            Standing(
                filtered=record.tree in self._filtered,
                incomplete=len(record.incomplete),
                applied=record.applied,
                doubted=record.whole_pending and self._kept.doubted(record.tree, record.applied),
                known=self._knows(record.tree, record.applied),
            )
        )

    def _knows(self, tree: str, serial: int) -> bool:
        try:
            self._kept.digest(tree, serial)
        except KeyError:
            return False
        return True

    def copy(self, tree: str) -> Copy | None:
        """Return what can be handed on of `tree`, None for nothing at the moment. Raises StateError."""
        record = self._ledger.tree(tree)
        if record.head is None or self._refuse(record) is not None:
            return None
        applied = Head(record.head.epoch, record.applied, self._kept.digest(tree, record.applied))
        beginning = self._kept.beginning(tree, record.applied)
        return Copy(
            head=RelayHead(record.head.epoch, applied, record.cleaned),
            cleaned_digest=self._digest(tree, record.cleaned) if record.cleaned >= beginning else None,
            oldest=beginning + 1 if beginning < record.applied else 0,
        )

    def testimony(self, tree: str) -> bytes | None:
        """Return the newest message that is kept in which the publisher told where `tree` is. Raises StateError.

        None when there is none that fits into another message.
        """
        found = self._ledger.header(tree)
        return found if found is not None and len(found) <= MAX_INLINE_BYTES else None

    def _digest(self, tree: str, serial: int) -> str | None:
        try:
            return self._kept.digest(tree, serial)
        except KeyError:  # a serial that was left out: there is no update of that number
            return None

    def heads(self, publisher: str) -> dict[str, RelayHead]:
        """Return what a heartbeat tells of the trees of `publisher`. Raises StateError."""
        found = {tree: self.copy(tree) for tree, of in self.publishers.items() if of == publisher}
        return {tree: copy.head for tree, copy in found.items() if copy is not None}

    def show(self, tree: str) -> dict[str, object] | None:
        """Return what ``status`` shows of `tree`, None when nobody asked for it to be relayed."""
        if tree not in self.publishers:
            return None
        copy = self.copy(tree)
        if copy is None:
            return {"serving": None, "cleaned": None, "reason": self.refusal(tree)}
        return {"serving": copy.head.applied.serial, "cleaned": copy.head.cleaned, "reason": None}

    def tell_changes(self) -> None:
        """Log once for each tree that it is handed on or not, and why, and again when that changes."""
        for tree in self.publishers:
            reason = self.refusal(tree)
            if tree not in self._told or self._told[tree] != reason:
                self._told[tree] = reason
                if reason is None:
                    log.info("tree %s: is relayed", tree)
                else:
                    log.warning("tree %s: is not relayed: %s", tree, reason)
