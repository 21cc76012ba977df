"""The control socket of a daemon, asked over a real UNIX socket by the real client."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.control.answers import Handler
from pushmirror.control.limits import MAX_CONNECTIONS
from pushmirror.control.server import ControlServer
from pushmirror.errors import Refused, StateError, TimedOut, UsageError
from tests.control.conftest import Ask
from tests.support.reactor import Spin

Start = Callable[..., ControlServer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def start(reactor: Any, spin: Spin, path: Path) -> Iterator[Start]:
    """Starts servers at `path` and stops them at the end."""
    started: list[ControlServer] = []

    def start_server(**handlers: Handler) -> ControlServer:
        server = ControlServer(reactor, path, handlers)
        server.startService()
        started.append(server)
        return server

    yield start_server
    for server in started:
        stop(server, spin)


def stop(server: ControlServer, spin: Spin) -> None:
    stopped: list[object] = []
    server.stopService().addBoth(stopped.append)
    spin(lambda: stopped)
    assert stopped == [None]


def test_a_handler_answers(start: Start, ask_while_turning: Ask, path: Path) -> None:
    """The handler of the command gets the whole request, and its answer arrives, large ones too."""
    start(echo=lambda request: {"got": request, "much": "x" * 3_000_000}, other=lambda request: {})
    answer = ask_while_turning(path, {"command": "echo", "tree": "é\udcff\n"})
    assert answer == {"got": {"command": "echo", "tree": "é\udcff\n"}, "much": "x" * 3_000_000}


def test_a_handler_may_answer_later(reactor: Any, start: Start, ask_while_turning: Ask, path: Path) -> None:
    """A Deferred is waited for."""

    def later(request: dict[str, Any]) -> Deferred[dict[str, Any]]:
        answer: Deferred[dict[str, Any]] = Deferred()
        reactor.callLater(0.1, answer.callback, {"late": True})
        return answer

    start(later=later)
    assert ask_while_turning(path, {"command": "later"}) == {"late": True}


def refuse(request: dict[str, Any]) -> dict[str, Any]:
    raise UsageError("there is no tree debain; did you mean debian?")


def fail(request: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the secret inside")


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("refuse", "did you mean debian", 2),
        ("fail", "internal error, see the log", 1),
        ("odd", "internal error, see the log", 1),
        ("unheard", "does not know the command 'unheard', only: fail, odd, refuse", 2),
    ],
)
def test_failures_are_answers_too(
    command: str, text: str, code: int, start: Start, ask_while_turning: Ask, path: Path
) -> None:
    """Errors made for operators keep text and code; others are told without their content; the server goes on."""
    start(refuse=refuse, fail=fail, odd=lambda request: {"not JSON": object()})
    for _ in range(2):
        with pytest.raises(Refused, match=text) as caught:
            ask_while_turning(path, {"command": command})
        assert caught.value.exit_code == code


def test_unexpected_errors_are_logged(
    start: Start, ask_while_turning: Ask, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log holds the command, the exception and where it arose."""
    start(fail=fail)
    with pytest.raises(Refused):
        ask_while_turning(path, {"command": "fail"})
    assert "the control command fail failed" in caplog.text
    assert "the secret inside" in caplog.text and "in fail" in caplog.text


@pytest.mark.parametrize("line", [b"", b"\xff", b"[]", b"{}", b'{"command": 1}', b"[" * 60_000, b"1" * 60_000])
def test_other_requests_are_refused(line: bytes, start: Start, spin: Spin, path: Path) -> None:
    """Whatever a line holds, the answer is a refusal that shows what a request looks like."""
    start()
    with connect(path) as client:
        client.sendall(line + b"\n")
        received = read_line(client, spin)
    assert received.startswith(b'{"ok": false, "error": "a request is one line of JSON')


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    client.setblocking(False)
    return client


def read_line(client: socket.socket, spin: Spin) -> bytes:
    received = bytearray()

    def receive() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(client.recv(65536))
        return received.endswith(b"\n")

    spin(receive)
    return bytes(received)


def test_the_socket_is_for_user_and_group_only(start: Start, path: Path) -> None:
    """It has mode 0660 whatever the umask is, and the umask stays as it was."""
    before = os.umask(0)
    try:
        start()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_the_socket_goes_with_the_server(start: Start, spin: Spin, path: Path) -> None:
    """After the stop nothing is left in the folder, clients are disconnected, and a second stop is no error."""
    server = start()
    with connect(path) as client:
        spin(lambda: server.running)
        stop(server, spin)
        spin(lambda: is_closed(client))
    stop(server, spin)
    assert list(path.parent.iterdir()) == []


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_the_socket_of_a_killed_daemon_is_replaced(start: Start, ask_while_turning: Ask, path: Path) -> None:
    """A socket that nobody listens on does not stand in the way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    start(hello=lambda request: {"hello": 1})
    assert ask_while_turning(path, {"command": "hello"}) == {"hello": 1}


def test_a_living_daemon_is_not_pushed_aside(start: Start, ask_while_turning: Ask, path: Path) -> None:
    """A second daemon is refused, and the first one keeps its socket."""
    start(hello=lambda request: {"hello": 1})
    with pytest.raises(StateError, match="another daemon is running"):
        start()
    assert ask_while_turning(path, {"command": "hello"}) == {"hello": 1}


def test_the_socket_of_a_successor_is_left_alone(start: Start, spin: Spin, path: Path) -> None:
    """A daemon that stops removes only the socket that it made."""
    server = start()
    path.unlink()
    path.write_text("not ours")
    stop(server, spin)
    assert path.read_text() == "not ours"


def test_another_file_is_not_removed(start: Start, path: Path) -> None:
    """What is no socket stays where it is, and the start is refused."""
    path.write_text("precious")
    with pytest.raises(StateError, match="no socket"):
        start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["absent/control.sock", "x" * 150])
def test_places_without_sockets_are_refused_with_advice(name: str, reactor: Any, tmp_path: Path) -> None:
    """A missing folder and an over-long path are settings faults."""
    server = ControlServer(reactor, tmp_path / name, {})
    with pytest.raises(UsageError, match="control socket"):
        server.startService()


def test_connections_are_bounded(start: Start, ask_while_turning: Ask, reactor: Any, path: Path) -> None:
    """Above the limit one is told to come again, and after others have gone one is served."""
    start(hello=lambda request: {"hello": 1})
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(MAX_CONNECTIONS):
            clients.append(stack.enter_context(connect(path)))
            reactor.iterate(0)
        with pytest.raises(Refused, match="too many"):
            ask_while_turning(path, {"command": "hello"})
        clients[0].close()
        assert ask_while_turning(path, {"command": "hello"}) == {"hello": 1}


def test_a_flood_of_connections_does_not_grow(start: Start, spin: Spin, reactor: Any, path: Path) -> None:
    """Far above the limit, connections are closed without a word."""
    start()
    with contextlib.ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(connect(path))
            reactor.iterate(0)
        last = stack.enter_context(connect(path))
        spin(lambda: is_closed(last))


def test_a_handler_that_never_answers_keeps_no_one_else_waiting(
    start: Start, ask_while_turning: Ask, path: Path
) -> None:
    """The asker's own time limit ends his wait; other commands are answered meanwhile."""
    start(never=lambda request: Deferred(), hello=lambda request: {"hello": 1})
    with pytest.raises(TimedOut):
        ask_while_turning(path, {"command": "never"}, timeout_seconds=0.2)
    assert ask_while_turning(path, {"command": "hello"}) == {"hello": 1}
