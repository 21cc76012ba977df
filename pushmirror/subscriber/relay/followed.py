"""The relays of one upstream that are listened to: what each has, whether it is heard, and who goes before whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from pushmirror.bus.interface import Receiver
from pushmirror.core.liveness import Pulse
from pushmirror.core.model import RelayHead
from pushmirror.errors import MalformedMessage, ServiceError
from pushmirror.subscriber.relay.client import RelayClient
from pushmirror.subscriber.relay.hearing import RelayListener
from pushmirror.subscriber.service_client import ServiceClient
from pushmirror.subscriber.silence import SilenceWatch

_WORD_LASTS_MS = 24 * 3_600_000
"""What a silent relay said last counts this long when it is about going back to an older epoch."""

log = logging.getLogger(__name__)


@dataclass
class FollowedRelay:
    """One relay and what it takes to follow it."""

    name: str
    client: RelayClient
    pulse: Pulse
    listener: RelayListener
    receiver: Receiver
    silence: SilenceWatch
    asking: Deferred[None] | None = field(default=None, init=False)


def list_faults(receiver: Receiver | None, client: ServiceClient | None) -> dict[str, str | None]:
    """Return why nothing comes from a bus and a service, for people; None where nothing is known to be wrong."""
    return {
        "bus": None if receiver is None else receiver.fault,
        "service": None if client is None else client.fault,
    }


class FollowedRelays:
    """All relays of an upstream, in the operator's order. `steady_ms` is a clock that nobody can set."""

    def __init__(self, steady_ms: Callable[[], int]) -> None:
        self._steady_ms = steady_ms
        self._relays: dict[str, FollowedRelay] = {}

    def add(self, relay: FollowedRelay) -> None:
        """Follow one more relay."""
        self._relays[relay.name] = relay

    def _is_heard(self, relay: FollowedRelay) -> bool:
        return relay.pulse.state(self._steady_ms()) == "connected"

    def head(self, tree: str, relay: str) -> RelayHead | None:
        """Return where `relay` is with `tree`; None when that is not known, or it is not heard any more."""
        found = self._relays.get(relay)
        return found.listener.heads.get(tree) if found is not None and self._is_heard(found) else None

    def heard(self, tree: str) -> dict[str, RelayHead]:
        """Return where each relay that is heard is with `tree`."""
        heads = {name: self.head(tree, name) for name in self._relays}
        return {name: head for name, head in heads.items() if head is not None}

    def may_tell(self, tree: str, epoch: str, besides: str) -> bool:
        """Tell whether a relay other than `besides` is, for all that is known, at `epoch` with `tree`.

        It is when it said so last, even if it has been silent for hours, or when it is still to be heard.
        """
        others = (relay for name, relay in self._relays.items() if name != besides)
        return any(self._may_be_at(relay, tree, epoch) for relay in others)

    def _may_be_at(self, relay: FollowedRelay, tree: str, epoch: str) -> bool:
        now_ms, head = self._steady_ms(), relay.listener.heads.get(tree)
        said = relay.pulse.heard_ago_ms(now_ms) is None if head is None else head.epoch == epoch
        return said and relay.pulse.unheard_ms(now_ms) < _WORD_LASTS_MS

    @property
    def any_heard(self) -> bool:
        """Whether any relay is heard."""
        return any(map(self._is_heard, self._relays.values()))

    @property
    def states(self) -> list[str]:
        """The state of each relay."""
        return [relay.pulse.state(self._steady_ms()) for relay in self._relays.values()]

    @property
    def heard_ago_ms(self) -> list[int | None]:
        """How long ago each relay was heard; None for one that was not."""
        return [relay.pulse.heard_ago_ms(self._steady_ms()) for relay in self._relays.values()]

    def leads(self, relay: str) -> bool:
        """Tell whether `relay` is the first of those that are heard."""
        return next((name for name, found in self._relays.items() if self._is_heard(found)), None) == relay

    def show(self) -> dict[str, dict[str, Any]]:
        """Return what ``status`` tells of each relay."""
        return {name: self._show(relay) for name, relay in self._relays.items()}

    def _show(self, relay: FollowedRelay) -> dict[str, Any]:
        now_ms = self._steady_ms()
        return {
            "state": relay.pulse.state(now_ms),
            "last_heard_ms": relay.pulse.heard_ago_ms(now_ms),
            "faults": list_faults(relay.receiver, relay.client),
            "dropped": dict(relay.listener.dropped),
            "trees": {
                tree: {"applied": head.applied.serial, "cleaned": head.cleaned}
                for tree, head in relay.listener.heads.items()
            },
        }

    def start(self) -> None:
        """Begin to listen."""
        for relay in self._relays.values():
            relay.receiver.start()

    def stop(self) -> None:
        """Listen and ask no more."""
        for relay in self._relays.values():
            relay.receiver.close()
            if relay.asking is not None:
                relay.asking.cancel()

    def watch_silence(self) -> bool:
        """Connect to silent relays again, now and then; returns whether it did. To be called every second or so."""
        silent = [relay for relay in self._relays.values() if relay.silence.watch()]
        for relay in silent:
            relay.receiver.reconnect()
        return bool(silent)

    def ask_for_a_sign(self, name: str) -> None:
        """Ask a relay about one of its trees, since its answer tells its clock."""
        relay = self._relays[name]
        tree = next(iter(relay.listener.heads), None)
        if tree is None or relay.asking is not None:
            return
        asking = Deferred.fromCoroutine(_ask(relay, tree))
        relay.asking = None if asking.called else asking
        asking.addBoth(self._forget, relay)

    @staticmethod
    def _forget(result: Any, relay: FollowedRelay) -> None:
        relay.asking = None


async def _ask(relay: FollowedRelay, tree: str) -> None:
    try:
        await relay.client.relay_state(tree)
    except (ServiceError, MalformedMessage) as error:
        log.info("relay %s was asked for a sign, in vain: %s", relay.name, error)
