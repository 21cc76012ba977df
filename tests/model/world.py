"""The world of the model: one Tier 1, its mirrors and theirs, what is on its way between them, one clock for all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pushmirror.core.model import Head
from pushmirror.core.source import Source
from pushmirror.subscriber.records import TreeRecord
from tests.core.tree_model import Style, Tree
from tests.model.clocks import Time
from tests.model.errors import Errors
from tests.model.places import TIER1, TWO_MIRRORS, Places
from tests.model.relaying import Relay
from tests.model.tier1 import HEARTBEAT_MS, Frames, Tier1
from tests.model.tier2 import BUDGET_PERCENT, Makers, Surroundings, Tier2
from tests.subscriber.upstream import TREE

MEMORY_FOLDER = Path("/dev/shm")
_PATIENCE_MS = 3 * 3_600_000
_MAX_AGE_S = 24 * 3600
_MAX_TURNS = 200
_LONGEST_STEP_S = 10.0
_HELPFUL = (200, 204, 410)
"""These answers are no reason to ask anybody again."""
TROUBLE_LASTS_MS = 60_000
"""An answer that did not come may be the reason of a full sync for so long: the tracker asks again for a while."""


class World:
    """A Tier 1 and mirrors of it at `places`. `recorded` is every message that ever was on a bus."""

    def __init__(self, places: Places = TWO_MIRRORS, makers: Makers | None = None) -> None:
        parent = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="pushmirror-model-", dir=parent))
        self.time = Time()
        self.recorded: list[Frames] = []
        self.faults_seen: list[str] = []
        """What went wrong where an exception would have been caught."""
        self._errors = Errors(self.faults_seen)
        self.mirrors: list[Tier2] = []
        self.down: set[str] = set()
        """Whose HTTP service does not answer."""
        (self.folder / "tier1").mkdir()
        self.tier1 = Tier1(self.folder / "tier1", self.time, partial(self._spread, TIER1))
        around = Surroundings(self.time, self._read, self._spread, self._judge_start_over, makers or Makers())
        for place in places:
            self.mirrors.append(Tier2(place, self.folder / place.name, around))
        self.turn()

    def _spread(self, sender: str, frames: Frames) -> None:
        self.recorded.append(frames)
        for mirror in self.mirrors:
            if mirror.running and (sender in mirror.place.relays or (sender == TIER1 and mirror.place.origin)):
                mirror.frames.append(frames)

    def _read(self, source: Source) -> Tree:
        host = urlsplit(source.root).hostname
        return self.tier1.tree if host == TIER1 else next(m for m in self.mirrors if m.name == host).disk.read()

    def above(self, mirror: Tier2) -> list[Tier2]:
        """Return the relays that a mirror reads from."""
        return [each for each in self.mirrors if each.name in mirror.place.relays]

    def note_refusal(self, mirror: Tier2) -> None:
        """Take note that a mirror may have more than it ought to, and so may those that read from it."""
        mirror.refused = True
        for below in self.mirrors:
            if mirror.name in below.place.relays:
                self.note_refusal(below)

    def _judge_start_over(self, mirror: Tier2, before: Head | None, head: Head) -> None:
        """A full sync is for those alone that cannot have the updates that they miss."""
        times_ms = (mirror.troubled_ms, *(relay.unsettled_ms for relay in self.above(mirror)))
        recent = self.time() - max(times_ms) <= TROUBLE_LASTS_MS
        if before is None or recent or not self.tier1.holds(before) or not self._is_led_on(mirror, before, head):
            return
        self.faults_seen.append(f"{mirror.name} starts over from {before} at {head}: the updates are to be had")

    def _is_led_on(self, mirror: Tier2, before: Head, head: Head) -> bool:
        """Tell whether anybody whom a mirror may ask has the updates after the head `before`."""
        if mirror.place.origin and self.tier1.keeps_after(before):
            return True
        return any(
            relay.running and relay.name not in self.down and relay.relay.leads(before, head)
            for relay in self.above(mirror)
        )

    def note_trouble(self) -> None:
        """Let whatever is asked just now excuse a full sync: the answers are about to change their meaning."""
        for mirror in self.mirrors:
            mirror.troubled_ms = self.time()

    # --- time

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.time.now_ms += int(seconds * 1000)
        self.tier1.reactor.advance(seconds)
        for mirror in self.mirrors:
            mirror.advance(seconds)
        self.turn()

    def turn(self) -> None:
        """Let everybody do what is due now."""
        for _ in range(_MAX_TURNS):
            if not any([mirror.turn() for mirror in self.mirrors] + [self.tier1.reactor.turn()]):
                return
        raise AssertionError("somebody is busy with nothing")

    def _next_s(self) -> float:
        """Return how long to wait for the next thing that a mirror does, within reason."""
        waits = [wait for mirror in self.mirrors if (wait := mirror.wake_in_s()) is not None]
        return min(_LONGEST_STEP_S, max(0.001, min(waits, default=_LONGEST_STEP_S)))

    # --- the network

    def serve(self, mirror: Tier2, index: int) -> None:
        """Let the service answer one of the questions of a mirror, or fail it."""
        exchange = mirror.exchanges[index % len(mirror.exchanges)]
        server = self._server(exchange.host)
        if server is None:
            mirror.break_off(index, 0)
        elif exchange.answer is None and exchange.serve(server.answer).code not in _HELPFUL:
            mirror.troubled_ms = self.time()

    def _server(self, host: str) -> Tier1 | Relay | None:
        """Return who answers questions there now, None for nobody."""
        if host in self.down:
            return None
        if host == TIER1:
            return self.tier1 if self.tier1.running else None
        return next((mirror.relay for mirror in self.mirrors if mirror.name == host and mirror.running), None)

    def flow(self) -> bool:
        """Carry everything to where it goes, and let every rsync that runs go on. Returns whether anything was."""
        flowed = False
        for mirror in self.mirrors:
            for _ in tuple(mirror.frames):
                flowed = True
                if mirror.frames:  # it may have been killed by the one before
                    mirror.hear(0)
            for _ in tuple(mirror.exchanges):
                flowed = True
                if mirror.exchanges:
                    self.serve(mirror, 0)
                if mirror.exchanges and mirror.exchanges[0].answer is not None:
                    mirror.answer(0)
            if mirror.running and mirror.rsync.running is not None:
                flowed = True
                mirror.guarded(mirror.rsync.go_on)
        self.turn()
        return flowed

    def work(self, rounds: int) -> None:
        """Let everything that can go on do so, and time pass as it has to in between."""
        for _ in range(rounds):
            if not self.flow():
                self.advance(self._next_s())

    def go_on_until(self, condition: Callable[[Tier2], bool]) -> None:
        """Let everything work, and time pass as it has to, until the condition holds for every mirror."""
        end_ms = self.time() + _PATIENCE_MS
        while not all(condition(mirror) for mirror in self.mirrors):
            assert self.time() < end_ms, "the condition did not come true in hours"
            if not self.flow():
                self.advance(self._next_s())

    # --- the end

    def settle(self) -> None:
        """Let everything work again, and wait until every mirror is exact."""
        self.down.clear()
        self._mend()
        if self.tier1.has_news:
            self.tier1.announce(Style())
        self._compare_what_was_refused()
        if not self._wait_until_exact(self.mirrors) and self.tier1.lost_announcements:
            self._go_on_without_what_nobody_heard()
        faults = [fault for mirror in self.mirrors for fault in self.faults(mirror)]
        assert not faults + self.faults_seen, "; ".join(faults + self.faults_seen)
        self.tier1.lost_announcements = False
        self.tier1.unsaid.clear()
        for mirror in self.mirrors:
            mirror.budget_percent = BUDGET_PERCENT

    def _go_on_without_what_nobody_heard(self) -> None:
        """Let those announcements be made up for that a journal has lost before any mirror heard of them.

        Only content may be wrong by that, in what they were about. A full sync at max_age finds it, and below a relay
        the one after that.
        """
        faults = [fault for mirror in self.mirrors for fault in self._serial_faults(mirror)]
        assert not faults, "; ".join(faults)
        for _ in range(self._tiers):
            self.advance(_MAX_AGE_S)
            self._wait_until_exact(self.mirrors)

    def _mend(self) -> None:
        if not self.tier1.running:
            self.tier1.start()
        for mirror in self.mirrors:
            if not mirror.running:
                mirror.start()
            mirror.ledger.lives = None
            mirror.ledger.set_paused(TREE, False)
            mirror.dispatcher.poke()
        self.turn()

    def _compare_what_was_refused(self) -> None:
        for mirror in self.mirrors:
            if mirror.refused:
                self._wait_until_exact(self.above(mirror))
                mirror.ledger.set_refusals(TREE, ())
                mirror.ledger.want_whole(TREE, mirror.wall_ms())
                mirror.refused = False
                mirror.dispatcher.poke()

    @property
    def _tiers(self) -> int:
        return max(map(self._depth, self.mirrors))

    def _depth(self, mirror: Tier2) -> int:
        return 1 + max(map(self._depth, self.above(mirror)), default=0)

    def _wait_until_exact(self, mirrors: Sequence[Tier2]) -> bool:
        end_ms = self.time() + _PATIENCE_MS
        beats = 0
        while self.time() < end_ms:
            if self.flow():
                continue
            for mirror in self.mirrors:
                self._oversee(mirror)
            if beats >= 3 and not any(fault for mirror in mirrors for fault in self.faults(mirror)):
                return True
            before_ms = self.time()
            self.advance(self._next_s())
            beats += self.time() // HEARTBEAT_MS > before_ms // HEARTBEAT_MS
        return False

    @staticmethod
    def _oversee(mirror: Tier2) -> None:
        """Do what only the operator of a mirror can: approve deletions."""
        if mirror.record().held is not None:
            mirror.ledger.approve(TREE)
            mirror.dispatcher.poke()

    def _serial_faults(self, mirror: Tier2) -> Iterator[str]:
        """Yield what is wrong with what a mirror has heard and done, by its own word."""
        record, head = mirror.record(), self.tier1.journal.head(TREE)
        if record.head != head:
            yield f"{mirror.name} has heard {record.head}, announced is {head}"
        if not record.cleaned == record.applied == record.announced:
            yield f"{mirror.name} is not done: {describe(record)}"

    def faults(self, mirror: Tier2) -> Iterator[str]:
        """Yield what keeps a mirror from being exact."""
        yield from self._serial_faults(mirror)
        here, there = mirror.disk.read(), self.tier1.tree
        if here != there:
            wrong = {
                path: (here.get(path), there.get(path)) for path in here | there if here.get(path) != there.get(path)
            }
            yield f"{mirror.name} differs: {wrong}"

    def close(self) -> None:
        """End everything and remove its files."""
        self._errors.close()
        for mirror in self.mirrors:
            mirror.kill()
        self.tier1.close()
        shutil.rmtree(self.folder)


def describe(record: TreeRecord) -> str:
    """Return what matters of a record, for a message."""
    return (
        f"applied {record.applied}, cleaned {record.cleaned}, announced {record.announced}, "
        f"{record.pending_updates} updates and {record.pending_deletions} deletions pending, "
        f"reason {record.reason}, held {record.held}, retry at {record.retry_at_ms}, due {record.deletion_due_ms}"
    )
