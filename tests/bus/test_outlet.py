"""The process that holds the publishing socket: what clients can do to it costs a restart, and nobody a message."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.bus.outlet import OutletSettings
from pushmirror.bus.packets import MAX_PACKET_BYTES, pack_end, pack_message, unpack_message
from pushmirror.bus.sender import MEMORY_BYTES, ZeroMQSender
from pushmirror.bus.zeromq import ZeroMQReceiver
from pushmirror.errors import StateError
from tests.support.bus_attacks import Attacker
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.reactor import Spin
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Listen = Callable[[ZeroMQSender], list[bytes]]
ATTACKS = ("subscriptions", "endless message")
UNDEFENDED = """
import resource, sys, time, zmq
from pushmirror.bus.sockets import open_publishing
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
socket = open_publishing(zmq.Context())
print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while True:
    socket.poll(100)
    for _ in range(1000):
        try:
            socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            break
"""
ORPHANING = """
import sys, time
from twisted.internet.epollreactor import EPollReactor
from pushmirror.bus.sender import ZeroMQSender
sender = ZeroMQSender(EPollReactor(), "tcp://127.0.0.1:0")
print(sender.pid, sender.endpoint.rpartition(":")[2], flush=True)
time.sleep(60)
"""


@pytest.fixture
def make_sender(reactor: Any) -> Iterator[Callable[..., ZeroMQSender]]:
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> ZeroMQSender:
            sender = ZeroMQSender(reactor, "tcp://127.0.0.1:0", **options)
            stack.callback(sender.close)
            return sender

        yield make


@pytest.fixture
def listen(reactor: Any) -> Iterator[Listen]:
    """Makes an honest client; gives the list of what it has heard."""
    with contextlib.ExitStack() as stack:

        def make(sender: ZeroMQSender) -> list[bytes]:
            heard: list[bytes] = []
            receiver = ZeroMQReceiver(reactor, sender.endpoint, [b"t"], lambda _, body: heard.append(body))
            stack.callback(receiver.close)
            receiver.start()
            return heard

        yield make


@contextlib.contextmanager
def running(code: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run Python code in a process; gives the numbers on its first line."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=clean_environment()
    ) as process:
        try:
            assert process.stdout is not None
            yield process, [int(word) for word in process.stdout.readline().split()]
        finally:
            process.kill()


def port_of(sender: ZeroMQSender) -> int:
    return int(sender.endpoint.rpartition(":")[2])


def memory_bytes(pid: int | None) -> int:
    """Return what a process has in memory; 0 when there is none."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_the_process_apart_the_daemon_itself_would_grow(attack: str) -> None:
    """300,000 subscriptions, or a message of nine million frames, have a bare socket take more than our limit."""
    with running(UNDEFENDED) as (process, (port,)), Attacker(port, attack):
        wait_until(
            lambda: memory_bytes(process.pid) > MEMORY_BYTES, deadline_seconds=60, what="the bare socket to grow"
        )


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_a_restart_and_no_update(
    attack: str,
    reactor: Any,
    spin: Spin,
    make_sender: Callable[..., ZeroMQSender],
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The process ends at its limit and another one takes its place: the honest client hears on, those who subscribe
    anew are greeted, the daemon does not grow, and its timers are punctual."""
    greeted: list[bytes] = []
    sender = make_sender(subscribed=greeted.append)
    heard = listen(sender)
    lateness, sent, peak_bytes = [0.0], 0, 0

    def tick(due: float) -> None:
        nonlocal sent, peak_bytes
        lateness.append(reactor.seconds() - due)
        sent += 1
        sender.send(b"t", b"%d" % sent)
        peak_bytes = max(peak_bytes, memory_bytes(sender.pid))
        reactor.callLater(0.1, tick, reactor.seconds() + 0.1)

    tick(reactor.seconds())
    spin(lambda: heard)
    own_bytes = memory_bytes(os.getpid())
    with Attacker(port_of(sender), attack):
        spin(lambda: sender.restarts, deadline_seconds=60)
    greeted.clear()
    already = len(heard)
    spin(lambda: len(heard) > already + 3 and b"t" in greeted)
    assert sender.restarts <= 2
    assert peak_bytes <= MEMORY_BYTES + (64 << 20)
    assert memory_bytes(os.getpid()) - own_bytes < 64 << 20
    assert max(lateness) < 1
    assert caplog.text.count("the process of the bus") == 1


def test_a_process_that_takes_nothing_any_more_is_replaced(
    spin: Spin, make_sender: Callable[..., ZeroMQSender], listen: Listen
) -> None:
    """One that is kept busy for ever looks like one that is stopped: it is killed, and the next one is heard."""
    sender = make_sender(stuck_seconds=0.5)
    first = sender.pid
    assert first is not None
    heard = listen(sender)

    def hears() -> object:
        sender.send(b"t", b"b")
        return heard

    spin(hears)
    os.kill(first, signal.SIGSTOP)
    sender.send(b"t", b"b")
    spin(lambda: sender.restarts)
    heard.clear()
    spin(hears)
    assert sender.pid != first


def test_whoever_connects_after_a_restart_is_greeted_although_nothing_was_sent_since(
    spin: Spin, make_sender: Callable[..., ZeroMQSender], listen: Listen
) -> None:
    """The new process knows what there is to be told about: nobody waits for the next heartbeat."""
    greeted = list[bytes]()
    sender = make_sender(subscribed=greeted.append)
    heard = listen(sender)

    def hears() -> object:
        sender.send(b"topic", b"b")
        return heard

    spin(hears)
    assert sender.pid is not None
    os.kill(sender.pid, signal.SIGKILL)
    spin(lambda: sender.restarts)
    greeted.clear()
    spin(lambda: b"topic" in greeted)


def test_the_process_ends_with_the_daemon_and_by_no_signal_of_a_terminal() -> None:
    """SIGINT and SIGTERM, which systemd and a terminal send to all, leave it to the daemon; when that is killed the
    process is gone, and the address free."""
    with running(ORPHANING) as (daemon, (pid, port)):
        wait_until(lambda: "outlet" in Path(f"/proc/{pid}/cmdline").read_text(), what="the process to run")
        wait_until(lambda: accepts_and_greets(port), what="the process to serve")
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        assert accepts_and_greets(port)
        daemon.kill()
        daemon.wait()
        wait_until(lambda: is_gone(pid) and is_free(port), what="the process to end and the address to be free")


def accepts_and_greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(10)[:1] == b"\xff"


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_message_that_is_too_large_is_refused(make_sender: Callable[..., ZeroMQSender]) -> None:
    """What would not fit into a packet is an error at once, and not a message that never arrives."""
    sender = make_sender()
    for topic, body in ((b"t" * 256, b""), (b"t", bytes(MAX_PACKET_BYTES))):
        with pytest.raises(StateError, match="too large"):
            sender.send(topic, body)


def test_packets_and_settings_come_back_as_they_were() -> None:
    """A message, the end and the settings are read as they were written, keys and odd bytes included."""
    for topic, body in ((b"", b""), (b"\xff" * 255, b"\x00"), (b"t", bytes(1000))):
        assert unpack_message(pack_message(topic, body)) == (topic, body)
    assert unpack_message(pack_end()) is None
    settings = OutletSettings(3, 4, "tcp://127.0.0.1:1", 5, ("t",), "secret", frozenset({bytes(32), b"\xff" * 32}))
    loaded = OutletSettings.load(settings.dump())
    assert (loaded.allowed, loaded.endpoint, list(loaded.topics)) == (settings.allowed, settings.endpoint, ["t"])
    assert "secret" not in repr(settings)


def test_closing_waits_for_no_client_and_sends_what_is_queued(
    spin: Spin, make_sender: Callable[..., ZeroMQSender], listen: Listen
) -> None:
    """A message that was sent right before the end arrives; the end takes less than two seconds."""
    sender = make_sender()
    heard = listen(sender)

    def hears() -> object:
        sender.send(b"t", b"first")
        return heard

    spin(hears)
    sender.send(b"t", b"last")
    started = time.monotonic()
    sender.close()
    assert time.monotonic() - started < 2
    spin(lambda: heard[-1] == b"last")
