"""Runs a service as a daemon in the foreground: who may, signals, what systemd is told, and how a failed start ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from pushmirror import logs
from pushmirror.errors import PushmirrorError, UsageError
from pushmirror.notify import Notifier

_log = logging.getLogger(__name__)


def run_daemon(make_service: Callable[[Any], Any], *, allow_root: bool, log_level: str) -> None:
    """Run the Twisted service that `make_service(reactor)` returns until SIGTERM or SIGINT.

    A service with an attribute ``ready`` (a Deferred) counts as started when that fires. Returns after a clean stop.
    Raises UsageError for root without `allow_root` or a bad log level, SystemExit when the start failed: with the
    error's own exit code and its text on standard error, or 1 and a logged traceback for anything unexpected.
    """
    check_user(os.geteuid(), allow_root)
    logs.configure(log_level)
    logs.bridge_twisted()
    from twisted.internet import reactor

    daemon = _Daemon(reactor, make_service, Notifier(os.environ))
    daemon.run()
    if daemon.exit_code:
        raise SystemExit(daemon.exit_code)


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Have what is loaded within the block left alone by the garbage collector for good.

    It would go through hundreds of modules again and again while they are loaded, which is a fifth of a start, and
    through all of them with each full collection later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def check_user(user_id: int, allow_root: bool) -> None:
    """Raises UsageError for root, unless the settings allow it."""
    if user_id == 0 and not allow_root:
        advice = "run it as a user of its own (systemd: User=pushmirror), or set `allow_root: true` in its settings"
        raise UsageError(f"a daemon does not run as root; {advice}")


class _Daemon:
    """One run of one service in `reactor`. `exit_code` is what the process is to end with."""

    def __init__(self, reactor: Any, make_service: Callable[[Any], Any], notifier: Notifier) -> None:
        self._reactor = reactor
        self._make_service = make_service
        self._notifier = notifier
        self._service: Any = None
        self._stopping = False
        self.exit_code = 0

    def run(self) -> None:
        # Twisted's timers go by the wall clock: after it was set back by a day, none would end for a day.
        self._reactor.seconds = time.monotonic
        self._reactor.callWhenRunning(self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop_service)
        self._reactor.run()

    def _start(self) -> None:
        from twisted.internet.defer import maybeDeferred

        # Twisted's own handlers, which stand until here, log a traceback when a second signal comes.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take_signal)
        self._ping_watchdog()
        started = maybeDeferred(self._start_service)
        started.addCallbacks(lambda _: self._tell_ready(), self._fail)

    def _start_service(self) -> Any:
        """Make and start the service; returns what to wait for until it is ready."""
        self._service = self._make_service(self._reactor)
        self._service.startService()
        return getattr(self._service, "ready", None)

    def _tell_ready(self) -> None:
        if not self._stopping:
            self._notifier.ready()
            _log.info("ready")

    def _fail(self, failure: Any) -> None:
        if self._stopping:
            # What was under way when the stop came ends with an error; that is no failed start.
            return
        error = failure.value
        if isinstance(error, PushmirrorError):
            self.exit_code = error.exit_code
            for line in str(error).splitlines():
                print(f"pushmirror: {line}", file=sys.stderr)
        else:
            self.exit_code = 1
            _log.error("the start failed", exc_info=error)
        self._request_stop()

    def _take_signal(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._request_stop, signal.Signals(number).name)

    def _request_stop(self, reason: str = "") -> None:
        if self._stopping:
            return
        self._stopping = True
        if reason:
            _log.info("stopping on %s", reason)
        self._reactor.stop()

    def _stop_service(self) -> Any:
        """The reactor waits for what this returns before it ends."""
        from twisted.internet.defer import maybeDeferred

        self._stopping = True
        self._notifier.stopping()
        if self._service is None or not self._service.running:
            return None
        return maybeDeferred(self._service.stopService).addErrback(self._log_failed_stop)

    def _log_failed_stop(self, failure: Any) -> None:
        error = failure.value
        _log.error("the stop failed", exc_info=error)

    def _ping_watchdog(self) -> None:
        """From the reactor itself, so that systemd restarts a daemon whose reactor hangs."""
        interval_seconds = self._notifier.watchdog_interval_seconds
        if interval_seconds is not None:
            self._notifier.watchdog()
            self._reactor.callLater(interval_seconds / 2, self._ping_watchdog)
