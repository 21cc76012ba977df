"""Room on the file system of a mirror: whether a job may begin, and when a full disk is tried again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pushmirror.core.schedule import retry_delay_ms

_NOTICEABLE_SHARE = 100
_NOTICEABLE_BYTES = 10**9
"""A full disk is tried again at once when a hundredth of it, or this much, has become free."""
_OTHERS_WAIT_MS = 60_000


@dataclass(frozen=True)
class Room:
    """The size of a file system, and how much of it is free for us."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class FullDisk:
    """A file system that ran out of room `failures` times in a row, by the `trees` that need more of it.

    These wait until `until_ms`, or until `wanted_bytes` of it are free; the other trees on it do until
    `others_until_ms`.
    """

    trees: frozenset[str]
    failures: int
    until_ms: int
    others_until_ms: int
    wanted_bytes: int
    reason: str


def judge_room(room: Room, floor_bytes: int, growth_bytes: int) -> str | None:
    """Return None when a job that adds `growth_bytes` leaves `floor_bytes` free, otherwise why it waits."""
    if room.free_bytes < floor_bytes:
        return f"the mirror's disk has {room.free_bytes} bytes free, below min_free ({floor_bytes} bytes)"
    if room.free_bytes - growth_bytes >= floor_bytes:
        return None
    beside = f", and {floor_bytes} bytes are to stay free" if floor_bytes else ""
    return f"the mirror's disk has {room.free_bytes} bytes free; what is announced needs {growth_bytes}{beside}"


def fill(before: FullDisk | None, tree: str, room: Room, reason: str, now_ms: int, spread: float) -> FullDisk:
    """Return how a file system stands on which a job of `tree` ran out of room; `spread` is chance, from 0 to 1."""
    trees = frozenset({tree}) if before is None else before.trees | {tree}
    failures = 1 if before is None else before.failures + 1
    until_ms = now_ms + retry_delay_ms(failures, spread)
    noticeable_bytes = max(1, min(room.total_bytes // _NOTICEABLE_SHARE, _NOTICEABLE_BYTES))
    # Where something is free again, one tree that wants too much must not keep the others waiting for ever.
    others_until_ms = until_ms if room.free_bytes < noticeable_bytes else min(until_ms, now_ms + _OTHERS_WAIT_MS)
    return FullDisk(trees, failures, until_ms, others_until_ms, room.free_bytes + noticeable_bytes, reason)


def wait_for_room(disk: FullDisk, tree: str) -> int:
    """Return until when a tree on a full file system waits."""
    return disk.until_ms if tree in disk.trees else disk.others_until_ms


def empty(disk: FullDisk, tree: str) -> FullDisk | None:
    """Return how a full file system stands after a job of `tree` had room; None when nobody needs more any longer."""
    trees = disk.trees - {tree}
    return replace(disk, trees=trees) if trees else None


def has_room_again(disk: FullDisk, room: Room) -> bool:
    """Tell whether a full file system has so much more room that it is tried again at once."""
    return room.free_bytes >= disk.wanted_bytes
