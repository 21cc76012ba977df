"""Assembles everything that belongs to one upstream: whom to listen to, whom to ask, who follows and who reports."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.bus.encryption import make_client_curve
from pushmirror.bus.zeromq import ZeroMQReceiver
from pushmirror.core.liveness import Pulse
from pushmirror.core.messages import topic
from pushmirror.core.model import Event, RelayHead
from pushmirror.core.progress import Progress
from pushmirror.core.relaying import join_states
from pushmirror.curve import CurvePair
from pushmirror.errors import StateError
from pushmirror.http.credentials import Credentials
from pushmirror.http.trust import Trust
from pushmirror.keys import PrivateKey, PublicKey
from pushmirror.logs import Throttle
from pushmirror.settings.relays import UpstreamRelay
from pushmirror.settings.subscriber import Upstream
from pushmirror.subscriber.clocks import read_steady_ms
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.key_watch import KeyWatch
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.listener import KINDS, Listener
from pushmirror.subscriber.records import JobRecord
from pushmirror.subscriber.relay.client import RelayAddress, RelayClient
from pushmirror.subscriber.relay.followed import FollowedRelay, FollowedRelays, list_faults
from pushmirror.subscriber.relay.hearing import RelayListener
from pushmirror.subscriber.relay.owed import OwedNotes
from pushmirror.subscriber.relay.services import Services
from pushmirror.subscriber.relay.showing import Showing
from pushmirror.subscriber.reporter import Reporter
from pushmirror.subscriber.service_client import ServiceClient
from pushmirror.subscriber.silence import SilenceWatch
from pushmirror.subscriber.tracker import Tracker

log = logging.getLogger(__name__)

_WATCH_S = 1.0
_TURNS_PER_NOTE = 10


@dataclass(frozen=True)
class Shared:
    """What all upstreams of a node work with. `changed` is called with a tree that got something to do; by `curve` the
    node is known on buses that are private."""

    reactor: Any
    node: str
    key: PrivateKey
    ledger: Ledger
    clock_ms: Callable[[], int]
    changed: Callable[[str], None]
    curve: CurvePair | None = None


class UpstreamService(Service):
    """The upstream `name`, whose `trees` are followed; some of them have keys of their own (`tree_keys`)."""

    def __init__(
        self,
        shared: Shared,
        name: str,
        settings: Upstream,
        trees: frozenset[str],
        tree_keys: Mapping[str, Sequence[PublicKey]] = MappingProxyType({}),
    ) -> None:
        self._shared = shared
        self._name = name
        self._settings = settings
        self._trees = trees
        prefix, environment = settings.topic_prefix, settings.environment
        self.ring = KeyRing(
            name,
            settings.public_keys,
            shared.ledger,
            shared.clock_ms,
            tree_keys=tree_keys,
            accept_rotation=settings.accept_rotation,
        )
        pulse = Pulse(read_steady_ms())
        self.relays = FollowedRelays(read_steady_ms)
        clients = {relay: self._make_client(relay, found) for relay, found in settings.relays.items()}
        heard, may_tell = self.relays.heard, self.relays.may_tell
        self._origin = self._make_origin(pulse)
        services = Services(self._origin, clients, heard, shared.ledger.head, may_tell)
        self._reporter = Reporter(shared.node, name, prefix, environment, shared.key, services, shared.clock_ms)
        self.services = services
        self._key_watch = KeyWatch(name, self.ring, services, read_steady_ms)
        for client in services.clients:
            client.doubt_keys = self._key_watch.ask
        self.tracker = Tracker(
            shared.reactor,
            sorted(trees),
            shared.ledger,
            services,
            shared.clock_ms,
            read_steady_ms,
            shared.changed,
            settings.leap_bounds,
        )
        self.listener = Listener(
            name,
            self.ring,
            prefix,
            environment,
            trees,
            shared.ledger,
            self.tracker,
            pulse,
            read_steady_ms,
            random.random,
            self._key_watch.ask,
        )
        self._owed = OwedNotes(trees, shared.ledger, shared.clock_ms, shared.changed)
        self._showing = Showing(trees, shared.ledger, services, heard, read_steady_ms)
        for relay, found in settings.relays.items():
            self.relays.add(self._make_relay(relay, found, clients[relay]))
        self._receiver: ZeroMQReceiver | None = None
        if settings.publish is not None:
            topics = [topic(prefix, environment, kind).encode() for kind in KINDS]
            curve = make_client_curve(settings.curve, shared.curve)
            self._receiver = ZeroMQReceiver(
                shared.reactor, settings.publish, topics, self.listener.deliver, curve=curve
            )
        self._throttle = Throttle(read_steady_ms)
        self._watching = LoopingCall(self._watch)
        self._watching.clock = shared.reactor
        self._turns = 0

    def _make_origin(self, pulse: Pulse) -> ServiceClient | None:
        settings = self._settings
        if settings.service is None:
            return None
        return ServiceClient(
            self._shared.reactor,
            settings.service,
            self._name,
            self.ring.of_tree,
            settings.topic_prefix,
            settings.environment,
            Trust(settings.service_ca),
            tell_clock=lambda at_ms: pulse.confirm(at_ms, read_steady_ms()),
            credentials=Credentials(self._shared.node, self._shared.key, self._name),
        )

    def _make_client(self, name: str, relay: UpstreamRelay) -> RelayClient:
        settings = self._settings
        return RelayClient(
            self._shared.reactor,
            RelayAddress(name, relay.service, relay.public_keys),
            self._name,
            self.ring.of_tree,
            settings.topic_prefix,
            settings.environment,
            Trust(settings.service_ca),
            credentials=Credentials(self._shared.node, self._shared.key, name),
        )

    def _make_relay(self, name: str, relay: UpstreamRelay, client: RelayClient) -> FollowedRelay:
        pulse = Pulse(read_steady_ms())
        client.tell_clock = lambda at_ms: pulse.confirm(at_ms, read_steady_ms())
        listener = RelayListener(
            name,
            self._name,
            relay.public_keys,
            self._settings.topic_prefix,
            self._settings.environment,
            pulse,
            read_steady_ms,
            self.listener.deliver,
            self._take_heads,
            lambda: self.relays.ask_for_a_sign(name),
        )
        curve = make_client_curve(relay.curve, self._shared.curve)
        receiver = ZeroMQReceiver(self._shared.reactor, relay.publish, listener.topics, listener.deliver, curve=curve)
        watch = SilenceWatch(f"relay {name} of {self._name}", pulse, read_steady_ms, random.random)
        return FollowedRelay(name, client, pulse, listener, receiver, watch)

    def _take_heads(self, relay: str, heads: Mapping[str, RelayHead], at_ms: int) -> None:
        origin_heard = self._settings.publish is not None and self.listener.state == "connected"
        self.tracker.take_relay_heads(heads, at_ms, leads=not origin_heard and self.relays.leads(relay))
        self._owed.take_heads(relay, heads)
        if not (origin_heard and self.services.has_origin):
            self._showing.look()
        for tree in self._trees.intersection(heads):
            self._shared.changed(tree)  # a job may have waited for a relay that has what is wanted

    def tell(self, event: Event, record: JobRecord, progress: Progress | None) -> None:
        """Report `event` of the job `record` to this upstream."""
        self._reporter.tell(event, record, self._shared.ledger.tree(record.tree), progress)

    @property
    def state(self) -> str:
        """``connecting``, ``connected``, or ``silent`` when neither the publisher nor any of its relays is heard."""
        own = () if self._settings.publish is None else (self.listener.state,)
        return join_states((*own, *self.relays.states))

    def show(self) -> dict[str, Any]:
        """Return what ``status`` tells of the upstream."""
        heard = (self.listener.heard_ago_ms, *self.relays.heard_ago_ms)
        return {
            "state": self.state,
            "last_heard_ms": min((ago_ms for ago_ms in heard if ago_ms is not None), default=None),
            "faults": list_faults(self._receiver, self._origin),
            "dropped": dict(self.listener.dropped),
            "relays": self.relays.show(),
            "keys": self.ring.show(),
        }

    def _watch(self) -> None:
        try:
            self._look()
        except StateError as error:  # a full disk, for example: silence is watched for all the same
            if (suppressed := self._throttle.allow("state")) is not None:
                log.error("upstream %s: %s (%d more before)", self._name, error, suppressed)
        except Exception:  # this loop survives it
            if (suppressed := self._throttle.allow("fault")) is not None:
                log.exception("upstream %s: a look at it failed (%d more before)", self._name, suppressed)

    def _look(self) -> None:
        self._key_watch.look()
        self._shared.clock_ms()  # so that a clock that was set is noticed soon, also when nobody needs the time
        tried = self.relays.watch_silence()
        if self._receiver is not None and self.listener.watch_silence():
            self._receiver.reconnect()
            tried = True
        if tried:
            self.tracker.ask_about_all()
        self._turns += 1
        if self._turns % _TURNS_PER_NOTE == 0 and not self.relays.any_heard:
            self._owed.read_from_origin()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._receiver is not None:
            self._receiver.start()
        self.relays.start()
        self._key_watch.ask()
        self.tracker.start()
        self._watching.start(_WATCH_S, now=False)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        with contextlib.suppress(AssertionError):
            self._watching.stop()
        if self._receiver is not None:
            self._receiver.close()
        self.relays.stop()
        self._key_watch.stop()
        self.tracker.stop()
        self._showing.stop()
        self._reporter.stop()
