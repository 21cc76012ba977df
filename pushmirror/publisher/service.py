"""Assembles the publisher: the journal, the bus, the HTTP service and the control socket, as one Twisted service."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from pushmirror.bus.encryption import make_server_curve
from pushmirror.bus.sender import ZeroMQSender
from pushmirror.control.server import ControlServer
from pushmirror.http.door import Door
from pushmirror.http.service import make_served
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcer import Announcer
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.detect.run_announcer import RunAnnouncer
from pushmirror.publisher.detect.service import make_detection
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import JOURNAL_NAME, Journal, read_clock_ms
from pushmirror.publisher.key_refresh import KeyRefresh
from pushmirror.publisher.lock import DaemonLock
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.pruning import Pruner
from pushmirror.publisher.recovery import recover
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import SigningKeys
from pushmirror.publisher.status import compose_status
from pushmirror.settings.publisher import PublisherSettings

BUSY_MS = 2_000
"""How long the reactor may wait for a ``publish`` that is committing; what could not be done is done later."""


class PublisherService(MultiService):
    """The parts that run, and `resources`: what they share, given back after all of them have stopped."""

    def __init__(self, resources: ExitStack) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._resources = resources

    def stopService(self) -> Deferred[Any]:
        stopped: Deferred[Any] = maybeDeferred(super().stopService)
        return stopped.addBoth(self._give_back)

    def _give_back(self, result: Any) -> Any:
        self._resources.close()
        return result


def make_service(settings: PublisherSettings, reactor: Any) -> MultiService:
    """Return the publisher, bound to its endpoint on the bus and ready to be started.

    Raises KeyFileError, StateError or UsageError when something that it needs cannot be had; then nothing is kept.
    """
    with ExitStack() as resources:
        parts = _make_parts(settings, reactor, resources)
        service = PublisherService(resources.pop_all())
    for part in parts:
        part.setServiceParent(service)
    return service


def _make_parts(settings: PublisherSettings, reactor: Any, resources: ExitStack) -> tuple[Any, ...]:
    """Return what runs, in the order in which it is started: whoever asks finds all of it there."""
    identity = Identity(settings.name, settings.bus.topic_prefix, settings.bus.environment)
    keys = SigningKeys(settings.key, settings.state_dir, read_clock_ms)
    nodes = AuthorizedNodes(settings.authorized_nodes)
    resources.callback(DaemonLock(settings.state_dir).release)
    recover(settings.state_dir / JOURNAL_NAME, clock_ms=read_clock_ms)
    journal = Journal(settings.state_dir / JOURNAL_NAME, busy_ms=BUSY_MS)
    resources.callback(journal.close)

    def greet(subscription: bytes) -> None:
        announcer.greet(subscription)

    def beat() -> None:
        announcer.beat()

    listed = nodes if settings.private else None
    curve = make_server_curve(settings.bus.curve, listed)
    sender = ZeroMQSender(reactor, settings.bus.publish, subscribed=greet, curve=curve)
    resources.callback(sender.close)
    trees = tuple(settings.trees)
    reports = Reports(nodes=nodes, identity=identity, trees=trees, sender=sender, clock_ms=read_clock_ms)
    proofs = Proofs(journal=journal, keys=keys, identity=identity, clock_ms=read_clock_ms, renewed=beat)
    answers = Answers(journal, keys, identity, trees, reports, proofs, read_clock_ms)
    announcer = Announcer(
        reactor,
        journal=journal,
        keys=keys,
        sender=sender,
        identity=identity,
        trees=trees,
        heartbeat_ms=settings.heartbeat_ms,
        clock_ms=read_clock_ms,
    )
    run_announcer = RunAnnouncer(
        reactor,
        state_dir=settings.state_dir,
        keys=keys,
        sender=sender,
        identity=identity,
        trees=trees,
        clock_ms=read_clock_ms,
    )
    key_refresh = KeyRefresh(reactor, keys, changed=announcer.beat)
    detection = make_detection(reactor, settings, identity, announced=announcer.wake, clock_ms=read_clock_ms)

    def tell_status(request: dict[str, Any]) -> dict[str, Any]:
        counter = announcer.heartbeat_counter
        told = compose_status(
            settings, journal, reports, endpoint=sender.endpoint, heartbeat=counter, now_ms=read_clock_ms()
        )
        return told | {"detection": detection.describe(), "keys": keys.show(), "bus": sender.show()}

    def wake(request: dict[str, Any]) -> dict[str, Any]:
        key_refresh.look()
        announcer.wake()
        run_announcer.look()
        return {}

    pruner = Pruner(reactor, journal, settings.history.retention, read_clock_ms)
    control = ControlServer(reactor, settings.control, {"wake": wake, "status": tell_status})
    door = None if listed is None else Door(settings.name, listed, reactor.seconds)
    history = make_served(reactor, settings, answers, door)
    return history, control, announcer, key_refresh, run_announcer, detection, pruner
