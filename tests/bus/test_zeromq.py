"""The ZeroMQ bus on real sockets over loopback, in a real reactor."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pushmirror.bus.interface import Receiver, Sender
from pushmirror.bus.sender import ZeroMQSender
from pushmirror.bus.zeromq import ENDLESS, FRAMES_PER_TURN, MAX_UNREADABLE_BYTES, ZeroMQReceiver
from pushmirror.errors import StateError, UsageError
from tests.support.bus_attacks import endless_message, greet, send_for
from tests.support.reactor import Spin
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Seen = list[tuple[bytes, bytes]]
PlainSocket = Callable[[int], "zmq.Socket[bytes]"]
IMPATIENT: dict[str, Any] = {"check_seconds": 0.2}
ANY_PORT = "tcp://127.0.0.1:0"


def address_is_usable(host: str, family: socket.AddressFamily) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not address_is_usable("::1", socket.AF_INET6), reason="this machine has no ::1")


@pytest.fixture
def plain() -> Iterator[PlainSocket]:
    """Makes sockets of pyzmq alone, as programs of other people have them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def make(kind: int) -> zmq.Socket[bytes]:
        made = context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.IPV6, 1)
        return made

    yield make
    context.destroy(linger=0)


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def make_sender(reactor: Any, closing: contextlib.ExitStack) -> Callable[[str], ZeroMQSender]:
    def make(endpoint: str) -> ZeroMQSender:
        sender = ZeroMQSender(reactor, endpoint)
        closing.callback(sender.close)
        return sender

    return make


@pytest.fixture
def make_receiver(reactor: Any, closing: contextlib.ExitStack) -> Callable[..., ZeroMQReceiver]:
    def make(endpoint: str, deliver: Any, topics: tuple[bytes, ...] = (b"",), **options: Any) -> ZeroMQReceiver:
        receiver = ZeroMQReceiver(reactor, endpoint, topics, deliver, **options)
        closing.callback(receiver.close)
        return receiver

    return make


def greet_until(spin: Spin, send: Callable[[], object], arrived: Callable[[], object]) -> None:
    """Send again and again until something arrives: a publisher cannot tell when a subscription has reached it."""

    def tried() -> object:
        send()
        return arrived()

    spin(tried)


def subscribe_to(publisher: zmq.Socket[bytes], spin: Spin, count: int = 1) -> None:
    """Wait until `count` subscriptions have reached a plain XPUB socket."""
    for _ in range(count):
        spin(lambda: publisher.poll(0))
        assert publisher.recv()[:1] == b"\x01"


def test_importing_installs_no_reactor() -> None:
    """A program may still choose its reactor after it has imported the bus."""
    code = "import sys, pushmirror.bus.zeromq; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("endpoint", [ANY_PORT, "tcp://*:0", "tcp://localhost:0"])
def test_a_plain_subscriber_reads_our_framing(
    endpoint: str, make_sender: Callable[[str], ZeroMQSender], plain: PlainSocket, spin: Spin
) -> None:
    """Any ZeroMQ program that subscribes gets two frames, topic and body, of the topics it asked for."""
    sender: Sender = make_sender(endpoint)
    port = make_port(sender)
    subscriber = plain(zmq.SUB)
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    subscriber.setsockopt(zmq.SUBSCRIBE, b"org.example.")
    greet_until(spin, lambda: sender.send(b"org.example.hello", b""), lambda: subscriber.poll(0))
    sender.send(b"net.other", b"not asked for")
    sender.send(b"org.example.last", b"\x00 body")
    received = [subscriber.recv_multipart()]
    while received[-1][0] != b"org.example.last":
        assert subscriber.poll(5000)
        received.append(subscriber.recv_multipart())
    assert received[-1] == [b"org.example.last", b"\x00 body"]
    assert {frames[0] for frames in received} == {b"org.example.hello", b"org.example.last"}


def make_port(sender: Any) -> int:
    return int(sender.endpoint.rpartition(":")[2])


@needs_ipv6
def test_sender_and_receiver_over_ipv6(
    make_sender: Callable[[str], ZeroMQSender], make_receiver: Callable[..., ZeroMQReceiver], spin: Spin
) -> None:
    """Both ends take an address in brackets."""
    seen = Seen()
    sender = make_sender("tcp://[::1]:0")
    assert sender.endpoint.startswith("tcp://[::1]:")
    make_receiver(sender.endpoint, lambda *message: seen.append(message)).start()
    greet_until(spin, lambda: sender.send(b"t", b"six"), lambda: seen)
    assert seen[0] == (b"t", b"six")


@needs_ipv6
def test_the_wildcard_listens_in_both_families(
    make_sender: Callable[[str], ZeroMQSender], make_receiver: Callable[..., ZeroMQReceiver], spin: Spin
) -> None:
    """A publisher on ``tcp://*`` is reached over IPv4 and over IPv6."""
    sender = make_sender("tcp://*:0")
    for host in ("127.0.0.1", "[::1]"):
        seen = Seen()
        receiver = make_receiver(f"tcp://{host}:{make_port(sender)}", lambda *message, seen=seen: seen.append(message))
        receiver.start()
        greet_until(spin, lambda: sender.send(b"t", b"b"), lambda seen=seen: seen)


@needs_ipv6
def test_a_host_name_is_tried_in_both_families(
    make_sender: Callable[[str], ZeroMQSender], make_receiver: Callable[..., ZeroMQReceiver], spin: Spin
) -> None:
    """A name that means both families reaches a publisher that listens in one of them only, whichever it is."""
    name = "ip6-localhost"
    try:
        socket.getaddrinfo(name, None, socket.AF_INET6)
    except OSError:
        pytest.skip(f"this machine does not know the name {name}")
    sender, seen = make_sender("tcp://[::1]:0"), Seen()
    receiver = make_receiver(f"tcp://{name}:{make_port(sender)}", lambda *message: seen.append(message), **IMPATIENT)
    receiver.start()
    greet_until(spin, lambda: sender.send(b"t", b"b"), lambda: seen)


def test_listening_where_somebody_listens_is_refused_with_advice(
    reactor: Any, make_sender: Callable[[str], ZeroMQSender]
) -> None:
    """The second publisher on one address is told that it is in use, and leaves nothing in the reactor."""
    first = make_sender(ANY_PORT)
    readers = list(reactor.getReaders())
    with pytest.raises(StateError, match="already in use"):
        make_sender(first.endpoint)
    assert reactor.getReaders() == readers


@pytest.mark.parametrize("endpoint", ["tcp://192.0.2.77:9940", "tcp://no-such-host.invalid:9940", "nonsense"])
def test_listening_elsewhere_is_refused_with_advice(endpoint: str, make_sender: Callable[[str], ZeroMQSender]) -> None:
    """An address of another machine, an unknown name and nonsense are settings faults that name the endpoint."""
    with pytest.raises(UsageError, match=endpoint):
        make_sender(endpoint)


def test_connecting_to_nonsense_is_refused_with_advice(make_receiver: Callable[..., ZeroMQReceiver]) -> None:
    """An endpoint without a port is told at start; the receiver can be closed afterwards."""
    with pytest.raises(UsageError, match="not a usable endpoint"):
        make_receiver("tcp://192.0.2.1", print).start()


def test_sending_never_waits_for_a_client_that_does_not_read(
    make_sender: Callable[[str], ZeroMQSender], plain: PlainSocket, spin: Spin
) -> None:
    """A client that stopped reading misses messages; another one still gets the newest."""
    sender = make_sender(ANY_PORT)
    stuck, reading = plain(zmq.SUB), plain(zmq.SUB)
    stuck.setsockopt(zmq.RCVHWM, 1)
    for subscriber in (stuck, reading):
        subscriber.connect(sender.endpoint)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        greet_until(spin, lambda: sender.send(b"hello", b""), lambda subscriber=subscriber: subscriber.poll(0))
    body = bytes(20_000)
    for _ in range(5_000):
        sender.send(b"t", body)
        while reading.poll(0):
            reading.recv_multipart()
    greet_until(spin, lambda: sender.send(b"last", b""), lambda: reading.poll(0))


def test_a_closed_sender_refuses_to_send(make_sender: Callable[[str], ZeroMQSender]) -> None:
    """After close, which may be called twice, sending raises StateError."""
    sender = make_sender(ANY_PORT)
    sender.close()
    sender.close()
    with pytest.raises(StateError):
        sender.send(b"t", b"b")


def test_a_flood_is_delivered_whole_and_delays_no_timer(
    reactor: Any, make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """Of 20,000 messages sent at once none is lost or reordered, and a timer of 0.1 s stays punctual meanwhile."""
    publisher = plain(zmq.XPUB)
    publisher.setsockopt(zmq.SNDHWM, 0)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    count, seen, lateness = 20_000, Seen(), [0.0]
    make_receiver(f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message)).start()
    subscribe_to(publisher, spin)

    def tick(due: float) -> None:
        lateness.append(reactor.seconds() - due)
        reactor.callLater(0.1, tick, reactor.seconds() + 0.1)

    for number in range(count):
        publisher.send_multipart([b"flood", b"%d" % number])
    tick(reactor.seconds())
    spin(lambda: len(seen) >= count, deadline_seconds=60)
    assert [body for _, body in seen] == [b"%d" % number for number in range(count)]
    assert max(lateness) < 0.5


def test_a_timer_waits_for_whoever_reads_until_nothing_is_left(reactor: Any, plain: PlainSocket, spin: Spin) -> None:
    """So would a bare socket be read; for how long is then up to the sender."""
    publisher, subscriber = plain(zmq.XPUB), plain(zmq.SUB)
    subscriber.connect(f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}")
    subscriber.subscribe(b"")
    subscribe_to(publisher, spin)
    lateness: list[float] = []

    def read_all() -> None:
        while subscriber.poll(200):
            subscriber.recv_multipart()

    def send() -> None:
        ending = time.monotonic() + 1
        while time.monotonic() < ending:
            publisher.send_multipart([b"t", b"b"])

    sender = threading.Thread(target=send)
    due = reactor.seconds() + 0.1
    reactor.callLater(0, read_all)
    reactor.callLater(0.1, lambda: lateness.append(reactor.seconds() - due))
    sender.start()
    spin(lambda: lateness)
    sender.join(10)
    assert lateness[0] > 0.5


def test_one_turn_reads_a_bounded_number_of_messages(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """However much is waiting, a turn delivers a bounded part of it, and the rest follows without a new wake-up."""
    publisher = plain(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    seen = Seen()
    receiver = make_receiver(f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message))
    receiver.start()
    subscribe_to(publisher, spin)
    for _ in range(900):
        publisher.send_multipart([b"t", b"b"])
    largest = 0
    while len(seen) < 900:
        before = len(seen)
        spin(lambda before=before: len(seen) > before)
        largest = max(largest, len(seen) - before)
    # An iteration of the reactor holds at most two turns: one due by the clock, one by the descriptor.
    assert 0 < largest <= FRAMES_PER_TURN


def test_strangers_and_failing_handlers_do_no_harm(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin, caplog: pytest.LogCaptureFixture
) -> None:
    """Other than two frames is counted; what the handler raises is logged once a minute; reading goes on."""
    publisher = plain(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    seen = Seen()

    def deliver(topic: bytes, body: bytes) -> None:
        seen.append((topic, body))
        raise RuntimeError("handler fault")

    receiver: Receiver = make_receiver(f"tcp://127.0.0.1:{port}", deliver)
    receiver.start()
    subscribe_to(publisher, spin)
    for frames in ([b"alone"], [b"t", b"b", b"more"], [b"t"] * 500, [b"t", b"1"], [b"t", b"2"], [b"t", b"3"]):
        publisher.send_multipart(frames)
    spin(lambda: len(seen) == 3)
    assert seen == [(b"t", b"1"), (b"t", b"2"), (b"t", b"3")]
    assert receiver.dropped_frames == 3
    assert caplog.text.count("could not be handled") == 1


def test_an_oversized_message_is_not_delivered_and_later_ones_are(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """A frame above the limit costs the peer its connection; the one made anew works."""
    publisher = plain(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    seen = Seen()
    receiver = make_receiver(
        f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message), max_message_bytes=1000, **IMPATIENT
    )
    receiver.start()
    subscribe_to(publisher, spin)
    publisher.send_multipart([b"t", bytes(1001)])
    greet_until(spin, lambda: publisher.send_multipart([b"t", bytes(1000)]), lambda: seen)
    assert {len(body) for _, body in seen} == {1000}


def test_a_peer_that_broke_the_protocol_is_not_given_up(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """After a program that greets otherwise has answered at the address, a publisher that comes back there is heard."""
    seen = Seen()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        stranger.setblocking(False)
        make_receiver(f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message), **IMPATIENT).start()
        spin(lambda: answer_as_stranger(stranger))
    publisher = plain(zmq.XPUB)
    spin(lambda: binds(publisher, port))
    greet_until(spin, lambda: publisher.send_multipart([b"t", b"b"]), lambda: seen)


def test_a_message_without_an_end_fills_the_memory_of_a_bare_socket(plain: PlainSocket) -> None:
    """ZeroMQ's own limits say nothing against it."""
    before_bytes = resident_bytes()
    with socket.create_server(("127.0.0.1", 0)) as stranger, EndlessPublisher(stranger):
        subscriber = plain(zmq.SUB)
        subscriber.setsockopt(zmq.RCVHWM, 1)
        subscriber.setsockopt(zmq.MAXMSGSIZE, 1000)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(f"tcp://127.0.0.1:{stranger.getsockname()[1]}")
        wait_until(lambda: resident_bytes() - before_bytes > 400 << 20, what="the memory to fill")
        subscriber.close()


def test_a_message_without_an_end_is_hung_up_on(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """A publisher that was taken over sends one message for ever: the connection is given up with a reason before it
    costs much memory, which comes back, and a publisher that is at the address later on is heard."""
    seen, before_bytes, peak_bytes = Seen(), resident_bytes(), 0
    with socket.create_server(("127.0.0.1", 0)) as stranger, EndlessPublisher(stranger) as attacker:
        port = stranger.getsockname()[1]
        receiver = make_receiver(f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message), **IMPATIENT)
        receiver.start()

        def is_hung_up_on() -> bool:
            nonlocal peak_bytes
            peak_bytes = max(peak_bytes, resident_bytes())
            return receiver.fault == ENDLESS

        spin(is_hung_up_on)
    assert attacker.sent_bytes > MAX_UNREADABLE_BYTES
    assert receiver.dropped_frames >= 1 and seen == []
    assert peak_bytes - before_bytes < 300 << 20
    publisher = plain(zmq.XPUB)
    spin(lambda: binds(publisher, port))
    greet_until(spin, lambda: publisher.send_multipart([b"t", b"b"]), lambda: seen)
    spin(lambda: receiver.fault is None)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class EndlessPublisher:
    """Greets the first who connects to a listening socket, and sends it one message until it hangs up."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent_bytes = 0

    def __enter__(self) -> EndlessPublisher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(20)

    def _run(self) -> None:
        connection, _ = self._listening.accept()
        with connection, contextlib.suppress(OSError):
            greet(connection, "PUB")
            self.sent_bytes = send_for(connection, endless_message(10**9), 10)


def answer_as_stranger(listening: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"STRANGE".ljust(20, b"\x00") + bytes(32))
            connection.settimeout(5)
            while connection.recv(4096):
                pass
        return True
    return False


def binds(publisher: zmq.Socket[bytes], port: int) -> bool:
    with contextlib.suppress(zmq.ZMQError):
        publisher.bind(f"tcp://127.0.0.1:{port}")
        return True
    return False


def test_an_established_connection_is_left_alone(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """Looking at a working connection, several times, makes no new one, even when nothing is sent on it."""
    publisher = plain(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    make_receiver(f"tcp://127.0.0.1:{port}", print, check_seconds=0.5).start()
    subscribe_to(publisher, spin)
    with pytest.raises(AssertionError, match="did not come true"):
        spin(lambda: publisher.poll(0), deadline_seconds=2)


def test_reconnecting_subscribes_anew(
    make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """After `reconnect` the receiver still gets its topics, and only those."""
    publisher = plain(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    seen = Seen()
    receiver = make_receiver(f"tcp://127.0.0.1:{port}", lambda *message: seen.append(message), topics=(b"mine",))
    receiver.reconnect()
    receiver.start()
    subscribe_to(publisher, spin)
    receiver.reconnect()
    greet_until(spin, lambda: publisher.send_multipart([b"other", b""]), lambda: publisher.poll(0))
    greet_until(spin, lambda: publisher.send_multipart([b"mine", b"after"]), lambda: seen)
    assert set(seen) == {(b"mine", b"after")}


def test_a_handler_may_close_its_receiver(
    reactor: Any, make_receiver: Callable[..., ZeroMQReceiver], plain: PlainSocket, spin: Spin
) -> None:
    """Closing from within a delivery ends it there: nothing more is delivered and the reactor is left clean."""
    publisher = plain(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    seen = Seen()
    before = list(reactor.getReaders())

    def deliver(topic: bytes, body: bytes) -> None:
        seen.append((topic, body))
        receiver.close()

    receiver = make_receiver(f"tcp://127.0.0.1:{port}", deliver)
    receiver.start()
    subscribe_to(publisher, spin)
    for _ in range(10):
        publisher.send_multipart([b"t", b"b"])
    spin(lambda: seen)
    assert len(seen) == 1
    assert reactor.getReaders() == before
    assert reactor.getDelayedCalls() == []
