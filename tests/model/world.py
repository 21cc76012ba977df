"""The world of the model: one Tier 1, its mirrors, what is on its way between them, and one clock for all."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pushmirror.core.model import Head
from pushmirror.subscriber.records import TreeRecord
from tests.core.tree_model import Style
from tests.model.clocks import Time
from tests.model.tier1 import HEARTBEAT_MS, Frames, Killed, Tier1
from tests.model.tier2 import BUDGET_PERCENT, Makers, Tier2
from tests.subscriber.upstream import TREE

MEMORY_FOLDER = Path("/dev/shm")
_PATIENCE_MS = 3 * 3_600_000
_MAX_AGE_S = 24 * 3600
_MAX_TURNS = 200
_LONGEST_STEP_S = 10.0
TROUBLE_LASTS_MS = 60_000
"""An answer that did not come may be the reason of a full sync for so long: the tracker asks again for a while."""


class World:
    """A Tier 1 and `mirrors` of it. `recorded` is every message that ever was on the bus."""

    def __init__(self, mirrors: int = 2, makers: Makers | None = None) -> None:
        parent = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="pushmirror-model-", dir=parent))
        self.time = Time()
        self.recorded: list[Frames] = []
        self.faults_seen: list[str] = []
        """What went wrong where an exception would have been caught."""
        self._errors = _Errors(self.faults_seen)
        self.mirrors: list[Tier2] = []
        self.service_is_up = True
        (self.folder / "tier1").mkdir()
        self.tier1 = Tier1(self.folder / "tier1", self.time, self._spread)
        for number in range(mirrors):
            folder, upstream = self.folder / f"mirror{number}", lambda: self.tier1.tree
            made = Tier2(f"mirror{number}", folder, self.time, upstream, self._judge_start_over, makers or Makers())
            self.mirrors.append(made)
        self.turn()

    def _spread(self, frames: Frames) -> None:
        self.recorded.append(frames)
        for mirror in self.mirrors:
            if mirror.running:
                mirror.frames.append(frames)

    def _judge_start_over(self, mirror: Tier2, before: Head | None, head: Head) -> None:
        """A full sync is for those alone that cannot have the updates that they miss."""
        recent = self.time() - mirror.troubled_ms <= TROUBLE_LASTS_MS
        if before is None or recent or not self.tier1.holds(before) or not self.tier1.keeps_after(before):
            return
        self.faults_seen.append(f"{mirror.name} starts over from {before} at {head}: the journal has the updates")

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
        waits = [wait for mirror in self.mirrors if (wait := mirror.reactor.wake_in_s()) is not None]
        return min(_LONGEST_STEP_S, max(0.001, min(waits, default=_LONGEST_STEP_S)))

    # --- the network

    def serve(self, mirror: Tier2, index: int) -> None:
        """Let the service answer one of the questions of a mirror, or fail it."""
        exchange = mirror.exchanges[index % len(mirror.exchanges)]
        if not self.service_is_up or not self.tier1.running:
            mirror.break_off(index, 0)
        elif exchange.answer is None:
            exchange.serve(self.tier1)

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
        self.service_is_up = True
        self._mend()
        if self.tier1.has_news:
            self.tier1.announce(Style())
        if not self._wait_until_exact() and self.tier1.lost_announcements:
            # What was announced in a journal that is lost, and heard by nobody, is found by the full sync at max_age.
            self.advance(_MAX_AGE_S)
            self._wait_until_exact()
        faults = [fault for mirror in self.mirrors for fault in self.faults(mirror)]
        assert not faults + self.faults_seen, "; ".join(faults + self.faults_seen)
        self.tier1.lost_announcements = False
        for mirror in self.mirrors:
            mirror.budget_percent = BUDGET_PERCENT

    def _mend(self) -> None:
        if not self.tier1.running:
            self.tier1.start()
        for mirror in self.mirrors:
            if not mirror.running:
                mirror.start()
            mirror.ledger.lives = None
            mirror.ledger.set_paused(TREE, False)
            if mirror.refused:
                mirror.ledger.want_whole(TREE, mirror.wall_ms())
                mirror.refused = False
            mirror.dispatcher.poke()
        self.turn()

    def _wait_until_exact(self) -> bool:
        end_ms = self.time() + _PATIENCE_MS
        beats = 0
        while self.time() < end_ms:
            if self.flow():
                continue
            for mirror in self.mirrors:
                self._oversee(mirror)
            if beats >= 3 and not any(fault for mirror in self.mirrors for fault in self.faults(mirror)):
                return True
            before_ms = self.time()
            self.advance(self._next_s())
            beats += self.time() // HEARTBEAT_MS > before_ms // HEARTBEAT_MS
        return False

    @staticmethod
    def _oversee(mirror: Tier2) -> None:
        """Do what only the operator of a mirror can: approve deletions, and allow more of them."""
        record = mirror.record()
        if record.held is not None:
            mirror.ledger.approve(TREE)
            mirror.dispatcher.poke()
        if "replaced directories" in (record.reason or "") and mirror.budget_percent < 100:
            mirror.budget_percent = 100
            mirror.kill()
            mirror.start()

    def faults(self, mirror: Tier2) -> Iterator[str]:
        """Yield what keeps a mirror from being exact."""
        record, head = mirror.record(), self.tier1.journal.head(TREE)
        if record.head != head:
            yield f"{mirror.name} has heard {record.head}, announced is {head}"
        if not record.cleaned == record.applied == record.announced:
            yield f"{mirror.name} is not done: {describe(record)}"
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


class _Errors(logging.Handler):
    """Adds what the subscribers log as errors to `found`, unless that they were killed is all that is wrong."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found
        self._logger = logging.getLogger("pushmirror")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name.startswith("pushmirror.subscriber.") and Killed.__name__ not in text:
            self._found.append(text)

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        super().close()


def describe(record: TreeRecord) -> str:
    """Return what matters of a record, for a message."""
    return (
        f"applied {record.applied}, cleaned {record.cleaned}, announced {record.announced}, "
        f"{record.pending_updates} updates and {record.pending_deletions} deletions pending, "
        f"reason {record.reason}, held {record.held}, retry at {record.retry_at_ms}, due {record.deletion_due_ms}"
    )
