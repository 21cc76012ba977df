"""What a mirror of the model knows of its publisher and relays: the real parts, and no sockets.

They are put together as `pushmirror.subscriber.upstream_service` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pushmirror.core.liveness import Pulse
from pushmirror.core.model import RelayHead
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.listener import Listener
from pushmirror.subscriber.relay.followed import FollowedRelay, FollowedRelays
from pushmirror.subscriber.relay.hearing import RelayListener
from pushmirror.subscriber.relay.owed import OwedNotes
from pushmirror.subscriber.relay.services import Services
from pushmirror.subscriber.relay.showing import Showing
from pushmirror.subscriber.silence import SilenceWatch
from pushmirror.subscriber.tracker import Tracker
from tests.model.places import Place
from tests.model.relaying import key_of
from tests.model.tier1 import KEY, Frames
from tests.model.transport import Exchange, ModelClient, ModelRelayClient
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE

_NOTE_EVERY_MS = 10_000


class _Receiver:
    """The receiving end of the bus, at which the model itself delivers."""

    dropped_frames = 0

    def start(self) -> None:
        """There is nothing to begin."""

    def close(self) -> None:
        """There is nothing to give back."""

    def reconnect(self) -> None:
        """There is no connection."""


class Following:
    """What the mirror at `place` hears and asks; `changed` is called with a tree that got something to do."""

    def __init__(
        self,
        reactor: Any,
        place: Place,
        ledger: Any,
        make_tracker: type[Tracker],
        send: Callable[[Exchange], None],
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        changed: Callable[[str], None],
    ) -> None:
        self._place = place
        self._steady_ms = steady_ms
        self._changed = changed
        pulse = Pulse(steady_ms())
        self.relays = FollowedRelays(steady_ms)
        clients = {name: ModelRelayClient(reactor, name, key_of(name).public, send) for name in place.relays}
        origin = ModelClient(reactor, send, lambda at_ms: pulse.confirm(at_ms, steady_ms())) if place.origin else None
        self.services = Services(origin, clients, self.relays.heard, ledger.head, self.relays.may_tell)
        self.tracker = make_tracker(reactor, [TREE], ledger, self.services, clock_ms, steady_ms, changed)
        ring = KeyRing(PUBLISHER, [KEY.public], ledger, clock_ms)
        self._listener = Listener(
            PUBLISHER, ring, PREFIX, ENVIRONMENT, frozenset([TREE]), ledger, self.tracker, pulse, steady_ms,
            lambda: 0.5,
        )  # fmt: skip
        self._owed = OwedNotes([TREE], ledger, clock_ms, changed)
        self._showing = Showing([TREE], ledger, self.services, self.relays.heard, steady_ms)
        self._noted_ms = steady_ms()
        self._relay_listeners = [self._follow(name, client) for name, client in clients.items()]

    def _follow(self, name: str, client: ModelRelayClient) -> RelayListener:
        pulse = Pulse(self._steady_ms())
        client.tell_clock = lambda at_ms: pulse.confirm(at_ms, self._steady_ms())
        listener = RelayListener(
            name, PUBLISHER, [key_of(name).public], PREFIX, ENVIRONMENT, pulse, self._steady_ms,
            self._listener.deliver, self._take_heads, lambda: self.relays.ask_for_a_sign(name),
        )  # fmt: skip
        watch = SilenceWatch(f"relay {name}", pulse, self._steady_ms, lambda: 0.5)
        self.relays.add(FollowedRelay(name, client, pulse, listener, _Receiver(), watch))
        return listener

    def _take_heads(self, relay: str, heads: Mapping[str, RelayHead], at_ms: int) -> None:
        origin_heard = self._place.origin and self._listener.state == "connected"
        self.tracker.take_relay_heads(heads, at_ms, leads=not origin_heard and self.relays.leads(relay))
        self._owed.take_heads(relay, heads)
        if not origin_heard:
            self._showing.look()
        if TREE in heads:
            self._changed(TREE)

    def deliver(self, frames: Frames) -> None:
        """Take a message from the bus of whomever."""
        if self._place.origin:
            self._listener.deliver(*frames)
        for listener in self._relay_listeners:
            listener.deliver(*frames)

    def watch_silence(self) -> None:
        """Do what is done every second or so."""
        tried = self.relays.watch_silence()
        if self._place.origin and self._listener.watch_silence():
            tried = True
        if tried:
            self.tracker.ask_about_all()
        if self._steady_ms() - self._noted_ms >= _NOTE_EVERY_MS:
            self._noted_ms = self._steady_ms()
            if not self.relays.any_heard:
                self._owed.read_from_origin()
