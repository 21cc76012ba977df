"""The model is worth something only if it notices: here something is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from pushmirror.core.model import Heartbeat
from pushmirror.core.relaying import Comparison
from pushmirror.core.tracking import Verdict
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.relay.copies import Copies, Copy
from pushmirror.subscriber.tracker import Tracker
from tests.model import stories, tier_stories
from tests.model.places import CHAIN
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

    def take_heartbeat(self, heartbeat: Heartbeat, testimony: bytes | None = None) -> None:
        head, told = self._heard.head(TREE), heartbeat.trees.get(TREE)
        if head is not None and told is not None and head.serial == told.serial:
            heartbeat = replace(heartbeat, trees={TREE: replace(told, digest=head.digest)})
        super().take_heartbeat(heartbeat, testimony)


class DeafTracker(Tracker):
    """Never asks for what it has missed."""

    def take_heartbeat(self, heartbeat: Heartbeat, testimony: bytes | None = None) -> None:
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


class EagerCopies(Copies):
    """Hands on what was announced, whatever is in place."""

    def copy(self, tree: str) -> Copy | None:
        copy, announced = super().copy(tree), self._ledger.head(tree)
        if copy is None or announced is None:
            return copy
        return replace(copy, head=replace(copy.head, applied=announced))


class TidyCopies(Copies):
    """Says that all deletions are done."""

    def copy(self, tree: str) -> Copy | None:
        copy = super().copy(tree)
        if copy is None:
            return None
        applied = copy.head.applied
        return replace(copy, head=replace(copy.head, cleaned=applied.serial), cleaned_digest=applied.digest)


class TrustingLedger(Ledger):
    """Takes what was compared with a relay for as good as if it had been the publisher."""

    def finish_puts(self, tree: str, serial: int, generation: int, deletions: Any, **named: Any) -> bool:
        compared = named["compared"]
        named["compared"] = Comparison(compared.directories)
        return super().finish_puts(tree, serial, generation, set(deletions).difference(compared.deletions), **named)


class UntestifyingCopies(Copies):
    """Tells those below where it is, and has nothing by which the publisher could be held to that."""

    def testimony(self, tree: str) -> bytes | None:
        return None


class HeedlessLedger(Ledger):
    """Keeps no more than updates of what the publisher has signed."""

    def start_over(self, *arguments: Any, **named: Any) -> None:
        super().start_over(*arguments, **{**named, "testimony": None})

    def keep_testimony(self, tree: str, testimony: bytes) -> None:
        """It is not kept."""


class DiscreetLedger(Ledger):
    """Shows nobody what it heard."""

    def header(self, tree: str) -> bytes | None:
        return None


BROKEN: list[tuple[Makers, Callable[[World], None]]] = [
    (Makers(tracker=CredulousTracker), stories.restored_from_a_copy),
    (Makers(tracker=DeafTracker), stories.lost_on_the_way),
    (Makers(ledger=ForgetfulLedger), stories.killed_with_something_pending),
    (Makers(ledger=HastyLedger), stories.told_during_a_job),
    (Makers(rsync=RashRsync), stories.back_before_it_was_deleted),
    (Makers(rsync=LostRsync), stories.several_at_once),
]
BROKEN_TIERS: list[tuple[Makers, Callable[[World], None]]] = [
    (Makers(copies=EagerCopies), tier_stories.a_relay_that_is_held_up),
    (Makers(copies=TidyCopies), tier_stories.a_leaf_that_is_set_up_anew),
    (Makers(ledger=TrustingLedger), tier_stories.a_leaf_that_is_set_up_anew),
    (Makers(ledger=TrustingLedger), tier_stories.a_folder_compared_with_an_unclean_relay),
    (Makers(ledger=HeedlessLedger), tier_stories.a_journal_that_went_back_before_any_update_was_heard),
    (Makers(ledger=DiscreetLedger), tier_stories.a_journal_that_went_back_when_only_the_leaf_knew),
    (Makers(copies=UntestifyingCopies), tier_stories.a_journal_that_went_back_when_only_the_leaf_knew_by_a_relay),
]


def _notice(world: World, story: Callable[[World], None]) -> None:
    try:
        with pytest.raises(AssertionError):
            story(world)
    finally:
        world.close()


@pytest.mark.parametrize(("makers", "story"), BROKEN, ids=lambda given: getattr(given, "name", ""))
def test_the_model_notices(makers: Makers, story: Callable[[World], None]) -> None:
    """Each of these mirrors ends up wrong, and is found out."""
    _notice(World(makers=makers), story)


@pytest.mark.parametrize(("makers", "story"), BROKEN_TIERS, ids=lambda given: getattr(given, "name", ""))
def test_the_model_notices_below_a_relay(makers: Makers, story: Callable[[World], None]) -> None:
    """Each of these relays, or mirrors that read from one, makes something wrong of it."""
    _notice(World(CHAIN, makers), story)
