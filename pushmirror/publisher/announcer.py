"""Signs what the journal holds unsent, puts it on the bus in order, and says at intervals that all is well.

What is on the bus has been committed and marked as sent before: whoever hears of it finds it in the history, and in
the state. In the other order a publisher that cannot mark, for want of room, would deny what it has just said, and
every subscriber would take its journal for a copy from before. What a crash keeps from the bus a heartbeat tells.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.bus.greeting import Greeter
from pushmirror.bus.interface import Sender
from pushmirror.core.messages import HEARTBEAT, format_heartbeat
from pushmirror.core.model import Heartbeat
from pushmirror.core.rotation import ROTATED
from pushmirror.core.wire import attach, parse_object
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, seal
from pushmirror.logs import Throttle
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate, UpdateRow
from pushmirror.publisher.signing import Signers

_log = logging.getLogger(__name__)

BATCH_UPDATES = 50
"""Updates that are sent in one turn of the reactor: about 10 ms, and one commit."""

LOOK_SECONDS = 3.0
"""How often the journal is looked at without being told to: a ``publish`` whose wake-up was lost waits this long."""

MAX_SIGNED_BYTES = 128 * 1024


class Announcer(Service):
    """Sends what is announced. `wake` may be called at any time; nothing that fails stops the loops.

    While two keys count, everything is sent once with each: whoever believes one of them hears it.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        journal: Journal,
        keys: Signers,
        sender: Sender,
        identity: Identity,
        trees: Sequence[str],
        heartbeat_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._reactor = reactor
        self._journal = journal
        self._keys = keys
        self._sender = sender
        self._identity = identity
        self._trees = tuple(trees)
        self._heartbeat_ms = heartbeat_ms
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self._marked: deque[tuple[UpdateRow, SentUpdate]] = deque()
        self._looking = self._loop(self.wake)
        self._beating = self._loop(self.beat)
        self._continuing: Any = None
        self._greeter = Greeter(reactor, self.beat)
        # The clock as the first number lets the counter go up over restarts too, without a note of it anywhere.
        self.heartbeat_counter = clock_ms()

    def _loop(self, function: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(function)
        loop.clock = self._reactor
        return loop

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._looking.start(LOOK_SECONDS)
        self._beating.start(self._heartbeat_ms / 1000)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        for loop in (self._looking, self._beating):
            if loop.running:
                loop.stop()
        self._greeter.stop()
        if self._continuing is not None and self._continuing.active():
            self._continuing.cancel()

    def greet(self, subscription: bytes) -> None:
        """Tell whoever just subscribed to heartbeats where every tree is: nothing sent before has reached them."""
        if self.running and self._identity.topic(HEARTBEAT).encode().startswith(subscription):
            self._greeter.greet()

    def wake(self) -> None:
        """Send what is unsent: a batch now, and the rest in the turns that follow."""
        if not self.running:
            return
        try:
            sent = self._send_batch()
            if sent:
                self._send_heartbeat()
            if sent >= BATCH_UPDATES:
                self._continue_soon()
        except Exception as error:  # the next turn tries again
            self._complain("announcing", error)

    def _continue_soon(self) -> None:
        if self._continuing is None or not self._continuing.active():
            self._continuing = self._reactor.callLater(0, self.wake)

    def _send_batch(self) -> int:
        """Send the next updates and return how many there were. What the bus did not take is sent before any others."""
        self._mark(self._journal.unsent(BATCH_UPDATES - len(self._marked)))
        count = len(self._marked)
        while self._marked:
            self._send(*self._marked[0])
            self._marked.popleft()
        return count

    def _mark(self, rows: Sequence[UpdateRow]) -> None:
        """Sign updates and mark them as sent. While a full disk keeps the journal from that nothing new is sent."""
        oldest = self._keys.valid()[0]
        signed = [SentUpdate(row.position, oldest.sign(row.signed), oldest.public.line) for row in rows]
        if signed:
            self._journal.mark_sent(signed, sent_ms=self._clock_ms())
        self._marked.extend(zip(rows, signed, strict=True))

    def _send(self, row: UpdateRow, sent: SentUpdate) -> None:
        # The topic is the one that was signed, also when the settings name another one by now.
        topic = str(parse_object(row.signed, max_bytes=MAX_SIGNED_BYTES)["topic"])
        self._sender.send(topic.encode(), attach(row.signed, sent.signature, sent.certificate))
        for key in self._keys.valid():
            if key.public.line != sent.certificate:
                self._sender.send(topic.encode(), seal(row.signed, key))
        _log.info("announced %s serial %d", row.tree, row.serial)

    def beat(self) -> None:
        """Tell where every tree is."""
        self.tell_rotations()
        try:
            self._send_heartbeat()
        except Exception as error:  # the next heartbeat tries again
            self._complain("heartbeat", error)

    def _send_heartbeat(self) -> None:
        for key in self._keys.valid():
            self._send_heartbeat_with(key)

    def tell_rotations(self) -> None:
        """Say that the key was exchanged, as long as that is news."""
        try:
            for envelope in self._keys.announcements():
                self._sender.send(self._identity.topic(ROTATED).encode(), envelope)
        except Exception as error:  # the next heartbeat tells it again
            self._complain("telling of the key", error)

    def _send_heartbeat_with(self, key: PrivateKey) -> None:
        self.heartbeat_counter += 1
        now_ms = self._clock_ms()
        heartbeat = Heartbeat(
            publisher=self._identity.name,
            counter=self.heartbeat_counter,
            at_ms=now_ms,
            interval_ms=self._heartbeat_ms,
            trees={tree: self._journal.head(tree) for tree in self._trees},
        )
        signed = self._identity.compose(HEARTBEAT, format_heartbeat(heartbeat), at_ms=now_ms, counter=heartbeat.counter)
        self._sender.send(self._identity.topic(HEARTBEAT).encode(), seal(signed, key))

    def _complain(self, cause: str, error: Exception) -> None:
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            # What an operator can mend has its advice in its text; anything else needs to be seen from within.
            trace = None if isinstance(error, StateError) else error
            text = "%s failed and is tried again: %s (%d more since the last line)"
            _log.error(text, cause, error, suppressed, exc_info=trace)
