"""The Tier 2 of the model: the real listener, tracker, ledger, dispatcher and jobs over a real folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pushmirror.core.liveness import Pulse
from pushmirror.core.model import Head
from pushmirror.core.schedule import LONGEST_RETRY_MS
from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.clocks import WallClock
from pushmirror.subscriber.deletions import STILL_UPSTREAM_MS
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.listener import Listener
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.records import TreeRecord
from pushmirror.subscriber.tracker import Tracker
from tests.core.tree_model import Tree
from tests.model.clocks import ModelReactor, Time
from tests.model.disk import Disk
from tests.model.rsync import MemoryRsync
from tests.model.tier1 import KEY, Frames, Killed
from tests.model.transport import Exchange, ModelClient
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE

GRACE_S = 60
BUDGET_PERCENT = 30
_SOUND = (Ledger, Tracker, MemoryRsync)


@dataclass(frozen=True)
class Makers:
    """What a mirror is made of; a test of the model itself puts something broken here."""

    ledger: type[Ledger] = Ledger
    tracker: type[Tracker] = Tracker
    rsync: type[MemoryRsync] = MemoryRsync

    @property
    def name(self) -> str:
        """What is not as it should be."""
        return " ".join(each.__name__ for each in (self.ledger, self.tracker, self.rsync) if each not in _SOUND)


class MortalLedger:
    """A ledger whose process dies before or after the call that is to be its last (`lives`, in halves of calls).

    From then on every call ends in Killed, so that whatever cleans up behind cannot record anything.
    """

    def __init__(self, ledger: Ledger, started_over: Callable[[Head | None, Head], None]) -> None:
        self._ledger = ledger
        self._started_over = started_over
        self.lives: int | None = None

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name, getattr(self._ledger, name))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._live()
        before = self._ledger.head(TREE) if name == "start_over" else None
        result = function(*arguments, **named)
        if name == "start_over":
            self._started_over(before, arguments[1])
        self._live()
        return result

    def _live(self) -> None:
        if self.lives == 0:
            raise Killed
        if self.lives is not None:
            self.lives -= 1


class Tier2:
    """One mirror in `folder`. `judge` is told of every start-over: what was heard before, and the head from now on."""

    def __init__(
        self,
        name: str,
        folder: Path,
        time: Time,
        upstream: Callable[[], Tree],
        judge: Callable[[Tier2, Head | None, Head], None],
        makers: Makers,
    ) -> None:
        self.name = name
        self._folder = folder
        self._time = time
        self.wall_ms = time.wall()
        self._upstream = upstream
        self._judge = judge
        self._makers = makers
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
        """Its operator has refused deletions, so that it may have more than the Tier 1 until the next full sync."""
        self.troubled_ms = time()
        """When a question was left without its whole answer for the last time."""
        self.running = False
        self.start()

    # --- the daemon

    def start(self) -> None:
        """Start the daemon over the ledger and the folder that are there."""
        self.reactor = ModelReactor()
        self.ledger = MortalLedger(self._makers.ledger(self._folder / "ledger"), partial(self._judge, self))
        ledger: Any = self.ledger
        self._clock_ms = WallClock(self.wall_ms, self._time, ledger.move_times)
        parts = self._make_parts()
        self._open_tree(ledger, parts)
        self.rsync: Any = self._makers.rsync(self._upstream)
        pulse = Pulse(self._time())
        client = ModelClient(self.reactor, self.exchanges.append, lambda at_ms: pulse.confirm(at_ms, self._time()))
        self.tracker = self._makers.tracker(
            self.reactor, [TREE], ledger, client, self._clock_ms, self._time, self._poke
        )
        self.dispatcher = Dispatcher(
            self.reactor, {TREE: parts}, ledger, self.rsync, 1, self._clock_ms, lambda: 0.5,
            lambda event, record, progress: None, self.tracker.is_awaiting_head, self.tracker.busy_until_ms,
            catching_up_until_ms=self.tracker.catching_up_until_ms,
        )  # fmt: skip
        self.listener = Listener(
            PUBLISHER, [KEY.public], PREFIX, ENVIRONMENT, frozenset([TREE]), ledger, self.tracker, pulse, self._time,
            lambda: 0.5,
        )  # fmt: skip
        self.running = True
        self.guarded(self._begin)

    def _poke(self, tree: str) -> None:
        self.dispatcher.poke(tree)

    def _open_tree(self, ledger: Any, parts: Any) -> None:
        now_ms = self._clock_ms()
        ledger.open_tree(TREE, parts.identity)
        ledger.note_shape(TREE, parts.shape, now_ms)
        grace_ms = max(GRACE_S * 1000, STILL_UPSTREAM_MS)
        ledger.clamp_times(TREE, now_ms, longest_retry_ms=LONGEST_RETRY_MS, longest_grace_ms=grace_ms)
        ledger.interrupt_jobs(now_ms)

    def _make_parts(self) -> Any:
        tree = {
            "upstream": PUBLISHER, "source": "rsync://tier1/debian/", "path": str(self._folder / "mirror"),
            "delete_grace": f"{GRACE_S}s", "delete_budget": {"count": 1, "percent": self.budget_percent, "limit": 100},
        }  # fmt: skip
        return make_parts(TREE, SubscriberTree.model_validate(tree), self._folder / "locks")

    def _begin(self) -> None:
        self.dispatcher.poke()
        self.tracker.start()

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
        self.guarded(self.listener.deliver, *frames)

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
        if self.listener.watch_silence():
            self.tracker.ask_about_all()

    def turn(self) -> bool:
        """Do what is due now. Returns whether there was anything."""
        due = self.running and self.reactor.wake_in_s() == 0.0
        if due:
            self.guarded(self.reactor.advance, 0)
        return due

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
