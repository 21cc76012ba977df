"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket such as systemd has, and its name in NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@pushmirror-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(10)
        yield listening, name


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """Ready, status, watchdog and stopping arrive in systemd's words; a status is brought to one line."""
    listening, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("3 trees,\nREADY=0 \udcff é")
    notifier.watchdog()
    notifier.stopping()
    received = [listening.recv(4096).decode() for _ in range(4)]
    assert received == ["READY=1", "STATUS=3 trees, READY=0 ? é", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:9999"}])
def test_without_a_socket_nothing_happens(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Outside systemd, and for addresses of another kind, the notifier is silent."""
    Notifier(environ).ready()
    assert caplog.text == ""


def test_a_manager_that_is_gone_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A message that cannot be sent raises nothing."""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "READY" in caplog.text


def test_a_manager_that_does_not_read_cannot_stop_the_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the socket is full, sending gives up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.setblocking(False)
        with filler, pytest.raises(BlockingIOError):
            for _ in range(100_000):
                filler.sendto(b"x", str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).ready()
    assert "READY" in caplog.text


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_of_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    """It is in seconds, and None when systemd wants no sign of life of this very process."""
    assert Notifier(environ).watchdog_interval_seconds == seconds
