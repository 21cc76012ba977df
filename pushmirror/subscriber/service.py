"""Assembles the subscriber: builds its parts and hands each what it works with. There are no decisions in here."""

from __future__ import annotations

import fcntl
import logging
import os
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from pushmirror.control.server import ControlServer
from pushmirror.core.schedule import LONGEST_RETRY_MS, share_of
from pushmirror.curve import load_curve_pair
from pushmirror.errors import StateError
from pushmirror.keys import PrivateKey, load_private_key
from pushmirror.settings.relays import RelayHistory
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.subscriber.clocks import WallClock, read_clock_ms, read_steady_ms
from pushmirror.subscriber.deletions import STILL_UPSTREAM_MS
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.installed_rsync import ask_rsync
from pushmirror.subscriber.leap_operations import LeapOperations
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.ledger_recovery import open_or_replace
from pushmirror.subscriber.operations import Operations
from pushmirror.subscriber.parts import TreeParts, make_parts
from pushmirror.subscriber.relay.choice import kept_trees, make_copies
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.relay.shortening import Shortening
from pushmirror.subscriber.runner import Runner
from pushmirror.subscriber.status import Status
from pushmirror.subscriber.upstream_service import Shared, UpstreamService

log = logging.getLogger(__name__)

_TELL_PROGRESS_S = 5.0


def make_service(settings: SubscriberSettings, reactor: Any) -> Any:
    """Return the subscriber as a service. Raises StateError when its state, its key or its rsync cannot be used."""
    state = _State(settings)
    clock_ms = WallClock(read_clock_ms, read_steady_ms, state.move_times)
    service: Any = _Subscriber(state)
    key = load_private_key(settings.key)
    trees = {name: make_parts(name, tree, state.locks) for name, tree in settings.trees.items()}
    _open_trees(state.ledger, trees, kept_trees(settings), clock_ms())
    runner = Runner(reactor, settings.rsync, state.runs, os.environ, confined=settings.confine_rsync)
    rsync = ask_rsync(settings.rsync, os.environ, confine=settings.confine_rsync)
    rsync.warn()
    upstreams: dict[str, UpstreamService] = {}
    dispatcher = Dispatcher(
        reactor,
        trees,
        state.ledger,
        runner,
        settings.max_jobs,
        clock_ms,
        random.random,
        lambda event, record, progress: upstreams[trees[record.tree].settings.upstream].tell(event, record, progress),
        lambda tree: upstreams[trees[tree].settings.upstream].tracker.is_awaiting_head(tree),
        lambda tree: upstreams[trees[tree].settings.upstream].tracker.busy_until_ms(tree),
        catching_up_until_ms=lambda tree: upstreams[trees[tree].settings.upstream].tracker.catching_up_until_ms(tree),
        share=lambda tree: share_of(settings.name, tree),
        relay_head=lambda tree, relay: upstreams[trees[tree].settings.upstream].relays.head(tree, relay),
    )
    curve = None if settings.curve is None else load_curve_pair(settings.curve)
    shared = Shared(reactor, settings.name, key, state.ledger, clock_ms, dispatcher.poke, curve)
    for name, upstream in settings.upstreams.items():
        followed = frozenset(tree for tree, parts in trees.items() if parts.settings.upstream == name)
        tree_keys = {tree: keys for tree in followed if (keys := trees[tree].settings.public_keys) is not None}
        upstreams[name] = UpstreamService(shared, name, upstream, followed, tree_keys)
    copies = make_copies(settings, state.ledger)
    upstream_of = {name: parts.settings.upstream for name, parts in trees.items()}
    status = Status(settings.name, upstreams, upstream_of, state.ledger, dispatcher, copies, rsync)
    operations = Operations(tuple(trees), state.ledger, dispatcher, status, clock_ms)
    leaps = LeapOperations(
        tuple(trees), state.ledger, lambda tree: upstreams[trees[tree].settings.upstream].tracker.adopt_leap(tree)
    )
    history = RelayHistory() if settings.relay is None else settings.relay.history
    relays = _make_relays(reactor, settings, key, state.ledger, copies, upstreams, clock_ms)
    for part in (
        _DispatcherService(reactor, dispatcher),
        *upstreams.values(),
        *relays,
        Shortening(reactor, kept_trees(settings), state.ledger, history, clock_ms),
        ControlServer(reactor, settings.control, {**operations.handlers(), **leaps.handlers()}),
    ):
        part.setServiceParent(service)
    return service


def _make_relays(
    reactor: Any,
    settings: SubscriberSettings,
    key: PrivateKey,
    ledger: Ledger,
    copies: Copies,
    upstreams: dict[str, UpstreamService],
    clock_ms: Callable[[], int],
) -> tuple[Any, ...]:
    """Return the relay that this node is, if it is one."""
    if settings.relay is None:
        return ()
    from pushmirror.subscriber.relay.service import make_relay  # what serves is loaded by those who serve

    services = {name: upstream.services for name, upstream in upstreams.items()}
    rings = {name: upstream.ring for name, upstream in upstreams.items()}
    relay = make_relay(reactor, settings, settings.relay, key, ledger, copies, services, rings, clock_ms)
    ledger.moved = relay.wake
    return (relay,)


def _open_trees(ledger: Ledger, trees: dict[str, TreeParts], kept: Collection[str], now_ms: int) -> None:
    for name, parts in trees.items():
        if ledger.open_tree(name, parts.identity):
            log.warning("tree %s: another folder or source than before: it starts with a first sync", name)
        if ledger.note_shape(name, parts.shape, now_ms):
            log.warning("tree %s: other filters or another profile than before: a full sync follows", name)
            ledger.keep_updates(name, False, now_ms)  # what is applied is not what a relay may have said of it before
        longest_grace_ms = max(parts.settings.delete_grace_ms, STILL_UPSTREAM_MS)
        if ledger.clamp_times(name, now_ms, longest_retry_ms=LONGEST_RETRY_MS, longest_grace_ms=longest_grace_ms):
            log.warning("tree %s: the clock was set back since the last run: nothing waits for what it said then", name)
        ledger.keep_updates(name, name in kept, now_ms)
    for job in ledger.interrupt_jobs(now_ms):
        log.warning("tree %s: the job for serial %d was interrupted and is run again", job.tree, job.serial)


class _State:
    """The files of the subscriber, under a lock: a second subscriber on the same state is refused."""

    def __init__(self, settings: SubscriberSettings) -> None:
        folder = settings.state_dir
        self.locks = _make_folder(folder / "locks")
        self.runs = _make_folder(folder / "runs")
        self._lock = _lock_state(folder)
        self.ledger = open_or_replace(folder / "ledger.sqlite")

    def move_times(self, jump_ms: int) -> None:
        """Let what is due stay due after the same time, although the clock was set."""
        log.warning("the clock was set by %.1f s: what waits for a time is moved along", jump_ms / 1000)
        try:
            self.ledger.move_times(jump_ms)
        except StateError as error:  # whoever reads the clock has another errand
            log.error("the times in the ledger could not be moved: %s", error)

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
