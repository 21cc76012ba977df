"""What one client may have of the service, on real sockets."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pushmirror.core.addresses import parse_network
from pushmirror.core.limits import HEADERS_AT_ONCE, REQUESTS_BURST_S, Limits
from pushmirror.errors import StateError
from pushmirror.http.streaming import PIECE_BYTES
from tests.http.answering import LIST, STATE, Service
from tests.support.reactor import Spin
from tests.support.waiting import wait_until

Make = Callable[..., Service]
OTHER = "127.0.0.2"
QUICK = Limits(request_s=0.5, idle_s=0.5, stall_s=0.5, answer_s=2.0)


@pytest.fixture
def make(reactor: Any, spin: Spin) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(limits: Limits | None = None, *proxies: str, **more: int) -> Service:
            networks = tuple(map(parse_network, proxies))
            service = Service(reactor, spin, limits, networks, **more)  # type: ignore[arg-type]  # several kinds in one
            stack.callback(service.close)
            return service

        yield make


def is_closed(connection: socket.socket) -> bool:
    """Read to the end; whether there was one."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_too_many_requests_are_refused_until_time_has_passed(make: Make) -> None:
    """429 with the seconds to wait, an end of the connection, and nothing of it for others."""
    service = make(Limits(requests_per_second=1))

    def ask_too_often() -> list[tuple[int, dict[str, str], bytes]]:
        return [service.ask_here() for _ in range(REQUESTS_BURST_S + 2)]

    replies = service.run(ask_too_often)
    refused = next(reply for reply in replies if reply[0] != 200)
    assert replies.index(refused) >= REQUESTS_BURST_S
    assert refused[0] == 429 and int(refused[1]["retry-after"]) in (1, 2) and refused[1]["connection"] == "close"
    assert refused[1]["cache-control"] == "no-store" and refused[2].endswith(b"seconds\n")
    assert len(service.answers.asked) == sum(reply[0] == 200 for reply in replies)
    assert service.ask(source=OTHER)[0] == 200


def test_too_many_bytes_make_the_next_request_wait(make: Make) -> None:
    """The answer that goes above the limit comes whole; the next one is to be asked for later."""
    service = make(Limits(traffic_bytes_per_minute=1_000_000))
    service.answers.chunks = lambda: iter([b"x" * 100_000] * 12)
    assert len(service.ask(LIST)[2]) == 1_200_000
    status, headers, _ = service.ask()
    assert status == 429 and 12 <= int(headers["retry-after"]) <= 14
    assert service.ask(LIST, OTHER)[0] == 200


def test_connections_above_the_limit_are_closed_at_once(make: Make, spin: Spin) -> None:
    """They get no answer and cost nothing; others are served, and one that ends makes room."""
    service = make(Limits(connections=3))

    def fill() -> list[socket.socket]:
        return [service.connect() for _ in range(4)]

    connections: list[socket.socket] = service.run(fill)
    assert service.run(is_closed, connections.pop())
    assert service.ask(source=OTHER)[0] == 200
    connections.pop().close()

    def is_served() -> bool:
        try:
            return bool(service.ask_here()[0] == 200)
        except OSError:
            return False

    deadline = time.monotonic() + 5
    while not service.run(is_served):
        assert time.monotonic() < deadline
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HT",
                                  b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"])  # fmt: skip
def test_a_request_has_to_be_whole_in_time(make: Make, sent: bytes) -> None:
    """Silence, half a request line, headers or body that go on for ever: bytes that trickle in do not prolong it."""
    service = make(QUICK)

    def trickle() -> float:
        begun_s = time.monotonic()
        with service.connect() as connection:
            connection.sendall(sent)
            connection.settimeout(0.05)
            while time.monotonic() < begun_s + 8:
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        return time.monotonic() - begun_s
                if b"POST" in sent or b"Host" in sent:
                    connection.sendall(b"x")
        return 8

    with contextlib.suppress(ConnectionError):
        assert service.run(trickle) < 4


def test_an_idle_connection_is_closed_and_one_that_goes_on_is_kept(make: Make) -> None:
    """Whoever asks again on a connection is answered; the pause after an answer has a limit of its own."""
    service = make(Limits(request_s=30, idle_s=0.5))

    def ask_on_one_connection() -> bool:
        with service.connect() as connection:
            for _ in range(4):
                for piece in (f"GET {STATE} HTTP/1.1\r\n", "Host: x\r\n", "\r\n"):
                    connection.sendall(piece.encode())
                answer = b""
                while not answer.endswith(b"short"):
                    answer += connection.recv(65536)
            return is_closed(connection)

    assert service.run(ask_on_one_connection)
    assert len(service.answers.asked) == 4


def test_a_reader_that_stalls_is_cut_off(make: Make) -> None:
    """Whoever does not take the next piece in time loses the connection, and the answer is let go."""
    service = make(QUICK)
    service.answers.chunks = lambda: iter([b"x" * PIECE_BYTES] * 1000)

    def stall() -> bool:
        connection = socket.socket()
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(10)
            connection.connect(("127.0.0.1", service.port))
            connection.sendall(f"GET {LIST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: service.answers.asked and not service.answers.open_answers, what="the cut")
            wait_until(lambda: service.connections == 0, what="the end of the connection")
        return True

    assert service.run(stall)


def test_an_answer_that_nobody_fetches_does_not_keep_its_connection(make: Make, reactor: Any, spin: Spin) -> None:
    """Also when all of it lies in buffers, and the client wants no other."""
    service = make(QUICK)
    service.answers.chunks = lambda: iter([b"x" * 30_000] * 6)
    connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(f"GET {LIST} HTTP/1.0\r\n\r\n".encode())
        spin(lambda: service.answers.asked and not service.answers.open_answers)
        spin(lambda: service.connections == 0, 5)


def test_requests_of_a_proxy_count_for_its_clients(make: Make) -> None:
    """Whom a trusted proxy names has the limits; the proxy itself has none."""
    service = make(Limits(requests_per_second=1, connections=1), "127.0.0.1")

    def ask_as(client: str) -> list[int]:
        return [service.ask_here(headers={"X_Forwarded_For": client})[0] for _ in range(REQUESTS_BURST_S + 3)]

    first, second = service.run(ask_as, "198.51.100.1, 203.0.113.1"), service.run(ask_as, "198.51.100.1, 203.0.113.2")
    assert first[:REQUESTS_BURST_S] == second[:REQUESTS_BURST_S] == [200] * REQUESTS_BURST_S
    assert 429 in first and 429 in second


def test_headers_that_are_shown_are_counted_by_client(make: Make) -> None:
    """By its own address, by what a trusted proxy names, IPv6 by /64: who has shown too many is told when to come
    again, may ask other things, and takes nothing from anybody else."""
    service = make(Limits(), OTHER)

    def show(times: int, source: str = "127.0.0.1", client: str = "") -> list[tuple[int, dict[str, str], bytes]]:
        headers = {"X_Forwarded_For": client} if client else {}
        return [service.ask_here("/v1/headers", source, headers, "POST") for _ in range(times)]

    replies = service.run(show, HEADERS_AT_ONCE + 10)
    refused = next(reply for reply in replies if reply[0] != 200)
    assert replies.index(refused) >= HEADERS_AT_ONCE
    assert refused[0] == 429 and refused[1]["retry-after"] == "1"
    assert service.ask()[0] == 200
    assert service.run(show, 1, OTHER, "2001:db8::1")[0][0] == 200
    assert 429 in [reply[0] for reply in service.run(show, HEADERS_AT_ONCE + 10, OTHER, "2001:db8::2")]
    assert [service.run(show, 1, OTHER, f"2001:db8{site}::1")[0][0] for site in ("", ":0:1")] == [429, 200]


def test_answers_through_a_proxy_count_as_connections_of_the_client(make: Make) -> None:
    """Whoever has as many answers under way as it may have connections is told to come again; others are served."""
    service = make(Limits(connections=1), "127.0.0.1")
    service.answers.chunks = lambda: iter([b"x" * PIECE_BYTES] * 1000)

    def ask_beside_an_answer() -> list[int]:
        with service.connect() as connection:
            request = f"GET {LIST} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n"
            connection.sendall(request.encode())
            connection.recv(1)
            clients = ("203.0.113.1", "203.0.113.2")
            return [service.ask_here(headers={"X_Forwarded_For": client})[0] for client in clients]

    assert service.run(ask_beside_an_answer) == [429, 200]
    assert service.ask(X_Forwarded_For="203.0.113.1")[0] == 200


def test_a_stranger_who_claims_to_be_a_proxy_is_not_believed(make: Make) -> None:
    """Another name in each request is one client all the same."""
    service = make(Limits(requests_per_second=1), OTHER)

    def ask() -> list[int]:
        return [
            service.ask_here(headers={"X_Forwarded_For": f"203.0.113.{number}"})[0]
            for number in range(REQUESTS_BURST_S + 3)
        ]

    assert 429 in service.run(ask)


def test_what_stands_in_a_header_of_a_proxy_may_be_anything(make: Make) -> None:
    """A client writes what it likes there, and a proxy hands it on: also what is no text."""
    service = make(Limits(), "127.0.0.1")
    for written in ("\xff", "\xff, 203.0.113.1", "[", ",,,", "x" * 500):
        assert service.ask(X_Forwarded_For=written)[0] == 200


def test_the_operator_is_told_once_in_a_while(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """One line for a minute, whoever is turned away and however often."""
    service = make(Limits(requests_per_second=1))
    with caplog.at_level(logging.WARNING):
        service.run(lambda: [service.ask_here() for _ in range(REQUESTS_BURST_S + 10)])
    (line,) = [record.getMessage() for record in caplog.records if "turned away" in record.getMessage()]
    assert "127.0.0.1" in line


def test_a_few_addresses_do_not_keep_everybody_else_out(make: Make, spin: Spin) -> None:
    """Four strangers take every connection that there is; an honest client is served, at the cost of one of theirs,
    and who has as many as anybody gets no more."""
    service = make(Limits(connections=20), max_connections=80)
    strangers = [f"127.0.1.{number}" for number in range(1, 5)]

    def fill() -> list[socket.socket]:
        return [service.connect(source) for source in strangers for _ in range(20)]

    held = service.run(fill)
    spin(lambda: service.connections == 80)
    assert [service.ask(source=OTHER)[0] for _ in range(3)] == [200] * 3
    held.append(service.run(service.connect, strangers[0]))  # in the place that the honest client has left
    spin(lambda: service.connections == 80)
    with service.run(service.connect, strangers[0]) as one_more:
        assert service.run(is_closed, one_more)
    for connection in held:
        connection.close()


def test_a_proxy_gives_way_to_nobody(make: Make, spin: Spin) -> None:
    """However many connections of it there are: they are those of its clients."""
    service = make(Limits(), "127.0.0.1", max_connections=10)
    held = service.run(lambda: [service.connect() for _ in range(10)])
    spin(lambda: service.connections == 10)
    with service.run(service.connect, OTHER) as stranger:
        assert service.run(is_closed, stranger)
    assert service.connections == 10
    for connection in held:
        connection.close()


def test_an_answer_that_cannot_be_made_is_told_once_in_a_while(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Strangers who ask for it again and again fill no log."""
    service = make()

    def fail() -> Iterator[bytes]:
        yield b"x"
        raise StateError("the disk is broken")

    def ask_in_vain() -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):
            service.ask_here(LIST)

    service.answers.chunks = fail
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            service.run(ask_in_vain)
    assert [record.getMessage() for record in caplog.records] == ["an answer could not be completed (0 more before)"]
