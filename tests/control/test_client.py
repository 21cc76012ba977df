"""The asking end: every way in which a daemon may not answer has its error, its advice and its exit code."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pushmirror.control import limits
from pushmirror.control.client import ask, wake
from pushmirror.errors import NotRunning, PushmirrorError, Refused, StateError, TimedOut, UsageError
from tests.support.processes import clean_environment

Answering = Callable[[bytes], Path]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    """Starts a listener that answers one request with the given bytes and closes; returns its path."""
    with contextlib.ExitStack() as stack:

        def start(answer: bytes) -> Path:
            path = tmp_path / "socket"
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listening.bind(str(path))
            listening.listen()
            listening.settimeout(10)

            def serve() -> None:
                with listening.accept()[0] as connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            return path

        yield start


def leave_stale_socket(path: Path) -> None:
    """What a killed daemon leaves: a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))


def test_an_answer_comes_without_its_ok(answering: Answering) -> None:
    """What the daemon says is returned as a mapping."""
    assert ask(answering(b'{"ok": true, "trees": {}}\n'), {"command": "status"}) == {"trees": {}}


@pytest.mark.parametrize(
    ("answer", "kind", "text", "exit_code"),
    [
        (b'{"ok": false, "error": "no such tree", "code": 2}\n', Refused, "no such tree", 2),
        (b'{"ok": false, "error": "busy"}\n', Refused, "busy", 1),
        (b'{"ok": false, "error": "odd", "code": 4000}\n', Refused, "odd", 1),
        (b"", NotRunning, "went away", 3),
        (b'{"ok": tr', NotRunning, "went away", 3),
        (b"220 mail.example.org ESMTP\r\n", StateError, "no pushmirror daemon", 1),
        (b"[]\n", StateError, "no pushmirror daemon", 1),
        (b'{"ok": "yes"}\n', StateError, "no pushmirror daemon", 1),
        (b"[" * 100_000 + b"\n", StateError, "no pushmirror daemon", 1),
    ],
)
def test_other_answers_are_errors(
    answer: bytes, kind: type[PushmirrorError], text: str, exit_code: int, answering: Answering
) -> None:
    """A refusal keeps the daemon's words and code; an unfinished or foreign answer is named as such."""
    with pytest.raises(kind, match=text) as caught:
        ask(answering(answer), {"command": "status"})
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("left", ["nothing", "stale socket", "file"])
def test_a_daemon_that_does_not_run_is_told_with_the_way_to_start_it(left: str, tmp_path: Path) -> None:
    """No socket, a socket left by a killed daemon and a plain file all mean: not running."""
    path = tmp_path / "socket"
    if left == "stale socket":
        leave_stale_socket(path)
    elif left == "file":
        path.touch()
    with pytest.raises(NotRunning, match="systemctl start"):
        ask(path, {"command": "status"})
    assert wake(path) is False


def test_a_daemon_that_does_not_answer_in_time(tmp_path: Path) -> None:
    """The whole exchange is bounded; waking such a daemon is reported as not done."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        with pytest.raises(TimedOut, match=r"within 0\.1 s"):
            ask(tmp_path / "socket", {"command": "status"}, timeout_seconds=0.1)


def test_an_answer_that_trickles_in_is_bounded_too(tmp_path: Path) -> None:
    """Bytes now and then do not extend the time limit."""
    stop = threading.Event()

    def trickle(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, contextlib.suppress(OSError):
            while not stop.wait(0.02):
                connection.sendall(b" ")

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.settimeout(10)
        thread = threading.Thread(target=trickle, args=(listening,), daemon=True)
        thread.start()
        try:
            with pytest.raises(TimedOut):
                ask(tmp_path / "socket", {"command": "status"}, timeout_seconds=0.3)
        finally:
            stop.set()
            thread.join(10)


def test_an_answer_without_end_is_cut_off(answering: Answering) -> None:
    """Reading stops at the bound of the protocol."""
    path = answering(b"x" * (limits.MAX_ANSWER_BYTES + 1_000_000))
    with pytest.raises(StateError, match="does not end"):
        ask(path, {"command": "status"})


def test_a_request_that_is_too_large_is_not_sent(tmp_path: Path) -> None:
    """The bound of requests is told before anybody is asked."""
    with pytest.raises(UsageError, match="too large"):
        ask(tmp_path / "socket", {"command": "sync", "paths": ["x" * 70_000]})


def test_a_path_that_cannot_name_a_socket(tmp_path: Path) -> None:
    """A path longer than sockets may have is a usage error, not a traceback."""
    with pytest.raises(UsageError, match="cannot be used"):
        ask(tmp_path / ("x" * 200), {"command": "status"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user for this test")
@pytest.mark.parametrize("hidden", ["socket", "folder"])
def test_a_user_who_may_not_ask_is_told_which_group_may(hidden: str, tmp_path: Path) -> None:
    """Permission denied names the group to join, whether the socket or its folder keeps the user out."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "socket"
    # The folders of pytest are for one user only; from the working directory the way leads past them.
    tmp_path.chmod(0o755)
    script = (
        "import os, pathlib, sys; os.chdir(sys.argv[1]); from pushmirror.control.client import ask, wake\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "path = pathlib.Path('run/socket')\n"
        "print(wake(path))\n"
        "try:\n    ask(path, {'command': 'status'})\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        os.chown(path, 0, 1)
        os.chown(folder, 0, 1)
        path.chmod(0o660 if hidden == "socket" else 0o666)
        folder.chmod(0o755 if hidden == "socket" else 0o750)
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.startswith("False\nUsageError run/socket: you may not use this control socket; ")
    assert f"run{'/socket' if hidden == 'socket' else ''} belongs to the group daemon: become a member" in done.stdout


def test_a_woken_daemon_is_reported(answering: Answering) -> None:
    """True means that the daemon said so."""
    assert wake(answering(b'{"ok": true}\n')) is True


def test_a_daemon_that_refuses_to_be_woken(answering: Answering, caplog: pytest.LogCaptureFixture) -> None:
    """It is False, with the reason in the log, and nothing is raised."""
    assert wake(answering(b'{"ok": false, "error": "not now"}\n')) is False
    assert "not now" in caplog.text


def test_the_client_loads_nothing_heavy() -> None:
    """Client commands start fast: neither Twisted nor pydantic is imported."""
    code = "import sys, pushmirror.control.client; sys.exit(bool({'twisted', 'pydantic', 'zmq'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
