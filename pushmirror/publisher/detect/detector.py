"""Looks after one tree inside the publisher: decides when it is scanned and how, and has that done in a thread."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from pushmirror.core.scanning import Scope, count_slices, slice_interval_ms
from pushmirror.errors import PushmirrorError
from pushmirror.publisher.detect.announcing import Place, ScanResult, read_marker, scan_and_announce
from pushmirror.publisher.detect.watch import TreeWatch
from pushmirror.settings.publisher import Detect

_log = logging.getLogger(__name__)

MARKER_SECONDS = 5.0
RETRY_SECONDS = 60.0
"""A scan that failed is tried again after this long; so is watching what could not be watched."""
MAX_DIRTY = 50_000
"""With more changed directories than this, all are read: it costs little more, and no memory."""
WAIT_SECONDS = 30.0
"""How long a scan waits for one that an operator has begun."""

KNOWN = Scope(known=True)
THOROUGH = Scope(thorough=True)

RunInThread = Callable[..., "Deferred[Any]"]


class ScanStopped(Exception):
    """The daemon stops: the scan ends where it is, and nothing of it is kept."""


class TreeDetector(Service):
    """Has one tree scanned as `detect` says, one scan at a time; `announced` is called after each that found something.

    What could not be scanned stays wanted. Nothing that fails ends it.
    """

    def __init__(
        self,
        reactor: Any,
        place: Place,
        detect: Detect,
        *,
        announced: Callable[[], None],
        clock_ms: Callable[[], int],
        run_in_thread: RunInThread,
    ) -> None:
        self._reactor = reactor
        self._place = place
        self._detect = detect
        self._announced = announced
        self._clock_ms = clock_ms
        self._run_in_thread = run_in_thread
        self._stopping = threading.Event()
        self._wanted = Scope()
        self._busy: Deferred[Any] | None = None
        self._loops: list[LoopingCall] = []
        self._watch: TreeWatch | None = None
        self._dirty: set[bytes] = set()
        self._settling: Any = None
        self._retrying: Any = None
        self._marker_seen: str | None = None
        self._last: ScanResult | None = None
        self._finished_ms: int | None = None
        self._error: str | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._stopping.clear()
        detect = self._detect
        if detect.watch is not None:
            self._start_watching()
        if detect.scan_ms is not None:
            self._repeat(detect.scan_ms / 1000, lambda: self.request(KNOWN), now=detect.watch is None)
        if detect.thorough_ms is not None:
            part = Scope(slices=count_slices(detect.thorough_ms))
            self._repeat(slice_interval_ms(detect.thorough_ms) / 1000, lambda: self.request(part), now=False)
        if detect.marker is not None:
            self._repeat(MARKER_SECONDS, self._look_at_marker, now=True)

    def stopService(self) -> Deferred[Any]:
        """Stop everything; fires when the scan that is under way has ended."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._stopping.set()
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._loops.clear()
        for call in (self._settling, self._retrying):
            if call is not None and call.active():
                call.cancel()
        stopped: Deferred[Any] = succeed(None)
        if self._busy is not None:
            ended, stopped = self._busy, Deferred()
            ended.addBoth(lambda result: stopped.callback(None))
        return stopped.addCallback(lambda _: self._stop_watching())

    def _repeat(self, interval_seconds: float, function: Callable[[], Any], *, now: bool) -> None:
        loop = LoopingCall(function)
        loop.clock = self._reactor
        loop.start(interval_seconds, now=now)
        self._loops.append(loop)

    def request(self, scope: Scope) -> None:
        """Have the tree scanned within `scope`, at once or after the scan that is under way."""
        self._wanted |= scope
        self._start_next()

    def _start_next(self) -> None:
        if self._busy is not None or not self._wanted or not self.running:
            return
        scope, self._wanted = self._wanted, Scope()
        marker = self._marker_seen
        self._busy = self._run_in_thread(
            scan_and_announce,
            self._place,
            scope,
            wait_seconds=WAIT_SECONDS,
            before_reading=self._before_reading,
            marker=marker,
        )
        self._busy.addCallbacks(self._finish, self._fail, errbackArgs=(scope,))
        self._busy.addBoth(lambda _: self._go_on())

    def _before_reading(self, path: bytes) -> None:
        """Called in the thread of the scan."""
        if self._stopping.is_set():
            raise ScanStopped
        watch = self._watch
        if watch is not None:
            watch.add(path)

    def _finish(self, result: ScanResult) -> None:
        self._last, self._finished_ms, self._error = result, self._clock_ms(), None
        for problem in result.problems:
            _log.warning("%s: %s", self._place.tree, problem)
        if result.announced is not None:
            _log.info("scan of %s found changes: serial %d", self._place.tree, result.announced.serial)
            self._announced()
        if self._watch is not None and self._watch.problem is not None:
            _log.warning("%s: %s", self._place.tree, self._watch.problem)
            self._watch.forget_problem()
            self._retry(KNOWN)

    def _fail(self, failure: Any, scope: Scope) -> None:
        error = failure.value
        if isinstance(error, ScanStopped):
            return
        if str(error) != self._error:  # said once, and seen in the status for as long as it lasts
            if isinstance(error, PushmirrorError):
                _log.warning("scan of %s: %s", self._place.tree, error)
            else:
                _log.error("scan of %s failed", self._place.tree, exc_info=error)
        self._error = str(error) or type(error).__name__
        self._retry(scope)

    def _retry(self, scope: Scope) -> None:
        self._wanted |= scope
        if self._retrying is None or not self._retrying.active():
            self._retrying = self._reactor.callLater(RETRY_SECONDS, self._start_next)

    def _go_on(self) -> None:
        self._busy = None
        if self._retrying is None or not self._retrying.active():
            self._start_next()

    def _look_at_marker(self) -> Deferred[Any]:
        looked = self._run_in_thread(_look_at_marker, self._place, self._detect.marker or "", self._marker_seen)
        return looked.addCallbacks(self._compare_marker, self._log_failed_look)

    def _compare_marker(self, looks: tuple[str | None, str | None]) -> None:
        known, seen = looks
        self._marker_seen = known
        if seen is not None and seen != known:
            self._marker_seen = seen
            self.request(KNOWN)

    def _log_failed_look(self, failure: Any) -> None:
        self._error = f"the marker cannot be looked at: {failure.value}"

    def _start_watching(self) -> None:
        try:
            self._watch = TreeWatch(
                self._reactor, os.fsencode(self._place.root), changed=self._note_change, lost=self._note_loss
            )
        except PushmirrorError as error:
            self._error = str(error)
            _log.error("%s: %s", self._place.tree, error)
        self.request(KNOWN)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _note_change(self, path: bytes) -> None:
        self._dirty.add(path)
        self._settle()

    def _note_loss(self) -> None:
        _log.warning("%s: changes were lost, so all of the tree is looked at", self._place.tree)
        self._wanted |= THOROUGH
        self._settle()

    def _settle(self) -> None:
        """Scan when nothing has happened for as long as the settings say."""
        if self._detect.watch is None or not self.running:
            return
        delay_seconds = self._detect.watch.settle_ms / 1000
        if self._settling is not None and self._settling.active():
            self._settling.reset(delay_seconds)
        else:
            self._settling = self._reactor.callLater(delay_seconds, self._scan_dirty)

    def _scan_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        self.request(Scope(directories=frozenset(dirty)) if len(dirty) <= MAX_DIRTY else THOROUGH)

    def describe(self) -> dict[str, Any]:
        """Return what the status tells of this tree."""
        last = self._last
        return {
            "state": "scanning" if self._busy is not None else "waiting" if self._wanted or self._dirty else "idle",
            "last_scan_ms": self._finished_ms,
            "duration_ms": last.duration_ms if last else None,
            "directories_read": last.directories_read if last else None,
            "changed": last.changed if last else None,
            "deleted": last.deleted if last else None,
            "problems": list(last.problems) if last else [],
            "watched": self._watch.watched if self._watch else None,
            "error": self._error,
        }


def _look_at_marker(place: Place, marker: str, known: str | None) -> tuple[str | None, str | None]:
    """Return how the marker looked when it last called for a scan, and how it looks now (None: it is not there)."""
    before = known if known is not None else read_marker(place)
    try:
        status = os.stat(place.root / marker)
    except OSError:
        return before, None
    return before, f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
