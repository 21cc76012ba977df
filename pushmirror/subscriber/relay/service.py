"""Assembles a relay: what it hands on, its bus, its HTTP service, the reports and proofs that it passes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from pushmirror.bus.encryption import make_server_curve
from pushmirror.bus.sender import ZeroMQSender
from pushmirror.http.door import Door
from pushmirror.http.service import make_served
from pushmirror.keys import PrivateKey
from pushmirror.nodes import AuthorizedNodes
from pushmirror.settings.relays import Relay
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.subscriber.clocks import read_steady_ms
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.answers import RelayAnswers
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.relay.forwarding import Destination, Forwarding
from pushmirror.subscriber.relay.handing_on import HandingOn
from pushmirror.subscriber.relay.herald import Herald
from pushmirror.subscriber.relay.proofs import Origin, ShownProofs
from pushmirror.subscriber.relay.services import Services
from pushmirror.subscriber.relay.voice import Voice


def make_relay(
    reactor: Any,
    settings: SubscriberSettings,
    relay: Relay,
    key: PrivateKey,
    ledger: Ledger,
    copies: Copies,
    services: Mapping[str, Services],
    rings: Mapping[str, KeyRing],
    clock_ms: Callable[[], int],
) -> Any:
    """Return the relay as a service; `services` are those of the upstreams, which take what it passes up, `rings` hold
    their keys.

    Raises StateError when it cannot listen, KeyFileError for a list of nodes or a certificate that cannot be used.
    """
    topics = {name: (found.topic_prefix, found.environment) for name, found in settings.upstreams.items()}
    voice = Voice(settings.name, key, topics, clock_ms)
    nodes = None if relay.authorized_nodes is None else AuthorizedNodes(relay.authorized_nodes)
    forwards = {name: HandingOn(found.report, "a report", clock_ms) for name, found in services.items()}
    destinations = {name: Destination(*topics[name], forwards[name].hand_on) for name in services}
    forwarding = Forwarding(nodes, destinations, copies.publishers, clock_ms)
    showing = {name: HandingOn(found.show_header, "a header", clock_ms) for name, found in services.items()}
    origins = {name: Origin(*topics[name], rings[name], showing[name].hand_on) for name in services}
    proofs = ShownProofs(ledger, origins, copies.publishers, read_steady_ms)
    answers = RelayAnswers(copies, ledger.kept, voice, forwarding, proofs, ledger)
    listed = nodes if relay.private else None
    door = None if listed is None else Door(settings.name, listed, reactor.seconds)
    history = make_served(reactor, relay, answers, door)

    def greet(subscription: bytes) -> None:
        herald.greet(subscription)

    curve = make_server_curve(relay.curve, listed)
    sender = ZeroMQSender(reactor, relay.publish, subscribed=greet, curve=curve)
    herald = Herald(
        reactor,
        copies=copies,
        kept=ledger.kept,
        voice=voice,
        sender=sender,
        heartbeat_ms=relay.heartbeat_ms,
        clock_ms=clock_ms,
    )
    service: Any = _Relay(herald, sender)
    for part in (history, herald, *forwards.values(), *showing.values()):
        part.setServiceParent(service)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
    return service


class _Relay(MultiService):
    """All parts; the bus is closed after the last of them has stopped."""

    def __init__(self, herald: Herald, sender: ZeroMQSender) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self.wake = herald.wake
        self._sender = sender

    def stopService(self) -> Deferred[Any]:
        stopped: Deferred[Any] = super().stopService()  # type: ignore[no-untyped-call]  # as above
        return stopped.addBoth(self._close)

    def _close(self, result: Any) -> Any:
        self._sender.close()
        return result
