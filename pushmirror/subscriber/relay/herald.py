"""Puts the origin's updates on the relay's bus once they are in place here, and says at intervals what is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.bus.greeting import Greeter
from pushmirror.bus.interface import Sender
from pushmirror.core.messages import UPDATED
from pushmirror.core.model import RelayHead, RelayHeartbeat
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, format_relay_heartbeat
from pushmirror.logs import Throttle
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.relay.kept import KeptUpdates
from pushmirror.subscriber.relay.voice import Voice

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the ledger is looked at without being told to."""
SOON_SECONDS = 0.1
"""What changes together is told together, so that however busy a node is it tells ten times a second at most."""
MAX_SENT_UPDATES = 100
"""More than these are not put on the bus at once: the heartbeat after them says how far it went, history has them."""


class Herald(Service):
    """Sends what `copies` has. `wake` may be called at any time; nothing that fails stops the loops."""

    def __init__(
        self,
        reactor: Any,
        *,
        copies: Copies,
        kept: KeptUpdates,
        voice: Voice,
        sender: Sender,
        heartbeat_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._reactor = reactor
        self._copies = copies
        self._kept = kept
        self._voice = voice
        self._sender = sender
        self._heartbeat_ms = heartbeat_ms
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self._publishers = sorted(set(copies.publishers.values()))
        self._told: dict[str, dict[str, RelayHead]] = {}
        self._looking = self._loop(self.look)
        self._beating = self._loop(self._beat)
        self._soon: Any = None
        self._greeter = Greeter(reactor, self._beat)

    def _loop(self, function: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(function)
        loop.clock = self._reactor
        return loop

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._looking.start(LOOK_SECONDS)
        self._beating.start(self._heartbeat_ms / 1000, now=False)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        for loop in (self._looking, self._beating):
            if loop.running:
                loop.stop()
        self._greeter.stop()
        if self._soon is not None and self._soon.active():
            self._soon.cancel()

    def greet(self, subscription: bytes) -> None:
        """Tell whoever just subscribed where every tree is: nothing sent before has reached them."""
        if self.running and self._is_heard(subscription):
            self._greeter.greet()

    def _is_heard(self, subscription: bytes) -> bool:
        topics = [self._voice.topic(publisher, RELAY_HEARTBEAT).encode() for publisher in self._publishers]
        return any(topic.startswith(subscription) for topic in topics)

    def wake(self) -> None:
        """Look soon at what has become of the trees."""
        if self.running and (self._soon is None or not self._soon.active()):
            self._soon = self._reactor.callLater(SOON_SECONDS, self.look)

    def look(self) -> None:
        """Send what has come to be in place since the last look, and tell how far the trees are when that changed."""
        try:
            self._copies.tell_changes()
            for publisher in self._publishers:
                heads = self._copies.heads(publisher)
                if heads != self._told.get(publisher):
                    self._send_updates(self._told.get(publisher), heads)
                    self._send_heartbeat(publisher, heads)
        except Exception:
            self._complain("relaying")

    def _send_updates(self, before: dict[str, RelayHead] | None, heads: dict[str, RelayHead]) -> None:
        for tree, head in heads.items():
            known = (before or {}).get(tree)
            if known is None or known.epoch != head.epoch or head.applied.serial - known.applied.serial < 1:
                continue
            after = max(known.applied.serial, head.applied.serial - MAX_SENT_UPDATES)
            topic = self._voice.topic(self._copies.publishers[tree], UPDATED).encode()
            for kept in self._kept.updates(tree, after, head.applied.serial, MAX_SENT_UPDATES):
                self._sender.send(topic, kept.envelope)

    def _beat(self) -> None:
        try:
            for publisher in self._publishers:
                heads = self._copies.heads(publisher)
                if heads == self._told.get(publisher, heads):
                    self._send_heartbeat(publisher, heads)
                else:
                    self.look()
        except Exception:
            self._complain("the heartbeat")

    def _send_heartbeat(self, publisher: str, heads: dict[str, RelayHead]) -> None:
        heartbeat = RelayHeartbeat(
            publisher=publisher,
            relay=self._voice.relay,
            counter=self._voice.next_counter(),
            at_ms=self._clock_ms(),
            interval_ms=self._heartbeat_ms,
            trees=heads,
        )
        body = self._voice.seal(publisher, RELAY_HEARTBEAT, format_relay_heartbeat(heartbeat))
        self._sender.send(self._voice.topic(publisher, RELAY_HEARTBEAT).encode(), body)
        self._told[publisher] = heads

    def _complain(self, cause: str) -> None:
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            log.exception("%s failed and is tried again (%d more since the last line)", cause, suppressed)
