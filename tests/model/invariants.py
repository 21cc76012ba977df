"""What holds at every step, whatever has happened."""

from __future__ import annotations

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
        for mirror in self._world.mirrors:
            here = mirror.disk.read()
            self._check_watermarks(mirror)
            self._check_nothing_lost(mirror, here)
            self._check_applied(mirror, here)
            self._check_cleaned(mirror, here)
            self._before[mirror.name] = here

    @staticmethod
    def _check_watermarks(mirror: Tier2) -> None:
        record = mirror.record()
        assert record.cleaned <= record.applied <= record.announced, describe(record)
        assert "fault of this program" not in (record.reason or ""), record.reason

    def _check_nothing_lost(self, mirror: Tier2, here: Tree) -> None:
        """What the Tier 1 has never goes away."""
        lost = [path for path in self._before[mirror.name] if path not in here and path in self._world.tier1.tree]
        assert not lost, f"{mirror.name} has lost {lost}"

    def _check_applied(self, mirror: Tier2, here: Tree) -> None:
        """What was put up to the applied serial, and is unchanged at the Tier 1 since, is in place."""
        told = self._told(mirror, mirror.record().applied)
        there = self._world.tier1.tree
        for path, entry in (told.tree if told else {}).items():
            if there.get(path) == entry and not entry.is_directory:
                assert here.get(path) == entry, f"{mirror.name}: {path!r} is {here.get(path)}, not {entry}"

    def _check_cleaned(self, mirror: Tier2, here: Tree) -> None:
        """What is here and not at the Tier 1 went away there after the serial up to which all deletions are done."""
        told = None if mirror.refused else self._told(mirror, mirror.record().cleaned)
        tier1 = self._world.tier1
        for path in here.keys() - tier1.tree.keys() if told else ():
            assert told is None or tier1.died_at[path] >= told.number, f"{mirror.name}: {path!r} was to be deleted"

    def _told(self, mirror: Tier2, serial: int) -> Told | None:
        """Return what `serial` was announced over, when the mirror follows the history that is told now."""
        head, tier1 = mirror.record().head, self._world.tier1
        if head is None or serial < 0 or not tier1.holds(head):
            return None
        return tier1.histories.get((head.epoch, serial, tier1.digest_of(serial)))
