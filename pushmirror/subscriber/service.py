"""Assembles the subscriber: builds its parts and hands each what it works with. There are no decisions in here."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import time
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from pushmirror.bus.zeromq import ZeroMQReceiver
from pushmirror.control.server import ControlServer
from pushmirror.core.messages import HEARTBEAT, UPDATED, UPDATING, topic
from pushmirror.core.model import Event
from pushmirror.core.progress import Progress
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, load_private_key
from pushmirror.settings.subscriber import SubscriberSettings, Upstream
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.listener import Listener
from pushmirror.subscriber.operations import Operations
from pushmirror.subscriber.parts import TreeParts, make_parts
from pushmirror.subscriber.records import JobRecord
from pushmirror.subscriber.reporter import Reporter
from pushmirror.subscriber.runner import Runner
from pushmirror.subscriber.service_client import ServiceClient
from pushmirror.subscriber.status import Status
from pushmirror.subscriber.tracker import Tracker

log = logging.getLogger(__name__)

_WATCH_SILENCE_S = 1.0
_TELL_PROGRESS_S = 5.0


def read_clock_ms() -> int:
    """Return the time of the wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def make_service(settings: SubscriberSettings, reactor: Any) -> Any:
    """Return the subscriber as a service. Raises StateError when its state, its key or its rsync cannot be used."""
    state = _State(settings)
    service: Any = _Subscriber(state)
    key = load_private_key(settings.key)
    trees = {name: make_parts(name, tree, state.locks) for name, tree in settings.trees.items()}
    _open_trees(state.ledger, trees)
    runner = Runner(reactor, settings.rsync, state.runs, os.environ)
    upstreams: dict[str, _UpstreamService] = {}
    dispatcher = Dispatcher(
        reactor,
        trees,
        state.ledger,
        runner,
        settings.max_jobs,
        read_clock_ms,
        random.random,
        lambda event, record, progress: upstreams[trees[record.tree].settings.upstream].tell(event, record, progress),
        lambda tree: upstreams[trees[tree].settings.upstream].tracker.is_awaiting_head(tree),
        lambda tree: upstreams[trees[tree].settings.upstream].tracker.busy_until_ms(tree),
    )
    for name, upstream in settings.upstreams.items():
        followed = frozenset(tree for tree, parts in trees.items() if parts.settings.upstream == name)
        upstreams[name] = _UpstreamService(
            reactor, settings.name, name, upstream, followed, state.ledger, key, dispatcher
        )
    listeners = {name: upstream.listener for name, upstream in upstreams.items()}
    upstream_of = {name: parts.settings.upstream for name, parts in trees.items()}
    status = Status(settings.name, listeners, upstream_of, state.ledger, dispatcher, read_clock_ms)
    operations = Operations(tuple(trees), state.ledger, dispatcher, status, read_clock_ms)
    for part in (
        _DispatcherService(reactor, dispatcher),
        *upstreams.values(),
        ControlServer(reactor, settings.control, operations.handlers()),
    ):
        part.setServiceParent(service)  # type: ignore[no-untyped-call]  # Twisted has no annotation there
    return service


def _open_trees(ledger: Ledger, trees: dict[str, TreeParts]) -> None:
    for name, parts in trees.items():
        if ledger.open_tree(name, parts.identity):
            log.warning("tree %s: another folder or source than before: it starts with a first sync", name)
        if ledger.note_shape(name, parts.shape, read_clock_ms()):
            log.warning("tree %s: other filters or another profile than before: a full sync follows", name)
    for job in ledger.interrupt_jobs(read_clock_ms()):
        log.warning("tree %s: the job for serial %d was interrupted and is run again", job.tree, job.serial)


class _State:
    """The files of the subscriber, under a lock: a second subscriber on the same state is refused."""

    def __init__(self, settings: SubscriberSettings) -> None:
        folder = settings.state_dir
        self.locks = _make_folder(folder / "locks")
        self.runs = _make_folder(folder / "runs")
        self._lock = _lock_state(folder)
        self.ledger = Ledger(folder / "ledger.sqlite")

    def close(self) -> None:
        """Close the ledger and give the lock back."""
        self.ledger.close()
        os.close(self._lock)


class _Subscriber(MultiService):
    """All parts; the state is closed after the last of them has stopped, because jobs record how they ended."""

    def __init__(self, state: _State) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._state = state

    def stopService(self) -> Deferred[Any]:
        stopped: Deferred[Any] = super().stopService()  # type: ignore[no-untyped-call]  # as above
        return stopped.addBoth(self._close)

    def _close(self, result: Any) -> Any:
        self._state.close()
        return result


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StateError(f"{path} cannot be made: {error.strerror}; let `state_dir` belong to this user") from error
    return path


def _lock_state(folder: Path) -> int:
    descriptor = os.open(folder / "subscriber.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StateError(f"another subscriber is running on {folder}: stop it first, or set `state_dir`") from error
    return descriptor


class _DispatcherService(Service):
    def __init__(self, reactor: Any, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._progress = LoopingCall(dispatcher.tell_progress)
        self._progress.clock = reactor

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._dispatcher.poke()
        self._progress.start(_TELL_PROGRESS_S, now=False)

    def stopService(self) -> Deferred[Any]:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._progress.running:
            self._progress.stop()
        return self._dispatcher.stop()


class _UpstreamService(Service):
    """Everything that belongs to one upstream: its bus, its service, who follows its trees and who reports to it."""

    def __init__(
        self,
        reactor: Any,
        node: str,
        name: str,
        settings: Upstream,
        trees: frozenset[str],
        ledger: Ledger,
        key: PrivateKey,
        dispatcher: Dispatcher,
    ) -> None:
        prefix, environment, keys = settings.topic_prefix, settings.environment, settings.public_keys
        client = ServiceClient(reactor, settings.service, name, keys, prefix, environment)
        self._ledger = ledger
        self._reporter = Reporter(node, name, prefix, environment, key, client, read_clock_ms)
        self.tracker = Tracker(reactor, sorted(trees), ledger, client, read_clock_ms, dispatcher.poke)
        self.listener = Listener(name, keys, prefix, environment, trees, ledger, self.tracker, read_clock_ms)
        topics = [topic(prefix, environment, kind).encode() for kind in (UPDATED, HEARTBEAT, UPDATING)]
        self._receiver = ZeroMQReceiver(reactor, settings.publish, topics, self.listener.deliver)
        self._silence = LoopingCall(self._watch_silence)
        self._silence.clock = reactor

    def tell(self, event: Event, record: JobRecord, progress: Progress | None) -> None:
        """Report `event` of the job `record` to this upstream."""
        self._reporter.tell(event, record, self._ledger.tree(record.tree), progress)

    def _watch_silence(self) -> None:
        if self.listener.watch_silence():
            self._receiver.reconnect()
            self.tracker.ask_about_all()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._receiver.start()
        self.tracker.start()
        self._silence.start(_WATCH_SILENCE_S, now=False)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        with contextlib.suppress(AssertionError):
            self._silence.stop()
        self._receiver.close()
        self.tracker.stop()
        self._reporter.stop()
