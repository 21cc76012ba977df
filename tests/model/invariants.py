"""What holds at every step, whatever has happened."""

from __future__ import annotations

from pushmirror.subscriber.records import NEVER
from tests.core.tree_model import Tree
from tests.model.tier1 import Told
from tests.model.tier2 import Tier2
from tests.model.world import World, describe


class Watch:
    """Looks at the mirrors of `world` after each step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[str, Tree] = {mirror.name: mirror.disk.read() for mirror in world.mirrors}

    def check(self) -> None:
        """Raise AssertionError when something is as it must not be."""
        assert not self._world.faults_seen, self._world.faults_seen[0]
        now = {mirror.name: mirror.disk.read() for mirror in self._world.mirrors}
        for mirror in self._world.mirrors:
            self._check_watermarks(mirror)
            self._check_below_relays(mirror)
            self._check_nothing_lost(mirror, now)
            self._check_applied(mirror, now[mirror.name])
            self._check_cleaned(mirror, now[mirror.name])
        self._before = now

    @staticmethod
    def _check_watermarks(mirror: Tier2) -> None:
        record = mirror.record()
        assert record.cleaned <= record.applied <= record.announced, describe(record)
        assert "fault of this program" not in (record.reason or ""), record.reason

    def _check_below_relays(self, mirror: Tier2) -> None:
        """Nobody has applied what none of the relays that it reads from ever had."""
        record, relays = mirror.record(), self._world.above(mirror)
        if mirror.place.origin or record.head is None or record.applied == NEVER:
            return
        furthest = max(relay.furthest.get(record.head.epoch, NEVER) for relay in relays)
        assert record.applied <= furthest, f"{mirror.name} has applied {record.applied}, its relays had {furthest}"

    def _check_nothing_lost(self, mirror: Tier2, now: dict[str, Tree]) -> None:
        """What the Tier 1 has, and every relay that is read from, never goes away.

        A directory that something else is to take the place of does: it is moved aside before that is brought.
        """
        before, tier1 = self._before[mirror.name], self._world.tier1.tree
        there = set(tier1)
        for relay in mirror.place.relays:
            there &= self._before[relay].keys() & now[relay].keys()
        gone = (before.keys() - now[mirror.name].keys()) & there
        lost = sorted(path for path in gone if before[path].is_directory <= tier1[path].is_directory)
        assert not lost, f"{mirror.name} has lost {lost}"

    def _check_applied(self, mirror: Tier2, here: Tree) -> None:
        """What was put up to the applied serial, and is unchanged at the Tier 1 since, is in place.

        A directory that it is to take the place of is a deletion: held until the cleaned serial, or refused.
        """
        record, there = mirror.record(), self._world.tier1.tree
        applied, cleaned = self._told(mirror, record.applied), self._told(mirror, record.cleaned)
        for path, entry in (applied.tree if applied else {}).items():
            in_the_way = path in here and here[path].is_directory
            told = cleaned if in_the_way else applied
            if in_the_way and mirror.refused:
                continue
            if told is None or told.tree.get(path) != entry or entry.is_directory:
                continue
            if there.get(path) == entry and path not in self._world.tier1.unsaid:
                assert here.get(path) == entry, f"{mirror.name}: {path!r} is {here.get(path)}, not {entry}"

    def _check_cleaned(self, mirror: Tier2, here: Tree) -> None:
        """What is here and not at the Tier 1 went away there after the serial up to which all deletions are done."""
        told = None if mirror.refused else self._told(mirror, mirror.record().cleaned)
        tier1 = self._world.tier1
        for path in here.keys() - tier1.tree.keys() - tier1.unsaid if told else ():
            assert told is None or tier1.died_at[path] >= told.number, f"{mirror.name}: {path!r} was to be deleted"

    def _told(self, mirror: Tier2, serial: int) -> Told | None:
        """Return what `serial` was announced over, when the mirror follows the history that is told now."""
        head, tier1 = mirror.record().head, self._world.tier1
        if head is None or serial < 0 or not tier1.holds(head):
            return None
        return tier1.histories.get((head.epoch, serial, tier1.digest_of(serial)))
