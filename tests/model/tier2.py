"""The Tier 2 of the model: the real listener, tracker, ledger, dispatcher and jobs over a real folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall

from pushmirror.core.model import Head
from pushmirror.core.schedule import LONGEST_RETRY_MS
from pushmirror.core.source import Source
from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.clocks import WallClock
from pushmirror.subscriber.deletions import STILL_UPSTREAM_MS
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.records import TreeRecord
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.tracker import Tracker
from tests.core.tree_model import Tree
from tests.model.clocks import ModelReactor, Time
from tests.model.disk import Disk
from tests.model.following import Following
from tests.model.mortal import MortalLedger
from tests.model.places import Place
from tests.model.relaying import Relay
from tests.model.rsync import MemoryRsync
from tests.model.tier1 import Frames, Killed
from tests.model.transport import Exchange
from tests.subscriber.upstream import PUBLISHER, TREE

BUDGET_PERCENT = 30
_SOUND = (Ledger, Tracker, MemoryRsync, Copies)


@dataclass(frozen=True)
class Makers:
    """What a mirror is made of; a test of the model itself puts something broken here."""

    ledger: type[Ledger] = Ledger
    tracker: type[Tracker] = Tracker
    rsync: type[MemoryRsync] = MemoryRsync
    copies: type[Copies] = Copies

    @property
    def name(self) -> str:
        """What is not as it should be."""
        return " ".join(
            each.__name__ for each in (self.ledger, self.tracker, self.rsync, self.copies) if each not in _SOUND
        )


@dataclass(frozen=True)
class Surroundings:
    """What is around a mirror.

    `read` returns what a source has, `spread` carries what a relay (the first argument) sends, and `judge` is told of
    every start-over of a mirror: what was heard before, and the head from now on.
    """

    time: Time
    read: Callable[[Source], Tree]
    spread: Callable[[str, Frames], None]
    judge: Callable[[Tier2, Head | None, Head], None]
    makers: Makers


class Tier2:
    """One mirror in `folder`, which may be a relay."""

    def __init__(self, place: Place, folder: Path, around: Surroundings) -> None:
        self.place = place
        self.name = place.name
        self._folder = folder
        self._around = around
        self._time = around.time
        self.wall_ms = around.time.wall()
        for made in ("locks", "mirror"):
            (folder / made).mkdir(parents=True)
        self.disk = Disk(folder / "mirror")
        self.frames: list[Frames] = []
        """Messages on their way here."""
        self.exchanges: list[Exchange] = []
        """Questions that were asked, and are not answered."""
        self.copies: list[Path] = []
        self.budget_percent = BUDGET_PERCENT
        self.refused = False
        """Its operator, or one above it, has refused deletions: it may have more than the Tier 1 for a while."""
        self.troubled_ms = self._time()
        """When a question was left without its whole answer for the last time."""
        self.unsettled_ms = self._time()
        """When it could not be relied upon to hand on what it had, for the last time."""
        self.furthest: dict[str, int] = {}
        """The highest serial that ever was applied, by epoch."""
        self.running = False
        self.start()

    # --- the daemon

    def start(self) -> None:
        """Start the daemon over the ledger and the folder that are there."""
        self.reactor = ModelReactor()
        makers, bare = self._around.makers, self._around.makers.ledger(self._folder / "ledger")
        self.ledger = MortalLedger(bare, self._start_over)
        ledger: Any = self.ledger
        self._clock_ms = WallClock(self.wall_ms, self._time, ledger.move_times)
        parts = self._make_parts()
        self._open_tree(ledger, parts)
        self.rsync: Any = makers.rsync(self._around.read)
        self.following = Following(
            self.reactor, self.place, ledger, makers.tracker, self.exchanges.append, self._clock_ms, self._time,
            self._poke,
        )  # fmt: skip
        tracker = self.following.tracker
        self.dispatcher = Dispatcher(
            self.reactor, {TREE: parts}, ledger, self.rsync, 1, self._clock_ms, lambda: 0.5,
            lambda event, record, progress: None, tracker.is_awaiting_head, tracker.busy_until_ms,
            catching_up_until_ms=tracker.catching_up_until_ms, relay_head=self.following.relays.head,
        )  # fmt: skip
        # What a relay hands on is only read: that it is killed just then is as if it had been a moment later.
        self.relay = Relay(
            self.reactor, self.name, bare, makers.copies, self._clock_ms, self._time, self.following.services,
            partial(self._around.spread, self.name),
        )  # fmt: skip
        bare.moved = self._note_progress
        self.unsettled_ms = self._time()
        self.running = True
        self.guarded(self._begin)

    def _start_over(self, before: Head | None, head: Head) -> None:
        self.unsettled_ms = self._time()
        self._around.judge(self, before, head)

    def _note_progress(self) -> None:
        record = self.record()
        epoch = record.head.epoch if record.head else ""
        self.furthest[epoch] = max(record.applied, self.furthest.get(epoch, record.applied))
        self.relay.wake()

    def _poke(self, tree: str) -> None:
        self.dispatcher.poke(tree)

    def _open_tree(self, ledger: Any, parts: Any) -> None:
        now_ms = self._clock_ms()
        ledger.open_tree(TREE, parts.identity)
        ledger.note_shape(TREE, parts.shape, now_ms)
        grace_ms = max(self.place.grace_s * 1000, STILL_UPSTREAM_MS)
        ledger.clamp_times(TREE, now_ms, longest_retry_ms=LONGEST_RETRY_MS, longest_grace_ms=grace_ms)
        ledger.keep_updates(TREE, self.place.relaying or bool(self.place.relays), now_ms)
        ledger.interrupt_jobs(now_ms)

    def _make_parts(self) -> Any:
        tree = {
            "upstream": PUBLISHER, "sources": self.place.sources, "path": str(self._folder / "mirror"),
            "delete_grace": f"{self.place.grace_s}s",
            "delete_budget": {"count": 1, "percent": self.budget_percent, "limit": 100},
        }  # fmt: skip
        return make_parts(TREE, SubscriberTree.model_validate(tree), self._folder / "locks")

    def _begin(self) -> None:
        self.dispatcher.poke()
        self.following.tracker.start()
        if self.place.relaying:
            self.relay.start()

    def guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function of the daemon, which may be killed in it."""
        if not self.running:
            return
        with contextlib.suppress(Killed):
            function(*arguments)
        if self.ledger.lives == 0:
            self.kill()

    def kill(self) -> None:
        """End the daemon; what its memory held is lost, and so are the messages that were on their way."""
        if not self.running:
            return
        self.running = False
        self.unsettled_ms = self._time()
        self.ledger.lives = 0
        self.frames.clear()
        exchanges, self.exchanges[:] = list(self.exchanges), []
        for exchange in exchanges:
            exchange.kill()
        if self.rsync.running is not None:
            self.rsync.running.ended.errback(Killed())
        self.ledger._ledger.close()

    # --- what happens to it

    def hear(self, index: int) -> None:
        """Deliver one of the messages on their way."""
        frames = self.frames.pop(index % len(self.frames))
        self.guarded(self.following.deliver, frames)

    def answer(self, index: int) -> None:
        """Let one of the answers that were given arrive."""
        exchange = self.exchanges.pop(index % len(self.exchanges))
        self.guarded(exchange.hand_over)

    def break_off(self, index: int, lines: int) -> None:
        """Let one of the answers break off."""
        self.troubled_ms = self._time()
        exchange = self.exchanges.pop(index % len(self.exchanges))
        self.guarded(exchange.break_off, lines)

    def advance(self, seconds: float) -> None:
        """Let time pass for the daemon; for what it is asking just now it may be too long."""
        if self.exchanges:
            self.troubled_ms = self._time()
        self.guarded(self.reactor.advance, seconds)
        self.guarded(self._watch_silence)

    def _watch_silence(self) -> None:
        self._clock_ms()
        self.following.watch_silence()

    def turn(self) -> bool:
        """Do what is due now. Returns whether there was anything."""
        due = self.running and self.reactor.wake_in_s() == 0.0
        if due:
            self.guarded(self.reactor.advance, 0)
        return due

    def wake_in_s(self) -> float | None:
        """Return in how many seconds something is due that does not recur by itself; None when there is nothing."""
        calls: Any = self.reactor.getDelayedCalls()
        times = [call.getTime() for call in calls if not isinstance(call.func, LoopingCall)]
        return max(0.0, min(times) - self.reactor.seconds()) if times else None

    def forget_history(self) -> None:
        """Keep no more of what was applied than has to be kept."""
        self.unsettled_ms = self._time()
        kept = self.ledger._ledger.kept
        kept.shorten(TREE, self.record().cleaned, oldest_ms=2 * self.wall_ms(), max_bytes=0)

    # --- its state

    def record(self) -> TreeRecord:
        """Return what the ledger says, also while the daemon does not run."""
        if self.running:
            return self.ledger._ledger.tree(TREE)
        ledger = Ledger(self._folder / "ledger")
        try:
            return ledger.tree(TREE)
        finally:
            ledger.close()

    def back_up(self) -> None:
        """Keep a copy of the ledger; the daemon does not run."""
        copy = self._folder / f"copy{len(self.copies)}"
        shutil.copyfile(self._folder / "ledger", copy)
        self.copies.append(copy)

    def restore(self, copy: Path | None) -> None:
        """Take a copy of the ledger, or none at all; the daemon does not run."""
        for path in self._folder.glob("ledger*"):
            path.unlink()
        if copy is not None:
            shutil.copyfile(copy, self._folder / "ledger")
