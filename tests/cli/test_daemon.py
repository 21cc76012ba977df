"""A daemon from start to stop, as a process of its own: what systemd sees, and what an operator reads."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pushmirror.cli.daemon import check_user
from pushmirror.errors import UsageError
from tests.support.processes import Program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# Each service is a function body; what it prints shows the order of events.
PRELUDE = """
import sys
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from pushmirror.cli.daemon import run_daemon
from pushmirror.errors import StateError

class Plain(Service):
    def __init__(self, reactor):
        self.reactor = reactor
    def startService(self):
        super().startService()
        print("started", flush=True)
    def stopService(self):
        super().stopService()
        print("stopped", flush=True)
"""
RUN = '\nrun_daemon(make, allow_root=True, log_level="info")\nprint("returned", flush=True)\n'

PLAIN = "make = Plain"
SLOW_START = """
def make(reactor):
    service = Plain(reactor)
    service.ready = Deferred()
    reactor.callLater(0.3, lambda: (print("prepared", flush=True), service.ready.callback(None)))
    return service
"""
TIMERS = """
import time
def make(reactor):
    print("steady" if abs(reactor.seconds() - time.monotonic()) < 1 else "settable", flush=True)
    return Plain(reactor)
"""
NEVER_READY = """
def make(reactor):
    service = Plain(reactor)
    service.ready = Deferred()
    return service
"""
SLOW_STOP = """
class Slow(Plain):
    def stopService(self):
        print("stopping", flush=True)
        done = Deferred()
        self.reactor.callLater(0.5, done.callback, None)
        return done.addCallback(lambda _: Plain.stopService(self))
make = Slow
"""
FAILING = {
    "made": 'def make(reactor):\n    raise StateError("no journal;\\nmake one")',
    "started": """
class Failing(Service):
    def startService(self):
        raise StateError("no journal;\\nmake one")
def make(reactor):
    whole = MultiService()
    Plain(reactor).setServiceParent(whole)
    Failing().setServiceParent(whole)
    return whole
""",
    "ready": """
def make(reactor):
    service = Plain(reactor)
    service.ready = Deferred()
    reactor.callLater(0.1, service.ready.errback, StateError("no journal;\\nmake one"))
    return service
""",
}
BLOCKING = """
import time
def make(reactor):
    reactor.callLater(0.5, lambda: (print("hanging", flush=True), time.sleep(600)))
    return Plain(reactor)
"""

Launch = Callable[..., Program]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as systemd has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a daemon with the given service in a process of its own."""
    with ExitStack() as stack:

        def start(service: str, **environment: str) -> Program:
            program = Program(
                ["-c", PRELUDE + service + RUN],
                command=[sys.executable],
                log_path=tmp_path / "log",
                environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment},
            )
            return stack.enter_context(program)

        yield start


def plain_lines(program: Program) -> list[str]:
    """What the service printed, without log lines."""
    return [line for line in program.log_text().splitlines() if "Z INFO " not in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_a_signal_and_stops_cleanly(
    number: signal.Signals, launch: Launch, manager: socket.socket
) -> None:
    """Systemd hears ready and stopping, the service is started and stopped, and the process ends with 0."""
    program = launch(PLAIN)
    assert manager.recv(100) == b"READY=1"
    program.send(number)
    assert manager.recv(100) == b"STOPPING=1"
    assert program.wait() == 0
    assert plain_lines(program) == ["started", "stopped", "returned"]
    assert f"stopping on {number.name}" in program.log_text()


def test_ready_waits_for_the_service(launch: Launch, manager: socket.socket) -> None:
    """A service that has a `ready` is announced when that has fired."""
    program = launch(SLOW_START)
    assert manager.recv(100) == b"READY=1"
    assert plain_lines(program) == ["started", "prepared"]


def test_timers_go_by_a_clock_that_nobody_can_set(launch: Launch, manager: socket.socket) -> None:
    """Otherwise a clock that is set back by a day would stop everything for a day."""
    program = launch(TIMERS)
    assert manager.recv(100) == b"READY=1"
    assert plain_lines(program) == ["steady", "started"]


def test_a_stop_before_it_was_ready(launch: Launch, manager: socket.socket) -> None:
    """A daemon that is still starting stops as cleanly, and never says ready."""
    program = launch(NEVER_READY)
    program.wait_for_line("started")
    assert program.terminate() == 0
    assert manager.recv(100) == b"STOPPING=1"
    assert plain_lines(program) == ["started", "stopped", "returned"]


def test_a_second_signal_changes_nothing(launch: Launch, manager: socket.socket) -> None:
    """While the service stops, further signals are taken in silence, and the stop is waited for."""
    program = launch(SLOW_STOP)
    assert manager.recv(100) == b"READY=1"
    program.send(signal.SIGTERM)
    program.wait_for_line("stopping")
    program.send(signal.SIGTERM)
    program.send(signal.SIGINT)
    assert program.wait() == 0
    assert [line for line in plain_lines(program) if line != "stopping"] == ["started", "stopped", "returned"]
    assert "Traceback" not in program.log_text()


@pytest.mark.parametrize("where", FAILING)
def test_a_failed_start_is_a_text_and_an_exit_code(where: str, launch: Launch, manager: socket.socket) -> None:
    """Our own errors end the process with their code, their text on stderr line by line, and no traceback."""
    program = launch(FAILING[where])
    assert program.wait() == 1
    assert "pushmirror: no journal;\npushmirror: make one\n" in program.log_text()
    assert "Traceback" not in program.log_text()
    assert ("started" in plain_lines(program)) == ("stopped" in plain_lines(program))
    assert manager.recv(100) == b"STOPPING=1"


def test_an_unexpected_failure_is_logged_in_one_line(launch: Launch) -> None:
    """Anything else ends with 1 and a traceback folded into a line."""
    program = launch("def make(reactor):\n    return 1 / 0")
    assert program.wait() == 1
    line = next(line for line in program.log_text().splitlines() if "the start failed" in line)
    assert " ERROR " in line and "Traceback" in line and "ZeroDivisionError" in line


def test_the_watchdog_hears_from_a_living_daemon(launch: Launch, manager: socket.socket) -> None:
    """Signs of life come again and again, twice within the interval."""
    launch(PLAIN, WATCHDOG_USEC="400000")
    received = [manager.recv(100) for _ in range(6)]
    assert received.count(b"WATCHDOG=1") == 5
    assert received.count(b"READY=1") == 1


def test_the_watchdog_hears_nothing_from_a_hanging_daemon(launch: Launch, manager: socket.socket) -> None:
    """When the reactor is blocked the signs of life end, so that systemd restarts it."""
    program = launch(BLOCKING, WATCHDOG_USEC="200000")
    program.wait_for_line("hanging")
    manager.settimeout(1)

    def silent() -> bool:
        try:
            manager.recv(100)
        except TimeoutError:
            return True
        return False

    wait_until(silent, deadline_seconds=20)
    program.kill()


def test_root_is_refused_unless_allowed() -> None:
    """The error says what to do; other users are never refused."""
    with pytest.raises(UsageError, match=r"allow_root: true"):
        check_user(0, allow_root=False)
    check_user(0, allow_root=True)
    check_user(1000, allow_root=False)
