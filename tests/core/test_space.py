"""Whether there is room for a job, and when a full disk is tried again."""

from __future__ import annotations

import pytest

from pushmirror.core.space import Room, empty, fill, has_room_again, judge_room, wait_for_room

GIB = 2**30
NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("free_bytes", "floor_bytes", "growth_bytes", "reason"),
    [
        (0, 0, 0, None),
        (10, 0, 10, None),
        (10, 0, 11, "what is announced needs 11"),
        (10, 10, 0, None),
        (9, 10, 0, "below min_free"),
        (20, 10, 10, None),
        (20, 10, 11, "and 10 bytes are to stay free"),
    ],
)
def test_room_for_a_job(free_bytes: int, floor_bytes: int, growth_bytes: int, reason: str | None) -> None:
    """What is to stay free stays free; what just fits, fits."""
    found = judge_room(Room(100, free_bytes), floor_bytes, growth_bytes)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


def test_a_full_disk_is_tried_ever_more_seldom_until_nobody_needs_more() -> None:
    """Each failure doubles the wait of all its trees; the last tree that had room ends it."""
    room = Room(100 * GIB, 0)
    first = fill(None, "a", room, "full", NOW_MS, 0.5)
    second = fill(first, "b", room, "full", NOW_MS, 0.5)
    assert [disk.until_ms - NOW_MS for disk in (first, second)] == [5_000, 10_000]
    assert [wait_for_room(second, tree) - NOW_MS for tree in ("a", "b", "another")] == [10_000] * 3
    left = empty(second, "a")
    assert left is not None
    assert left.trees == {"b"}
    assert empty(left, "b") is None


def test_one_tree_that_wants_too_much_does_not_keep_the_others_waiting() -> None:
    """Where there is room for smaller things, the other trees of the disk wait for a minute at most."""
    disk = None
    for _ in range(10):
        disk = fill(disk, "a", Room(100 * GIB, 2 * GIB), "full", NOW_MS, 0.5)
    assert disk is not None
    assert wait_for_room(disk, "a") - NOW_MS == 15 * 60_000
    assert wait_for_room(disk, "another") - NOW_MS == 60_000


@pytest.mark.parametrize(
    ("total_bytes", "more_bytes"), [(100, 1), (10_000, 100), (10**15, 10**9)], ids=["tiny", "small", "large"]
)
def test_more_room_is_noticed(total_bytes: int, more_bytes: int) -> None:
    """A hundredth of the disk is enough to try again, and so is a gigabyte; a little less is not."""
    disk = fill(None, "a", Room(total_bytes, 7), "full", NOW_MS, 0.5)
    assert has_room_again(disk, Room(total_bytes, 7 + more_bytes))
    assert not has_room_again(disk, Room(total_bytes, 7 + more_bytes - 1))
