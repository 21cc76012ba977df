"""Short courses of events with relays: each raises AssertionError when a mirror does not survive it."""

from __future__ import annotations

from pushmirror.core.paths import TreePath
from tests.core.tree_model import Style
from tests.model.invariants import Watch
from tests.model.places import GRACE_S
from tests.model.stories import A, B, tell
from tests.model.tier2 import Tier2
from tests.model.world import World
from tests.subscriber.upstream import TREE

FOLDER, INSIDE, BESIDE = TreePath(b"d"), TreePath(b"d/1"), TreePath(b"d/e/3")
_AT_MOST_ROUNDS = 60
_PAST_THE_GRACE_MS = 3 * GRACE_S * 1000


def begun(world: World) -> Watch:
    """Let every mirror have some files."""
    tell(world, A, INSIDE, BESIDE)
    world.settle()
    return Watch(world)


def work(world: World, watch: Watch, rounds: int = _AT_MOST_ROUNDS) -> None:
    """Let everything go on, and look after each step."""
    for _ in range(rounds):
        world.work(1)
        watch.check()


def work_for(world: World, watch: Watch, duration_ms: int) -> None:
    """Let everything go on for so long, and look after each step."""
    end_ms = world.time() + duration_ms
    while world.time() < end_ms:
        work(world, watch, 1)


def delete(world: World, path: TreePath, *, recursive: TreePath | None = None) -> None:
    """Delete and announce a path, perhaps as a folder that is to be compared."""
    world.tier1.delete(path)
    world.tier1.announce(Style(recursive=recursive))
    world.turn()


def top_and_leaf(world: World) -> tuple[Tier2, Tier2]:
    """Return the uppermost relay and the leaf."""
    return world.mirrors[0], world.mirrors[-1]


def a_relay_that_is_held_up(world: World) -> None:
    """It has heard of an update and does not apply it."""
    watch = begun(world)
    relay, leaf = top_and_leaf(world)
    relay.guarded(relay.ledger.set_paused, TREE, True)
    tell(world, A, value=2)
    work(world, watch)
    assert relay.record().announced == world.tier1.journal.head(TREE).serial
    world.settle()
    assert leaf.disk.look(A) == world.tier1.tree[A]


def a_leaf_that_is_set_up_anew(world: World) -> None:
    """Its folder is there and its ledger is lost, while the relay has a deletion that is not done."""
    watch = begun(world)
    relay, leaf = top_and_leaf(world)
    delete(world, INSIDE)
    leaf.kill()
    work(world, watch, 10)
    assert relay.record().cleaned < relay.record().applied
    relay.guarded(relay.ledger.set_paused, TREE, True)
    leaf.restore(None)
    leaf.start()
    work_for(world, watch, _PAST_THE_GRACE_MS)
    assert leaf.place.origin or leaf.disk.look(INSIDE) is not None
    world.settle()


def a_folder_compared_with_an_unclean_relay(world: World) -> None:
    """What is surplus in it shows only when the relay is clean, and was deleted long before that."""
    watch = begun(world)
    delete(world, BESIDE, recursive=BESIDE.rsplit(b"/", 1)[0])  # type: ignore[arg-type]  # the part of a path is one
    work(world, watch, 10)
    delete(world, INSIDE, recursive=FOLDER)
    work_for(world, watch, _PAST_THE_GRACE_MS)
    world.tier1.put(BESIDE, "file", 2)
    world.tier1.announce(Style(recursive=FOLDER))
    world.turn()
    work_for(world, watch, _PAST_THE_GRACE_MS)
    world.settle()


def a_new_journal_while_a_comparison_is_owed(world: World) -> None:
    """It waits for a serial that the new journal may not reach for years."""
    watch = begun(world)
    delete(world, INSIDE, recursive=FOLDER)
    work(world, watch, 8)
    for value in range(2, 6):
        world.tier1.put(BESIDE, "file", value)
        world.tier1.announce(Style(recursive=FOLDER))
    world.turn()
    work(world, watch, 8)
    world.note_trouble()
    world.tier1.reinstall(clock_off_ms=0)
    for value in range(2, 5):
        tell(world, A, value=value)
    work_for(world, watch, _PAST_THE_GRACE_MS)
    world.settle()


def tell_while_down(world: World) -> None:
    """Let the journal begin anew and keep a copy of it; the next two updates are announced while nobody sends them.

    So the mirrors begin at the second, and none of them was ever sent an update that it takes.
    """
    world.note_trouble()
    world.tier1.reinstall(clock_off_ms=0)
    world.tier1.back_up()
    world.tier1.kill()
    for value in (2, 3):
        tell(world, B, value=value)
    world.tier1.start()


def is_renewed(world: World, epoch: str) -> bool:
    """Tell whether all mirrors follow a younger epoch than that."""
    return all((head := mirror.record().head) is not None and head.epoch != epoch for mirror in world.mirrors)


def a_journal_that_went_back_before_any_update_was_heard(world: World) -> None:
    """What the publisher said of itself when it was asked proves as much as an update: its epoch does not stay."""
    watch = begun(world)
    tell_while_down(world)
    work(world, watch)
    assert {mirror.record().announced for mirror in world.mirrors} == {2}
    epoch = world.tier1.journal.epoch
    world.note_trouble()
    world.tier1.restore(world.tier1.copies[0])
    work(world, watch)
    assert is_renewed(world, epoch)
    world.settle()


def a_journal_that_went_back_when_only_the_leaf_knew(world: World) -> None:
    """All relays have lost their ledgers: what was said is known to those alone who cannot ask the publisher."""
    watch = begun(world)
    world.tier1.back_up()
    tell(world, A, value=2)
    tell(world, B)
    world.settle()
    _lose_all_but_the_leaf(world, watch)


def a_journal_that_went_back_when_only_the_leaf_knew_by_a_relay(world: World) -> None:
    """The leaf has heard no update either: the relay that it began with gave it the publisher's own word."""
    watch = begun(world)
    tell_while_down(world)
    world.settle()
    _lose_all_but_the_leaf(world, watch)


def _lose_all_but_the_leaf(world: World, watch: Watch) -> None:
    epoch = world.tier1.journal.epoch
    *relays, leaf = world.mirrors
    for relay in relays:
        relay.kill()
        relay.restore(None)
    world.note_trouble()
    world.tier1.restore(world.tier1.copies[0])
    for relay in relays:
        relay.start()
    work(world, watch, 3 * _AT_MOST_ROUNDS)
    assert is_renewed(world, epoch), leaf.record().head
    world.settle()


def put_into_a_folder_that_was_deleted(world: World) -> None:
    """What else was in it was deleted before that put, and waits for its grace."""
    watch = begun(world)
    delete(world, FOLDER)
    work(world, watch, 8)
    tell(world, B)
    work(world, watch, 8)
    tell(world, INSIDE, value=2)
    work_for(world, watch, _PAST_THE_GRACE_MS)
    world.settle()


def a_relay_restored_from_a_copy(world: World) -> None:
    """It goes on from an older ledger over a newer folder; those below have applied more than it says."""
    watch = begun(world)
    relay, _ = top_and_leaf(world)
    relay.kill()
    relay.back_up()
    relay.start()
    tell(world, B)
    delete(world, INSIDE)
    world.settle()
    relay.kill()
    relay.restore(relay.copies[0])
    relay.start()
    work(world, watch)
    tell(world, A, value=3)
    world.settle()


def a_relay_off_for_some_updates(world: World) -> None:
    """Nothing is lost below it, and nobody walks."""
    watch = begun(world)
    relay, leaf = top_and_leaf(world)
    relay.kill()
    for value in range(2, 6):
        tell(world, A, B, value=value)
        work(world, watch, 2)
    walked_ms = leaf.record().last_full_sync_ms
    relay.start()
    world.settle()
    assert leaf.record().last_full_sync_ms == walked_ms
