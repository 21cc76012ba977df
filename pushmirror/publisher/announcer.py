"""Signs what the journal holds unsent, puts it on the bus in order, and says at intervals that all is well.

What is on the bus has been committed before; what was handed to the bus is marked afterwards. A crash in between sends
the same bytes again, which subscribers drop as a duplicate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.bus.interface import Sender
from pushmirror.core.messages import HEARTBEAT, format_heartbeat
from pushmirror.core.model import Heartbeat
from pushmirror.core.wire import attach, parse_object
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, seal
from pushmirror.logs import Throttle
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate, UpdateRow

_log = logging.getLogger(__name__)

BATCH_UPDATES = 50
"""Updates that are sent in one turn of the reactor: about 10 ms, and one commit."""

LOOK_SECONDS = 3.0
"""How often the journal is looked at without being told to: a ``publish`` whose wake-up was lost waits this long."""

MAX_SIGNED_BYTES = 128 * 1024

GREETING_SECONDS = 0.2
"""Newcomers are greeted together, so that however many come at once cost five heartbeats a second at most."""


class Announcer(Service):
    """Sends what is announced. `wake` may be called at any time; nothing that fails stops the loops."""

    def __init__(
        self,
        reactor: Any,
        *,
        journal: Journal,
        key: PrivateKey,
        sender: Sender,
        identity: Identity,
        trees: Sequence[str],
        heartbeat_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._reactor = reactor
        self._journal = journal
        self._key = key
        self._sender = sender
        self._identity = identity
        self._trees = tuple(trees)
        self._heartbeat_ms = heartbeat_ms
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self._unmarked: list[SentUpdate] = []
        self._looking = self._loop(self.wake)
        self._beating = self._loop(self.beat)
        self._continuing: Any = None
        self._greeting: Any = None
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
        for call in (self._continuing, self._greeting):
            if call is not None and call.active():
                call.cancel()

    def greet(self, subscription: bytes) -> None:
        """Tell whoever just subscribed to heartbeats where every tree is: nothing sent before has reached them."""
        if self.running and self._identity.topic(HEARTBEAT).encode().startswith(subscription):
            self._greeting = self._call_once(self._greeting, GREETING_SECONDS, self.beat)

    def _call_once(self, pending: Any, delay_seconds: float, function: Callable[[], None]) -> Any:
        if pending is not None and pending.active():
            return pending
        return self._reactor.callLater(delay_seconds, function)

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
        except Exception as error:
            self._complain("announcing", error)

    def _continue_soon(self) -> None:
        self._continuing = self._call_once(self._continuing, 0, self.wake)

    def _send_batch(self) -> int:
        """Send the next updates and return how many there were. What was sent is marked, whatever comes after it.

        While a full disk keeps the journal from that nothing is sent a second time, and nothing new.
        """
        count = self._mark()
        try:
            for row in self._journal.unsent(BATCH_UPDATES):
                self._unmarked.append(self._send(row))
        finally:
            count += self._mark()
        return count

    def _mark(self) -> int:
        """Mark what was sent, and return how many updates that were."""
        count = len(self._unmarked)
        if count:
            self._journal.mark_sent(self._unmarked, sent_ms=self._clock_ms())
            self._unmarked.clear()
        return count

    def _send(self, row: UpdateRow) -> SentUpdate:
        signature, certificate = self._key.sign(row.signed), self._key.public.line
        # The topic is the one that was signed, also when the settings name another one by now.
        topic = str(parse_object(row.signed, max_bytes=MAX_SIGNED_BYTES)["topic"])
        self._sender.send(topic.encode(), attach(row.signed, signature, certificate))
        _log.info("announced %s serial %d", row.tree, row.serial)
        return SentUpdate(row.position, signature, certificate)

    def beat(self) -> None:
        """Tell where every tree is."""
        try:
            self._send_heartbeat()
        except Exception as error:
            self._complain("heartbeat", error)

    def _send_heartbeat(self) -> None:
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
        self._sender.send(self._identity.topic(HEARTBEAT).encode(), seal(signed, self._key))

    def _complain(self, cause: str, error: Exception) -> None:
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            # What an operator can mend has its advice in its text; anything else needs to be seen from within.
            trace = None if isinstance(error, StateError) else error
            text = "%s failed and is tried again: %s (%d more since the last line)"
            _log.error(text, cause, error, suppressed, exc_info=trace)
