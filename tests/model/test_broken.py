"""The model is worth something only if it notices: here something is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from pushmirror.core.model import Heartbeat
from pushmirror.core.tracking import Verdict
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.tracker import Tracker
from tests.model import stories
from tests.model.rsync import MemoryRsync
from tests.model.tier2 import Makers
from tests.model.world import World
from tests.subscriber.upstream import TREE

pytestmark = pytest.mark.slow


class CredulousTracker(Tracker):
    """Believes that what it hears follows on what it heard, whatever the digests say."""

    def __init__(self, reactor: Any, trees: Iterable[str], ledger: Any, *others: Any) -> None:
        super().__init__(reactor, trees, ledger, *others)
        self._heard = ledger

    def take_update(self, heard: HeardUpdate) -> Verdict:
        head = self._heard.head(heard.update.tree)
        if head is not None and heard.update.previous == head.serial:
            heard = replace(heard, update=replace(heard.update, previous_digest=head.digest))
        return super().take_update(heard)

    def take_heartbeat(self, heartbeat: Heartbeat) -> None:
        head, told = self._heard.head(TREE), heartbeat.trees.get(TREE)
        if head is not None and told is not None and head.serial == told.serial:
            heartbeat = replace(heartbeat, trees={TREE: replace(told, digest=head.digest)})
        super().take_heartbeat(heartbeat)


class DeafTracker(Tracker):
    """Never asks for what it has missed."""

    def take_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Heartbeats are not heeded."""


class ForgetfulLedger(Ledger):
    """Keeps what is pending in memory alone, so that whoever is restarted has nothing left to do."""

    def open_tree(self, tree: str, identity: str) -> bool:
        known = super().open_tree(tree, identity)
        self._database.execute("DELETE FROM pending WHERE tree = ?", (tree,))
        return known


class HastyLedger(Ledger):
    """Takes everything that is pending for applied, also what came after the job began."""

    def finish_puts(self, tree: str, serial: int, *arguments: Any, **named: Any) -> bool:
        return super().finish_puts(tree, self.tree(tree).announced, *arguments, **named)


class RashRsync(MemoryRsync):
    """Deletes what it is told to delete without asking the upstream whether it is gone."""

    verifies_deletions = False


class LostRsync(MemoryRsync):
    """Reads no further than the first path of a list, and says that all is well."""

    most_paths = 1


BROKEN: list[tuple[Makers, Callable[[World], None]]] = [
    (Makers(tracker=CredulousTracker), stories.restored_from_a_copy),
    (Makers(tracker=DeafTracker), stories.lost_on_the_way),
    (Makers(ledger=ForgetfulLedger), stories.killed_with_something_pending),
    (Makers(ledger=HastyLedger), stories.told_during_a_job),
    (Makers(rsync=RashRsync), stories.back_before_it_was_deleted),
    (Makers(rsync=LostRsync), stories.several_at_once),
]


@pytest.mark.parametrize(("makers", "story"), BROKEN, ids=lambda given: getattr(given, "name", ""))
def test_the_model_notices(makers: Makers, story: Callable[[World], None]) -> None:
    """Each of these mirrors ends up wrong, and is found out."""
    world = World(2, makers)
    try:
        with pytest.raises(AssertionError):
            story(world)
    finally:
        world.close()
