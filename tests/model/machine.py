"""Everything that can happen, in any order: the state machine that hypothesis drives."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushmirror.core.paths import TreePath
from tests.core.tree_model import Style
from tests.model.disk import KINDS_OF_DIRECTORIES
from tests.model.invariants import Watch
from tests.model.places import TIER1, TWO_MIRRORS, Places
from tests.model.tier1 import Tier1
from tests.model.tier2 import Tier2
from tests.model.world import World
from tests.subscriber.upstream import TREE

PATHS = st.sampled_from([TreePath(name) for name in (b"a", b"b", b"d", b"d/1", b"d/2", b"d/e", b"d/e/3", b"f/4", b"f")])
KINDS = st.sampled_from(["file", "file", "file", "link", "directory"])
_DAY_MS = 86_400_000
OFF_MS = st.sampled_from([0, -_DAY_MS, _DAY_MS])
# New directories are always named: one that is not, and whose only content goes before any job, is known to nobody.
STYLES = st.builds(Style, anew=st.none() | PATHS, kinds_untold=st.booleans(), recursive=st.none() | PATHS)
SOME = st.integers(0, 7)
WHO = st.integers(0, 5)


class Rules(RuleBasedStateMachine):
    """Each rule is one thing that happens to a Tier 1 or to one of its mirrors."""

    world: World
    watch: Watch
    version = 0

    def begin(self, places: Places) -> None:
        """Let there be mirrors at those places."""
        self.world = World(places)
        self.watch = Watch(self.world)

    @property
    def tier1(self) -> Tier1:
        return self.world.tier1

    def mirror(self, who: int, *, running: bool = True) -> Tier2 | None:
        """Return one of the mirrors, when it runs (or does not)."""
        mirror = self.world.mirrors[who % len(self.world.mirrors)]
        return mirror if mirror.running is running else None

    # --- the Tier 1's tree

    @rule(path=PATHS, kind=KINDS)
    def put(self, path: TreePath, kind: str) -> None:
        self.version += 1
        self.tier1.put(path, kind, self.version % KINDS_OF_DIRECTORIES if kind == "directory" else self.version)

    @rule(path=PATHS)
    def delete(self, path: TreePath) -> None:
        self.tier1.delete(path)

    @rule(style=STYLES, path=PATHS)
    def put_and_announce(self, style: Style, path: TreePath) -> None:
        self.put(path, "file")
        self.tier1.announce(style)
        self.world.turn()

    @rule(style=STYLES, path=PATHS)
    def delete_and_announce(self, style: Style, path: TreePath) -> None:
        self.tier1.delete(path)
        self.tier1.announce(style)
        self.world.turn()

    @rule()
    def announce_the_whole(self) -> None:
        self.tier1.announce(Style(), whole=True)
        self.world.turn()

    # --- the publisher

    @rule()
    def kill_the_publisher(self) -> None:
        self.tier1.kill()

    @precondition(lambda self: self.tier1.running)
    @rule()
    def kill_the_publisher_while_it_sends(self) -> None:
        self.tier1.kill_while_sending()

    @precondition(lambda self: not self.tier1.running)
    @rule()
    def start_the_publisher(self) -> None:
        self.tier1.start()

    @rule()
    def copy_the_journal(self) -> None:
        self.tier1.back_up()

    @precondition(lambda self: self.tier1.copies)
    @rule(which=SOME)
    def restore_the_journal(self, which: int) -> None:
        self.world.note_trouble()
        self.tier1.restore(self.tier1.copies[which % len(self.tier1.copies)])

    @rule(older=st.booleans())
    def reinstall_the_publisher(self, older: bool) -> None:
        """With a clock that is right, or one that went back by a day."""
        self.world.note_trouble()
        self.tier1.reinstall(clock_off_ms=-_DAY_MS if older else 0)

    @rule()
    def prune_the_history(self) -> None:
        self.world.note_trouble()
        self.tier1.prune()

    @rule(off_ms=OFF_MS)
    def set_the_clock_of_the_publisher(self, off_ms: int) -> None:
        self.tier1.clock_ms.off_ms = off_ms

    # --- the network

    @rule()
    def flow(self) -> None:
        """Everything arrives."""
        self.world.flow()

    @precondition(lambda self: any(mirror.frames for mirror in self.world.mirrors))
    @rule(who=WHO, which=SOME)
    def hear(self, who: int, which: int) -> None:
        if (mirror := self.mirror(who)) and mirror.frames:
            mirror.hear(which)

    @precondition(lambda self: any(mirror.frames for mirror in self.world.mirrors))
    @rule(who=WHO, which=SOME, again=st.booleans())
    def lose_or_repeat_a_message(self, who: int, which: int, again: bool) -> None:
        frames = self.world.mirrors[who % len(self.world.mirrors)].frames
        if frames and again:
            frames.append(frames[which % len(frames)])
        elif frames:
            frames.pop(which % len(frames))

    @precondition(lambda self: self.world.recorded)
    @rule(who=WHO, which=st.integers(0, 99))
    def replay_a_message(self, who: int, which: int) -> None:
        """Anybody can send again what was on the bus."""
        if mirror := self.mirror(who):
            mirror.frames.append(self.world.recorded[which % len(self.world.recorded)])
            mirror.hear(-1)

    @precondition(lambda self: any(mirror.exchanges for mirror in self.world.mirrors))
    @rule(who=WHO, which=SOME)
    def serve(self, who: int, which: int) -> None:
        if (mirror := self.mirror(who)) and mirror.exchanges:
            self.world.serve(mirror, which)

    @precondition(lambda self: any(mirror.exchanges for mirror in self.world.mirrors))
    @rule(who=WHO)
    def answer(self, who: int) -> None:
        mirror = self.mirror(who)
        answered = [number for number, one in enumerate(mirror.exchanges) if one.answer] if mirror else []
        if mirror and answered:
            mirror.answer(answered[0])

    @precondition(lambda self: any(mirror.exchanges for mirror in self.world.mirrors))
    @rule(who=WHO, which=SOME, lines=st.integers(0, 2))
    def break_off_an_answer(self, who: int, which: int, lines: int) -> None:
        if (mirror := self.mirror(who)) and mirror.exchanges:
            mirror.break_off(which, lines)

    @rule()
    def switch_the_service(self) -> None:
        self.world.down ^= {TIER1}

    # --- the mirrors

    @precondition(lambda self: any(mirror.running and mirror.rsync.running for mirror in self.world.mirrors))
    @rule(who=WHO)
    def let_rsync_work(self, who: int) -> None:
        if mirror := self.mirror(who):
            mirror.guarded(mirror.rsync.go_on)

    @precondition(lambda self: any(mirror.running and mirror.rsync.running for mirror in self.world.mirrors))
    @rule(who=WHO, after=st.integers(0, 3))
    def break_rsync_off(self, who: int, after: int) -> None:
        if mirror := self.mirror(who):
            mirror.guarded(mirror.rsync.fail, after)

    @rule(who=WHO, lives=st.integers(0, 20))
    def kill_a_mirror(self, who: int, lives: int) -> None:
        """Now, or before or after one of the next things that it records."""
        if mirror := self.mirror(who):
            mirror.ledger.lives = lives
            mirror.guarded(lambda: None)

    @rule(who=WHO, off_ms=OFF_MS)
    def set_the_clock_of_a_mirror(self, who: int, off_ms: int) -> None:
        self.world.mirrors[who % len(self.world.mirrors)].wall_ms.off_ms = off_ms

    @precondition(lambda self: not all(mirror.running for mirror in self.world.mirrors))
    @rule(who=WHO)
    def start_a_mirror(self, who: int) -> None:
        if mirror := self.mirror(who, running=False):
            mirror.start()
            self.world.turn()

    @precondition(lambda self: not all(mirror.running for mirror in self.world.mirrors))
    @rule(who=WHO)
    def copy_a_ledger(self, who: int) -> None:
        if mirror := self.mirror(who, running=False):
            mirror.back_up()

    @precondition(lambda self: not all(mirror.running for mirror in self.world.mirrors))
    @rule(who=WHO, which=SOME, deleted=st.booleans())
    def restore_a_ledger(self, who: int, which: int, deleted: bool) -> None:
        """An older one, or none at all."""
        mirror = self.mirror(who, running=False)
        if mirror and (mirror.copies or deleted):
            mirror.restore(None if deleted else mirror.copies[which % len(mirror.copies)])
            mirror.start()

    @rule(who=WHO, paused=st.booleans())
    def pause_or_resume(self, who: int, paused: bool) -> None:
        if mirror := self.mirror(who):
            mirror.guarded(mirror.ledger.set_paused, TREE, paused)
            mirror.guarded(mirror.dispatcher.poke)

    @precondition(lambda self: any(mirror.record().held for mirror in self.world.mirrors))
    @rule(who=WHO, refuse=st.booleans())
    def approve_or_refuse(self, who: int, refuse: bool) -> None:
        mirror = self.mirror(who)
        if mirror and mirror.record().held is not None:
            if refuse:
                self.world.note_refusal(mirror)
            mirror.guarded(mirror.ledger.refuse if refuse else mirror.ledger.approve, TREE)
            mirror.guarded(mirror.dispatcher.poke)

    @rule(seconds=st.sampled_from([0.3, 2.5, 5, 30, 70, 700]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def settle(self) -> None:
        """Nothing goes wrong for a while: everybody is exact then."""
        self.world.settle()

    # --- what always holds

    @invariant()
    def all_is_well(self) -> None:
        self.watch.check()

    def teardown(self) -> None:
        try:
            self.world.settle()
            self.watch.check()
        finally:
            self.world.close()


class Machine(Rules):
    """A Tier 1 and two mirrors."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(TWO_MIRRORS)
