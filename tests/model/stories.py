"""Short courses of events, each of which a sound mirror survives: it raises AssertionError when one does not."""

from __future__ import annotations

from pushmirror.core.paths import TreePath
from tests.core.tree_model import Style
from tests.model.invariants import Watch
from tests.model.places import GRACE_S
from tests.model.world import World
from tests.subscriber.upstream import TREE

A, B = TreePath(b"a"), TreePath(b"b")
DAY_MS = 86_400_000
COALESCE_S = 2.1


def tell(world: World, *paths: TreePath, value: int = 1) -> None:
    """Put and announce some files."""
    for path in paths:
        world.tier1.put(path, "file", value)
    world.tier1.announce(Style())
    world.turn()


def begun(world: World) -> Watch:
    """Let every mirror have one file."""
    tell(world, A)
    world.settle()
    return Watch(world)


def several_at_once(world: World) -> None:
    """A list of two paths."""
    begun(world)
    tell(world, A, B, value=2)
    world.settle()


def lost_on_the_way(world: World) -> None:
    """The only message about an update."""
    begun(world)
    tell(world, B)
    for mirror in world.mirrors:
        mirror.frames.clear()
    world.settle()


def killed_with_something_pending(world: World) -> None:
    """After an update was heard, and before its job."""
    begun(world)
    tell(world, B)
    for mirror in world.mirrors:
        mirror.hear(0)
        mirror.kill()
    world.settle()


def told_during_a_job(world: World) -> None:
    """The next update comes while rsync runs for the one before."""
    watch = begun(world)
    tell(world, A, value=2)
    world.flow()
    world.advance(COALESCE_S)
    tell(world, B)
    for mirror in world.mirrors:
        assert mirror.rsync.running is not None
        mirror.hear(0)
        mirror.guarded(mirror.rsync.go_on)
    world.turn()
    watch.check()
    world.settle()


def back_before_it_was_deleted(world: World) -> None:
    """A deletion waits for its grace, and meanwhile the path is there again."""
    watch = begun(world)
    world.tier1.delete(A)
    world.tier1.announce(Style())
    world.go_on_until(lambda mirror: mirror.record().pending_deletions == 1)
    world.tier1.put(A, "file", 2)
    grace_over_ms = world.time() + 2 * GRACE_S * 1000
    world.go_on_until(lambda mirror: world.time() > grace_over_ms)
    watch.check()
    world.settle()


def restored_from_a_copy(world: World) -> None:
    """The journal goes on from before, with another update of the same serial."""
    begun(world)
    world.tier1.back_up()
    tell(world, A, value=2)
    world.settle()
    world.note_trouble()
    world.tier1.restore(world.tier1.copies[0])
    for mirror in world.mirrors:
        mirror.frames.clear()
    tell(world, B)
    world.go_on_until(lambda mirror: mirror.record().head == world.tier1.journal.head(TREE))
    world.settle()


def replayed_after_a_new_beginning(world: World) -> None:
    """The publisher began anew with its clock set back; what it said before is sent again by anybody, for hours."""
    watch = begun(world)
    before = [frames for frames in world.recorded if b"updated" in frames[0]]
    world.note_trouble()
    world.tier1.reinstall(clock_off_ms=-DAY_MS)
    world.settle()
    for _ in range(10):
        world.advance(100)
        world.mirrors[0].frames.append(before[0])
        world.go_on_until(lambda mirror: not mirror.frames and not mirror.exchanges)
        watch.check()


def empty_at_first(world: World) -> None:
    """The first file of all comes between the two runs of the first full sync."""
    world.tier1.delete(TreePath(b"README"))
    while any(mirror.rsync.running is None for mirror in world.mirrors):
        world.flow()
    for mirror in world.mirrors:
        mirror.guarded(mirror.rsync.go_on)
    tell(world, A)
    world.settle()
