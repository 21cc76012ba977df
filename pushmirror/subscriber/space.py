"""File systems of mirrors that ran out of room: what waits for them, and until when.

It is kept in memory alone: after a restart the first job that finds no room teaches it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core.schedule import Work
from pushmirror.core.space import FullDisk, Room, empty, fill, has_room_again, judge_room, wait_for_room
from pushmirror.subscriber.parts import TreeParts

log = logging.getLogger(__name__)

LOOK_EVERY_MS = 5_000
_TROUBLE_LASTS_MS = 5_000
_NO_ROOM = Room(0, 0)
_BRINGING = (Work.WHOLE, Work.LIST)


@dataclass(frozen=True)
class _Short:
    """A tree that waits, because what was announced up to `announced` needs more room than there is."""

    growth_bytes: int
    announced: int
    reason: str


class Space:
    """What the `trees` wait for that have no room. Deleting is never kept waiting: it makes room."""

    def __init__(
        self, trees: Mapping[str, TreeParts], clock_ms: Callable[[], int], random: Callable[[], float]
    ) -> None:
        self._trees = trees
        self._clock_ms = clock_ms
        self._random = random
        self._full: dict[int, FullDisk] = {}
        self._short: dict[str, _Short] = {}

    # --- what jobs found

    def note_full(self, tree: str, reason: str) -> bool:
        """Take note that a job of `tree` ran out of room: those of its file system wait. Returns whether it is news."""
        device = self._device(tree)
        before = self._full.get(device)
        disk = fill(before, tree, self._room(tree), reason, self._clock_ms(), self._random())
        self._full[device] = disk
        news = before is None or tree not in before.trees
        if before is None:
            others = ", ".join(sorted(self._others(tree, device))) or "no other tree"
            log.warning("the disk of tree %s is full: %s; with it waits %s", tree, reason, others)
        return news

    def note_trouble(self, tree: str, reason: str) -> None:
        """Take note that a disk gave other trouble, for which there is room enough: its trees wait for a moment."""
        device = self._device(tree)
        until_ms = self._clock_ms() + _TROUBLE_LASTS_MS
        never_bytes = self._room(tree).total_bytes + 1
        self._full.setdefault(device, FullDisk(frozenset(), 0, until_ms, until_ms, never_bytes, reason))

    def note_short(self, tree: str, growth_bytes: int, announced: int, reason: str) -> bool:
        """Take note that `tree` has no room for what was announced to it. Returns whether it is news."""
        news = tree not in self._short
        self._short[tree] = _Short(growth_bytes, announced, reason)
        return news

    def note_done(self, tree: str) -> None:
        """Take note that a job of `tree` had all the room that it needed."""
        self._short.pop(tree, None)
        device = self._device(tree)
        if device in self._full and tree in self._full[device].trees:
            self._replace(device, empty(self._full[device], tree))

    # --- what follows

    @property
    def waiting(self) -> bool:
        """Whether anything waits for room, so that one has to look again soon."""
        return bool(self._full or self._short)

    def look(self) -> None:
        """Look how much room there is now: a disk that has more again, or that had trouble, is tried once more."""
        for device, disk in tuple(self._full.items()):
            room = next((self._room(tree) for tree in self._trees if self._device(tree) == device), _NO_ROOM)
            if has_room_again(disk, room):
                log.info("there is room again on the disk of tree %s", ", ".join(sorted(disk.trees)))
                self._replace(device, None)
            elif not disk.trees and disk.until_ms <= self._clock_ms():
                self._replace(device, None)

    def blocked(self, tree: str, announced: int) -> dict[Work, int]:
        """Return what `tree` has no room for, of which `announced` is the newest serial, and until when at least."""
        disk, short = self._full.get(self._device(tree)), self._short.get(tree)
        if disk is not None and (until_ms := wait_for_room(disk, tree)) > self._clock_ms():
            return dict.fromkeys(_BRINGING, until_ms)
        if short is None:
            return {}
        again_ms = self._clock_ms() + LOOK_EVERY_MS
        room, floor_bytes = self._room(tree), self._trees[tree].settings.min_free_bytes
        if judge_room(room, floor_bytes, 0) is not None:
            return dict.fromkeys(_BRINGING, again_ms)
        if short.announced == announced and judge_room(room, floor_bytes, short.growth_bytes) is not None:
            return {Work.LIST: again_ms}
        return {}

    def show(self, tree: str, announced: int) -> dict[str, Any] | None:
        """Return what ``status`` tells of a tree that waits for room, None for one that does not."""
        if not self.blocked(tree, announced):
            return None
        disk, short = self._full.get(self._device(tree)), self._short.get(tree)
        growth_bytes = None if short is None else short.growth_bytes
        reason = short.reason if short is not None else f"the disk of the mirror is full: {disk.reason if disk else ''}"
        return {"free_bytes": self._room(tree).free_bytes, "needed_bytes": growth_bytes, "reason": reason}

    # --- the disk

    def _replace(self, device: int, disk: FullDisk | None) -> None:
        if disk is None:
            del self._full[device]
        else:
            self._full[device] = disk

    def _others(self, tree: str, device: int) -> Iterable[str]:
        return (other for other in self._trees if other != tree and self._device(other) == device)

    def _device(self, tree: str) -> int:
        """Return which file system a tree is on; -1 when that cannot be found out, which its own jobs tell."""
        try:
            return self._trees[tree].mirror.device()
        except OSError:
            return -1

    def _room(self, tree: str) -> Room:
        try:
            return self._trees[tree].mirror.room()
        except OSError:
            return _NO_ROOM
